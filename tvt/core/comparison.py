"""A comparison of mixtures that were really trained: what is compared, and the answers that each gave, question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Kind = Literal["selected", "uniform", "random", "proportional", "best_single", "direct"]
Answers = npt.NDArray[np.bool_]
"""Whether each question of a target was answered correctly, in the order of its questions."""


class Entry(BaseModel):
    """One mixture of a comparison. All entries have the same budget, hence the same number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    """Unique in its comparison, e.g. ``random 2``."""
    kind: Kind
    weights: dict[str, float]
    counts: dict[str, int]
    """Integer examples per source; they sum to the budget."""
    about: str = ""
    """What it is in a few words, e.g. ``all on Jigsaw``."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The answers of one comparison's runs. Every run and the base model were asked the same questions of a target.

    ``answers`` is by entry label, seed and target; a run that failed or is not done yet is simply not there.
    """

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    ceilings: Mapping[str, float]
    base: Mapping[str, Answers]
    answers: Mapping[str, Mapping[int, Mapping[str, Answers]]]
    missing: Mapping[tuple[str, int], str]
    """Why a run (entry label, seed) is not there."""
