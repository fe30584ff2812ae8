"""The log-likelihood of answers behind their prompts, as training and the gradients of targets take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvt.model.inputs import IGNORED


def answer_likelihood(model: Any, batch: Mapping[str, Any], device: Any) -> tuple[Any, int]:
    """Sum of the log-probabilities of all tokens that the loss is on, and how many they are; its gradient can be taken.

    Args:
        model: the base model, with or without an adapter on it.
        batch: what :func:`tvt.model.inputs.training_inputs` gives, ``labels`` included.
        device: where the model is.
    """
    import torch

    inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
    labels = batch["labels"].to(device)[:, 1:]
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    trained = labels != IGNORED
    # The logits of trained tokens alone are made float32: those of all the others may be a thousand times as many.
    scores = torch.log_softmax(logits[trained].float(), -1)
    return scores.gather(1, labels[trained][:, None]).sum(), int(trained.sum())
