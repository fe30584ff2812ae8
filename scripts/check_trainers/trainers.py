"""The trainers: what is installed for each, and how its own command is made to train one step on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROWS_AT_ONCE = 4
"""Rows of a forward pass; as many passes are accumulated as one step over all rows takes."""


@dataclass(frozen=True)
class Trainer:
    """How one trainer is installed and run."""

    packages: tuple[str, ...]
    """With the release that the export is written for."""
    shown: str
    """The distribution whose version the table shows."""
    config: str
    """The file in the export's folder that its command reads."""
    command: tuple[str, ...]
    """What runs it, with ``{config}`` for the file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What is set for one step on a CPU; the rest is as exported."""
    batch: str = "per_device_train_batch_size"
    splits: bool = False
    """Whether each answer of a conversation is a row of its own."""


TRAINERS = {
    "llamafactory": Trainer(
        packages=("llamafactory==0.9.5",),
        shown="llamafactory",
        config="sft.yaml",
        command=("llamafactory-cli", "train", "{config}"),
        settings={"bf16": False, "use_cpu": True, "report_to": "none"},
    ),
    "trl": Trainer(
        packages=("trl[peft,vlm]==1.16.0",),
        shown="trl",
        config="sft.yaml",
        command=("trl", "sft", "--config", "{config}"),
        settings={"bf16": False, "dtype": "float32", "use_cpu": True, "report_to": "none"},
        splits=True,
    ),
    "ms-swift": Trainer(
        packages=("ms-swift==4.6.0", "qwen-vl-utils", "torchvision"),
        shown="ms-swift",
        config="sft.yaml",
        command=("swift", "sft", "{config}"),
        settings={"torch_dtype": "float32", "use_cpu": True, "report_to": "none"},
    ),
    "axolotl": Trainer(
        packages=("axolotl==0.19.0", "torchvision"),
        shown="axolotl",
        config="axolotl.yaml",
        command=("axolotl", "train", "{config}", "--launcher", "python"),
        settings={"bf16": False, "fp16": False, "use_wandb": False},
        batch="micro_batch_size",
    ),
}
"""By the name under which ``tvt export --to`` knows them."""


def for_one_step(trainer: Trainer, config: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The exported configuration, changed to a single step over all rows on a CPU."""
    return {
        **config,
        **trainer.settings,
        trainer.batch: ROWS_AT_ONCE,
        "gradient_accumulation_steps": -(-rows // ROWS_AT_ONCE),
    }
