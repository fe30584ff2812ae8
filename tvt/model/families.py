"""The families of models that tvt is tested with, what each needs, and which cannot be used.

This is the one place that says so: loading, ``tvt doctor``, ``tvt study plan`` and the table of the models page follow from it.
Nothing here loads torch or transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, MissingPackageError
from tvt.io.hub_cache import snapshot


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that transformers loads with the same classes."""

    name: str
    model_type: str
    """``model_type`` in the model's config.json."""
    vision: str | None = None
    """``model_type`` of its vision tower, where that tells families apart."""
    needs: tuple[str, ...] = ()
    """Packages beyond the train extra, by the names under which they are imported and installed."""
    refused: str | None = None
    """Why it cannot be used: the cause upstream, and what to do."""

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
    Family(name="PaliGemma", model_type="paligemma"),
    Family(name="Mllama", model_type="mllama"),
    Family(name="LFM2-VL", model_type="lfm2_vl", needs=("torchvision",)),
)
"""All families of the table; the first that matches is a model's."""


def check_family(config: ModelConfig) -> str | None:
    """Refuse a model that cannot be used, before anything is loaded.

    Returns:
        A note where the model is of no family that tvt is tested with; ``None`` where it is, or its config.json is not here.

    Raises:
        InputError: it is no model for images and text, or of a family that is refused.
        MissingPackageError: its family needs a package that is not installed.
    """
    name = config.model_name_or_path
    told = read_config(config)
    if told is None:
        return None
    family = next((family for family in FAMILIES if family.matches(told)), None)
    if family is None:
        kind = str(told.get("model_type"))
        return f"{name}: models of type '{kind}' are untested with tvt; compare its scores with the model's own code"
    if family.refused is not None:
        raise InputError(f"{name}: {family.name} cannot be used: {family.refused}")
    missing = [package for package in family.needs if find_spec(package) is None]
    if missing:
        packages = " and ".join(missing)
        raise MissingPackageError(
            f"{name}: {family.name} needs {packages}, which is not installed; pip install {' '.join(missing)}"
        )
    return None


def read_config(config: ModelConfig) -> dict[str, Any] | None:
    """A model's config.json, from its folder or the hub's cache; ``None`` where it is not on this machine or is damaged."""
    folder = Path(config.model_name_or_path)
    if not folder.is_dir():
        folder = snapshot(config.model_name_or_path, config.revision)
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
