"""Tiny random models of every family that tvt names: the real code of transformers, a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tiny_llava_like as llava_like
import tiny_others as others
import tiny_qwen_like as qwen_like

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "Qwen2-VL": qwen_like.qwen2_vl,
    "Qwen2.5-VL": qwen_like.qwen2_5_vl,
    "Qwen3-VL": qwen_like.qwen3_vl,
    "Qwen3.5": qwen_like.qwen3_5,
    "GLM-4V": qwen_like.glm4v,
    "InternVL": qwen_like.internvl,
    "LLaVA": llava_like.llava,
    "LLaVA-1.5": llava_like.llava_1_5,
    "VipLLaVA": llava_like.vipllava,
    "LLaVA-NeXT": llava_like.llava_next,
    "LLaVA-OneVision": llava_like.llava_onevision,
    "Aya Vision": llava_like.aya_vision,
    "Mistral3": llava_like.mistral3,
    "Pixtral": llava_like.pixtral,
    "Idefics2": others.idefics2,
    "Idefics3": others.idefics3,
    "SmolVLM": others.smolvlm,
    "Gemma3": others.gemma3,
    "PaliGemma": others.paligemma,
    "Mllama": others.mllama,
    "LFM2-VL": others.lfm2_vl,
}
"""How to make one of each family, by its name in tvt.model.families."""


def build(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny model of a family into a folder."""
    import torch

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    return BUILDERS[family](folder)
