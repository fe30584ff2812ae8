"""LLaMA-Factory: ``dataset_info.json`` with ``num_samples``, and a training file with ``mix_strategy: concat``.

``num_samples`` draws that many rows, and repeats rows where a source has fewer: exact counts. ``max_samples`` would cap
every source again and is therefore left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tvt.errors import InputError
from tvt.exports.plan import Export, Part, Plan
from tvt.io import strict_yaml

_TEMPLATES = {"qwen3-vl": "qwen3_vl_nothink", "qwen2.5-vl": "qwen2_vl", "qwen2-vl": "qwen2_vl", "llava-1.5": "llava"}
"""Chat template by a part of the model's name."""


class LlamaFactory(Export):
    """LLaMA-Factory's index and training file."""

    def render(self, plan: Plan) -> dict[str, str]:
        """The data folder's index and the training file."""
        faults = [
            f"{part.source}: LLaMA-Factory separates names by commas; rename the source"
            for part in plan.parts
            if "," in part.source
        ]
        if faults:
            raise InputError(*faults)
        info = {part.source: _entry(part) for part in plan.parts}
        template = next((name for key, name in _TEMPLATES.items() if key in plan.model.lower()), None)
        header = plan.header(
            "Run, beside dataset_info.json: llamafactory-cli train sft.yaml",
            "Rows: messages (role, content with an inline <image> per image) and images (list of paths).",
            *(() if plan.max_pixels else ("Without image_max_pixels LLaMA-Factory scales pictures down to 768 x 768 pixels.",)),
            *(() if template else ("Add the chat template of your model: template: NAME",)),
        )
        return {
            "dataset_info.json": json.dumps(info, indent=2, ensure_ascii=False) + "\n",
            "sft.yaml": header + strict_yaml.dump(_training(plan, template)),
        }


def _entry(part: Part) -> dict[str, Any]:
    """A local file or folder (looked up under ``dataset_dir``, which is the folder of the run), or a hub dataset."""
    path = Path(part.path)
    local = part.suffix in {"json", "jsonl", "parquet", "csv", "arrow", "txt"} or path.is_absolute() or path.exists()
    return {
        **({"file_name": part.path} if local else {"hf_hub_url": part.path}),
        "formatting": "sharegpt",
        "num_samples": part.count,
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }


def _training(plan: Plan, template: str | None) -> dict[str, Any]:
    return {
        "model_name_or_path": plan.model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_target": "all",
        "freeze_vision_tower": True,
        "freeze_multi_modal_projector": True,
        "dataset_dir": ".",
        "dataset": ",".join(part.source for part in plan.parts),
        "mix_strategy": "concat",
        **({"template": template} if template else {}),
        **({"image_max_pixels": plan.max_pixels} if plan.max_pixels else {}),
        "cutoff_len": 8192,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0001,
        "num_train_epochs": 1,
        "bf16": True,
        "output_dir": "outputs/tvt-mixture",
        "seed": 0,
    }
