"""Several studies read as one: their runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tvt.core.matrix import Cell, TransferMatrix
from tvt.core.mixture_runs import MixtureRuns, join
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
    sources = tuple(dict.fromkeys(s for m in matrices for s in m.sources))
    targets = tuple(dict.fromkeys(t for m in matrices for t in m.targets))
    labels = tuple(f"{m.name}/{run}" for m in matrices for run in m.runs)
    shape = (len(labels), len(sources), len(targets))
    values, item_errors, after = (np.full(shape, np.nan) for _ in range(3))
    base = np.full((shape[0], shape[2]), np.nan)
    reasons: dict[Cell, str] = {}
    first = 0
    for m in matrices:
        rows = slice(first, first + len(m.runs))
        at = np.ix_(range(rows.start, rows.stop), [sources.index(s) for s in m.sources], [targets.index(t) for t in m.targets])
        values[at], item_errors[at], after[at] = m.values, m.item_errors, m.after
        base[np.ix_(range(rows.start, rows.stop), [targets.index(t) for t in m.targets])] = m.base
        reasons |= {(f"{m.name}/{run}", s, t): why for (run, s, t), why in m.reasons.items()}
        first = rows.stop
    tasks = {task.name: task for m in reversed(matrices) for task in m.tasks}
    return TransferMatrix(
        name="+".join(m.name for m in matrices),
        sources=sources,
        targets=targets,
        runs=labels,
        values=values,
        item_errors=item_errors,
        base=base,
        after=after,
        reasons=reasons,
        tasks=tuple(tasks.values()),
        metric=matrices[0].metric,
        evidence=join([_named(m.evidence, m.name) for m in matrices if m.evidence is not None]),
    )


def _named(evidence: MixtureRuns, study: str) -> MixtureRuns:
    """Evidence whose rows and runs carry their study's name, as the pooled matrix's runs do."""
    return replace(
        evidence,
        ids=tuple(f"{study}/{name}" for name in evidence.ids),
        runs=tuple(f"{study}/{run}" for run in evidence.runs),
    )
