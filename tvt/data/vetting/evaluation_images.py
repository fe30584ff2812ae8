"""The images of evaluation sets, to keep training rows clear of them: also of splits whose answers are kept back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tvt.core.task import resolve_name
from tvt.data.hub.questions import shown
from tvt.data.hub.rows import content_of, label
from tvt.data.placing import parts_of
from tvt.data.progress import Progress, silent
from tvt.data.questions.files import open_questions
from tvt.data.task_questions import read
from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest
from tvt.data.vetting.perceptual import Gallery, Look, look_at_bytes
from tvt.errors import InputError
from tvt.io import atomic, digest
from tvt.io.cache import cache_folder

SPLITS: Mapping[str, tuple[str, ...]] = {"blink": ("val", "test")}
"""Splits of a format that all are evaluation sets, whichever of them a manifest scores on."""


_VERSION = 2
"""Raised whenever the same images would get other digests or hashes."""


def gallery_of(references: Sequence[str], manifests: Mapping[str, TaskManifest], progress: Progress = silent) -> Gallery:
    """The images of evaluation sets.

    Args:
        references: names of benchmarks, which stand for all their tasks; names of tasks, which stand for all that the task is
            scored on; files or folders of questions. A name goes before a path; write ``./NAME`` for the path.
        manifests: by task name.
        progress: told how many images were looked at.

    Raises:
        InputError: a reference that is none of these, or a set that cannot be read; every fault, one line each.
        MissingPackageError: the data extra is not installed.
    """
    gallery, faults, seen = Gallery(), list[str](), 0
    for reference in references:
        try:
            for name, look in _looks(reference, manifests):
                gallery.add(look, name)
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


def _looks(reference: str, manifests: Mapping[str, TaskManifest]) -> Iterator[tuple[str, Look]]:
    """(where it is, how it looks) of the images of a reference."""
    meant = _meant(reference, manifests)
    if isinstance(meant, Path):
        yield from _looked_at(_of_file(meant))
        return
    for manifest in meant:
        parts = evaluation_parts(manifest)
        if not parts:
            raise InputError(f"{manifest.name}: its manifest names no questions that it is scored on; name a file of them")
        for part in parts:
            yield from _of_part(part, manifest.name)


def _meant(reference: str, manifests: Mapping[str, TaskManifest]) -> list[TaskManifest] | Path:
    """The tasks of the benchmark, or the task, that a name means, else the file or folder."""
    of_benchmark = [found for found in manifests.values() if (found.benchmark or "").casefold() == reference.casefold()]
    if of_benchmark:
        return of_benchmark
    try:
        return [manifests[resolve_name(reference, [manifest.task() for manifest in manifests.values()], list(manifests))]]
    except KeyError as error:
        if Path(reference).exists():
            return Path(reference)
        raise InputError(f"{reference}: no such file, and {error.args[0]}; name a file, a task or a benchmark") from error


def _of_file(path: Path) -> Iterator[tuple[str, bytes]]:
    source = open_questions(path)
    for numbers, batch in source.batches():
        for row, images in zip(numbers.tolist(), batch.column("images").to_pylist(), strict=True):
            for image in images or ():
                if image["bytes"] is not None:
                    yield source.where(row), image["bytes"]


def _of_part(data: QuestionData, task: str) -> Iterator[tuple[str, Look]]:
    if data.path is not None:
        yield from _looked_at(_of_file(Path(data.path)))
    elif data.dataset == MINIATURE:
        yield from _looked_at((f"{task} {question.id}", image) for question in read(data, task) for image in question.images)
    else:
        yield from _remembered(data)


def _remembered(data: QuestionData) -> list[tuple[str, Look]]:
    """Of a dataset: thousands of large images are looked at once, and then remembered in tvt's cache."""
    told = data.model_dump(include={"dataset", "config", "split", "format", "where", "frames"})
    place = cache_folder() / "looks" / f"{digest.of_value({**told, **content_of(data), 'version': _VERSION})[:32]}.json"
    if place.is_file():
        return [(name, Look(bytes.fromhex(exact), bits)) for name, exact, bits in json.loads(place.read_text())]
    images = ((f"{label(data)} {row.id}", image) for row in shown(data) for image in row.images)
    found = list(_looked_at(images))
    atomic.write_text(place, json.dumps([[name, look.exact.hex(), look.hash] for name, look in found]))
    return found


def _looked_at(images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Look]]:
    for name, data in images:
        try:
            yield name, look_at_bytes(data)
        except ValueError as error:
            raise InputError(f"{name}: {error}; get the file anew") from error
