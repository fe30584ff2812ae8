"""Which run to do next: the one that may change the selected mixture, or none when nothing left to run would.

A source's row of the transfer matrix is known from ``n`` of its ``N`` seeds (runs at work count as done). With ``s_t`` the
run-to-run standard deviation of a target's cells (:func:`run_variance`), the mean that all seeds would give lies within
``z s_t sqrt(1/n - 1/N)`` of the present one, at the request's confidence. The row is moved to both ends of that interval, the
mixture is selected again, and what the present mixture would then lose is its *possible regret*; the mean of both ends decides,
which is the value of the runs by two points (Frazier, Powell and Dayanik 2008, "A knowledge-gradient policy").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.objective import MET
from tvt.core.selection import SelectionSpec
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.evidence.evidence import Evidence
from tvt.evidence.measured import lower_bounds
from tvt.selection.audit import objective_value, tidy
from tvt.selection.engine import BETTER, Prepared, prepare, select
from tvt.stats.noise import PRIOR_RUNS, normal_factor, pooled_variance
from tvt.types import Floats

REGRET = 0.002
"""Gain (PGF) below which a possible regret is no reason for another run."""
MOVED = 0.02
"""Share of the weight below which a mixture counts as unmoved."""
UNSEEN = 0.5
"""Share of the variance between a target's sources that is taken for the one between runs, until there are runs to tell."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """When a mixture is stable: no end of any interval costs as much as ``regret`` and moves as much as ``moved``."""

    regret: float = REGRET
    moved: float = MOVED


@dataclass(frozen=True, kw_only=True)
class RunsLeft(Frozen):
    """How far the study is: each source's seeds that are not begun, in order, and how many are at work."""

    left: Mapping[str, Sequence[int]]
    going: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """The next run, and why it in a sentence."""

    source: str
    seed: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """No run is worth it, and why not in a sentence."""

    why: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Swing:
    """What the ends of a source's interval do to the mixture."""

    source: str
    runs: int
    weight: float
    """Its own in the present mixture."""
    regret: float
    """Mean of both ends."""
    worst: float
    """The larger of both, in units of the objective."""
    moved: float
    """Share of the weight that moves at the worse end."""
    end: str
    """``low`` or ``high``: the worse one."""

    @property
    def order(self) -> tuple[float, float, int, float, str]:
        """Sorts the most worthwhile source first."""
        return (-round(self.regret, 9), -round(self.moved, 6), self.runs, -self.weight, self.source)


def next_run(
    matrix: TransferMatrix | None, spec: SelectionSpec, progress: RunsLeft, tolerance: Tolerance | None = None
) -> NextRun | Stop | None:
    """The next run to do.

    Args:
        matrix: what is measured so far; ``None`` before there is anything.
        spec: what is asked of the mixture. Names are looked up in the matrix.
        progress: what can still be run, and what is at work.
        tolerance: when the mixture counts as stable.

    Returns:
        a run; a reason to stop; or ``None`` while a source's first run is at work, since nothing can be said before.

    Raises:
        InputError: the request does not fit the matrix.
    """
    tolerance = tolerance or Tolerance()
    counts = _counts(matrix)
    for source, seeds in progress.left.items():
        if seeds and not counts.get(source) and not progress.going.get(source):
            return NextRun(source=source, seed=seeds[0], why=f"{source}, seed {seeds[0]}: its first run")
    if any(not counts.get(source) for source, at_work in progress.going.items() if at_work):
        return None
    if matrix is None:
        raise InputError("nothing was measured: no source has a run that succeeded and none is left to try")
    open_ = [source for source, seeds in progress.left.items() if seeds and counts.get(source)]
    if not open_:
        return Stop(why="no run is left: every seed of every source is done or at work")
    return _most_worthwhile(Outlook(matrix, spec, progress), open_, tolerance)


