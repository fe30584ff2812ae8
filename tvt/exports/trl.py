"""TRL: ``trl sft --config sft.yaml``.

TRL's own ``fraction`` normalises and caps, so a count cannot be read off it. Slices of the split can carry exact counts: whole
passes as ``train``, the rest as ``train[:n]``. A slice beyond a dataset's end is clipped without a word, hence the note on
sizes that are not known.
"""

from __future__ import annotations

from typing import Any

from tvt.exports.plan import Export, Part, Plan
from tvt.io import strict_yaml

_BUILDERS = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "arrow": "arrow"}

LANGUAGE_MODEL_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""LoRA on the language model only; the vision tower stays as it is."""


class Trl(Export):
    """A file for ``trl sft``."""

    clips = True

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for TRL's SFT script."""
        header = plan.header(
            "Run: trl sft --config sft.yaml   (TRL 1.16 or newer)",
            "Rows: images (list), prompt and completion (lists of messages); the loss is on the completion only.",
            "A slice takes a source's first rows, and the same ones each time. Rows drawn at random, every pass in an order of",
            "its own: tvt mix mixture.yaml -o mixed, then for datasets write only: [{path: mixed}]",
            *plan.pixels,
            *(f"Check first, TRL says nothing when rows are missing: {note}" for note in plan.notes),
        )
        return {"sft.yaml": header + strict_yaml.dump({**_training(plan.model), "datasets": _datasets(plan)})}


def _datasets(plan: Plan) -> list[dict[str, Any]]:
    """Entries whose rows add up to each source's count."""
    entries = []
    for part in plan.parts:
        whole, rest = part.passes
        splits = ["train"] * whole + ([f"train[:{rest}]"] if rest else [])
        entries += [{**_where(part), "split": split, "columns": ["images", "prompt", "completion"]} for split in splits]
    return entries


def _where(part: Part) -> dict[str, str]:
    """``load_dataset``'s words for a file, or for a folder or hub dataset."""
    builder = _BUILDERS.get(part.suffix)
    return {"path": builder, "data_files": part.path} if builder else {"path": part.path}


def _training(model: str) -> dict[str, Any]:
    """Settings that a vision-language model needs, then usual ones to change at will."""
    return {
        "model_name_or_path": model,
        # The script's default is float32, and its default max_length cuts image tokens or the whole answer away.
        "dtype": "bfloat16",
        "bf16": True,
        "max_length": None,
        "packing": False,
        "completion_only_loss": True,
        "use_peft": True,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_modules": [LANGUAGE_MODEL_LAYERS],
        "learning_rate": 0.0001,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "logging_nan_inf_filter": False,
        "output_dir": "outputs/tvt-mixture",
        "seed": 0,
    }
