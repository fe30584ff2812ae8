"""A training run on record: its job and what identifies it, its progress, the record written last, and the model card of its
adapter, in place of the stubs of PEFT and TRL: what it was trained on, how, and what it is not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tvt import __version__
from tvt.core.recipe import PARTS, Recipe
from tvt.core.values import Frozen, by_fields, encode
from tvt.errors import InputError
from tvt.io import atomic, digest, json_text
from tvt.io.names import front_matter, hub_dataset, hub_name, table
from tvt.io.yaml_files import BUNDLED_MODELS, public_model_name

ADAPTER, CHECKPOINTS, RECORD, RUN, LOG = "adapter", "checkpoints", "training.json", "run.json", "train.log"
ROWS = ".rows"
"""The rows as they are mapped into memory, until the run is done."""
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
        values = json_text.loads(text)
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
        stored = json_text.loads(path.read_text(encoding="utf-8"))
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


CARD = "README.md"
MIX = "mix.json"
"""Of a dataset that tvt mix wrote."""
_REMARK = "license: fill it in; the base model's licence and those of the training data bear on it"


def model_card(job: TrainingJob, record: TrainingRecord) -> str:
    """README.md of what ``record`` describes, an adapter or a whole model; no path of this machine is in it."""
    base = public_model_name(job.recipe.model.model_name_or_path)
    hub = hub_name(base) if base not in BUNDLED_MODELS else None
    mix = _mix_record(job.dataset)
    full = job.recipe.training.method == "full"
    header = {
        "library_name": "transformers" if full else "peft",
        "pipeline_tag": "image-text-to-text",
        "base_model": hub,
        "base_model_relation": ("finetune" if full else "adapter") if hub else None,
        "datasets": _datasets(mix),
        "tags": ["sft", "trl", "tvt"] if full else ["lora", "peft", "sft", "trl", "tvt"],
    }
    return front_matter(header, [_REMARK]) + "\n" + "\n".join([*_lines(job, record, base, mix), ""])


def _mix_record(dataset: Path) -> Mapping[str, Any] | None:
    """What ``tvt mix`` recorded of the dataset; ``None`` where another program wrote it."""
    try:
        record = json_text.loads((dataset / MIX).read_text(encoding="utf-8"))
        return record if isinstance(record["sources"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _datasets(mix: Mapping[str, Any] | None) -> list[str]:
    """Datasets of the hub that the rows were made from, as far as they say."""
    sources = mix["sources"].values() if mix else ()
    addresses = {str(origin.get("url")) for of in sources for origin in of.get("origins", ())}
    return sorted(filter(None, map(hub_dataset, addresses)))


def _lines(job: TrainingJob, record: TrainingRecord, base: str, mix: Mapping[str, Any] | None) -> list[str]:
    full = job.recipe.training.method == "full"
    needs = "it is a copy of the base model with other weights" if full else "it needs this very base model"
    return [
        f"# {'Full finetuning' if full else 'LoRA adapter'} of {base}",
        "",
        f"Finetuned with tvt on {record.rows:,} examples of {_sources(mix)}.",
        "",
        "```python",
        *_loading(job.recipe, base),
        "```",
        "",
        "## Mixture",
        "",
        *_mixture(mix),
        "",
        "## Training",
        "",
        *table(("", ""), _training(job.recipe, record)),
        "",
        f"The loss was taken on the answers alone. {_parts(job.recipe)}",
        "",
        "## Provenance",
        "",
        *_provenance(job, record, mix),
        "",
        "## What it is not",
        "",
        "- Not evaluated here: what it gains and loses on other tasks is for `tvt evaluate` or the study it is part of to say.",
        "- Not a general assistant: it was trained to answer questions of these tasks in their own form.",
        f"- Not a model by itself: {needs}, and its licence and limits are those of the base model and of",
        "  the training data, too.",
    ]


def _sources(mix: Mapping[str, Any] | None) -> str:
    if not mix:
        return "a dataset of its user's"
    names = list(mix["sources"])
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _loading(recipe: Recipe, base: str) -> list[str]:
    if recipe.training.method == "full":
        return [
            "from transformers import AutoModelForImageTextToText, AutoProcessor",
            "",
            "model = AutoModelForImageTextToText.from_pretrained(MODEL)  # this folder or repository",
            "processor = AutoProcessor.from_pretrained(MODEL)",
        ]
    revision = f", revision={recipe.model.revision!r}" if recipe.model.revision else ""
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForImageTextToText, AutoProcessor",
        "",
        f"base = AutoModelForImageTextToText.from_pretrained({base!r}{revision})",
        "model = PeftModel.from_pretrained(base, ADAPTER)  # this folder or repository",
        f"processor = AutoProcessor.from_pretrained({base!r}{revision})",
    ]


def _mixture(mix: Mapping[str, Any] | None) -> list[str]:
    if not mix:
        return ["The dataset was not written by `tvt mix`; its contents are not on record."]
    rows = [
        (name, f"{of['weight']:.4f}", f"{of['examples']:,}", f"{of['epochs']:.2f}", _origins(of))
        for name, of in mix["sources"].items()
    ]
    heads = ("source", "weight", "examples", "passes over its rows", "made from")
    return table(heads, rows)


def _origins(of: Mapping[str, Any]) -> str:
    origins = [f"{origin['source']} (licence: {origin['licence']})" for origin in of.get("origins", ())]
    return "; ".join(origins) or "not stated"


def _training(recipe: Recipe, record: TrainingRecord) -> list[tuple[str, str]]:
    """The figures of the run."""
    training = recipe.training
    last = f"{record.losses[-1][1]:.4f} (first {record.losses[0][1]:.4f})" if record.losses else "not logged"
    memory = f"{record.peak_memory_bytes / 2**30:.1f} GiB" if record.peak_memory_bytes else None
    figures = {
        "steps": f"{record.steps:,} of {training.global_batch_size} examples, {record.epochs:g} epochs",
        "last logged loss": last,
        "learning rate": f"{training.learning_rate:g}, {training.lr_scheduler_type}, warmup {training.warmup_ratio:g}",
        "optimiser": f"{training.optim}, weight decay {training.weight_decay:g}, gradients up to {training.max_grad_norm:g}",
        "LoRA": _lora(recipe) if training.method == "lora" else None,
        "NEFTune": f"noise of alpha {training.neftune_noise_alpha:g}" if training.neftune_noise_alpha else None,
        "precision": recipe.model.dtype + (", base in 4 bits (nf4)" if recipe.model.load_in_4bit else ""),
        "processes": f"{record.num_processes}" + (" with DeepSpeed" if recipe.runtime.deepspeed else ""),
        "rate": f"{record.rows_per_second:.1f} examples/s, {record.seconds:.0f} s",
        "peak memory of a device": memory,
    }
    return [(name, value) for name, value in figures.items() if value is not None]


def _lora(recipe: Recipe) -> str:
    lora = recipe.lora
    kinds = [name for name, on in (("rsLoRA", lora.use_rslora), ("DoRA", lora.use_dora)) if on]
    whole = [f"trained whole: {', '.join(lora.modules_to_save)}"] if lora.modules_to_save else []
    return ", ".join([f"r {lora.lora_r}, alpha {lora.lora_alpha}, dropout {lora.lora_dropout:g}", *kinds, *whole])


def _parts(recipe: Recipe) -> str:
    left = [part.replace("_", " ") for part in PARTS if part not in recipe.trained_parts]
    if not left:
        return "All parts of the model were trained."
    return f"The {' and the '.join(left)} {'was left as it is' if len(left) == 1 else 'were left as they are'}."


def _provenance(job: TrainingJob, record: TrainingRecord, mix: Mapping[str, Any] | None) -> list[str]:
    trained = "Weights" if job.recipe.training.method == "full" else "Adapter"
    packages = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    base = [f"- Base model's files: digest `{job.base_digest}`"] if job.base_digest else []
    base += [f"- Base model's revision: `{job.recipe.model.revision}`"] if job.recipe.model.revision else []
    mixed = [f"- Mixed dataset of `tvt mix`: digest `{mix.get('digest')}`, seed {mix.get('seed')}"] if mix else []
    return [
        f"- tvt {__version__}, {packages}",
        f"- Recipe {job.recipe.name}, seed {record.seed}; run `{record.identity}` (recipe, rows and seed)",
        f"- {trained}: digest `{record.adapter_digest}`, which `adapter.json` lists file by file",
        *base,
        *mixed,
        f"- Training rows: digest `{record.dataset_digest}`",
    ]
