"""axolotl: ``axolotl train axolotl.yaml`` on a file of messages with blocks of content (axolotl 0.19).

axolotl takes the loss on answers alone only for chat templates whose turns it knows; for any other it trains on the whole
conversation and says so in one warning. So the template is chosen by the model's type, and a type without one is refused. Its
fused LoRA kernels switch themselves on and stop for models such as Qwen2.5-VL, so they are off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvt.exports.model_types import block_line, block_places
from tvt.exports.plan import LinesExport, Plan
from tvt.exports.processors import Turns, mask_faults
from tvt.exports.rows import LINES, Row
from tvt.io import strict_yaml
from tvt.model.tokens import can_load

_CHATML = Turns(begin="<|im_start|>", user="user\n", assistant="assistant\n", end="<|im_end|>")
_GEMMA = Turns(begin="<start_of_turn>", user="user\n", assistant="model\n", end="<end_of_turn>")
_HEAD = "<|end_header_id|>\n\n"
_LLAMA = Turns(begin="<|start_header_id|>", user=f"user{_HEAD}", assistant=f"assistant{_HEAD}", end="<|eot_id|>")
TEMPLATES = {
    "qwen2_vl": ("qwen2_vl", _CHATML),
    "qwen2_5_vl": ("qwen2_vl", _CHATML),
    "qwen3_vl": ("qwen2_vl", _CHATML),
    "qwen3_vl_moe": ("qwen2_vl", _CHATML),
    "qwen3_5": ("qwen3_5", _CHATML),
    "gemma3": ("gemma3", _GEMMA),
    "gemma3n": ("gemma3n", _GEMMA),
    "mllama": ("llama3_2_vision", _LLAMA),
}
"""axolotl's chat template by the model's type, with the marks between which it trains."""


class Axolotl(LinesExport):
    """A folder for ``axolotl train``."""

    def command(self, plan: Plan) -> str:
        """Axolotl's command line."""
        return "axolotl train axolotl.yaml"

    def faults(self, plan: Plan) -> list[str]:
        """A model whose answers axolotl cannot tell from the rest, or whose tokenizer divides the marks otherwise."""
        if plan.template in {name for name, _ in TEMPLATES.values()}:
            return []
        if plan.template or plan.model.kind not in TEMPLATES:
            what = f"template '{plan.template}'" if plan.template else f"models of type '{plan.model.kind}'"
            what = what if plan.template or plan.model.kind else "a model whose type is not known"
            known = ", ".join(dict.fromkeys(name for name, _ in TEMPLATES.values()))
            return [
                f"{plan.model.name}: axolotl trains on the whole conversation, questions too, for {what}; "
                f"take another trainer, or where one of its templates fits, name it with --template ({known})"
            ]
        if plan.model.folder is None or not can_load():
            return []
        return mask_faults(plan.model.folder, TEMPLATES[plan.model.kind][1])

    def notes(self, plan: Plan) -> list[str]:
        """Rows whose earlier turns cannot be left out of the loss, and a mask that was not verified."""
        notes = []
        if plan.model.folder is not None and not can_load():
            notes.append(
                "not verified: the tokens that are trained were not looked at, since transformers is not installed here"
            )
        if plan.rows.earlier:
            notes.append(
                f"axolotl trains on every answer of a row with images: {plan.rows.earlier} rows have earlier turns, trained too"
            )
        return notes

    def line(self, row: Row) -> dict[str, Any]:
        """Blocks of content; a list of ``images`` beside them would be cut to its first."""
        return block_line(row)

    def places(self, line: Mapping[str, Any]) -> tuple[list[str], int]:
        """Paths and image blocks of a line."""
        return block_places(line)

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for ``axolotl train``."""
        header = plan.header(
            "Run it in this folder: axolotl train axolotl.yaml   (axolotl 0.19)",
            f"Rows: {LINES}, messages with blocks of type image (paths from this folder) and text.",
            "The LoRA kernels are off: they switch themselves on otherwise, and stop for models such as Qwen2.5-VL.",
        )
        return {"axolotl.yaml": header + strict_yaml.dump(_training(plan))}


def _training(plan: Plan) -> dict[str, Any]:
    return {
        "base_model": plan.model.name,
        "processor_type": "AutoProcessor",
        # The three lines that axolotl needs for rows with images.
        "skip_prepare_dataset": True,
        "remove_unused_columns": False,
        "sample_packing": False,
        "chat_template": plan.template or TEMPLATES[plan.model.kind or ""][0],
        "datasets": [{"path": LINES, "ds_type": "json", "type": "chat_template", "field_messages": "messages"}],
        "val_set_size": 0.0,
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_modules": r"model.language_model.layers.[\d]+.(mlp|self_attn).(up|down|gate|q|k|v|o)_proj",
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "lora_embedding_kernel": False,
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
