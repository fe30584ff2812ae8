"""How much a model computes, from its shape.

Operations are those of matrix products, a multiplication and an addition counted as two; embeddings and the output layer, which
tvt applies to the few tokens of an answer alone, are left out. What comes out is a guess for plans: within tens of percent.
"""

from __future__ import annotations

from tvt.model.shape import Shape, Stack


def forward(stack: Stack, tokens: float, seen: float) -> float:
    """Operations of a forward pass.

    Args:
        stack: the layers.
        tokens: that go through all layers.
        seen: tokens that each attends to, on average.
    """
    return tokens * (2 * stack.passed + 4 * stack.layers * stack.heads * seen)


def text_forward(shape: Shape, tokens: float) -> float:
    """Operations of the language model for one row; a token attends to those before it."""
    return forward(shape.text, tokens, tokens / 2)


def tower_forward(shape: Shape, pixels: float, max_pixels: int | None = None) -> float:
    """Operations of the vision tower for one picture, with ``model.max_pixels``."""
    patches = shape.picture_tokens(pixels, max_pixels) * shape.merged
    return 0.0 if shape.vision is None else forward(shape.vision, patches, min(patches, shape.window or patches))
