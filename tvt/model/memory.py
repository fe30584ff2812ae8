"""How much memory training and scoring take on a device, estimated from a model's config.json: nothing is loaded.

An estimate, not a measurement: no GPU was at hand when it was written. It counts what is known to be large, layer by layer from
the code of transformers, PEFT and TRL, and leaves a margin (:data:`MARGIN`, :data:`FIXED`) for what is not:

* weights: linear layers in 4 bits or in the model's precision, embeddings and head in its precision;
* the adapter in float32, with its gradient and Adam's two moments;
* activations of the language model, for each token and layer: inputs of the norms in float32, an own copy of its input for each
  linear layer with an adapter, query, key, value and what the MLP multiplies. With gradient checkpointing the input of each
  layer, and one layer whole;
* the vision tower: of a frozen one a layer at a time, since nothing of it is kept;
* no logits: TRL's fused head builds none, and scoring asks for those of the last token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import ModelConfig, Recipe
from tvt.model.families import read_config

WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""Bytes of a value."""
FOUR_BITS = 0.52
"""Bytes of a weight in nf4, with its scales quantised too."""
MARGIN, FIXED = 1.2, 1.5e9
"""Activations are taken so many times for fragments and short-lived tensors, and so many bytes for CUDA and its libraries."""
USABLE = 0.9
"""The share of a device's memory within which an estimate must stay."""
TEXT_TOKENS = 150
"""Of a question with its options and its answer."""
PICTURES = 3
"""In a row, where nothing is known of the rows: as many as BLINK's largest questions have, one aside."""
ORDINARY_PIXELS, PHOTOGRAPH_PIXELS = 1_003_520, 12_000_000
"""Of a picture, where nothing limits it: 1,280 tokens of Qwen2.5-VL; and a photograph as cameras take it."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers of one width."""

    layers: int
    hidden: int
    inner: int
    heads: int
    """Width of all heads together."""
    keys: int
    """Width of the keys, and of the values."""
    gated: bool = True

    @property
    def weights(self) -> int:
        """Of all linear layers."""
        attention = 2 * self.hidden * (self.heads + self.keys)
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden * self.inner)

    @property
    def adapter(self) -> int:
        """Weights of an adapter of rank 1 on all linear layers."""
        attention = 4 * self.hidden + 2 * (self.heads + self.keys)
        return self.layers * (attention + (3 if self.gated else 2) * (self.hidden + self.inner))

    def kept(self, width: float) -> float:
        """Bytes of a token in one layer that the backward pass needs."""
        norms = 2 * 4 * self.hidden
        inputs = 5 * self.hidden + self.heads + self.inner
        return norms + width * (inputs + 4 * self.heads + 3 * self.inner)

    def passing(self, width: float) -> float:
        """Bytes of a token while one layer is computed and nothing is kept."""
        return width * (3 * self.hidden + 3 * self.inner) + 4 * self.hidden


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of a model decides its memory."""

    text: Stack
    embeddings: int
    """Weights of embeddings and head."""
    vision: Stack | None
    patch: int
    """Pixels of a side of the tower's patches."""
    merged: int
    """Patches that become one token."""
    tile: int | None = None
    """Pixels of a side, where every picture becomes tiles."""
    tiles: int = 1
    """At most, beside an overview."""

    @property
    def weights(self) -> int:
        """Of all linear layers."""
        return self.text.weights + (self.vision.weights if self.vision else 0)

    def picture_tokens(self, pixels: float, max_pixels: int | None = None) -> int:
        """About how many tokens a picture takes."""
        if self.tile is None:
            return math.ceil(min(pixels, max_pixels or pixels) / (self.patch**2 * self.merged))
        side = (
            math.isqrt(self.tiles) if max_pixels is None else min(math.isqrt(self.tiles), math.isqrt(max_pixels) // self.tile)
        )
        count = 1 if side < 2 else side * side + 1
        return count * math.ceil(self.tile**2 / (self.patch**2 * self.merged))


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes on one device."""

    weights: float
    adapter: float
    activations: float

    @property
    def total(self) -> float:
        """With the margin."""
        return self.weights + self.adapter + MARGIN * self.activations + FIXED


def training_needs(
    shape: Shape, recipe: Recipe, tokens: float, patches: float, *, checkpointing: bool, divided: int = 1
) -> Needs:
    """What a forward and backward pass takes.

    Args:
        shape: of the model.
        recipe: precision, adapter and whether the vision tower is trained.
        tokens: of all rows of one pass on the device, padding included.
        patches: of their pictures in the vision tower.
        checkpointing: whether activations are computed a second time.
        divided: over how many processes the weights are divided, under ZeRO-3.
    """
    width = WIDTHS[recipe.model.dtype]
    text, vision = shape.text, shape.vision
    activations = tokens * _kept(text, width, checkpointing=checkpointing)
    stacks = [text]
    if vision is not None:
        trained = not recipe.model.freeze_vision
        activations += patches * (_kept(vision, width, checkpointing=checkpointing) if trained else vision.passing(width))
        stacks += [vision] * trained
    adapter = 16.0 * recipe.lora.lora_r * sum(stack.adapter for stack in stacks)
    return Needs(weights=weights_bytes(shape, recipe.model) / divided, adapter=adapter, activations=activations)


def scoring_needs(shape: Shape, model: ModelConfig, tokens: float, patches: float) -> Needs:
    """What scoring takes; see :func:`training_needs`."""
    width = WIDTHS[model.dtype]
    passing = tokens * shape.text.passing(width) + (patches * shape.vision.passing(width) if shape.vision else 0)
    return Needs(weights=weights_bytes(shape, model), adapter=0.0, activations=passing)


def weights_bytes(shape: Shape, model: ModelConfig) -> float:
    """Bytes of the base model."""
    width = WIDTHS[model.dtype]
    return shape.weights * (FOUR_BITS if model.load_in_4bit else width) + shape.embeddings * width


def _kept(stack: Stack, width: float, *, checkpointing: bool) -> float:
    """Bytes of a token in all layers."""
    if checkpointing:
        return stack.layers * width * stack.hidden + stack.kept(width)
    return stack.layers * stack.kept(width)


def shape_of(model: ModelConfig, billions: float | None = None) -> Shape | None:
    """A model's shape by its config.json, else by its size.

    Args:
        model: which model.
        billions: of its parameters; taken where its config.json is not on this machine.

    Returns:
        ``None`` where neither is known.
    """
    told = read_config(model)
    found = None if told is None else read_shape(_whole(told))
    return found or (None if billions is None else usual_shape(billions))


def read_shape(told: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; ``None`` where it leaves something out."""
    nested, vision = told.get("text_config"), told.get("vision_config")
    text = nested if isinstance(nested, Mapping) else told
    try:
        stack = _stack(text)
        tied = bool(text.get("tie_word_embeddings", told.get("tie_word_embeddings", False)))
        embeddings = int(text["vocab_size"]) * stack.hidden * (1 if tied else 2)
        tower = None if not isinstance(vision, Mapping) else _stack(vision, gated="vl" in str(told.get("model_type")))
        patch, merged, tile, tiles = _pictures(told, vision if isinstance(vision, Mapping) else {})
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return Shape(text=stack, embeddings=embeddings, vision=tower, patch=patch, merged=merged, tile=tile, tiles=tiles)


def usual_shape(billions: float) -> Shape:
    """What models of a size are like: 36 layers, an MLP of four times the width, and Qwen2.5-VL's vision tower."""
    layers, words = 36, 150_000
    vision = Stack(layers=32, hidden=1280, inner=3420, heads=1280, keys=1280)
    # The width h of which layers (14.5 h^2 each) and embeddings (2 h a word) make up the rest.
    square, rest = 14.5 * layers, max(billions * 1e9 - vision.weights, 1e6)
    hidden = round((math.sqrt(words**2 + square * rest) - words) / square)
    text = Stack(layers=layers, hidden=hidden, inner=4 * hidden, heads=hidden, keys=hidden // 4)
    return Shape(text=text, embeddings=2 * words * hidden, vision=vision, patch=14, merged=4)


def _stack(told: Mapping[str, Any], *, gated: bool = True) -> Stack:
    hidden = int(_first(told, "embed_dim", "hidden_size") if "depth" in told and "embed_dim" in told else told["hidden_size"])
    heads = int(_first(told, "num_attention_heads", "num_heads"))
    size = int(told.get("head_dim") or hidden // heads)
    inner = told.get("intermediate_size") or hidden * float(told.get("mlp_ratio", 4))
    return Stack(
        layers=int(_first(told, "num_hidden_layers", "depth")),
        hidden=hidden,
        inner=int(inner),
        heads=heads * size,
        keys=int(told.get("num_key_value_heads") or heads) * size,
        gated=gated,
    )


def _pictures(told: Mapping[str, Any], vision: Mapping[str, Any]) -> tuple[int, int, int | None, int]:
    """Side of a patch, patches a token, side of a tile and the most tiles."""
    patch = (
        int(vision.get("patch_size", 14)) if not isinstance(vision.get("patch_size"), list) else int(vision["patch_size"][0])
    )
    side = vision.get("image_size")
    side = int(side[0] if isinstance(side, list | tuple) else side) if side else None
    kind = told.get("model_type")
    if kind in ("idefics3", "smolvlm"):
        return patch, int(told.get("scale_factor", 2)) ** 2, side, 16
    if kind in ("internvl", "aya_vision"):
        return patch, round(1 / float(told.get("downsample_ratio", 0.5)) ** 2), side, 12
    if "spatial_merge_size" in vision:
        return patch, int(vision["spatial_merge_size"]) ** 2, None, 1
    return patch, 1, None, 1


def _first(told: Mapping[str, Any], *names: str) -> Any:
    return next(told[name] for name in names if told.get(name)) if any(told.get(name) for name in names) else told[names[0]]


def _whole(told: dict[str, Any]) -> Mapping[str, Any]:
    """A config.json with the values that it leaves to transformers' defaults, where transformers can be loaded."""
    try:
        from transformers import AutoConfig

        found: dict[str, Any] = AutoConfig.for_model(**told).to_dict()
    except Exception:  # not installed, or it knows no such model
        return told
    return found
