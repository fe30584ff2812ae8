"""The main results of an analysis as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tvt.report.labels import join, plain
from tvt.stats.ranks import ZERO
from tvt.transfer.analysis import Analysis, StudyAnalysis
from tvt.transfer.personas import KINDS, Personas

MOST_NAMED = 10


def headline(study: StudyAnalysis) -> str:
    """What the study is and what stands out in it."""
    matrix = study.matrix
    sides = f"{_count(matrix.sources, 'source')} x {_count(matrix.targets, 'target')}"
    first = f"{study.name}: {sides}, {_count(matrix.runs, 'run')}."
    parts = [first, _signs(study), *_extremes(study), *_cliques(study)]
    return " ".join(filter(None, parts))


def persona_sentences(found: Personas) -> Iterator[str]:
    """One sentence with the tasks of every persona, or why there are none."""
    if found.note:
        return
    named = {kind: [plain(task) for task in found.passing(kind)] for kind in KINDS}
    told = [f"{kind}{'s' if len(tasks) > 1 else ''} {join(tasks[:MOST_NAMED])}" for kind, tasks in named.items() if tasks]
    yield f"Personas (p <= {found.alpha:g}): {'; '.join(told)}." if told else f"Personas: none passes at {found.alpha:g}."


def trend_sentence(analysis: Analysis) -> str | None:
    """How mean transferability goes with model size, where there are several sizes."""
    points = [t for t in analysis.trend if t.sign == "positive" and np.isfinite(t.transferability.value)]
    sizes = [t.parameters for t in points if t.parameters is not None]
    if len(sizes) < len(points) or len(set(sizes)) < 2:
        return None
    told = ", ".join(f"{t.transferability.value:.3f} at {t.parameters:g}B" for t in points)
    rhos = [rho for rho, _ in analysis.agreement.values() if np.isfinite(rho)]
    agreement = f" Rank correlation between the studies' matrices: {_range(rhos)}." if rhos else ""
    return f"Mean positive transferability by model size: {told}.{agreement}"


def _count(of: Sequence[str], noun: str) -> str:
    return f"{len(of)} {noun}{'s' if len(of) != 1 else ''}"


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _signs(study: StudyAnalysis) -> str | None:
    off = study.matrix.mean[~study.matrix.self_cells]
    off = off[np.isfinite(off)]
    if not len(off):
        return "No transfer from one task to another was measured."
    return f"{int((off > ZERO).sum())} of {len(off)} transfers between tasks help, {int((off < -ZERO).sum())} harm."


def _extremes(study: StudyAnalysis) -> Iterator[str]:
    """Best and worst transfer from a task to another."""
    matrix = study.matrix
    mean = np.where(matrix.self_cells, np.nan, matrix.mean)
    if not np.isfinite(mean).any():
        return
    for word, pick, sign in (("Most help", np.nanargmax, 1), ("Most harm", np.nanargmin, -1)):
        i, j = (int(at) for at in np.unravel_index(pick(mean), mean.shape))
        if sign * mean[i, j] > 0:
            yield f"{word}: {plain(matrix.sources[i])} to {plain(matrix.targets[j])} ({mean[i, j]:+.2f})."


def _cliques(study: StudyAnalysis) -> Iterator[str]:
    for word, verb in (("positive", "helps"), ("negative", "harms")):
        found = study.cliques[word]
        if found.size > 2:
            sets = "one set" if len(found.members) == 1 else f"{len(found.members)} sets"
            yield f"In {sets} of {found.size} tasks each {verb} all others."
