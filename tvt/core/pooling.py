"""Several studies read side by side: one matrix with the runs of all, and how far studies agree."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import join
from tvt.errors import InputError
from tvt.stats.ranks import rank_correlation


def pool(matrices: Sequence[TransferMatrix]) -> TransferMatrix:
    """One matrix of several studies; a cell that a study lacks is missing in its runs.

    Studies of one model stand side by side with all their runs. Studies of different models are a run each, the mean of their
    own: a model's runs are no independent evidence on another model, so that the spread between models is the noise, however
    many runs each has. Mixture and dose runs beside the studies stand side by side.

    Raises:
        InputError: different metrics, or no matrix.
    """
    if not matrices:
        raise InputError("no study given; name one, e.g. qwen2.5-vl-7b, a folder or a CSV")
    if len(matrices) == 1:
        return matrices[0]
    if len({m.metric for m in matrices}) > 1:
        raise InputError("the studies mix PGF and other gains; select on one kind at a time")
    if len({m.model for m in matrices}) > 1:
        return _joined([_one_run(m) for m in matrices], matrices)
    return _joined([_named(m) for m in matrices], matrices)


def agreement(matrices: Sequence[TransferMatrix]) -> float:
    """How far studies agree on who helps whom: the mean over pairs of studies and their common targets of Spearman's rank
    correlation over common sources, own data left out; NaN where no target has three common sources.
    """
    found = []
    for first, second in combinations(matrices, 2):
        targets = [t for t in first.targets if t in second.targets]
        sources = [s for s in first.sources if s in second.sources]
        one, other = (m.reindex(sources=sources, targets=targets) for m in (first, second))
        for a, b, own in zip(one.mean.T, other.mean.T, one.self_cells.T, strict=True):
            both = np.isfinite(a) & np.isfinite(b) & ~own
            if both.sum() > 2:
                found.append(rank_correlation(a[both], b[both]))
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _one_run(matrix: TransferMatrix) -> TransferMatrix:
    """The means of a study as one run, which carries its name."""
    name, missing = matrix.name, np.argwhere(~np.isfinite(matrix.mean))
    cells = [(matrix.sources[i], matrix.targets[j]) for i, j in missing]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing stays NaN
        base, after = np.nanmean(matrix.base, axis=0), np.nanmean(matrix.after, axis=0)
    return replace(
        _named(matrix),
        runs=(name,),
        values=matrix.mean[None],
        item_errors=matrix.item_error[None],
        base=base[None],
        after=after[None],
        reasons={(name, s, t): why for s, t in cells if (why := matrix.reason(s, t)) is not None},
        doses=None if matrix.doses is None else np.array([[matrix.dose.get(s, 1.0) for s in matrix.sources]]),
        placebo=None if matrix.placebo is None else _one_run(replace(matrix.placebo, name=name)),
    )


def _joined(named: Sequence[TransferMatrix], matrices: Sequence[TransferMatrix]) -> TransferMatrix:
    """Matrices whose runs have names of their own, over the sources and targets of all."""
    sources = tuple(dict.fromkeys(s for m in matrices for s in m.sources))
    targets = tuple(dict.fromkeys(t for m in matrices for t in m.targets))
    named = [m.reindex(sources=sources, targets=targets, missing=True) for m in named]
    values, item_errors, after, base = (
        np.concatenate([getattr(m, field) for m in named]) for field in ("values", "item_errors", "after", "base")
    )
    tasks = {task.name: task for m in reversed(matrices) for task in m.tasks}
    doses = [np.ones((len(m.runs), len(sources))) if m.doses is None else m.doses for m in named]
    placebos = [m.placebo for m in named if m.placebo is not None]
    return TransferMatrix(
        name="+".join(m.name for m in matrices),
        sources=sources,
        targets=targets,
        runs=tuple(run for m in named for run in m.runs),
        values=values,
        item_errors=item_errors,
        base=base,
        after=after,
        reasons={cell: why for m in named for cell, why in m.reasons.items()},
        tasks=tuple(tasks.values()),
        metric=matrices[0].metric,
        evidence=join([m.evidence for m in named if m.evidence is not None]),
        doses=None if all(m.doses is None for m in named) else np.concatenate(doses),
        placebo=_joined(placebos, placebos) if placebos else None,
    )


def _named(matrix: TransferMatrix) -> TransferMatrix:
    """The matrix whose runs, and those of its evidence, carry its name, so that those of several studies differ."""
    evidence = matrix.evidence
    return replace(
        matrix,
        runs=tuple(f"{matrix.name}/{run}" for run in matrix.runs),
        reasons={(f"{matrix.name}/{run}", source, target): why for (run, source, target), why in matrix.reasons.items()},
        placebo=None if matrix.placebo is None else _named(replace(matrix.placebo, name=matrix.name)),
        evidence=None
        if evidence is None
        else replace(
            evidence,
            ids=tuple(f"{matrix.name}/{name}" for name in evidence.ids),
            runs=tuple(f"{matrix.name}/{run}" for run in evidence.runs),
        ),
    )
