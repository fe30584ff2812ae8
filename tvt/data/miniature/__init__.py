"""A procedurally drawn miniature of perception tasks: multiple choice over 64-pixel pictures, for tests and for teaching.

It is a toy. Its tasks bear the names of kinds of perception, not their difficulty; what transfers here says nothing about what
transfers between real tasks in a real model.
"""

from tvt.data.miniature.world import MINIATURE_TASKS, Split, generate, question, scene_of

__all__ = ["MINIATURE_TASKS", "Split", "generate", "question", "scene_of"]
