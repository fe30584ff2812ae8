"""Gradients enter the parts of a model in which something is trained, and no other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


def spare_frozen_parts(model: PreTrainedModel, trained: Collection[str]) -> None:
    """Let the model's ``enable_input_require_grads`` work on those of its parts alone in which something is trained.

    Reentrant checkpointing differentiates a layer only if one of its inputs needs a gradient. So PEFT, TRL and transformers
    (written against 5.24) make the outputs of *all* input embeddings need one, a frozen vision tower's too. There it only sends
    the backward pass through the whole tower, for gradients that nobody reads. In a few towers that *are* trained they find no
    embeddings, and such towers would not learn.

    Args:
        model: the base model, before PEFT or TRL touch it.
        trained: full names of the modules that get an adapter.
    """
    whole: Any = model  # untyped calls
    embeddings = _embeddings(model, trained)

    def enable() -> None:
        whole.disable_input_require_grads()  # this is called more than once, and each call forgets the hooks of the one before
        whole._require_grads_hooks = [embedding.register_forward_hook(_need_gradient) for embedding in embeddings]

    whole.enable_input_require_grads = enable


def _embeddings(model: PreTrainedModel, trained: Collection[str]) -> list[nn.Module]:
    """Input embeddings of the model and of the models within it, as far as they hold a trained module; each once."""
    found: dict[int, nn.Module] = {}
    for name, part in model.named_modules():
        inside = f"{name}." if name else ""
        if isinstance(part, PreTrainedModel) and any(module.startswith(inside) for module in trained):
            embedding = _embedding(part)
            if isinstance(embedding, nn.Module):
                found[id(embedding)] = embedding
    return list(found.values())


def _embedding(part: PreTrainedModel) -> Any:
    try:
        return part.get_input_embeddings()
    except NotImplementedError:  # as in the towers of Qwen3-VL, Qwen3.5 and GLM-4V
        return getattr(part, "patch_embed", None)


def _need_gradient(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)
