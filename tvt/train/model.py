"""The base model as it is trained: where the adapter goes, no gradients in parts in which nothing is trained, and whether
activations are computed a second time where the recipe leaves that open: only if the device's memory needs it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, TrainingError
from tvt.model.needs import USABLE, Shape, read_shape, training_needs
from tvt.train.batches import Collator
from tvt.train.rows import Examples

_LOG = logging.getLogger(__name__)


def check_dtype(config: ModelConfig) -> None:
    """Refuse a precision that the hardware does not have, rather than train in another.

    Raises:
        TrainingError: bfloat16 on a GPU without it, float16 without a GPU.
    """
    if config.dtype == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise TrainingError("this GPU has no bfloat16; train with --set model.dtype=float16 or float32")
    if config.dtype == "float16" and not torch.cuda.is_available():
        raise TrainingError("float16 needs a GPU; train with --set model.dtype=bfloat16 or float32")


def lora_config(model: PreTrainedModel, recipe: Recipe) -> LoraConfig:
    """The adapter's configuration, with every module it goes into by its full name.

    Raises:
        InputError: no module fits what the recipe names.
    """
    settings = recipe.lora
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_modules(model, settings.lora_target_modules, freeze_vision=recipe.model.freeze_vision),
        task_type="CAUSAL_LM",
    )


def target_modules(model: PreTrainedModel, requested: str | tuple[str, ...] | None, *, freeze_vision: bool) -> list[str]:
    """Names of the linear layers that get an adapter: the language model's only, unless the vision tower is trained too."""
    untyped: Any = model
    decoder, head = untyped.get_decoder(), untyped.get_output_embeddings()
    inside = {id(module) for module in decoder.modules()} if freeze_vision and decoder is not model else None
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and (inside is None or id(module) in inside)
    ]
    if freeze_vision and inside is None:  # a model that names no decoder
        linear = [name for name in linear if not re.search(r"vision|visual|image|projector|connector", name)]
    matches = [name for name in linear if _is_requested(name, requested)]
    if not matches:
        where = "the language model" if freeze_vision else "the model"
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
        raise InputError(f"lora.lora_target_modules: nothing in {where} fits {requested!r}; its linear layers: {known}")
    return matches


def _is_requested(name: str, requested: str | tuple[str, ...] | None) -> bool:
    if requested is None:
        return True
    if isinstance(requested, str):
        return re.fullmatch(requested, name) is not None or name.rsplit(".", 1)[-1] == requested
    return any(name == item or name.endswith(f".{item}") for item in requested)


def spare_frozen_parts(model: PreTrainedModel, trained: Collection[str]) -> None:
    """Let the model's ``enable_input_require_grads`` work on those of its parts alone in which something is trained.

    Reentrant checkpointing differentiates a layer only if one of its inputs needs a gradient. So PEFT, TRL and transformers
    (written against 5.24) make the outputs of *all* input embeddings need one, a frozen vision tower's too. There it only sends
    the backward pass through all of the tower, for gradients that are never used. In a few towers that *are* trained they find
    no embeddings, and such towers would not learn.

    Args:
        model: the base model, before PEFT or TRL touch it.
        trained: full names of the modules that get an adapter.
    """
    untyped: Any = model
    embeddings = _embeddings(model, trained)

    def enable() -> None:
        untyped.disable_input_require_grads()  # each call forgets the hooks of the one before
        untyped._require_grads_hooks = [embedding.register_forward_hook(_need_gradient) for embedding in embeddings]

    untyped.enable_input_require_grads = enable


def _embeddings(model: PreTrainedModel, trained: Collection[str]) -> list[nn.Module]:
    """Input embeddings of the model and of the models within it, as far as they hold a trained module; each once."""
    embeddings: dict[int, nn.Module] = {}
    for name, part in model.named_modules():
        inside = f"{name}." if name else ""
        if isinstance(part, PreTrainedModel) and any(module.startswith(inside) for module in trained):
            embedding = _embedding(part)
            if isinstance(embedding, nn.Module):
                embeddings[id(embedding)] = embedding
    return list(embeddings.values())


def _embedding(part: PreTrainedModel) -> Any:
    try:
        return part.get_input_embeddings()
    except NotImplementedError:  # as in the towers of Qwen3-VL, Qwen3.5 and GLM-4V
        return getattr(part, "patch_embed", None)


def _need_gradient(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)


def needs_checkpointing(
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, *, divided: bool
) -> bool:
    """Decide by the longest rows of the run, put through the processor: they are what one pass may have to hold.

    Args:
        recipe: where it decides, its choice is taken.
        examples: the rows.
        lengths: of the rows, in tokens.
        collator: makes tensors of them.
        config: the model's.
        divided: whether ZeRO-3 divides the weights; then it is always on, since all processes must do the same.
    """
    requested = recipe.training.gradient_checkpointing
    if requested is not None or divided:
        return bool(requested or (requested is None and divided))
    if not torch.cuda.is_available():
        return False
    free, _ = torch.cuda.mem_get_info()
    return not fits(recipe, examples, lengths, collator, config, free + torch.cuda.memory_reserved())


def fits(  # noqa: PLR0917
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, memory: float
) -> bool:
    """Whether a pass of the longest rows keeps all its activations within ``memory`` bytes, by a cautious estimate."""
    shape = read_shape(config.to_dict())
    if shape is None:
        return False
    longest = sorted(range(len(lengths)), key=lambda index: -lengths[index])[: recipe.training.per_device_train_batch_size]
    batch = collator([examples[index] for index in longest])
    tokens, patches = batch["input_ids"].numel(), patches_of(batch, shape)
    need = training_needs(shape, recipe, tokens, patches, checkpointing=False).total
    _LOG.debug("longest rows: %d tokens, %d patches; they need %.3g of %.3g bytes", tokens, patches, need, memory)
    return need <= USABLE * memory


def patches_of(batch: dict[str, Any], shape: Shape) -> int:
    """How many patches of pictures a batch holds; of three colours, Qwen-VL's twice, as for two frames."""
    pixels = batch.get("pixel_values")
    if pixels is None:
        return 0
    if pixels.ndim == 2:
        return int(pixels.shape[0])
    return int(pixels.numel()) // (3 * shape.patch**2)
