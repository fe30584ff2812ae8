"""A procedurally drawn miniature of perception tasks: multiple choice over 64-pixel pictures, for tests and for teaching.

It is a toy. Its tasks bear the names of kinds of perception, not their difficulty; what transfers here says nothing about what
transfers between real tasks in a real model.

All its pictures lie in fog. The base model was pretrained on such scenes without it, so it half fails at seeing them, and what
finetuning on one task teaches about seeing in fog can serve another: that is where its transfer comes from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from tvt.core.question import LETTERS, Question
from tvt.core.task import Task, resolve_name
from tvt.data.miniature import compose
from tvt.data.miniature.scene import Scene, png, render
from tvt.errors import InputError

Split = Literal["train", "select", "report"]

FOG = (0.5, 0.65)
"""Bounds of how thick the fog is in a question's picture."""

_SIDES = ("left", "right")
_QUARTERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """How one task asks and how its scenes are made."""

    abbreviation: str
    ask: str
    options: tuple[str, ...]
    compose: Callable[[np.random.Generator, int], Scene]

    @property
    def prompt(self) -> str:
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=False)]
        return "\n".join([self.ask, *lines, "Answer with the letter."])


_KINDS: dict[str, _Kind] = {
    "Counting": _Kind(
        abbreviation="Cnt",
        ask="How many discs are there?",
        options=("1", "2", "3", "4"),
        compose=compose.counting,
    ),
    "Count_Comparison": _Kind(
        abbreviation="CC",
        ask="Which half has more discs?",
        options=_SIDES,
        compose=compose.count_comparison,
    ),
    "Object_Localization": _Kind(
        abbreviation="OL",
        ask="In which quarter is the disc?",
        options=_QUARTERS,
        compose=compose.localisation,
    ),
    "Relative_Depth": _Kind(
        abbreviation="RD",
        ask="Which ball is nearer to the camera?",
        options=_SIDES,
        compose=compose.relative_depth,
    ),
    "Nearest_Post": _Kind(
        abbreviation="NP",
        ask="Which post is nearer to the camera?",
        options=_SIDES,
        compose=compose.nearest_post,
    ),
    "Spatial_Relation": _Kind(
        abbreviation="SR",
        ask="Which half has the disc?",
        options=_SIDES,
        compose=compose.spatial_relation,
    ),
    "Relative_Reflectance": _Kind(
        abbreviation="RR",
        ask="Which patch is darker?",
        options=_SIDES,
        compose=compose.relative_reflectance,
    ),
    "Forensic_Detection": _Kind(
        abbreviation="FD",
        ask="Which tile is darker?",
        options=_SIDES,
        compose=compose.forensic,
    ),
    "Visual_Similarity": _Kind(
        abbreviation="VS",
        ask="Which lower tile has the colour of the upper one?",
        options=_SIDES,
        compose=compose.visual_similarity,
    ),
    "Jigsaw": _Kind(
        abbreviation="JS",
        ask="Which lower piece fits the gap?",
        options=_SIDES,
        compose=compose.jigsaw,
    ),
    "Correspondence": _Kind(
        abbreviation="Cor",
        ask="Which lower shape has the colour of the upper one?",
        options=_SIDES,
        compose=compose.correspondence,
    ),
    "Multi_View": _Kind(
        abbreviation="MV",
        ask="Which way did the camera turn?",
        options=_SIDES,
        compose=compose.multi_view,
    ),
}

MINIATURE_TASKS: tuple[Task, ...] = tuple(
    Task(name=name, abbreviation=kind.abbreviation, options=len(kind.options)) for name, kind in _KINDS.items()
)
"""The tasks, in a fixed order."""


def generate(task: str, n: int, *, seed: int, split: Split) -> Iterator[Question]:
    """Yield the first ``n`` questions of a task's endless stream; the same for the same arguments, everywhere.

    Every question has a random stream of its own, named by task, split, seed and index: splits share none, a longer request
    only adds questions, and right answers take each position equally often.

    Args:
        task: one of ``MINIATURE_TASKS``, by name or abbreviation.
        n: how many questions.
        seed: another seed makes other questions.
        split: ``train`` to learn from, ``select`` to decide by, ``report`` to report on.

    Raises:
        InputError: no such task or split.
    """
    name = _name(task, split)
    return (question(name, index, seed=seed, split=split) for index in range(n))


def question(task: str, index: int, *, seed: int, split: Split) -> Question:
    """The question at ``index`` of a task's stream.

    Raises:
        InputError: no such task or split.
    """
    name = _name(task, split)
    scene = scene_of(name, index, seed=seed, split=split)
    kind = _KINDS[name]
    return Question(
        id=f"{split}-{seed}-{index}",
        task=name,
        prompt=kind.prompt,
        options=kind.options,
        answer=LETTERS[scene.answer],
        images=(png(render(scene)),),
    )


def scene_of(task: str, index: int, *, seed: int, split: Split) -> Scene:
    """What the picture of that question shows.

    Raises:
        InputError: no such task or split.
    """
    name = _name(task, split)
    kind = _KINDS[name]
    options = len(kind.options)
    # Every run of as many questions as there are options has each position once, in an order of its own.
    block, place = divmod(index, options)
    answer = int(_stream(name, split, seed, "answers", block).permutation(options)[place])
    stream = _stream(name, split, seed, "scene", index)
    return replace(kind.compose(stream, answer), fog=float(stream.uniform(*FOG)))


def _name(task: str, split: str) -> str:
    if split not in get_args(Split):
        raise InputError(f"unknown split '{split}': one of {', '.join(get_args(Split))}")
    try:
        return resolve_name(task, MINIATURE_TASKS, list(_KINDS))
    except KeyError as error:
        raise InputError(f"{error.args[0]}; the miniature has {', '.join(_KINDS)}") from error


def _stream(*parts: str | int) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
