"""Which weights of a base model train: those of an adapter on its linear layers, or its own, by the parts that a recipe names.

No gradient is computed in parts in which nothing is trained.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from tvt.core.recipe import PARTS, Part, Recipe
from tvt.errors import InputError, suggest

_PROJECTOR = re.compile(
    r"(^|\.)(\w*projector|\w*aligner|merger|deepstack_merger_list|connector|modality_projection|downsample|image_newline)(\.|$)"
)
"""Names of what joins vision tower and language model, in all families; Qwen-VL and GLM-4V have theirs inside the tower."""
_VISION = re.compile(r"vision|visual|image|projector|connector")
_NAMES = {"language_model": "language model", "projector": "projector", "vision_tower": "vision tower"}


class ModelParts:
    """The parts of one model.

    Args:
        model: a base model, before PEFT or TRL touch it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        untyped: Any = model
        self._head = untyped.get_output_embeddings()
        decoder = untyped.get_decoder()
        own = [decoder, self._head] if decoder is not model else []
        self._text = {id(each) for of in own if of is not None for each in (*of.modules(), *of.parameters())}

    def of(self, name: str, held: nn.Module | nn.Parameter) -> Part:
        """The part that a module or a weight belongs to.

        Args:
            name: its full name.
            held: it.
        """
        if id(held) in self._text or (not self._text and not _VISION.search(name)):  # a model that names no decoder
            return "language_model"
        return "projector" if _PROJECTOR.search(name) else "vision_tower"

    def linear(self, model: PreTrainedModel, parts: Collection[Part]) -> list[str]:
        """Full names of the linear layers of some parts; the head is none of them."""
        return [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module is not self._head and self.of(name, module) in parts
        ]


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
        target_modules=target_modules(model, settings.lora_target_modules, recipe.trained_parts),
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        modules_to_save=_whole_modules(model, settings.modules_to_save),
        task_type="CAUSAL_LM",
    )


def target_modules(model: PreTrainedModel, requested: str | tuple[str, ...] | None, parts: Collection[Part]) -> list[str]:
    """Names of the linear layers that get an adapter: those of some parts, as far as they are requested."""
    linear = ModelParts(model).linear(model, parts)
    matches = [name for name in linear if _is_requested(name, requested)]
    if not matches:
        where = "the model" if set(parts) == set(PARTS) else " and ".join(f"the {_NAMES[p]}" for p in PARTS if p in parts)
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
        if not linear:
            raise InputError(f"training.parts: no linear layer is in {where}, so no adapter goes there; name another part")
        raise InputError(f"lora.lora_target_modules: nothing in {where} fits {requested!r}; its linear layers: {known}")
    return matches


def _is_requested(name: str, requested: str | tuple[str, ...] | None) -> bool:
    if requested is None:
        return True
    if isinstance(requested, str):
        return re.fullmatch(requested, name) is not None or name.rsplit(".", 1)[-1] == requested
    return any(name == item or name.endswith(f".{item}") for item in requested)


def _whole_modules(model: PreTrainedModel, requested: tuple[str, ...] | None) -> list[str] | None:
    """What PEFT trains whole: by the ends of names, of which it passes over those that fit nothing in silence."""
    names = [name for name, _ in model.named_modules() if name]
    for item in requested or ():
        if not any(name == item or name.endswith(f".{item}") for name in names):
            known = sorted({name.rsplit(".", 1)[-1] for name in names})
            raise InputError(f"lora.modules_to_save: no module '{item}' is in the model{suggest(item, known)}; name another")
    return None if requested is None else list(requested)


def train_weights(model: PreTrainedModel, parts: Collection[Part]) -> list[str]:
    """Let the weights of some parts train; returns their names.

    Raises:
        InputError: there are none.
    """
    of = ModelParts(model)
    names = [name for name, weight in model.named_parameters() if of.of(name, weight) in parts]
    if not names:
        raise InputError(f"training.parts: the model has no {' and no '.join(_NAMES[p] for p in PARTS if p in parts)}")
    chosen = set(names)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in chosen)
    return names


def trained_modules(model: PreTrainedModel, config: LoraConfig) -> list[str]:
    """Full names of the modules in which an adapter trains something."""
    whole = tuple(config.modules_to_save or ())
    names = [name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in whole or name.endswith(whole)]
    return [*(config.target_modules or ()), *(names if whole else ())]


def spare_frozen_parts(model: PreTrainedModel, trained: Collection[str]) -> None:
    """Let the model's ``enable_input_require_grads`` work on those of its parts alone in which something is trained.

    Reentrant checkpointing differentiates a layer only if one of its inputs needs a gradient. So PEFT, TRL and transformers
    (written against 5.24) make the outputs of *all* input embeddings need one, a frozen vision tower's too. There it only sends
    the backward pass through all of the tower, for gradients that are never used. In a few towers that *are* trained they find
    no embeddings, and such towers would not learn.

    Args:
        model: the base model, before PEFT or TRL touch it.
        trained: full names of the modules in which something is trained.
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
