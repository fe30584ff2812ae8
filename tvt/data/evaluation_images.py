"""The images of evaluation sets, to keep training rows clear of them: also of splits whose answers are kept back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tvt.core.task import resolve_name
from tvt.data.builders.sources import Progress, silent
from tvt.data.hub_rows import label, open_rows
from tvt.data.perceptual import Gallery, Look, look_at_bytes
from tvt.data.placing import parts_of
from tvt.data.question_files import open_questions
from tvt.data.row_formats import format_of
from tvt.data.task_questions import read
from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest
from tvt.errors import InputError

SPLITS: Mapping[str, tuple[str, ...]] = {"blink": ("val", "test")}
"""Splits of a format that all are evaluation sets, whichever of them a manifest scores on."""


def gallery_of(references: Sequence[str], manifests: Mapping[str, TaskManifest], progress: Progress = silent) -> Gallery:
    """The images of evaluation sets.

    Args:
        references: files or folders of questions, and names of tasks, which stand for all that the task is scored on.
        manifests: by task name.
        progress: told how many images were looked at.

    Raises:
        InputError: a reference that is neither, or a set that cannot be read; every fault, one line each.
        MissingPackageError: the data extra is not installed.
    """
    gallery, faults, seen = Gallery(), list[str](), 0
    for reference in references:
        try:
            for name, data in _images(reference, manifests):
                gallery.add(_look(data, name), name)
                seen += 1
                progress(f"looking at {reference}", seen, 0)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return gallery


def evaluation_parts(manifest: TaskManifest) -> list[QuestionData]:
    """All that a task may be scored on: what its manifest says, and the other splits of the benchmark."""
    parts = [part for name, part in parts_of(manifest).items() if name != "training"]
    return [
        part.model_copy(update={"split": split, "questions": part.questions if split == part.split else None})
        for part in parts
        for split in dict.fromkeys((part.split, *SPLITS.get(part.format, ())))
    ]


def _images(reference: str, manifests: Mapping[str, TaskManifest]) -> Iterator[tuple[str, bytes]]:
    """(where it is, encoded image) of a reference."""
    if Path(reference).exists():
        yield from _of_file(Path(reference))
        return
    try:
        name = resolve_name(reference, [manifest.task() for manifest in manifests.values()], list(manifests))
    except KeyError as error:
        raise InputError(f"{reference}: no such file, and {error.args[0]}; name a file of questions or a task") from error
    parts = evaluation_parts(manifests[name])
    if not parts:
        raise InputError(f"{name}: its manifest names no questions that it is scored on; name a file of them")
    for part in parts:
        yield from _of_part(part, name)


def _of_file(path: Path) -> Iterator[tuple[str, bytes]]:
    source = open_questions(path)
    for numbers, batch in source.batches():
        for row, images in zip(numbers.tolist(), batch.column("images").to_pylist(), strict=True):
            for image in images or ():
                if image["bytes"] is not None:
                    yield source.where(row), image["bytes"]


def _of_part(data: QuestionData, task: str) -> Iterator[tuple[str, bytes]]:
    if data.path is not None:
        yield from _of_file(Path(data.path))
    elif data.dataset == MINIATURE:
        for question in read(data, task):
            yield from ((f"{task} {question.id}", image) for image in question.images)
    else:
        layout = format_of(data)
        rows = open_rows(data)
        rows.check(layout.needed)
        for number, row in enumerate(rows):
            try:
                images = layout.question(row, data).images
            except ValueError as error:
                raise InputError(f"{label(data)}: row {number}: {error}") from error
            yield from ((f"{label(data)} row {number}", image) for image in images)


def _look(data: bytes, name: str) -> Look:
    try:
        return look_at_bytes(data)
    except ValueError as error:
        raise InputError(f"{name}: {error}; get the file anew") from error
