"""The trainers that a mixture is written for, each with the settings that give exact counts.

- TRL (``trl sft --config sft.yaml``): its own ``fraction`` normalises and caps, so a count cannot be read off it. Slices of the
  split can carry exact counts: whole passes as ``train``, the rest as ``train[:n]``. A slice beyond a dataset's end is clipped
  without a word, hence the note on sizes that are not known.
- ms-swift: ``dataset: [path#count]``, which draws, and where needed repeats, exactly that many rows.
- LLaMA-Factory: ``dataset_info.json`` with ``num_samples``, and a training file with ``mix_strategy: concat``. ``num_samples``
  draws that many rows, and repeats rows where a source has fewer. ``max_samples`` would cap every source again and is left out.
- axolotl has no weights, so it gets one file that ``tvt mix`` has mixed already.
- JSON, for one's own scripts.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

from tvt.errors import InputError
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


class Swift(Export):
    """A file for ``swift sft``."""

    def render(self, plan: Plan) -> dict[str, str]:
        """One YAML file for ``swift sft``."""
        faults = [f"{part.path}: '#' stands for the count in ms-swift; rename it" for part in plan.parts if "#" in part.path]
        if faults:
            raise InputError(*faults)
        header = plan.header(
            "Run: swift sft --config sft.yaml   (ms-swift 4; in version 3 tuner_type is called train_type)",
            "Rows: messages (role, content with an inline <image> per image) and images (list of paths).",
        )
        settings = {
            "model": plan.model,
            "tuner_type": "lora",
            "lora_rank": 16,
            "lora_alpha": 32,
            "target_modules": ["all-linear"],
            "freeze_vit": True,
            "freeze_aligner": True,
            "dataset": [f"{part.path}#{part.count}" for part in plan.parts],
            "dataset_shuffle": True,
            "data_seed": 0,
            "split_dataset_ratio": 0,
            **({"max_pixels": plan.max_pixels} if plan.max_pixels else {}),
            "torch_dtype": "bfloat16",
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4,
            "learning_rate": 0.0001,
            "num_train_epochs": 1,
            "output_dir": "outputs/tvt-mixture",
            "seed": 0,
        }
        return {"sft.yaml": header + strict_yaml.dump(settings)}


class Plain(Export):
    """JSON for one's own scripts."""

    needs_model = False

    def render(self, plan: Plan) -> dict[str, str]:
        """One object: counts and weights by source, and where the rows are."""
        document = {
            "schema": 1,
            "verdict": plan.mixture.verdict,
            "model": plan.model or None,
            "total": plan.total,
            **({"max_pixels": plan.max_pixels} if plan.max_pixels else {}),
            "sources": {
                part.source: {
                    "count": part.count,
                    "weight": plan.mixture.weights.get(part.source, 0.0),
                    "path": part.path,
                    "size": part.size,
                }
                for part in plan.parts
            },
        }
        return {"mixture.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"}


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
        return {"axolotl.yaml": header + strict_yaml.dump(_axolotl_training(plan))}


def _axolotl_training(plan: Plan) -> dict[str, Any]:
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
        info = {part.source: _llamafactory_entry(part) for part in plan.parts}
        template = next((name for key, name in _TEMPLATES.items() if key in plan.model.lower()), None)
        header = plan.header(
            "Run, beside dataset_info.json: llamafactory-cli train sft.yaml",
            "Rows: messages (role, content with an inline <image> per image) and images (list of paths).",
            *(() if plan.max_pixels else ("Without image_max_pixels LLaMA-Factory scales pictures down to 768 x 768 pixels.",)),
            *(() if template else ("Add the chat template of your model: template: NAME",)),
        )
        return {
            "dataset_info.json": json.dumps(info, indent=2, ensure_ascii=False) + "\n",
            "sft.yaml": header + strict_yaml.dump(_llamafactory_training(plan, template)),
        }


def _llamafactory_entry(part: Part) -> dict[str, Any]:
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


def _llamafactory_training(plan: Plan, template: str | None) -> dict[str, Any]:
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
