"""axolotl: it has no weights, so one file that ``tvt mix`` has mixed already."""

from __future__ import annotations

from shlex import quote
from typing import Any

from tvt.exports.plan import Export, Plan
from tvt.io import strict_yaml

MIXED = "mixed"
MIXED_FILE = f"{MIXED}/messages.jsonl"


class Axolotl(Export):
    """A file for ``axolotl train``."""

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for ``axolotl train``."""
        data = " ".join(f"--data {quote(f'{part.source}={part.path}')}" for part in plan.parts)
        header = plan.header(
            f"axolotl takes no weights, so it reads one file that is mixed already. Make {MIXED_FILE} first:",
            f"  tvt mix mixture.yaml -o {MIXED} --messages {data}",
            "Run: axolotl train axolotl.yaml",
            *plan.pixels,
        )
        return {"axolotl.yaml": header + strict_yaml.dump(_training(plan))}


def _training(plan: Plan) -> dict[str, Any]:
    qwen = any(name in plan.model.lower() for name in ("qwen2-vl", "qwen2.5-vl"))
    return {
        "base_model": plan.model,
        "processor_type": "AutoProcessor",
        # The three lines that axolotl needs for rows with images.
        "skip_prepare_dataset": True,
        "remove_unused_columns": False,
        "sample_packing": False,
        "chat_template": "qwen2_vl" if qwen else "tokenizer_default",
        "datasets": [{"path": MIXED_FILE, "ds_type": "json", "type": "chat_template", "field_messages": "messages"}],
        "val_set_size": 0.0,
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_modules": r"model.language_model.layers.[\d]+.(mlp|self_attn).(up|down|gate|q|k|v|o)_proj",
        "sequence_len": 8192,
        "pad_to_sequence_len": False,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0001,
        "num_epochs": 1,
        "optimizer": "adamw_torch",
        "bf16": True,
        "seed": 0,
        "output_dir": "outputs/tvt-mixture",
    }
