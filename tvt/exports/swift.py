"""ms-swift: ``dataset: [path#count]``, which draws, and where needed repeats, exactly that many rows."""

from __future__ import annotations

from tvt.errors import InputError
from tvt.exports.plan import Export, Plan
from tvt.io import strict_yaml


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
