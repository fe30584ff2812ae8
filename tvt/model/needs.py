"""How much memory and computing a model needs, estimated from its config.json: nothing is loaded.

First comes the model's shape; what rows hold, where none are here to be looked at, is stated at the head of this module, too.

Memory is an estimate, not a measurement: no GPU was at hand when it was written. It counts what is known to be large, layer by
layer from the code of transformers, PEFT and TRL, and leaves a margin (:data:`MARGIN`, :data:`FIXED`) for what is not:

* weights: linear layers in 4 bits or in the model's precision, embeddings and head in its precision;
* the adapter in float32, with its gradient and Adam's two moments;
* activations of the language model, for each token and layer: inputs of the norms in float32, an own copy of its input for each
  linear layer with an adapter, query, key, value and what the MLP multiplies. With gradient checkpointing the input of each
  layer, and one layer whole;
* the vision tower: of a frozen one a layer at a time, since nothing of it is stored;
* no logits: TRL's fused head builds none.

Computing is counted in operations of matrix products, a multiplication and an addition counted as two; embeddings and the
output layer, which tvt applies to the few tokens of an answer alone, are left out. The result is an estimate for plans: within
tens of percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig, Recipe
from tvt.io import json_text
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
    values = read_config(model)
    shape = None if values is None else read_shape(_complete(values))
    return shape or (None if billions is None else usual_shape(billions))


def read_shape(values: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json gives; ``None`` where it leaves something out or names it differently."""
    try:
        text: Mapping[str, Any] = values.get("text_config") or values
        vision: Mapping[str, Any] = values.get("vision_config") or {}
        stack, tower = _decoder(text), _tower(vision) if vision else None
        tied = bool(text.get("tie_word_embeddings", values.get("tie_word_embeddings", False)))
        embeddings = int(text["vocab_size"]) * stack.hidden * (1 if tied else 2)
        if tower is None:
            return Shape(text=stack, embeddings=embeddings, vision=None)
        if "spatial_merge_size" in vision:
            joined = int(vision["spatial_merge_size"]) ** 2 * tower.hidden
            embeddings += joined * (joined + stack.hidden) * (1 + len(vision.get("deepstack_visual_indexes") or ()))
        return Shape(text=stack, embeddings=embeddings, vision=tower, **_pictures(values, vision))
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


