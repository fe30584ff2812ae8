"""A procedurally drawn miniature of perception tasks: multiple choice over 64-pixel pictures, for tests and for teaching.

It is a toy. Its tasks bear the names of kinds of perception, not their difficulty; what transfers here says nothing about what
transfers between real tasks in a real model.

All its pictures lie in fog. The base model was pretrained on such scenes without it, so it half fails at seeing them, and what
finetuning on one task teaches about seeing in fog can serve another: that is where its transfer comes from.
"""

from tvt.data.miniature.world import (
    MINIATURE_TASKS,
    Split,
    generate,
    question,
    scene_of,
)

__all__ = ["MINIATURE_TASKS", "Split", "generate", "question", "scene_of"]
