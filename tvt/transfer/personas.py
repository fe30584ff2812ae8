"""Personas: tasks that stand out as donor, pirate, sponge or sieve over all runs of all studies given.

Source of the test: Sachdeva, Uppal, Java, Balasubramanian, CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.stats.ranks import least_p, signed_rank_p
from tvt.transfer.aggregates import per_run
from tvt.types import Floats

KINDS: Mapping[str, tuple[str, int]] = {
    "donor": ("source", 1),
    "pirate": ("source", -1),
    "sponge": ("target", 1),
    "sieve": ("target", -1),
}
"""Persona -> the side it is about and the sign of its aggregate."""
ALPHA = 0.01


@dataclass(frozen=True)
class Persona:
    """How one task stands against the others in one respect."""

    kind: str
    task: str
    values: tuple[float, ...]
    """Its aggregate's magnitude minus the other tasks' mean, one a (study, run)."""
    studies: tuple[int, ...]
    """Position of the study that each value is from."""
    p: float

    @property
    def median(self) -> float:
        """Median of the values."""
        return float(np.median(self.values)) if self.values else float("nan")


@dataclass(frozen=True)
class Personas:
    """All tests, the level they are held against, and what limits them."""

    tests: tuple[Persona, ...]
    alpha: float

    def passing(self, kind: str) -> dict[str, float]:
        """Task -> p of the tasks that pass, least p first."""
        found = [(t.p, t.task) for t in self.tests if t.kind == kind and t.p <= self.alpha]
        return {task: p for p, task in sorted(found)}

    def of(self, kind: str) -> tuple[Persona, ...]:
        """The tests of one persona, in the order of the tasks."""
        return tuple(t for t in self.tests if t.kind == kind)

    @property
    def note(self) -> str | None:
        """Why no task can pass, where the values are too few for it."""
        most = max((len(t.values) for t in self.tests), default=0)
        if most == 0:
            return "no persona can be decided: no task has another to be compared with"
        if least_p(most) <= self.alpha:
            return None
        needed = int(np.ceil(-np.log2(self.alpha)))
        return (
            f"no persona can be decided: with {most} (study, run) values p cannot go below {least_p(most):.4g}; "
            f"alpha {self.alpha:g} needs {needed}, so give more runs or studies, or a larger --alpha"
        )


def personas(matrices: Sequence[TransferMatrix], *, alpha: float = ALPHA, with_self: bool = False) -> Personas:
    """Test every task for every persona.

    The statistic of a task is the magnitude of its aggregate minus the mean over the other tasks of that study and run; the
    test is the one-sided Wilcoxon signed-rank test over one value per (study, run). The p-values are not corrected for
    the number of tests: among m of them about ``m * alpha`` pass by chance.

    Args:
        matrices: one or more studies; a task counts in the studies that have it.
        alpha: level.
        with_self: whether self-transfer counts.
    """
    found: list[Persona] = []
    for kind, (side, sign) in KINDS.items():
        values: dict[str, list[tuple[float, int]]] = {}
        for position, matrix in enumerate(matrices):
            names = matrix.sources if side == "source" else matrix.targets
            distance = _against_others(np.abs(per_run(matrix, side, sign, with_self=with_self)))
            for at, name in enumerate(names):
                values.setdefault(name, []).extend((float(v), position) for v in distance[:, at] if np.isfinite(v))
        found += [_persona(kind, name, of) for name, of in values.items()]
    return Personas(tuple(found), alpha)


def _persona(kind: str, task: str, values: Sequence[tuple[float, int]]) -> Persona:
    of = tuple(value for value, _ in values)
    p = signed_rank_p(np.array(of, dtype=float))
    return Persona(kind, task, of, tuple(position for _, position in values), p)


def _against_others(values: Floats) -> Floats:
    """Each value minus the mean of the other tasks' in its run, (runs, tasks); NaN where there is no other."""
    count = np.isfinite(values).sum(axis=1, keepdims=True)
    total = np.nansum(values, axis=1, keepdims=True)
    return np.where(count > 1, values - (total - values) / np.maximum(count - 1, 1), np.nan)
