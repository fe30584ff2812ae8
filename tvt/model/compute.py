"""How much a model computes, from its config.json or, without one, from the number of parameters in its name.

Operations are those of matrix products, a multiplication and an addition counted as two; embeddings and the output layer, which
tvt applies to the few tokens of an answer alone, are left out. What comes out is a guess for plans: within tens of percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TILES = {"idefics3": 17, "smolvlm": 17, "llava_next": 5, "llava_onevision": 10, "internvl": 13, "aya_vision": 13}
"""Pictures of a fixed size that these model types make of an ordinary photograph, its overview included."""
_SIDE = 28.0
"""Pixels of a token's side where nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Alike layers of a transformer."""

    count: int
    width: int
    weights: float
    """Of one layer's linear layers."""
    sides: float
    """Sum of inputs and outputs of one layer's linear layers: LoRA of rank r has r times as many weights."""

    def forward(self, tokens: float, seen: float) -> float:
        """Operations of a forward pass.

        Args:
            tokens: that go through all layers.
            seen: tokens that each attends to, on average.
        """
        return tokens * self.count * (2 * self.weights + 4 * self.width * seen)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A vision-language model as far as its computing goes."""

    text: Layers
    tower: Layers
    patch: float
    """Pixels of the side of what the tower takes for one token."""
    merged: float
    """Tokens of the tower that become one of the language model."""
    window: float | None
    """Tokens of the tower that each attends to in most layers; ``None``: all of a picture."""
    fixed: float | None
    """Tokens of the tower for any picture; ``None``: as many as its pixels give."""
    known: bool
    """From a config.json; else from the number of parameters alone."""

    def patches(self, pixels: float) -> float:
        """Tokens of the tower for a picture of so many pixels."""
        return self.fixed if self.fixed is not None else pixels / self.patch**2

    def image_tokens(self, pixels: float) -> float:
        """Tokens of the language model for a picture."""
        return self.patches(pixels) / self.merged

    def tower_forward(self, pixels: float) -> float:
        """Operations of the tower for one picture."""
        patches = self.patches(pixels)
        return self.tower.forward(patches, min(patches, self.window or patches))

    def text_forward(self, tokens: float) -> float:
        """Operations of the language model for one row; a token attends to those before it."""
        return self.text.forward(tokens, tokens / 2)

    @property
    def parameters(self) -> float:
        """Weights of the linear layers of both."""
        return self.text.count * self.text.weights + self.tower.count * self.tower.weights

    def adapter_bytes(self, rank: int) -> float:
        """Of LoRA on all linear layers of the language model, in float32."""
        return 4.0 * rank * self.text.count * self.text.sides


def shape_of(config: Mapping[str, Any] | None, billions: float | None) -> Shape | None:
    """A model's shape; ``None`` where neither its config.json says it nor the number of its parameters is known.

    Args:
        config: the model's config.json.
        billions: its parameters.
    """
    try:
        return _read(config) if config is not None else _guessed(billions)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError):  # a family that names it all otherwise
        return _guessed(billions)


def _read(config: Mapping[str, Any]) -> Shape:
    text = config.get("text_config") or config
    vision = config["vision_config"]
    patch = _side(_first(vision, "patch_size"))
    merge = float(vision.get("spatial_merge_size") or config.get("spatial_merge_size") or 0)
    shrink = merge or float(config.get("scale_factor") or config.get("downsample_factor") or 1)
    shrink = 1 / float(config["downsample_ratio"]) if config.get("downsample_ratio") else shrink
    fixed = tile = None
    if not merge and "image_size" in vision and vision.get("model_type") != "pixtral":
        tile = (_side(vision["image_size"]) / patch) ** 2
        fixed = TILES.get(str(config.get("model_type")), 1) * tile
    merged = fixed / float(config["mm_tokens_per_image"]) if fixed and config.get("mm_tokens_per_image") else shrink**2
    window = (float(vision["window_size"]) / patch) ** 2 if vision.get("fullatt_block_indexes") else tile
    return Shape(
        text=_decoder(text),
        tower=_tower(vision),
        patch=patch,
        merged=merged,
        window=window,
        fixed=fixed,
        known=True,
    )


def _decoder(text: Mapping[str, Any]) -> Layers:
    """Gated layers with grouped queries, as all of today's; of experts, those that one token passes."""
    width, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    size = int(text.get("head_dim") or width // heads)
    keys = int(text.get("num_key_value_heads") or heads) * size
    inner = int(text.get("intermediate_size") or 0)
    if text.get("num_experts_per_tok") and text.get("moe_intermediate_size"):
        inner = int(text["num_experts_per_tok"]) * int(text["moe_intermediate_size"])
    linear = [
        (width, heads * size),
        (width, keys),
        (width, keys),
        (heads * size, width),
        *((width, inner),) * 2,
        (inner, width),
    ]
    return Layers(
        count=int(text["num_hidden_layers"]),
        width=heads * size,
        weights=float(sum(a * b for a, b in linear)),
        sides=float(sum(a + b for a, b in linear)),
    )


def _tower(vision: Mapping[str, Any]) -> Layers:
    width = int(vision["embed_dim"] if "embed_dim" in vision else vision["hidden_size"])
    inner = int(vision.get("intermediate_size") or width * float(vision.get("mlp_ratio") or 4))
    gated = vision.get("fullatt_block_indexes") is not None or vision.get("model_type") in ("pixtral", "glm4v")
    return Layers(
        count=int(_first(vision, "depth", "num_hidden_layers", "num_layers")),
        width=width,
        weights=float(4 * width**2 + (3 if gated else 2) * width * inner),
        sides=float(8 * width + (3 if gated else 2) * (width + inner)),
    )


def _side(told: Any) -> float:
    """One side of what is given as one number or as two."""
    return float(told[0] if isinstance(told, list) else told)


def _first(told: Mapping[str, Any], *names: str) -> Any:
    return next(told[name] for name in (*names, names[0]) if name in told)


def _guessed(billions: float | None) -> Shape | None:
    """As Qwen2.5-VL is made: 93% of the parameters in its name are the language model's, and 0.6 billion more are the tower's.

    A layer of width h with 12 h^2 weights; there are some 36 of them.
    """
    if billions is None:
        return None
    layers, weights = 36, 0.93e9 * billions
    width = math.sqrt(weights / layers / 12)
    text = Layers(count=layers, width=round(width), weights=weights / layers, sides=22 * width)
    tower = Layers(count=32, width=1280, weights=0.63e9 / 32, sides=0.0)
    return Shape(text=text, tower=tower, patch=_SIDE / 2, merged=4.0, window=64.0, fixed=None, known=False)
