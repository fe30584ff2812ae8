"""TRL: ``trl sft --config sft.yaml`` on a parquet folder of ``images``, ``prompt`` and ``completion`` (TRL 1.16).

TRL's own ``fraction`` normalises and caps, so a count cannot be read off it; the folder holds every row, repeats too.
"""

from __future__ import annotations

from typing import Any

from tvt.exports.model_types import LANGUAGE_MODEL_LAYERS
from tvt.exports.plan import Export, Plan
from tvt.exports.rows import PARQUET
from tvt.io import strict_yaml


class Trl(Export):
    """A folder for ``trl sft``."""

    by_type = False
    rows = "parquet"

    def command(self, plan: Plan) -> str:
        """TRL's command line."""
        return "trl sft --config sft.yaml"

    def notes(self, plan: Plan) -> list[str]:
        """Conversations, of which TRL would train the questions too."""
        if not plan.rows.several:
            return []
        return [
            f"{plan.rows.several} rows have several answers, between which TRL would train the questions too, so each answer "
            f"is a row of its own behind what was said before it: {plan.rows.total} rows of the mixture are {plan.rows.answers}"
        ]

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for TRL's SFT script."""
        header = plan.header(
            "Run it in this folder: trl sft --config sft.yaml   (TRL 1.16 or newer)",
            f"Rows: {PARQUET}/, with images, prompt and completion; the loss is on the completion only.",
        )
        datasets = [{"path": PARQUET, "split": "train", "columns": ["images", "prompt", "completion"]}]
        return {"sft.yaml": header + strict_yaml.dump({**_training(plan.model.name), "datasets": datasets})}


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
