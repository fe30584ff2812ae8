"""Runs with weights and what they scored: a table of past mixture runs, or the mixture and dose runs beside a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tvt.core.notebook import Frame, counted, runs_frame, runs_html
from tvt.core.scores import MixtureScore, Score, item_standard_error, perfection_gap_factor
from tvt.core.values import Frozen, aligned
from tvt.types import Bools, Floats

NOTHING = 1e-12
"""A weight no larger is none: what is left of rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureRuns(Frozen):
    """``weights`` is (runs, sources); ``scores`` is (runs, targets), NaN where missing.

    In a table of past mixture runs the rows of ``weights`` sum to 1. Beside a study they are shares of its budget, so those of
    doses sum to less, and ``scores`` are gains in the study's metric.

    ``lower_is_better`` is true for losses. ``notes`` says what was mended while reading (e.g. renormalised rows).
    """

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Floats
    scores: Floats
    errors: Floats | None = None
    """Standard errors of ``scores`` from the finite number of questions, (runs, targets); NaN (or no array) where unknown."""
    runs: tuple[str, ...] = ()
    """The run (seed) of each row; empty where the table does not say."""
    lower_is_better: bool = False
    notes: tuple[str, ...] = ()
    digest: str = ""

    def __repr__(self) -> str:
        axes = (self.ids, "run"), (self.sources, "source"), (self.targets, "target")
        losses = ", lower is better" if self.lower_is_better else ""
        return f"MixtureRuns({', '.join(counted(len(names), noun) for names, noun in axes)}{losses})"

    def _repr_html_(self) -> str:
        return runs_html(self)

    def to_frame(self) -> Frame:
        """A pandas table, a row a run: id, ``w:SOURCE``, ``score:TARGET``. ``tvt.load_mixture_runs`` reads it.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return runs_frame(self)

    @property
    def known_errors(self) -> Floats:
        """``errors``, all NaN where there are none."""
        return np.full(self.scores.shape, np.nan) if self.errors is None else self.errors

    @property
    def doses(self) -> Bools:
        """True for runs on one source alone with less than the whole budget, (runs,)."""
        alone: Bools = ((self.weights > NOTHING).sum(axis=1) == 1) & (self.weights.sum(axis=1) < 1 - 1e-6)
        return alone

    @property
    def mixtures(self) -> Bools:
        """True for runs on several sources, (runs,)."""
        several: Bools = (self.weights > NOTHING).sum(axis=1) > 1
        return several

    def take(self, keep: Sequence[int]) -> MixtureRuns:
        """Some of the rows (positions)."""
        kept = list(keep)
        return replace(
            self,
            ids=tuple(self.ids[k] for k in kept),
            weights=self.weights[kept],
            scores=self.scores[kept],
            errors=None if self.errors is None else self.errors[kept],
            runs=tuple(self.runs[k] for k in kept) if self.runs else (),
        )

    def reindex(self, *, sources: Sequence[str] | None = None, targets: Sequence[str] | None = None) -> MixtureRuns:
        """The same rows over other names, in their order: a new source has weight 0, a new target is missing."""
        source = self.sources, tuple(self.sources if sources is None else sources)
        target = self.targets, tuple(self.targets if targets is None else targets)
        return replace(
            self,
            sources=source[1],
            targets=target[1],
            weights=aligned(self.weights, None, source, missing=0.0),
            scores=aligned(self.scores, None, target),
            errors=None if self.errors is None else aligned(self.errors, None, target),
        )

    def without_runs(self, runs: Iterable[str]) -> MixtureRuns | None:
        """The rows of other runs than these; ``None`` where none is left. Rows that name no run stay."""
        gone = set(runs)
        if not self.runs or not gone:
            return self
        keep = [k for k, run in enumerate(self.runs) if run not in gone]
        return self.take(keep) if keep else None

    def cells(self) -> list[tuple[str, str, str, str, str]]:
        """Plain values that name the content, in whatever order rows and columns stand."""
        errors = self.known_errors
        found = []
        for k, name in enumerate(self.ids):
            weights = sorted((s, float(w)) for s, w in zip(self.sources, self.weights[k], strict=True) if w > NOTHING)
            for j, target in enumerate(self.targets):
                found.append((name, repr(weights), target, repr(float(self.scores[k, j])), repr(float(errors[k, j]))))
        return sorted(found)


def join(parts: Sequence[MixtureRuns]) -> MixtureRuns | None:
    """The rows of all parts over the sources and targets of all; ``None`` where there is no part.

    A source that a part lacks has weight 0 in its rows, a target it lacks is missing. Equal ids get a number.
    """
    if len(parts) < 2:
        return parts[0] if parts else None
    sources = tuple(dict.fromkeys(s for p in parts for s in p.sources))
    targets = tuple(dict.fromkeys(t for p in parts for t in p.targets))
    parts = [part.reindex(sources=sources, targets=targets) for part in parts]
    return MixtureRuns(
        ids=_distinct([name for p in parts for name in p.ids]),
        sources=sources,
        targets=targets,
        weights=np.concatenate([p.weights for p in parts]),
        scores=np.concatenate([p.scores for p in parts]),
        errors=np.concatenate([p.known_errors for p in parts]),
        # A row without a run of its own gets a name that is no study's run, so that it is never left out with one.
        runs=tuple(run for p in parts for run in (p.runs or ("",) * len(p.ids))),
        notes=tuple(dict.fromkeys(text for p in parts for text in p.notes)),
    )


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(distinct)


def mixture_gains(
    mixtures: Sequence[MixtureScore],
    base: Mapping[str, Mapping[str, Score]],
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    ceilings: Mapping[str, float],
) -> MixtureRuns | None:
    """PGF of runs with weights, one row per (mixture, run) with the id ``mixture/run``; ``None`` where there are none.

    Args:
        mixtures: evaluations of runs with weights.
        base: the base model's scores, target -> run -> score. A run without one of its own uses the only one of the target.
        sources, targets: the study's; sources that only mixtures have come behind them.
        ceilings: ceiling accuracy by target, 1 where absent.

    A gain is NaN where the base is missing or not below the ceiling. Its error is that of
    :func:`tvt.core.scores.item_standard_error`, paired where the counts say so.
    """
    if not mixtures:
        return None
    rows: dict[tuple[str, str], MixtureScore] = {}
    for score in mixtures:
        rows.setdefault((score.mixture, score.run), score)
    names = tuple(dict.fromkeys((*sources, *(s for m in rows.values() for s, w in m.weights.items() if w > 0))))
    weights = np.array([[m.weights.get(s, 0.0) for s in names] for m in rows.values()], dtype=float)
    after, before, asked, both = (np.full((len(rows), len(targets)), np.nan) for _ in range(4))
    row, column = {key: k for k, key in enumerate(rows)}, {t: j for j, t in enumerate(targets)}
    for score in mixtures:
        known = base.get(score.target, {})
        found = known.get(score.run, next(iter(known.values())) if len(known) == 1 else None)
        if found is None or score.target not in column:
            continue
        at = row[score.mixture, score.run], column[score.target]
        after[at], before[at] = score.accuracy, found.accuracy
        asked[at] = np.nan if found.total is None else min(score.total, found.total)
        both[at] = np.nan if score.both_correct is None else score.both_correct
    ceiling = np.array([ceilings.get(t, 1.0) for t in targets])
    return MixtureRuns(
        ids=tuple(f"{mixture}/{run}" for mixture, run in rows),
        sources=names,
        targets=tuple(targets),
        weights=weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0),  # shares that were rounded up
        scores=perfection_gap_factor(after, before, ceiling),
        errors=item_standard_error(after, before, ceiling, asked, both),
        runs=tuple(run for _, run in rows),
    )
