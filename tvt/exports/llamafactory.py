"""LLaMA-Factory: ``llamafactory-cli train sft.yaml`` on a sharegpt file of ``messages`` and ``images`` (LLaMA-Factory 0.9.5).

``num_samples`` would draw repeats with replacement, so the file holds every row. What stands in its index is looked up beside
the index, and images beside it too (``media_dir`` is ``dataset_dir`` by default). The chat template is LLaMA-Factory's own, by
name; it never reads the model's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tvt.exports.model_types import inline_line, inline_places
from tvt.exports.plan import LinesExport, Plan
from tvt.exports.rows import LINES, Row
from tvt.io import strict_yaml

TEMPLATES = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_vl",
    "qwen3_vl": "qwen3_vl_nothink",
    "qwen3_vl_moe": "qwen3_vl_nothink",
    "qwen3_5": "qwen3_5_nothink",
    "llava": "llava",
    "llava_next": "llava_next",
    "gemma3": "gemma3",
    "gemma3n": "gemma3n",
    "paligemma": "paligemma",
    "glm4v": "glm4v",
    "internvl": "intern_vl",
    "mllama": "mllama",
    "lfm2_vl": "lfm2_vl",
    "mistral3": "mistral_small",
}
"""The names in LLaMA-Factory's ``data/template.py``, by the model's type."""
DATASET = "tvt_mixture"
_DEFAULT_PIXELS = 768 * 768
_ANY_LENGTH = 131072
_QWEN_SIDE = 28
"""Pictures with a shorter side are stretched to it before the processor of Qwen's models sees them."""


class LlamaFactory(LinesExport):
    """LLaMA-Factory's index, rows and training file."""

    placeholders = ("<image>", "<video>", "<audio>")

    def command(self, plan: Plan) -> str:
        """LLaMA-Factory's command line."""
        return "llamafactory-cli train sft.yaml"

    def faults(self, plan: Plan) -> list[str]:
        """A model without a known template would be trained on another prompt, or without pictures."""
        if plan.template or plan.model.kind in TEMPLATES:
            return []
        what = f"of type '{plan.model.kind}'" if plan.model.kind else "whose type is not known"
        return [
            f"{plan.model.name}: which of LLaMA-Factory's chat templates fits a model {what}? name it with --template NAME "
            "(they are listed in its README)"
        ]

    def notes(self, plan: Plan) -> list[str]:
        """What LLaMA-Factory does otherwise than tvt."""
        notes = []
        if (plan.model.kind or "").startswith("qwen2") and 0 < plan.rows.least_side < _QWEN_SIDE:
            notes.append(
                f"LLaMA-Factory stretches pictures with a side below {_QWEN_SIDE} pixels for Qwen's models before the "
                f"processor does (the shortest here is {plan.rows.least_side}): they are shown a little otherwise than in tvt"
            )
        if plan.rows.earlier and plan.rows.several:
            notes.append(
                f"{plan.rows.earlier} rows have earlier turns that are not trained and {plan.rows.several} rows several "
                "answers that are; LLaMA-Factory takes one rule for all, so here the last answer of each row alone is trained"
            )
        return notes

    def line(self, row: Row) -> dict[str, Any]:
        """As its sharegpt format has it."""
        return inline_line(row)

    def places(self, line: Mapping[str, Any]) -> tuple[list[str], int]:
        """Paths and marks of a line."""
        return inline_places(line)

    def render(self, plan: Plan) -> dict[str, str]:
        """The index and the training file."""
        entry = {
            "file_name": LINES,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        }
        header = plan.header(
            "Run it in this folder: llamafactory-cli train sft.yaml   (LLaMA-Factory 0.9.5)",
            f"Rows: {LINES}, messages with an inline <image> per image, and images (paths from this folder).",
            f"The prompt is that of LLaMA-Factory's template '{_template(plan)}', not the model's own chat template.",
        )
        return {
            "dataset_info.json": json.dumps({DATASET: entry}, indent=2, ensure_ascii=False) + "\n",
            "sft.yaml": header + strict_yaml.dump(_training(plan)),
        }


def _template(plan: Plan) -> str:
    return plan.template or TEMPLATES[plan.model.kind or ""]


def _training(plan: Plan) -> dict[str, Any]:
    return {
        "model_name_or_path": plan.model.name,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_target": "all",
        "freeze_vision_tower": True,
        "freeze_multi_modal_projector": True,
        "dataset_dir": ".",
        "dataset": DATASET,
        "template": _template(plan),
        # Its defaults would scale pictures to at most 768 x 768 and at least 32 x 32 pixels before the model's processor.
        "image_max_pixels": max(plan.rows.most_pixels, _DEFAULT_PIXELS),
        "image_min_pixels": 1,
        # A longer row would be cut without a word, images and answer too.
        "cutoff_len": _ANY_LENGTH,
        **({"mask_history": True} if plan.rows.earlier else {}),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0001,
        "num_train_epochs": 1,
        "bf16": True,
        "output_dir": "outputs/tvt-mixture",
        "seed": 0,
    }