def _most_worthwhile(outlook: Outlook, sources: Sequence[str], tolerance: Tolerance) -> NextRun | Stop:
    """The run of one of the sources that may change most, or why none does."""
    if outlook.weights is None:
        source = min(sources, key=lambda s: (outlook.known(s), s))
        return outlook.choice(source, "no mixture meets the request so far")
    swings = sorted((outlook.swing(s) for s in sources if s in outlook.prepared.request.sources), key=lambda s: s.order)
    for swing in swings:
        if swing.worst >= tolerance.regret and swing.moved >= tolerance.moved:
            return outlook.choice(swing.source, _why(swing))
    if swings and outlook.blind:
        return outlook.choice(swings[0].source, "no source has two runs, which would tell what runs differ by")
    return _settled(outlook, swings)


def _counts(matrix: TransferMatrix | None) -> dict[str, int]:
    """Runs that each source has."""
    return {} if matrix is None else dict(zip(matrix.sources, map(int, matrix.run_count.max(axis=1)), strict=True))


def _why(swing: Swing) -> str:
    if not np.isfinite(swing.worst):
        return f"at the {swing.end} end of its interval no mixture would meet the request"
    change = f"the mixture would move {swing.moved:.0%} of its weight, worth {swing.worst:.3f}"
    return f"at the {swing.end} end of its interval {change}"


def _settled(outlook: Outlook, swings: Sequence[Swing]) -> NextRun | Stop:
    """The mixture is stable: stop, unless it is open whether it helps at all."""
    if not outlook.trains:
        return Stop(why="nothing helps: no source's interval reaches high enough to lift what is asked for")
    if outlook.credible:
        largest = max((s.worst for s in swings), default=0.0)
        return Stop(why=f"the mixture is stable: no source's interval can cost it more than {largest:.3f}")
    bounds = {swing.source: outlook.best_bound(swing.source) for swing in swings}
    best = max(bounds, key=lambda s: (bounds[s], s), default=None)
    if best is None or bounds[best] <= 0:
        return Stop(why="nothing helps credibly, and the runs that are left would not change that")
    return outlook.choice(best, "the mixture is stable, but not yet credibly of help")


