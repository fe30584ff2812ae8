"""How far a matrix can be trusted: spread and sign flips between runs, reliability, where the error comes from, and which
transfers differ significantly from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from tvt.core.matrix import TransferMatrix
from tvt.core.values import by_fields
from tvt.stats.noise import holm, pooled_degrees
from tvt.stats.ranks import ZERO, correlation, rank_correlation
from tvt.transfer.aggregates import run_mean
from tvt.types import Bools, Floats

MOST_SPLITS = 500
"""Ways to halve the runs that are looked at; with 12 runs or fewer these are all."""


@dataclass(frozen=True)
class Noise:
    """The noise report of one study; NaN where it cannot be known (one run, say)."""

    runs: int
    cells: int
    """Measured cells, self-transfer among them."""
    missing: int
    run_sd_median: float
    """Standard deviation of a cell between the runs (n - 1), self-transfer among them."""
    run_sd_max: float
    noisiest: tuple[str, str] | None
    """Source and target of the cell with the largest one."""
    sign_flips: tuple[tuple[str, str], ...] = field(metadata={"json": "sign_flip_cells"})
    """Cells that are positive in one run and negative in another."""
    split_half: float
    """Correlation of the off-diagonal cells between halves of the runs, mean over the ways to halve them."""
    reliability: float
    """The same stepped up to all runs by Spearman and Brown, ``2r / (1 + r)``."""
    seed_se_median: float = field(metadata={"json": "se_seed_median"})
    item_se_median: float = field(metadata={"json": "se_items_median"})
    item_share: float
    """Share of the error variance of the mean matrix that comes from the finite number of questions, the rest being between
    runs. An upper bound where it is not known which questions were right both before and after."""

    def json_value(self) -> dict[str, Any]:
        """The fields, and how many signs flip."""
        return {**by_fields(self), "sign_flips": len(self.sign_flips)}


def noise(matrix: TransferMatrix) -> Noise:
    """Report on the noise of a study."""
    values = matrix.values
    count = np.isfinite(values).sum(axis=0)
    sd = matrix.seed_error * np.sqrt(count)
    known = np.isfinite(sd).any()
    worst = np.unravel_index(np.nanargmax(sd), sd.shape) if known else None
    half = split_half(matrix)
    seed, item = matrix.seed_error, matrix.item_error
    return Noise(
        runs=len(matrix.runs),
        cells=int((count > 0).sum()),
        missing=int((count == 0).sum()),
        run_sd_median=_median(sd),
        run_sd_max=float(np.nanmax(sd)) if known else float("nan"),
        noisiest=None if worst is None else (matrix.sources[worst[0]], matrix.targets[worst[1]]),
        sign_flips=tuple(
            (matrix.sources[i], matrix.targets[j]) for i, j in zip(*np.nonzero(sign_unstable(values)), strict=True)
        ),
        split_half=half,
        # Spearman and Brown's step means nothing for halves that disagree.
        reliability=2 * half / (1 + half) if half > 0 else (half if np.isnan(half) else 0.0),
        seed_se_median=_median(seed),
        item_se_median=_median(item),
        item_share=_share(item, seed),
    )


def sign_unstable(values: Floats) -> Bools:
    """Whether a cell is positive in one run and negative in another, from (runs, sources, targets)."""
    positive, negative = np.any(values > ZERO, axis=0), np.any(values < -ZERO, axis=0)
    return np.asarray(positive & negative, dtype=bool)


def split_half(matrix: TransferMatrix) -> float:
    """Mean correlation of the off-diagonal cells between halves of the runs; NaN with fewer than two runs.

    With an odd number of runs one half has one more. Of more than ``MOST_SPLITS`` ways a fixed sample is taken.
    """
    runs = len(matrix.runs)
    if runs < 2:
        return float("nan")
    off = ~matrix.self_cells
    found = []
    for half in _halves(runs):
        rest = [k for k in range(runs) if k not in half]
        found.append(correlation(*(run_mean(matrix.values[list(part)])[off] for part in (half, rest))))
    kept = [r for r in found if np.isfinite(r)]
    return float(np.mean(kept)) if kept else float("nan")


def between_studies(a: TransferMatrix, b: TransferMatrix) -> tuple[float, int]:
    """Spearman's correlation of the off-diagonal mean cells that both studies have, and the number of these cells."""
    first = _cells(a)
    second = _cells(b)
    shared = [cell for cell in first if cell in second]
    pair = (np.array([of[cell] for cell in shared], dtype=float) for of in (first, second))
    return rank_correlation(*pair), len(shared)


def _cells(matrix: TransferMatrix) -> dict[tuple[str, str], float]:
    mean = matrix.mean
    return {
        (s, t): float(mean[i, j])
        for i, s in enumerate(matrix.sources)
        for j, t in enumerate(matrix.targets)
        if s != t and np.isfinite(mean[i, j])
    }


def _halves(runs: int) -> list[tuple[int, ...]]:
    """Positions of one half of every way to halve the runs."""
    size = runs // 2
    if runs <= 12:
        halves = list(combinations(range(runs), size))
        # With an even number every way turns up twice, as a half and as its rest.
        return [half for half in halves if runs % 2 or 0 in half]
    rng = np.random.default_rng(0)
    return [tuple(int(k) for k in rng.permutation(runs)[:size]) for _ in range(MOST_SPLITS)]


def _median(values: Floats) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _share(item: Floats, seed: Floats) -> float:
    """Share of the summed variance over the cells where both are known."""
    both = np.isfinite(item) & np.isfinite(seed)
    first, second = float(np.sum(item[both] ** 2)), float(np.sum(seed[both] ** 2))
    return first / (first + second) if first + second > 0 else float("nan")


ALPHA = 0.05


@dataclass(frozen=True)
class Significance:
    """Cells whose mean differs from 0 beyond the noise of seeds and questions; own gains and transfers are two families."""

    helps: tuple[tuple[str, str], ...]
    """Source and target of transfers between tasks that stand out above 0."""
    harms: tuple[tuple[str, str], ...]
    own: tuple[str, ...]
    """Tasks whose own gain stands out above 0."""
    tested: int
    """Transfers between tasks that could be tested."""
    own_tested: int


def significance(matrix: TransferMatrix, alpha: float = ALPHA) -> Significance | None:
    """Test every cell's mean over the runs; ``None`` where runs or counts of questions are too few to know both noises.

    The variance of a mean is that of the questions, paired where it is known which were right both before and after, plus that
    between runs over the number of runs (:mod:`tvt.stats.noise`: runs of all sources are taken to vary alike on a target).
    Student's t with Satterthwaite's degrees of freedom, the questions' counting as many; Holm's correction, over the transfers
    between tasks and over the own gains each by itself.
    """
    p = p_values(matrix)
    return None if p is None else stand_out(matrix, p, matrix.mean, alpha)


def stand_out(matrix: TransferMatrix, p: Floats, mean: Floats, alpha: float = ALPHA) -> Significance | None:
    """The cells that differ from 0 once their p-values are corrected by Holm; ``None`` where no cell could be tested.

    Args:
        matrix: the study.
        p: two-sided, (sources, targets), NaN where a cell could not be tested.
        mean: what was tested, (sources, targets).
        alpha: level.
    """
    if not np.isfinite(p).any():
        return None
    own = matrix.self_cells
    apart, same = _stand_out(p, ~own, alpha), _stand_out(p, own, alpha)

    def named(chosen: Bools) -> tuple[tuple[str, str], ...]:
        return tuple((matrix.sources[i], matrix.targets[j]) for i, j in zip(*np.nonzero(chosen), strict=True))

    return Significance(
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
