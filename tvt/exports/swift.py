"""ms-swift: ``swift sft sft.yaml`` on a file of ``messages`` and ``images`` (ms-swift 4.6).

The configuration is positional since 4.1. Without ``strict`` a row that fails is replaced by another without a word. A model in
a folder needs its ``model_type`` and ``template``: several share one architecture. Names without ``use_hf`` are ModelScope's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvt.exports.model_types import inline_line, inline_places
from tvt.exports.plan import LinesExport, Plan
from tvt.exports.processors import pixel_limits
from tvt.exports.rows import LINES, Row
from tvt.io import strict_yaml

TYPES = {
    **{
        name: (name, name)
        for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "gemma3n", "paligemma", "glm4v", "idefics3")
    },
    "qwen3_vl_moe": ("qwen3_vl_moe", "qwen3_vl"),
    "llava": ("llava1_5_hf", "llava1_5_hf"),
    "llava_onevision": ("llava_onevision_hf", "llava_onevision_hf"),
    "gemma3": ("gemma3_vision", "gemma3_vision"),
    "internvl": ("internvl", "internvl_hf"),
    "mllama": ("llama3_2_vision", "llama3_2_vision"),
}
"""ms-swift's ``model_type`` and ``template`` by the type in config.json, where there is one alone."""


class Swift(LinesExport):
    """A folder for ``swift sft``."""

    placeholders = ("<image>", "<video>", "<audio>", "<img>", "<start-image>")

    def command(self, plan: Plan) -> str:
        """ms-swift's command line."""
        return "swift sft sft.yaml"

    def faults(self, plan: Plan) -> list[str]:
        """A model in a folder whose type ms-swift cannot know."""
        if plan.template or plan.model.kind in TYPES:
            return []
        what = f"of type '{plan.model.kind}'" if plan.model.kind else "whose type is not known"
        return [
            f"{plan.model.name}: which of ms-swift's chat templates fits a model {what}? name it with --template NAME, as its "
            "table of supported models has it"
        ]

    def line(self, row: Row) -> dict[str, Any]:
        """As its standard format has it; ``loss`` marks answers that are not trained, where there are any."""
        line = inline_line(row)
        if row.untrained:
            for index in (*row.untrained, *row.trained):
                line["messages"][index]["loss"] = index in row.trained
        return line

    def places(self, line: Mapping[str, Any]) -> tuple[list[str], int]:
        """Paths and marks of a line."""
        return inline_places(line)

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for ``swift sft``."""
        header = plan.header(
            "Run it in this folder: swift sft sft.yaml   (ms-swift 4.1 or newer, where the file is positional)",
            f"Rows: {LINES}, messages with an inline <image> per image, and images (paths from this folder).",
        )
        return {"sft.yaml": header + strict_yaml.dump(_training(plan))}


def _training(plan: Plan) -> dict[str, Any]:
    limits = pixel_limits(plan.model) if (plan.model.kind or "").startswith("qwen") else None
    # qwen-vl-utils scales pictures before the processor, by limits of its own; these are the processor's.
    environment = {"MIN_PIXELS": limits[0], "MAX_PIXELS": limits[1]} if limits else {}
    model_type, template = TYPES.get(plan.model.kind or "", (None, None))
    return {
        **({"ENV": environment} if environment else {}),
        "model": plan.model.name,
        **({"model_type": model_type} if model_type else {}),
        "template": plan.template or template,
        "use_hf": True,
        "tuner_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "target_modules": ["all-linear"],
        "freeze_vit": True,
        "freeze_aligner": True,
        "dataset": [LINES],
        "strict": True,
        "dataset_shuffle": True,
        "data_seed": 0,
        "split_dataset_ratio": 0,
        "torch_dtype": "bfloat16",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0001,
        "num_train_epochs": 1,
        "output_dir": "outputs/tvt-mixture",
        "seed": 0,
    }
