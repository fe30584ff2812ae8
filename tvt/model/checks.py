"""Whether a base model can be loaded here as it is asked for, by its files and by packages: nothing is loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tvt.core.health import Check
from tvt.core.recipe import ModelConfig
from tvt.io.model_folder import model_folder_faults, names_folder
from tvt.model.families import family_checks

GROUP = "recipe"


def model_checks(config: ModelConfig) -> Iterator[Check]:
    """What would keep the model from being loaded; empty where nothing does, as far as files and packages tell."""
    if names_folder(config.model_name_or_path):
        for fault in model_folder_faults(Path(config.model_name_or_path)):
            found, _, step = fault.rpartition("; ")
            yield Check(group=GROUP, name="base model", status="fail", found=found, step=step)
    yield from family_checks(config)
    if find_spec("transformers") is None:
        return  # a machine that loads no model has none of the packages
    # transformers takes flash attention from the package kernels where flash-attn is missing.
    if config.attn_implementation == "flash_attention_2" and not (find_spec("flash_attn") or find_spec("kernels")):
        step = "pip install flash-attn --no-build-isolation, or --set model.attn_implementation=sdpa"
        found = "model.attn_implementation: flash_attention_2 needs flash-attn, which is not installed"
        yield Check(group=GROUP, name="attention", status="fail", found=found, step=step, package="flash-attn")
    if config.load_in_4bit and find_spec("bitsandbytes") is None:
        step = "pip install bitsandbytes, or load without 4 bits"
        found = "4-bit loading needs bitsandbytes, which is not installed"
        yield Check(group=GROUP, name="4 bits", status="fail", found=found, step=step, package="bitsandbytes")
