"""A training run on record: its job and what identifies it, its progress, and the record written last."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.core.values import Frozen, by_fields, encode
from tvt.errors import InputError
from tvt.io import atomic, digest

ADAPTER, CHECKPOINTS, RECORD, RUN, LOG = "adapter", "checkpoints", "training.json", "run.json", "train.log"
SCHEMA = 1
ORDER_VERSION = 2
"""Of the order of rows, of what becomes of a row, and of the way the loss is taken; raised when the same job would give another
adapter.

2: the trained text begins with the scored prompt, and pictures with alpha or more than 8 bits are shown as they look. With
4 bits one process trains the adapter in float32, as DeepSpeed does.
"""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training run, as each of its processes receives it."""

    recipe: Recipe
    dataset: Path
    output: Path
    seed: int
    dataset_digest: str
    base_digest: str | None = None
    """Of a base model in a folder, from :func:`tvt.train.record.base_digest`."""
    resume_from: Path | None = None

    def parts(self) -> dict[str, Any]:
        """What decides the adapter, by name."""
        decisive = self.recipe.training_identity()
        if self.base_digest is not None:  # what a model is, not where it is stored
            decisive["model"] = {**decisive["model"], "model_name_or_path": self.base_digest}
        return {**decisive, "dataset": self.dataset_digest, "seed": self.seed, "order": ORDER_VERSION}

    @property
    def identity(self) -> str:
        """Digest of what decides the adapter: recipe, rows and seed."""
        return digest.of_value(self.parts())

    def dump(self) -> str:
        """As JSON, for another process."""
        values = {**vars(self), "recipe": self.recipe.model_dump(mode="json")}
        return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in values.items()})

    @classmethod
    def load(cls, text: str) -> TrainingJob:
        """The inverse of :meth:`dump`."""
        values = json.loads(text)
        for name in ("dataset", "output", "resume_from"):
            values[name] = Path(values[name]) if values[name] else None
        return cls(**{**values, "recipe": Recipe.model_validate(values["recipe"])})


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How far a run has come, at every logging step."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    rows_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        left = f"{self.seconds_left:.0f} s" if self.seconds_left < 120 else f"{math.ceil(self.seconds_left / 60)} min"
        return f"step {self.step}/{self.steps}  loss {self.loss:.4f}  {self.rows_per_second:.1f} rows/s  {left} left"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord(Frozen):
    """A finished run. ``adapter`` is the folder; everything else is also in ``training.json`` beside it."""

    adapter: Path
    identity: str
    """Digest of recipe, rows and seed."""
    adapter_digest: str
    seed: int
    dataset_digest: str
    rows: int
    """Examples trained on, repetitions counted."""
    steps: int
    epochs: float
    losses: tuple[tuple[int, float], ...]
    """Step and mean loss since the one before."""
    seconds: float
    """Of training in the last start, loading left out."""
    rows_per_second: float
    peak_memory_bytes: int | None
    """On the first device; ``None`` without one."""
    num_processes: int
    resumed_from: int | None
    """Step of the checkpoint that the last start went on from."""
    versions: dict[str, str]

    def json_value(self) -> dict[str, Any]:
        """The fields; the adapter's folder is beside the record."""
        return {"schema": SCHEMA, **by_fields(self), "adapter": ADAPTER}


def save_training_record(record: TrainingRecord, output: Path) -> None:
    """Write ``training.json``, the last file of a run."""
    atomic.write_text(output / RECORD, json.dumps(encode(record), indent=1) + "\n")


def load_training_record(output: Path) -> TrainingRecord:
    """Read the record of a finished run. Use :func:`tvt.io.adapter_file.verify_adapter` before using its adapter.

    Raises:
        InputError: no finished run, or a damaged record.
    """
    path = output / RECORD
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored = {field.name: stored[field.name] for field in fields(TrainingRecord)}
        losses = tuple((int(step), float(loss)) for step, loss in stored["losses"])
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; no finished run of tvt train") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; train anew into another folder") from error
    return TrainingRecord(**{**stored, "adapter": output / ADAPTER, "losses": losses})


_WHOLE_BYTES = 64 * 2**20
_PIECES, _PIECE_BYTES = 256, 64 * 2**10


def base_digest(model_name_or_path: str) -> str | None:
    """Digest of a folder's weights and configuration; ``None`` for a hub model, which its revision names.

    Of large files, size and evenly spaced pieces are read: training changes all of a file, and all of it would take minutes.
    """
    folder = Path(model_name_or_path)
    if not folder.is_dir():
        return None
    files = sorted(path for pattern in ("*.safetensors", "*.json", "*.jinja") for path in folder.glob(pattern))
    return digest.of_value({path.name: _of_large_file(path) for path in files})


def _of_large_file(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        return digest.of_file(path)
    hashed = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for piece in range(_PIECES):
            stream.seek(piece * (size - _PIECE_BYTES) // (_PIECES - 1))
            hashed.update(stream.read(_PIECE_BYTES))
    return hashed.hexdigest()
