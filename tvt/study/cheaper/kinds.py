"""Cheaper studies that stand in a full one, or beside it: fewer of its runs, its runs at a dose, another study of its tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.errors import InputError

MOST_SUBSETS = 20
"""Choices of runs that are looked at; where there are more, a sample of them."""
_SAME_DOSE = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Cheap:
    """A cheaper study over the full one's sources and targets."""

    name: str
    matrix: TransferMatrix
    rest: TransferMatrix | None = None
    """The full study's runs that it leaves out, where it is made of the others."""


def by_runs(full: TransferMatrix, count: int, seed: int = 0) -> tuple[list[Cheap], int]:
    """Every choice of ``count`` runs (a sample of ``MOST_SUBSETS`` where there are more), and how many there are.

    Raises:
        InputError: the study has not more runs than that.
    """
    runs = len(full.runs)
    if not 0 < count < runs:
        have = "1 run" if runs == 1 else f"{runs} runs"
        step = "a cheaper study needs at least two to choose from" if runs < 2 else f"give --seeds from 1 to {runs - 1}"
        raise InputError(f"{full.name} has {have}; {step}")
    total = math.comb(runs, count)
    found = [
        Cheap(
            name=" + ".join(full.runs[k] for k in chosen),
            matrix=full.only_runs(chosen),
            rest=full.only_runs([k for k in range(runs) if k not in chosen]),
        )
        for chosen in _choices(runs, count, total, seed)
    ]
    return found, total


def _choices(runs: int, count: int, total: int, seed: int) -> list[tuple[int, ...]]:
    if total <= MOST_SUBSETS:
        return list(combinations(range(runs), count))
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < MOST_SUBSETS:
        drawn[tuple(sorted(rng.permutation(runs)[:count].tolist()))] = None
    return list(drawn)


def at_dose(full: TransferMatrix, dose: float) -> Cheap:
    """The study that the runs at ``dose`` of the budget make, which are kept beside the full one.

    Raises:
        InputError: there are none.
    """
    evidence = full.evidence
    rows = [] if evidence is None else np.flatnonzero(_at(evidence, dose, full.budget)).tolist()
    if evidence is None or not rows:
        doses = [] if evidence is None else sorted({round(float(x), 3) for x in evidence.weights[evidence.doses].sum(axis=1)})
        have = f"it has runs at {', '.join(f'{x:.3g}' for x in doses)}" if doses else "it has no runs on doses"
        step = f"add the dose to its recipe (doses: [1, {dose:g}]) and run it again"
        raise InputError(f"{full.name}: no run of a source at {dose:g} of the budget; {have}; {step}")
    kept = evidence.take(rows)
    labels = kept.runs or ("",) * len(rows)
    runs = tuple(dict.fromkeys(labels))
    shape = (len(runs), len(full.sources), len(full.targets))
    values, errors = (np.full(shape, np.nan) for _ in range(2))
    columns = [full.targets.index(t) for t in kept.targets if t in full.targets]
    inside = [j for j, t in enumerate(kept.targets) if t in full.targets]
    for row, run in enumerate(labels):
        source = kept.sources[int(kept.weights[row].argmax())]
        if source in full.sources:
            at = (runs.index(run), full.sources.index(source))
            values[at][columns] = kept.scores[row, inside]
            errors[at][columns] = kept.known_errors[row, inside]
    matrix = replace(
        full,
        name=f"{full.name} at {dose:.3g} of the budget",
        runs=runs,
        values=values,
        item_errors=errors,
        base=_base(full, runs),
        after=np.full(shape, np.nan),
        reasons={},
        budget=None if full.budget is None else max(1, round(dose * full.budget)),
        evidence=None,
    )
    return Cheap(name=f"at {dose:.3g} of the budget", matrix=matrix)


def _at(evidence: MixtureRuns, dose: float, budget: int | None) -> np.ndarray:
    """Rows on one source at a dose; a dose of few examples was rounded to whole ones."""
    near = _SAME_DOSE if budget is None else max(_SAME_DOSE, 0.51 / budget)
    return np.asarray(evidence.doses & (np.abs(evidence.weights.sum(axis=1) - dose) <= near))


def _base(full: TransferMatrix, runs: Sequence[str]) -> np.ndarray:
    known = {run: full.base[k] for k, run in enumerate(full.runs)}
    return np.stack([known.get(run, np.full(len(full.targets), np.nan)) for run in runs])


def beside(full: TransferMatrix, other: TransferMatrix) -> tuple[Cheap, tuple[str, ...]]:
    """Another study of the same tasks over the full one's sources and targets, and what it lacks or has more.

    Raises:
        InputError: they share no source or no target, or are measured in different metrics.
    """
    if other.metric != full.metric:
        raise InputError(f"{other.name} holds {other.metric} and {full.name} {full.metric}; judge like by like")
    rows, columns = ([n for n in ours if n in theirs] for ours, theirs in _sides(full, other))
    if not rows or not columns:
        raise InputError(f"{other.name} shares no {'target' if rows else 'source'} with {full.name}; check the tasks' names")
    shape = (len(other.runs), len(full.sources), len(full.targets))
    values, errors, after = (np.full(shape, np.nan) for _ in range(3))
    base = np.full((shape[0], shape[2]), np.nan)
    runs = range(len(other.runs))
    to = np.ix_(runs, [full.sources.index(s) for s in rows], [full.targets.index(t) for t in columns])
    of = np.ix_(runs, [other.sources.index(s) for s in rows], [other.targets.index(t) for t in columns])
    values[to], errors[to], after[to] = other.values[of], other.item_errors[of], other.after[of]
    base[:, to[2].ravel()] = other.base[:, of[2].ravel()]
    matrix = replace(
        other,
        sources=full.sources,
        targets=full.targets,
        values=values,
        item_errors=errors,
        after=after,
        base=base,
        reasons={cell: why for cell, why in other.reasons.items() if cell[1] in rows and cell[2] in columns},
        tasks=full.tasks,
    )
    notes = []
    for word, (ours, theirs) in zip(("source", "target"), _sides(full, other), strict=True):
        lacking, more = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
        notes += [f"{other.name} lacks the {word}s {', '.join(lacking)}"] if lacking else []
        notes += [f"{word}s that only {other.name} has are left out: {', '.join(more)}"] if more else []
    return Cheap(name=other.name, matrix=matrix), tuple(notes)


def _sides(full: TransferMatrix, other: TransferMatrix) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    return (full.sources, other.sources), (full.targets, other.targets)
