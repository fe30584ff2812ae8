"""What of a model decides its memory and its computing, read from its config.json: nothing is loaded.

:mod:`tvt.model.memory` makes bytes of it, :mod:`tvt.model.compute` operations. What rows hold, where none are here to be
looked at, is said at the head of this module, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.model.families import read_config

TEXT_TOKENS = 150
"""Of a question with its options and its answer."""
PICTURES = 3
"""In a row: as many as BLINK's largest questions have, one aside."""
MEAN_PIXELS, ORDINARY_PIXELS, PHOTOGRAPH_PIXELS = 700 * 700, 1_003_520, 12_000_000
"""Of a picture: on average, which decides time; of large ones, which decide memory: 1,280 tokens of Qwen2.5-VL; and of a
photograph as cameras take it."""
TILES = {"idefics3": 16, "smolvlm": 16, "llava_next": 4, "llava_onevision": 9, "internvl": 12, "aya_vision": 12}
"""Tiles that these model types make of an ordinary photograph, beside an overview."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers of one width."""

    layers: int
    hidden: int
    inner: int
    """Width of the MLP; of experts, of those together that one token passes."""
    heads: int
    """Width of all heads together."""
    keys: int
    """Width of the keys, and of the values."""
    gated: bool = True
    experts: int = 0
    """Width of all experts together; 0 without any."""

    def _linear(self, inner: int) -> int:
        attention = 2 * self.hidden * (self.heads + self.keys)
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden * inner)

    @property
    def weights(self) -> int:
        """Of all linear layers."""
        return self._linear(self.experts or self.inner)

    @property
    def passed(self) -> int:
        """Weights that a token is multiplied with."""
        return self._linear(self.inner)

    @property
    def adapter(self) -> int:
        """Weights of an adapter of rank 1 on all linear layers."""
        attention = 4 * self.hidden + 2 * (self.heads + self.keys)
        return self.layers * (attention + (3 if self.gated else 2) * (self.hidden + self.inner))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A vision-language model as far as its memory and its computing go."""

    text: Stack
    embeddings: int
    """Weights of embeddings, of the head, and of what joins tower and language model."""
    vision: Stack | None
    patch: int = 14
    """Pixels of a side of the tower's patches."""
    merged: float = 4
    """Patches that become one token."""
    tile: int | None = None
    """Pixels of a side, where every picture is brought to one size or becomes tiles of one."""
    tiles: int = 1
    """At most, beside an overview."""
    window: float | None = None
    """Patches that each attends to in most layers of the tower; ``None``: all of a picture."""
    known: bool = True
    """From a config.json; else from the number of parameters alone."""

    @property
    def weights(self) -> int:
        """Of all linear layers."""
        return self.text.weights + (self.vision.weights if self.vision else 0)

    def picture_tokens(self, pixels: float, max_pixels: int | None = None) -> int:
        """About how many tokens a picture takes, with ``model.max_pixels``."""
        if self.tile is None:
            return math.ceil(min(pixels, max_pixels or pixels) / (self.patch**2 * self.merged))
        most = self.tiles if max_pixels is None else min(self.tiles, math.isqrt(max_pixels // self.tile**2) ** 2)
        return (most + 1 if most > 1 else 1) * round((self.tile // self.patch) ** 2 / self.merged)


def shape_of(model: ModelConfig, billions: float | None = None) -> Shape | None:
    """A model's shape by its config.json, else by its size.

    Args:
        model: which model.
        billions: of its parameters, as its name says; taken where its config.json is not on this machine or says too little.

    Returns:
        ``None`` where neither is known.
    """
    told = read_config(model)
    found = None if told is None else read_shape(_whole(told))
    return found or (None if billions is None else usual_shape(billions))


def read_shape(told: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; ``None`` where it leaves something out or names it otherwise."""
    try:
        text: Mapping[str, Any] = told.get("text_config") or told
        vision: Mapping[str, Any] = told.get("vision_config") or {}
        stack, tower = _decoder(text), _tower(vision) if vision else None
        tied = bool(text.get("tie_word_embeddings", told.get("tie_word_embeddings", False)))
        embeddings = int(text["vocab_size"]) * stack.hidden * (1 if tied else 2)
        if tower is None:
            return Shape(text=stack, embeddings=embeddings, vision=None)
        if "spatial_merge_size" in vision:
            joined = int(vision["spatial_merge_size"]) ** 2 * tower.hidden
            embeddings += joined * (joined + stack.hidden) * (1 + len(vision.get("deepstack_visual_indexes") or ()))
        return Shape(text=stack, embeddings=embeddings, vision=tower, **_pictures(told, vision))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError):
        return None


def usual_shape(billions: float) -> Shape:
    """Of a model by its name: made like Qwen2.5-VL, whose language model has 94% of so many weights in its layers.

    Vision tower, embeddings and head come on top; small models have one matrix for both of the latter. There are some 36 layers
    of 14.5 h^2 weights, for a width of h.
    """
    layers, words = 36, 152_000
    hidden = round(math.sqrt(0.94e9 * billions / layers / 14.5))
    return Shape(
        text=Stack(layers=layers, hidden=hidden, inner=4 * hidden, heads=hidden, keys=hidden // 4),
        embeddings=(1 if billions < 5 else 2) * words * hidden,
        vision=Stack(layers=32, hidden=1280, inner=3420, heads=1280, keys=1280),
        window=64.0,
        known=False,
    )


def _decoder(text: Mapping[str, Any]) -> Stack:
    """Gated layers with grouped queries, as all of today's."""
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    size = int(text.get("head_dim") or hidden // heads)
    experts, chosen = int(_first(text, "num_experts", "num_local_experts", default=0) or 0), text.get("num_experts_per_tok")
    one = int(text.get("moe_intermediate_size") or 0) if experts and chosen else 0
    return Stack(
        layers=int(text["num_hidden_layers"]),
        hidden=hidden,
        inner=one * int(chosen or 0) or int(text["intermediate_size"]),
        heads=heads * size,
        keys=int(text.get("num_key_value_heads") or heads) * size,
        experts=one * experts,
    )


def _tower(vision: Mapping[str, Any]) -> Stack:
    kind = str(vision.get("model_type"))
    hidden = int(_first(vision, "embed_dim", "hidden_size"))
    inner = int(vision.get("intermediate_size") or hidden * float(vision.get("mlp_ratio") or 4))
    if kind.startswith("glm4v"):  # its code takes this for the MLP's width
        inner = int(vision["out_hidden_size"])
    return Stack(
        layers=int(_first(vision, "depth", "num_hidden_layers", "num_layers")) + int(vision.get("num_global_layers") or 0),
        hidden=hidden,
        inner=inner,
        heads=hidden,
        keys=hidden,
        gated=vision.get("fullatt_block_indexes") is not None or kind.startswith(("pixtral", "glm4v")),
    )


def _pictures(told: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a shape: how pictures become patches, and these tokens."""
    patch = _side(vision["patch_size"])
    merge = vision.get("spatial_merge_size") or told.get("spatial_merge_size")
    shrink = float(merge or _first(told, "scale_factor", "downsample_factor", default=1) or 1)
    found = {"patch": patch, "merged": (1 / float(told.get("downsample_ratio") or 1 / shrink)) ** 2}
    if vision.get("fullatt_block_indexes"):
        found["window"] = (float(vision["window_size"]) / patch) ** 2
    if not merge and vision.get("image_size") and vision.get("model_type") != "pixtral":
        side = _side(vision["image_size"])
        patches = (side // patch) ** 2
        tokens = told.get("mm_tokens_per_image") or (told.get("perceiver_config") or {}).get("resampler_n_latents")
        found |= {"tile": side, "tiles": TILES.get(str(told.get("model_type")), 1), "window": patches}
        found["merged"] = patches / int(tokens) if tokens else found["merged"]
    return found


def _side(told: Any) -> int:
    """One side of what is given as one number or as two."""
    return int(told[0] if isinstance(told, list | tuple) else told)


def _first(told: Mapping[str, Any], *names: str, default: Any = None) -> Any:
    return next((told[name] for name in names if told.get(name)), default)


def _whole(told: dict[str, Any]) -> Mapping[str, Any]:
    """A config.json with the values that it leaves to transformers' defaults, where transformers can be loaded."""
    try:
        from transformers import AutoConfig

        found: dict[str, Any] = AutoConfig.for_model(**told).to_dict()
    except Exception:  # not installed, or it knows no such model
        return told
    return found
