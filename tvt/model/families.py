"""The families of models that tvt is tested with, what each needs, and whether a model can be loaded here: by its files and by
packages, without loading anything.

Loading, ``tvt doctor``, ``tvt study plan`` and the table of the models page follow from this module alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import Check, Status
from tvt.io import json_text
from tvt.io.model_folder import model_folder_faults, names_folder, snapshot


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that transformers loads with the same classes."""

    name: str
    model_type: str
    """``model_type`` in the model's config.json."""
    vision: str | None = None
    """``model_type`` of its vision tower, where it distinguishes families."""
    needs: tuple[str, ...] = ()
    """Packages beyond the train extra, by the names under which they are imported and installed."""
    pictureless: bool = True
    """Whether it takes a question without an image."""
    mixed_batches: bool = True
    """Whether a row without an image gives the same beside a row with an image as it gives alone."""

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        tower = config.get("vision_config")
        vision = tower.get("model_type") if isinstance(tower, Mapping) else None
        return config.get("model_type") == self.model_type and self.vision in (None, vision)


FAMILIES = (
    Family(name="Qwen2-VL", model_type="qwen2_vl"),
    Family(name="Qwen2.5-VL", model_type="qwen2_5_vl"),
    Family(name="Qwen3-VL", model_type="qwen3_vl"),
    Family(name="Qwen3.5", model_type="qwen3_5"),
    Family(name="GLM-4V", model_type="glm4v"),
    Family(name="InternVL", model_type="internvl"),
    Family(name="Pixtral", model_type="llava", vision="pixtral", needs=("torchvision",)),
    Family(name="LLaVA-1.5", model_type="llava", vision="clip_vision_model"),
    Family(name="LLaVA", model_type="llava"),
    Family(name="VipLLaVA", model_type="vipllava"),
    Family(name="LLaVA-NeXT", model_type="llava_next"),
    Family(name="LLaVA-OneVision", model_type="llava_onevision"),
    Family(name="Aya Vision", model_type="aya_vision"),
    Family(name="Mistral3", model_type="mistral3", needs=("torchvision",)),
    Family(name="Idefics2", model_type="idefics2"),
    Family(name="Idefics3", model_type="idefics3"),
    Family(name="SmolVLM", model_type="smolvlm"),
    Family(name="Gemma3", model_type="gemma3"),
    Family(name="PaliGemma", model_type="paligemma", pictureless=False),
    Family(name="Mllama", model_type="mllama", mixed_batches=False),
    Family(name="LFM2-VL", model_type="lfm2_vl", needs=("torchvision",)),
)
"""All families of the table; the first that matches is a model's."""
_NO_PICTURELESS = "{} takes no question without an image; leave them out, or take a model of another family"


def family_checks(config: ModelConfig) -> Iterator[Check]:
    """Whether a model is of a family that tvt is tested with, and what it lacks here. Nothing is loaded.

    Nothing is yielded for a model whose config.json is not on this machine, or does not state its type.
    """
    values = read_config(config)
    if values is None or "model_type" not in values:
        return
    name = config.model_name_or_path
    family = family_of(config)
    if family is None:
        text = f"{name}: models of type '{values['model_type']}' are untested with tvt"
        yield _check("warn", text, "look at some of its answers before you trust its scores; tvt docs models lists the tested")
        return
    for package in family.needs:
        if find_spec(package) is None and find_spec("transformers") is not None:  # else no model is loaded here
            text = f"{name}: {family.name} needs {package}, which is not installed"
            yield _check("fail", text, f"pip install {package}", package)


def rows_fault(recipe: Recipe, *, rows: int, with_images: int) -> str | None:
    """Why a model cannot be trained on rows of which some, or all, have no image; ``None`` where it can."""
    family, without = family_of(recipe.model), rows - with_images
    if family is None or not without:
        return None
    if not family.pictureless:
        return f"{without} of {rows} rows have no image: {_NO_PICTURELESS.format(family.name)}"
    alone = recipe.training.per_device_train_batch_size == recipe.runtime.num_processes == 1
    if not family.mixed_batches and with_images and not alone:
        return (
            f"{without} of {rows} rows have no image: in a batch with rows that have one, transformers computes them otherwise "
            f"than alone for {family.name}; set training.per_device_train_batch_size=1 and one process, or leave them out"
        )
    return None


def question_fault(config: ModelConfig) -> str | None:
    """Why the model cannot be asked a question without an image; ``None`` where it can."""
    family = family_of(config)
    return None if family is None or family.pictureless else _NO_PICTURELESS.format(family.name)


def family_of(config: ModelConfig) -> Family | None:
    """The model's family; ``None`` where it is untested, or its config.json is not on this machine."""
    values = read_config(config)
    return None if values is None else next((family for family in FAMILIES if family.matches(values)), None)


def _check(status: Status, found: str, step: str, package: str = "") -> Check:
    return Check(group="recipe", name="family", status=status, found=found, step=step, package=package)


def read_config(config: ModelConfig) -> dict[str, Any] | None:
    """A model's config.json, from its folder or the hub's cache; ``None`` where it is not on this machine or is damaged."""
    folder = Path(config.model_name_or_path)
    if not folder.is_dir():
        folder = snapshot(config.model_name_or_path, config.revision)
    try:
        values = json_text.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


GROUP = "recipe"


def model_checks(config: ModelConfig) -> Iterator[Check]:
    """What would keep the model from being loaded; empty where nothing does, as far as files and packages show."""
    if names_folder(config.model_name_or_path):
        for fault in model_folder_faults(Path(config.model_name_or_path)):
            result, _, step = fault.rpartition("; ")
            yield Check(group=GROUP, name="base model", status="fail", found=result, step=step)
    yield from family_checks(config)
    if find_spec("transformers") is None:
        return  # a machine that loads no model has none of the packages
    yield from _type_checks(config)
    # transformers takes flash attention from the package kernels where flash-attn is missing.
    if config.attn_implementation == "flash_attention_2" and not (find_spec("flash_attn") or find_spec("kernels")):
        step = "pip install flash-attn --no-build-isolation, or --set model.attn_implementation=sdpa"
        result = "model.attn_implementation: flash_attention_2 needs flash-attn, which is not installed"
        yield Check(group=GROUP, name="attention", status="fail", found=result, step=step, package="flash-attn")
    if config.load_in_4bit and find_spec("bitsandbytes") is None:
        step = "pip install bitsandbytes, or load without 4 bits"
        result = "4-bit loading needs bitsandbytes, which is not installed"
        yield Check(group=GROUP, name="4 bits", status="fail", found=result, step=step, package="bitsandbytes")


def _type_checks(config: ModelConfig) -> Iterator[Check]:
    """Whether the installed transformers has models of this type that take images and text; those of tvt's own table it has."""
    values = read_config(config)
    if values is None or "model_type" not in values or family_of(config) is not None:
        return
    kind, known = values["model_type"], _vision_language_types()
    if known and kind not in known:
        text = f"{config.model_name_or_path}: the installed transformers has no vision-language model of type '{kind}'"
        step = "name a model of another type, or install a version of transformers that has it"
        yield Check(group=GROUP, name="base model", status="fail", found=text, step=step)


def _vision_language_types() -> set[str]:
    """The types that transformers loads by AutoModelForImageTextToText, by its source: importing the table loads torch."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return set()
    try:
        text = (Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py").read_text(encoding="utf-8")
    except OSError:
        return set()
    table = re.search(r"^MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict\((.*?)^\)", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"""\(\s*["']([^"']+)["'],""", table.group(1))) if table else set()
