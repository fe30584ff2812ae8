"""The model card of an adapter, in place of the stubs of PEFT and TRL: what it was trained on, how, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvt import __version__
from tvt.core.recipe import Recipe
from tvt.io.card import front_matter, hub_dataset, hub_name, table
from tvt.io.yaml_files import BUNDLED_MODELS, public_model_name
from tvt.train.record import TrainingJob, TrainingRecord

CARD = "README.md"
MIX = "mix.json"
"""Of a dataset that tvt mix wrote."""
_REMARK = "license: fill it in; the base model's licence and those of the training data bear on it"


def model_card(job: TrainingJob, record: TrainingRecord) -> str:
    """README.md of the adapter that ``record`` describes; no path of this machine is in it."""
    base = public_model_name(job.recipe.model.model_name_or_path)
    hub = hub_name(base) if base not in BUNDLED_MODELS else None
    mix = _mix(job.dataset)
    header = {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "base_model": hub,
        "base_model_relation": "adapter" if hub else None,
        "datasets": _datasets(mix),
        "tags": ["lora", "peft", "sft", "trl", "tvt"],
    }
    return front_matter(header, [_REMARK]) + "\n" + "\n".join([*_lines(job, record, base, mix), ""])


def _mix(dataset: Path) -> Mapping[str, Any] | None:
    """What ``tvt mix`` recorded of the dataset; ``None`` where another program wrote it."""
    try:
        record = json.loads((dataset / MIX).read_text(encoding="utf-8"))
        return record if isinstance(record["sources"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _datasets(mix: Mapping[str, Any] | None) -> list[str]:
    """Datasets of the hub that the rows were made from, as far as they say."""
    sources = mix["sources"].values() if mix else ()
    addresses = {str(origin.get("url")) for of in sources for origin in of.get("origins", ())}
    return sorted(filter(None, map(hub_dataset, addresses)))


def _lines(job: TrainingJob, record: TrainingRecord, base: str, mix: Mapping[str, Any] | None) -> list[str]:
    return [
        f"# LoRA adapter of {base}",
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
        "The loss was taken on the answers alone." + _frozen(job.recipe),
        "",
        "## Provenance",
        "",
        *_provenance(job, record, mix),
        "",
        "## What it is not",
        "",
        "- Not evaluated here: what it gains and loses on other tasks is for `tvt evaluate` or the study it is part of to say.",
        "- Not a general assistant: it was trained to answer questions of these tasks in their own form.",
        "- Not a model by itself: it needs this very base model, and its licence and limits are those of the base model and of",
        "  the training data, too.",
    ]


def _sources(mix: Mapping[str, Any] | None) -> str:
    if not mix:
        return "a dataset of its user's"
    names = list(mix["sources"])
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _loading(recipe: Recipe, base: str) -> list[str]:
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
    training, lora = recipe.training, recipe.lora
    last = f"{record.losses[-1][1]:.4f} (first {record.losses[0][1]:.4f})" if record.losses else "not logged"
    memory = f"{record.peak_memory_bytes / 2**30:.1f} GiB" if record.peak_memory_bytes else None
    figures = {
        "steps": f"{record.steps:,} of {training.global_batch_size} examples, {record.epochs:g} epochs",
        "last logged loss": last,
        "learning rate": f"{training.learning_rate:g}, {training.lr_scheduler_type}, warmup {training.warmup_ratio:g}",
        "optimiser": f"{training.optim}, weight decay {training.weight_decay:g}, gradients up to {training.max_grad_norm:g}",
        "LoRA": f"r {lora.lora_r}, alpha {lora.lora_alpha}, dropout {lora.lora_dropout:g}",
        "precision": recipe.model.dtype + (", base in 4 bits (nf4)" if recipe.model.load_in_4bit else ""),
        "processes": f"{record.num_processes}" + (" with DeepSpeed" if recipe.runtime.deepspeed else ""),
        "rate": f"{record.rows_per_second:.1f} examples/s, {record.seconds:.0f} s",
        "peak memory of a device": memory,
    }
    return [(name, value) for name, value in figures.items() if value is not None]


def _frozen(recipe: Recipe) -> str:
    return " The vision tower was left as it is." if recipe.model.freeze_vision else ""


def _provenance(job: TrainingJob, record: TrainingRecord, mix: Mapping[str, Any] | None) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    base = [f"- Base model's files: digest `{job.base_digest}`"] if job.base_digest else []
    base += [f"- Base model's revision: `{job.recipe.model.revision}`"] if job.recipe.model.revision else []
    mixed = [f"- Mixed dataset of `tvt mix`: digest `{mix.get('digest')}`, seed {mix.get('seed')}"] if mix else []
    return [
        f"- tvt {__version__}, {packages}",
        f"- Recipe {job.recipe.name}, seed {record.seed}; run `{record.identity}` (recipe, rows and seed)",
        f"- Adapter: digest `{record.adapter_digest}`, which `adapter.json` lists file by file",
        *base,
        *mixed,
        f"- Training rows: digest `{record.dataset_digest}`",
    ]