def _pictures(values: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a shape: how pictures become patches, and these tokens."""
    patch = _side(vision["patch_size"])
    merge = vision.get("spatial_merge_size") or values.get("spatial_merge_size")
    shrink = float(merge or _first(values, "scale_factor", "downsample_factor", default=1) or 1)
    fields = {"patch": patch, "merged": (1 / float(values.get("downsample_ratio") or 1 / shrink)) ** 2}
    if vision.get("fullatt_block_indexes"):
        fields["window"] = (float(vision["window_size"]) / patch) ** 2
    if not merge and vision.get("image_size") and vision.get("model_type") != "pixtral":
        side = _side(vision["image_size"])
        patches = (side // patch) ** 2
        tokens = values.get("mm_tokens_per_image") or (values.get("perceiver_config") or {}).get("resampler_n_latents")
        fields |= {"tile": side, "tiles": TILES.get(str(values.get("model_type")), 1), "window": patches}
        fields["merged"] = patches / int(tokens) if tokens else fields["merged"]
    return fields


def _side(value: Any) -> int:
    """One side of a size that is one number or two."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def _first(values: Mapping[str, Any], *names: str, default: Any = None) -> Any:
    return next((values[name] for name in names if values.get(name)), default)


def _complete(values: dict[str, Any]) -> Mapping[str, Any]:
    """A config.json with the values that it leaves to transformers' defaults, where transformers can be loaded."""
    try:
        from transformers import AutoConfig

        complete: dict[str, Any] = AutoConfig.for_model(**values).to_dict()
    except Exception:  # not installed, or it knows no such model
        return values
    return complete


WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""Bytes of a value."""
FOUR_BITS = 0.52
"""Bytes of a weight in nf4, with its scales quantised too."""
MARGIN, FIXED = 1.2, 1.5e9
"""Activations are taken so many times for fragments and short-lived tensors, and so many bytes for CUDA and its libraries."""
USABLE = 0.9
"""The share of a device's memory within which an estimate must stay."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes on one device."""

    weights: float
    adapter: float
    """Of an adapter its weights, gradients and the optimiser's state; of a full finetuning the latter two."""
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
    activations = tokens * _stored(text, width, checkpointing=checkpointing)
    stacks = [text] * ("language_model" in recipe.trained_parts)
    if vision is not None:
        trained = "vision_tower" in recipe.trained_parts
        activations += patches * (_stored(vision, width, checkpointing=checkpointing) if trained else _passing(vision, width))
        stacks += [vision] * trained
    if recipe.training.method == "full":
        return _full_needs(shape, recipe, stacks, activations)
    whole = sum(name in _LARGE_MODULES for name in recipe.lora.modules_to_save or ())
    adapter = 16.0 * (recipe.lora.lora_r * sum(stack.adapter for stack in stacks) + whole * shape.embeddings / 2)
    return Needs(weights=weights_bytes(shape, recipe.model) / divided, adapter=adapter, activations=activations)


_LARGE_MODULES = ("lm_head", "embed_tokens")
"""Of ``lora.modules_to_save``: each has a vector for every word."""


def _full_needs(shape: Shape, recipe: Recipe, stacks: Sequence[Stack], activations: float) -> Needs:
    """Of weights that train themselves, by Adam in float32.

    Without DeepSpeed they are held in float32, with as much for gradients (and for those that several processes exchange) and
    twice as much for Adam's moments. DeepSpeed holds them and their gradients in the model's precision, beside masters in
    float32; ZeRO divides masters and moments, from stage 2 on gradients, in stage 3 weights as well.
    """
    width, stage, processes = WIDTHS[recipe.model.dtype], _stage(recipe), recipe.runtime.num_processes
    trained = sum(stack.weights for stack in stacks) + ("language_model" in recipe.trained_parts) * shape.embeddings
    frozen = (shape.weights + shape.embeddings - trained) * width
    if recipe.runtime.deepspeed is None:
        return Needs(
            weights=frozen + 4.0 * trained, adapter=(12.0 if processes == 1 else 16.0) * trained, activations=activations
        )
    weights = (frozen + width * trained) / (processes if stage == 3 else 1)
    gradients = width * trained / (processes if stage >= 2 else 1)
    return Needs(weights=weights, adapter=gradients + 12.0 * trained / (processes if stage else 1), activations=activations)


def pass_needs(
    recipe: Recipe, shape: Shape, pixels: float, *, pictures: float = PICTURES, checkpointing: bool | None = None
) -> Needs:
    """What a training pass takes if every row has so many pictures of so many pixels, before ``model.max_pixels``.

    Gradient checkpointing is on unless the recipe or ``checkpointing`` says no, since it is turned on where memory needs it.
    """
    rows = recipe.training.per_device_train_batch_size
    tokens = pictures * shape.picture_tokens(recipe.model.shown_pixels(pixels), recipe.model.max_pixels)
    return training_needs(
        shape,
        recipe,
        rows * (TEXT_TOKENS + tokens),
        rows * tokens * shape.merged,
        checkpointing=recipe.training.gradient_checkpointing is not False if checkpointing is None else checkpointing,
        divided=recipe.runtime.num_processes if _stage(recipe) == 3 else 1,
    )


def expected_checkpointing(recipe: Recipe, shape: Shape, memory: float, pixels: float, pictures: float = PICTURES) -> bool:
    """Whether activations will be computed twice: as the recipe says, else where such rows do not fit into ``memory`` bytes."""
    requested = recipe.training.gradient_checkpointing
    if requested is not None:
        return requested
    return _stage(recipe) == 3 or (
        pass_needs(recipe, shape, pixels, pictures=pictures, checkpointing=False).total > USABLE * memory
    )


def weights_bytes(shape: Shape, model: ModelConfig) -> float:
    """Bytes of the base model."""
    width = WIDTHS[model.dtype]
    return shape.weights * (FOUR_BITS if model.load_in_4bit else width) + shape.embeddings * width


def _stored(stack: Stack, width: float, *, checkpointing: bool) -> float:
    """Bytes of a token in all layers that the backward pass needs."""
    norms = 2 * 4 * stack.hidden
    inputs = 5 * stack.hidden + stack.heads + stack.inner
    layer = norms + width * (inputs + 4 * stack.heads + 3 * stack.inner)
    return stack.layers * width * stack.hidden + layer if checkpointing else stack.layers * layer


def _passing(stack: Stack, width: float) -> float:
    """Bytes of a token while one layer is computed and nothing is stored."""
    return width * (3 * stack.hidden + 3 * stack.inner) + 4 * stack.hidden


def _stage(recipe: Recipe) -> int:
    """ZeRO's stage by the recipe's file; 0 without one."""
    try:
        config = json_text.loads(Path(recipe.runtime.deepspeed or "").read_text(encoding="utf-8"))
        return int(config["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def forward(stack: Stack, tokens: float, attended: float) -> float:
    """Operations of a forward pass.

    Args:
        stack: the layers.
        tokens: that go through all layers.
        attended: tokens that each attends to, on average.
    """
    return tokens * (2 * stack.passed + 4 * stack.layers * stack.heads * attended)


def text_forward(shape: Shape, tokens: float) -> float:
    """Operations of the language model for one row; a token attends to those before it."""
    return forward(shape.text, tokens, tokens / 2)


def tower_forward(shape: Shape, pixels: float, max_pixels: int | None = None) -> float:
    """Operations of the vision tower for one picture, with ``model.max_pixels``."""
    patches = shape.picture_tokens(pixels, max_pixels) * shape.merged
    return 0.0 if shape.vision is None else forward(shape.vision, patches, min(patches, shape.window or patches))
