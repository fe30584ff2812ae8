"""Several studies read side by side: one matrix with the runs of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import join
from tvt.errors import InputError


def pool(matrices: Sequence[TransferMatrix]) -> TransferMatrix:
    """One matrix with the runs of all; a cell that a study lacks is missing in its runs. The spread between studies then counts
    as spread between runs. Mixture and dose runs beside the studies stand side by side too.

    Raises:
        InputError: different metrics, or no matrix.
    """
    if not matrices:
        raise InputError("no study given; name one, e.g. qwen2.5-vl-7b, a folder or a CSV")
    if len(matrices) == 1:
        return matrices[0]
    if len({m.metric for m in matrices}) > 1:
        raise InputError("the studies mix PGF and other gains; select on one kind at a time")
    return _joined([_named(m) for m in matrices], matrices)


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
