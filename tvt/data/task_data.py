"""Where a task's data is on this machine: local copies of datasets, training rows, and what could build them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.data.builders.contract import layouts_of
from tvt.data.imports.stored import is_foreign
from tvt.data.questions.files import open_questions
from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest
from tvt.errors import InputError, suggest
from tvt.io.names import file_name

PARTS = ("training", "evaluation", "report")


def resolve_data_paths(
    manifests: Mapping[str, TaskManifest], *, datasets: Mapping[str, str] | None = None, data_dir: str | None = None
) -> dict[str, TaskManifest]:
    """The manifests with local paths for what they name.

    Args:
        manifests: by task name.
        datasets: folder of a local copy by the dataset's name on the hub.
        data_dir: folder of rows: a task without ``training`` takes ``Task.parquet``, ``Task.jsonl`` or ``Task/`` there.

    Raises:
        InputError: datasets that no manifest names, one line each.
    """
    copies = datasets or {}
    named = {data.dataset for manifest in manifests.values() for data in parts_of(manifest).values() if data.dataset}
    faults = [
        f"datasets: {name}: no manifest names it{suggest(name, sorted(named - {MINIATURE}))}; check the name"
        for name in copies
        if name not in named
    ]
    if faults:
        raise InputError(*faults)
    return {name: _resolved(manifest, copies, data_dir) for name, manifest in manifests.items()}


def parts_of(manifest: TaskManifest) -> dict[str, QuestionData]:
    """The parts that a manifest has, by their name."""
    return {part: data for part in PARTS if (data := getattr(manifest, part)) is not None}


def _resolved(manifest: TaskManifest, copies: Mapping[str, str], data_dir: str | None) -> TaskManifest:
    changed: dict[str, Any] = {
        part: data.model_copy(update={"folder": copies[data.dataset]})
        for part, data in parts_of(manifest).items()
        if data.dataset is not None and data.dataset in copies
    }
    if manifest.training is None and data_dir is not None:
        name = file_name(manifest.name)
        places = [Path(data_dir) / f"{name}{end}" for end in (".parquet", ".jsonl", "")]
        result = next((place for place in places if place.exists()), None)
        if result is not None:
            changed["training"] = QuestionData(path=str(result))
    return manifest.model_copy(update=changed)


@dataclass(frozen=True, kw_only=True)
class RowsHere:
    """The training rows of a task."""

    where: str | None
    """File or dataset; ``None`` where there are none."""
    rows: int | None
    """How many, where that is known without fetching anything."""
    layouts: tuple[str, ...]
    """Raw data from which they can be built."""


def rows_here(manifest: TaskManifest, data_dir: Path) -> RowsHere:
    """Look for a task's training rows: what its manifest says, else what lies in the folder.

    Raises:
        InputError: a file that is no file of questions.
    """
    folder = str(data_dir) if data_dir.is_dir() else None
    training = resolve_data_paths({manifest.name: manifest}, data_dir=folder)[manifest.name].training
    layouts = layouts_of(manifest.name) if manifest.builder is not None else ()
    return RowsHere(where=_where(training), rows=_count(training), layouts=layouts)


def build_commands(manifest: TaskManifest, data_dir: Path, rows: int = 1000) -> list[str]:
    """The commands that build a task's rows, the first from BLINK's own source, and check and show them."""
    layouts = layouts_of(manifest.name) if manifest.builder is not None else ()
    if not layouts:
        return []
    chosen = [f" --layout {layout}" * (number > 0) for number, layout in enumerate(layouts)]
    clear = f" --exclude {manifest.benchmark or manifest.name}"
    path = data_dir / f"{file_name(manifest.name)}.parquet"
    return [
        *(f"tvt data build {manifest.name} --source DIR -n {rows}{layout}{clear} -o {data_dir}" for layout in chosen),
        f"tvt data check {path} --against {manifest.benchmark or manifest.name}",
        f"tvt data preview {path}",
    ]


def _where(training: QuestionData | None) -> str | None:
    if training is None:
        return None
    return training.path or (f"{training.dataset}" if training.dataset != MINIATURE else "drawn on the spot")


def _count(training: QuestionData | None) -> int | None:
    if training is None or training.path is None:
        return training.questions if training is not None else None
    if not Path(training.path).exists() or is_foreign(training):  # which are counted when they are read
        return None
    result = open_questions(Path(training.path)).rows
    return result if training.questions is None else min(result, training.questions)
