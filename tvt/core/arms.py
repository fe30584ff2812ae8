"""Mixtures beside each other: the arms of a comparison with the answers that each gave, and the candidates of a preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tvt.core.scores import PlaceboKind
from tvt.core.values import Frozen, FrozenModel

Kind = Literal["selected", "uniform", "random", "proportional", "best_single", "direct", "placebo"]
Answers = npt.NDArray[np.float64]
"""What each question's answer is worth, in [0, 1]: 1 where right, 0 where wrong; in the order of the target's questions."""


class Arm(FrozenModel):
    """One mixture of a comparison. All arms have the same budget, hence the same number of steps."""

    label: str
    """Unique in its comparison, e.g. ``random 2``."""
    kind: Kind
    weights: dict[str, float]
    counts: dict[str, int]
    """Integer examples per source; they sum to the budget."""
    about: str = ""
    """What it is in a few words, e.g. ``all on Jigsaw``."""
    placebo: PlaceboKind | None = None
    """What is done to the rows of a placebo, so that they teach nothing."""


@dataclass(frozen=True, kw_only=True)
class Measured(Frozen):
    """The answers of one comparison's runs. Every run and the base model were asked the same questions of a target.

    ``answers`` is by arm label, seed and target; a run that failed or is not done yet is simply not there.
    """

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    ceilings: Mapping[str, float]
    base: Mapping[str, Answers]
    answers: Mapping[str, Mapping[int, Mapping[str, Answers]]]
    missing: Mapping[tuple[str, int], str]
    """Why a run (arm label, seed) is not there."""


@dataclass(frozen=True, kw_only=True)
class Candidate(Frozen):
    """A mixture to look at. Its weights are its counts' shares, so that a mixture and the run on it are the same thing."""

    label: str
    """Unique among the candidates."""
    counts: Mapping[str, int]
    """Integer examples per source, only positive ones; they sum to the study's budget."""
    about: str = ""

    @property
    def weights(self) -> dict[str, float]:
        """Shares by source, summing to 1."""
        total = sum(self.counts.values())
        return {source: count / total for source, count in sorted(self.counts.items())}

    @property
    def single(self) -> bool:
        """Whether all is on one source: then the merge is that source's own adapter."""
        return len(self.counts) == 1
