"""Where a user keeps what manifests speak of: local copies of datasets, and a folder of training rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest
from tvt.errors import InputError, suggest
from tvt.io.names import file_name

PARTS = ("training", "evaluation", "report")


def placed(
    manifests: Mapping[str, TaskManifest], *, datasets: Mapping[str, str] | None = None, data_dir: str | None = None
) -> dict[str, TaskManifest]:
    """The manifests with what they speak of found where the user keeps it.

    Args:
        manifests: by task name.
        datasets: folder of a local copy by the dataset's name on the hub.
        data_dir: folder of rows: a task without ``training`` takes ``Task.parquet``, ``Task.jsonl`` or ``Task/`` there.

    Raises:
        InputError: datasets that no manifest speaks of, one line each.
    """
    copies = datasets or {}
    spoken = {data.dataset for manifest in manifests.values() for data in parts_of(manifest).values() if data.dataset}
    faults = [
        f"datasets: {name}: no manifest speaks of it{suggest(name, sorted(spoken - {MINIATURE}))}; check the name"
        for name in copies
        if name not in spoken
    ]
    if faults:
        raise InputError(*faults)
    return {name: _placed(manifest, copies, data_dir) for name, manifest in manifests.items()}


def parts_of(manifest: TaskManifest) -> dict[str, QuestionData]:
    """The parts that a manifest has, by their name."""
    return {part: data for part in PARTS if (data := getattr(manifest, part)) is not None}


def _placed(manifest: TaskManifest, copies: Mapping[str, str], data_dir: str | None) -> TaskManifest:
    changed: dict[str, Any] = {
        part: data.model_copy(update={"folder": copies[data.dataset]})
        for part, data in parts_of(manifest).items()
        if data.dataset is not None and data.dataset in copies
    }
    if manifest.training is None and data_dir is not None:
        name = file_name(manifest.name)
        places = [Path(data_dir) / f"{name}{end}" for end in (".parquet", ".jsonl", "")]
        found = next((place for place in places if place.exists()), None)
        if found is not None:
            changed["training"] = QuestionData(path=str(found))
    return manifest.model_copy(update=changed)
