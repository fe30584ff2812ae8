"""Which transfers stand out of the noise: a test of every cell against 0, corrected for how many cells there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from tvt.core.matrix import TransferMatrix
from tvt.stats.multiplicity import holm
from tvt.stats.noise import pooled_degrees
from tvt.types import Bools, Floats

ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """Cells whose mean differs from 0 beyond the noise of seeds and questions; own gains and transfers are two families."""

    helps: tuple[tuple[str, str], ...]
    """Source and target of transfers between tasks that stand out above 0."""
    harms: tuple[tuple[str, str], ...]
    own: tuple[str, ...]
    """Tasks whose own gain stands out above 0."""
    tested: int
    """Transfers between tasks that could be tested."""
    own_tested: int


def standing(matrix: TransferMatrix, alpha: float = ALPHA) -> Standing | None:
    """Test every cell's mean over the runs; ``None`` where runs or counts of questions are too few to know both noises.

    The variance of a mean is that of the questions, paired where it is known which were right both before and after, plus that
    between runs over the number of runs (:mod:`tvt.stats.noise`: runs of all sources are taken to vary alike on a target).
    Student's t with Satterthwaite's degrees of freedom, the questions' counting as many; Holm's correction, over the transfers
    between tasks and over the own gains each by itself.
    """
    p = p_values(matrix)
    if p is None:
        return None
    own, mean = matrix.self_cells, matrix.mean
    apart, same = _stand_out(p, ~own, alpha), _stand_out(p, own, alpha)

    def named(chosen: Bools) -> tuple[tuple[str, str], ...]:
        return tuple((matrix.sources[i], matrix.targets[j]) for i, j in zip(*np.nonzero(chosen), strict=True))

    return Standing(
        helps=named(apart & (mean > 0)),
        harms=named(apart & (mean < 0)),
        own=tuple(source for source, _ in named(same & (mean > 0))),
        tested=int((np.isfinite(p) & ~own).sum()),
        own_tested=int((np.isfinite(p) & own).sum()),
    )


def p_values(matrix: TransferMatrix) -> Floats | None:
    """Two-sided p of every cell, (sources, targets), NaN where it cannot be tested; ``None`` where none can."""
    between = matrix.run_variance / np.maximum(matrix.run_count, 1)
    item = matrix.item_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (between + item) ** 2 / (between**2 / pooled_degrees(matrix.values))
        p = 2 * stats.t.sf(np.abs(matrix.mean) / np.sqrt(between + item), df)
    found: Floats = np.asarray(p, dtype=float)
    return found if np.isfinite(found).any() else None


def _stand_out(p: Floats, family: Bools, alpha: float) -> Bools:
    chosen = family & np.isfinite(p)
    found = np.zeros(p.shape, dtype=bool)
    found[chosen] = np.array(holm(p[chosen].tolist()), dtype=float) < alpha
    return found