class Outlook:
    """The present mixture, and what it would become if a source's runs came out otherwise."""

    def __init__(self, matrix: TransferMatrix, spec: SelectionSpec, progress: RunsLeft) -> None:
        self.matrix, self.spec, self.progress = matrix, Evidence.of(matrix).settled(spec), progress
        self.prepared = prepare(matrix, self.spec)
        self.weights = self._solve(self.prepared)
        self._spread = np.sqrt(run_variance(matrix))
        self._z = normal_factor(spec.confidence)

    @property
    def trains(self) -> bool:
        """Whether the best mixture is better than the base model."""
        return self.weights is not None and bool(self.weights.any())

    @property
    def credible(self) -> bool:
        """Whether the engine decides to train."""
        return bool(getattr(select(self.matrix, self.spec), "verdict", None) == "train")

    @property
    def blind(self) -> bool:
        """Whether no runs tell what runs differ by, and none at work will."""
        return not np.isfinite(self.matrix.run_variance).any() and not any(self.progress.going.values())

    def choice(self, source: str, why: str) -> NextRun:
        """The next run of a source."""
        seed = self.progress.left[source][0]
        return NextRun(source=source, seed=seed, why=f"{source}, seed {seed}: {why}")

    def known(self, source: str) -> int:
        """Runs of a source that are done or at work."""
        return _counts(self.matrix)[source] + self.progress.going.get(source, 0)

    def swing(self, source: str) -> Swing:
        """What both ends of a source's interval do."""
        assert self.weights is not None  # noqa: S101 - there is a mixture to move
        own = self.weights[self.prepared.request.sources.index(source)]
        found = {"high": self._at(source, 1.0)}
        # Less gain of a source that is not used makes no other mixture better, and leaves the present one as it is.
        found["low"] = self._at(source, -1.0) if own > 0 else (0.0, 0.0)
        end = max(found, key=lambda e: found[e])
        return Swing(
            source=source,
            runs=self.known(source),
            weight=float(own),
            regret=float(np.mean([regret for regret, _ in found.values()])),
            worst=found[end][0],
            moved=found[end][1],
            end=end,
        )

    def best_bound(self, source: str) -> float:
        """The best lower bound of a gain that counts, if all of a source's runs came out at the high end."""
        matrix = self._moved(source, 1.0, rest=True)
        moved = prepare(matrix, self.spec)
        assert moved.completed is not None  # noqa: S101 - the evidence is a matrix
        bounds = lower_bounds(matrix, moved.completed, self.spec.confidence, len(moved.request.sources))
        return float(bounds[moved.completed.sources.index(source), moved.request.counting].max())

    def _at(self, source: str, sign: float) -> tuple[float, float]:
        """Possible regret of the present mixture at one end, and the share of weight that moves there."""
        assert self.weights is not None  # noqa: S101
        moved = prepare(self._moved(source, sign), self.spec)
        weights = self._solve(moved)
        if weights is None:
            return np.inf, 1.0
        regret = _gap(_value(moved, weights), _value(moved, self.weights))
        share = max(np.maximum(weights - self.weights, 0).sum(), np.maximum(self.weights - weights, 0).sum())
        return regret, float(share)

    def _solve(self, prepared: Prepared) -> Floats | None:
        """The mixture over the allowed sources, all 0 where the base model is as good; None where none meets the request."""
        solution = prepared.solve()
        if solution.weights is None:
            return None
        weights = tidy(solution.weights, prepared.request)
        nothing = np.zeros_like(weights)
        better = _gap(_value(prepared, weights), _value(prepared, nothing)) > BETTER
        return weights if self.spec.anyway or better else nothing

    def _moved(self, source: str, sign: float, *, rest: bool = False) -> TransferMatrix:
        """The matrix with a source's row at one end of its interval; with ``rest``, its missing runs are filled in there."""
        i, known = self.matrix.sources.index(source), self.known(source)
        every = known + len(self.progress.left[source])
        reach = sign * self._z * self._spread * np.sqrt(1 / known - 1 / every)
        values = self.matrix.values.copy()
        values[:, i] += reach
        if rest:
            values[:, i] = self.matrix.mean[i] + reach + _pattern(len(values))[:, None] * self._spread
        return replace(self.matrix, values=values)


def run_variance(matrix: TransferMatrix) -> Floats:
    """Variance between runs, by target, carefully: what is measured, or more where a guess beside few runs says so.

    The guess is a share (``UNSEEN``) of the variance between a target's sources, drawn toward that of all targets as the
    measured one is. Beside the repeats of all cells it counts as four: two runs that happen to agree do not prove that there
    is no noise.
    """
    others = np.where(matrix.self_cells, np.nan, matrix.mean)
    guess = np.nan_to_num(UNSEEN * pooled_variance(others[:, None]))
    measured = np.nan_to_num(matrix.run_variance)
    freedom = float(np.maximum(matrix.run_count - 1, 0).sum())
    careful: Floats = np.maximum(measured, (PRIOR_RUNS * guess + freedom * measured) / (PRIOR_RUNS + freedom))
    return careful


def _pattern(runs: int) -> Floats:
    """Numbers with mean 0 and sample variance 1 (one number: 0)."""
    steps: Floats = np.arange(runs, dtype=np.float64) - (runs - 1) / 2
    return steps / float(steps.std(ddof=1)) if runs > 1 else steps


def _value(prepared: Prepared, weights: Floats) -> tuple[float, ...]:
    return objective_value(weights, prepared.request, prepared.response, prepared.samples)


def _gap(better: tuple[float, ...], worse: tuple[float, ...]) -> float:
    """By how much an objective is better, at least 0; that of the second value where the first ties."""
    gap = better[0] - worse[0]
    if len(better) > 1 and abs(gap) <= MET:
        gap = better[1] - worse[1]
    return max(gap, 0.0)
