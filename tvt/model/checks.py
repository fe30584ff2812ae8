"""Whether a base model can be loaded here as it is asked for, by its files and by packages: nothing is loaded for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tvt.core.recipe import ModelConfig
from tvt.errors import Check
from tvt.io.model_folder import model_folder_faults, names_folder
from tvt.model.families import family_checks, family_of, read_config

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
    yield from _type_checks(config)
    # transformers takes flash attention from the package kernels where flash-attn is missing.
    if config.attn_implementation == "flash_attention_2" and not (find_spec("flash_attn") or find_spec("kernels")):
        step = "pip install flash-attn --no-build-isolation, or --set model.attn_implementation=sdpa"
        found = "model.attn_implementation: flash_attention_2 needs flash-attn, which is not installed"
        yield Check(group=GROUP, name="attention", status="fail", found=found, step=step, package="flash-attn")
    if config.load_in_4bit and find_spec("bitsandbytes") is None:
        step = "pip install bitsandbytes, or load without 4 bits"
        found = "4-bit loading needs bitsandbytes, which is not installed"
        yield Check(group=GROUP, name="4 bits", status="fail", found=found, step=step, package="bitsandbytes")


def _type_checks(config: ModelConfig) -> Iterator[Check]:
    """Whether the installed transformers has models of this type that take images and text; those of tvt's own table it has."""
    told = read_config(config)
    if told is None or "model_type" not in told or family_of(config) is not None:
        return
    kind, known = told["model_type"], _vision_language_types()
    if known and kind not in known:
        found = f"{config.model_name_or_path}: the installed transformers has no vision-language model of type '{kind}'"
        step = "name a model of another type, or install a version of transformers that has it"
        yield Check(group=GROUP, name="base model", status="fail", found=found, step=step)


def _vision_language_types() -> set[str]:
    """The types that transformers loads by AutoModelForImageTextToText, by its source: importing the table loads torch."""
    found = find_spec("transformers")
    if found is None or found.origin is None:
        return set()
    try:
        text = (Path(found.origin).parent / "models" / "auto" / "modeling_auto.py").read_text(encoding="utf-8")
    except OSError:
        return set()
    table = re.search(r"^MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict\((.*?)^\)", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"""\(\s*["']([^"']+)["'],""", table.group(1))) if table else set()
