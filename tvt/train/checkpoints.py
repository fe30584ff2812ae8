"""Checkpoints that a run may go on from: those with a record, written last, that lists every file with its digest.

A checkpoint without its optimiser resumes silently to other weights, and so does one of another run: both are refused here.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.io import atomic, digest, json_text
from tvt.io.adapter_file import file_entry, file_faults
from tvt.train.record import CHECKPOINTS, RUN, TrainingJob

RECORD = "checkpoint.json"
SCHEMA = 1
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """What there is to resume from."""

    checkpoint: Path | None
    """The newest complete one."""
    broken: tuple[str, ...]
    """Why newer ones cannot be used, one line each."""


def layout(recipe: Recipe) -> dict[str, Any]:
    """How a run is divided: an optimiser's state is saved in these pieces and can only be read back in the same."""
    path = recipe.runtime.deepspeed
    return {
        "num_processes": recipe.runtime.num_processes,
        "per_device_train_batch_size": recipe.training.per_device_train_batch_size,
        "deepspeed": digest.of_value(json_text.loads(Path(path).read_text(encoding="utf-8"))) if path else None,
    }


def write_checkpoint_record(folder: Path, job: TrainingJob, step: int) -> None:
    """Write a checkpoint's record, once its files are all there."""
    files = {
        path.relative_to(folder).as_posix(): file_entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    record = {"schema": SCHEMA, "identity": job.identity, "step": step, "layout": layout(job.recipe), "files": files}
    atomic.write_text(folder / RECORD, json.dumps({**record, "digest": digest.of_value(record)}, indent=1) + "\n")


def checkpoint_faults(folder: Path, job: TrainingJob) -> list[str]:
    """Why a checkpoint cannot be resumed from; empty if it can."""
    try:
        record = json_text.loads((folder / RECORD).read_text(encoding="utf-8"))
        stored = record.pop("digest")
        intact = stored == digest.of_value(record) and isinstance(record["files"], dict)
    except OSError:
        return [f"{folder}: was not finished"]
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        return [f"{folder}: its record is damaged"]
    if record["identity"] != job.identity:
        return [f"{folder}: belongs to another run"]
    return file_faults(folder, record["files"])


def newest_checkpoint(job: TrainingJob) -> Resumable:
    """The newest complete checkpoint of this very run.

    Raises:
        InputError: it was saved by another number of processes or under another DeepSpeed configuration.
    """
    broken: list[str] = []
    for folder in _folders(job.output):
        faults = checkpoint_faults(folder, job)
        if not faults:
            saved = json_text.loads((folder / RECORD).read_text(encoding="utf-8"))["layout"]
            differences = [
                f"{key} {saved.get(key)}, not {value}" for key, value in layout(job.recipe).items() if saved.get(key) != value
            ]
            if differences:
                raise InputError(
                    f"{folder}: was saved with {'; '.join(differences)}: resume with the same, or train into another folder"
                )
            return Resumable(checkpoint=folder, broken=tuple(broken))
        broken += faults
    return Resumable(checkpoint=None, broken=tuple(broken))


def remove_broken(job: TrainingJob) -> None:
    """Remove what cannot be resumed from: it would count among those to keep, and a complete one would be removed instead."""
    for folder in _folders(job.output):
        if checkpoint_faults(folder, job):
            shutil.rmtree(folder)


def remove_other_layouts(recipe: Recipe, output: Path) -> bool:
    """Remove checkpoints if any was saved under another division of the run; returns whether there were some."""
    records = [path for folder in _folders(output) if (path := folder / RECORD).is_file()]
    try:
        same = all(json_text.loads(path.read_text(encoding="utf-8"))["layout"] == layout(recipe) for path in records)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # resuming reports what is wrong
    if not same:
        shutil.rmtree(output / CHECKPOINTS)
    return not same


def steps_done(output: Path) -> int:
    """The step of the newest checkpoint with a record; 0 without one."""
    recorded = [folder for folder in _folders(output) if (folder / RECORD).is_file()]
    return int(recorded[0].name.rsplit("-", 1)[1]) if recorded else 0


def has_checkpoints(output: Path) -> bool:
    """Whether an unfinished run left any."""
    return bool(_folders(output))


def remember_run(job: TrainingJob) -> None:
    """Write into the output folder which run it belongs to, before the first step."""
    atomic.write_text(
        job.output / RUN, json.dumps({"schema": SCHEMA, "identity": job.identity, "parts": job.parts()}, indent=1) + "\n"
    )


def check_same_run(job: TrainingJob) -> None:
    """Refuse a folder that holds another run.

    Raises:
        InputError: which part of it differs.
    """
    path = job.output / RUN
    if not path.is_file():
        return
    try:
        stored = json_text.loads(path.read_text(encoding="utf-8"))
        parts, identity = dict(stored["parts"]), stored["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; train into another folder with -o DIR") from error
    if identity != job.identity:
        now = job.parts()
        changed = [line for name in now if parts.get(name) != now[name] for line in _changes(name, parts.get(name), now[name])]
        raise InputError(
            f"{job.output}: holds another run, which differs in {'; '.join(changed)}: undo that, or train "
            "into another folder with -o DIR"
        )


def _changes(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [
            f"{name}.{key} ({before.get(key)} before, {now.get(key)} now)" for key in keys if before.get(key) != now.get(key)
        ]
    return ["the dataset's rows"] if name == "dataset" else [f"{name} ({before} before, {now} now)"]


def _folders(output: Path) -> list[Path]:
    """Checkpoints, newest first."""
    parent = output / CHECKPOINTS
    numbered = [(int(match.group(1)), path) for path in parent.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
