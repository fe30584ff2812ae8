"""Is a cheaper study as good as the full one? Whether its cells agree, its mixtures are the same, and what is lost by them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.errors import InfeasibleError, InputError
from tvt.selection.audit import uniform
from tvt.selection.engine import Prepared, finish, prepare
from tvt.stats.ranks import rank_correlation
from tvt.study.judgement import Answer, Choice, Estimated, Judgement, Likeness
from tvt.transfer.noise import p_values
from tvt.types import Bools, Floats

DRAWS = 400
"""Bootstrap samples of the sources."""
SAMPLES = 400
"""Resampled figures of the full study."""
FEWEST_SOURCES = 4
"""With fewer, a bootstrap over sources says nothing."""
FEWEST_SHARED = 4
"""Fewer equal figures of two runs may be chance: accuracies are counts of questions."""


def wishes(full: TransferMatrix, spec: SelectionSpec) -> list[SelectionSpec]:
    """The requests to judge by: ``spec`` where it says what counts, else every target for itself without its own data."""
    if spec.goals or spec.targets or spec.objective is not None:
        return [spec]
    measured = [t for j, t in enumerate(full.targets) if (full.run_count[:, j] > 0).any()]
    return [
        spec.model_copy(update={"targets": {t: 1.0}, "without_direct": t in full.sources and len(full.sources) > 1})
        for t in measured
    ]


_BEYOND = (
    "no PGF can be above 1: gains add up what single sources do, and go too far where many of them help; regret shares that"
)


def judge(
    full: TransferMatrix,
    cheap: Sequence[Cheap],
    requests: Sequence[SelectionSpec],
    *,
    way: Literal["seeds", "dose", "against"],
    of: int | None = None,
    examples: float | None = None,
    notes: Sequence[str] = (),
) -> Judgement:
    """Hold cheaper studies against the full one.

    Args:
        full: the full study.
        cheap: cheaper ones over its sources and targets, at least one.
        requests: requests; with several, those that the full study cannot answer are left out with a note.
        way: how the cheap studies came about.
        of: how many such studies there could be.
        examples: training examples of a cheap run, as a share of a full one's.
        notes: further notes.

    Raises:
        InputError: no request can be answered by the full study, e.g. for unknown names.
        InfeasibleError: the only request cannot be met on the full study.
    """
    choices, failed = [], []
    for spec in requests:
        try:
            choices.append(_choice(full, cheap, spec))
        except (InputError, InfeasibleError) as error:
            failed.append(error)
    if not choices:
        raise failed[0]
    confidence, seed = requests[0].confidence, requests[0].seed
    beyond = full.metric == "pgf" and any(choice.value > 1 for choice in choices)
    alike = _Alike(full, confidence, apart=way == "dose")
    pairs = [(full, c.matrix) for c in cheap]
    others = [(c.rest, c.matrix) for c in cheap if c.rest is not None]
    return Judgement(
        study=full.name,
        way=way,
        names=tuple(c.name for c in cheap),
        of=len(cheap) if of is None else of,
        runs=_runs(full),
        examples=examples,
        likeness=tuple(alike.to(c) for c in cheap),
        rank=_mean_rank(pairs, seed, confidence),
        apart=_mean_rank(others, seed, confidence),
        choices=tuple(choices),
        confidence=confidence,
        notes=(*notes, *(str(error) for error in failed), *([_BEYOND] if beyond else ())),
    )


@dataclass(frozen=True)
class _Alike:
    """Compares cells with the full study's."""

    full: TransferMatrix
    confidence: float
    apart: bool
    """Whether the cheap studies share no run with the full one."""

    def to(self, cheap: Cheap) -> Likeness:
        full, other, between = self.full, cheap.matrix, ~self.full.self_cells
        both = between & np.isfinite(full.mean) & np.isfinite(other.mean)
        credible = both & self._credible()
        agree = np.sign(full.mean) == np.sign(other.mean)
        return Likeness(
            cells=int(both.sum()),
            rank=_rank(full.mean, other.mean, between),
            apart=float("nan") if cheap.rest is None else _rank(cheap.rest.mean, other.mean, between),
            estimated=int((np.isfinite(full.mean) & ~np.isfinite(other.mean)).sum()),
            signs=int(credible.sum()),
            agreeing=int((credible & agree).sum()),
            shared=0 if self.apart else _shared(full, other),
            runs=_runs(other),
        )

    def _credible(self) -> Bools:
        """Cells that differ from 0 beyond the noise of runs and (where it is known) questions, each by itself."""
        full = self.full
        known = np.isfinite(full.item_errors).any()
        p = p_values(full if known else replace(full, item_errors=np.where(np.isfinite(full.values), 0.0, np.nan)))
        if p is None:
            return np.zeros(self.full.mean.shape, dtype=bool)
        return np.asarray(np.nan_to_num(p, nan=1.0) <= 1 - self.confidence)


def _rank(a: Floats, b: Floats, cells: Bools) -> float:
    return rank_correlation(a[cells], b[cells])


def _runs(matrix: TransferMatrix) -> int:
    """How many runs of a source were measured."""
    return int(np.isfinite(matrix.values).any(axis=2).sum())


def _shared(full: TransferMatrix, other: TransferMatrix) -> int:
    """Runs of a source in ``other`` whose figures some run of ``full`` has too, on all cells that both have."""
    a, b = other.values[:, None], full.values[None]
    both = np.isfinite(a) & np.isfinite(b)
    same = ((a == b) | ~both).all(axis=3) & (both.sum(axis=3) >= FEWEST_SHARED)
    return int(same.any(axis=1).sum())


def _mean_rank(pairs: Sequence[tuple[TransferMatrix, TransferMatrix]], seed: int, confidence: float) -> Estimated:
    """Mean rank correlation of cells between tasks. Sources are drawn with replacement: a source's cells share its runs."""
    if not pairs:
        return Estimated(np.nan, np.nan, np.nan)
    between = ~pairs[0][0].self_cells
    means = [(a.mean, b.mean) for a, b in pairs]
    value = float(np.mean([_rank(a, b, between) for a, b in means]))
    rows = np.flatnonzero([any((np.isfinite(a[i]) & np.isfinite(b[i])).any() for a, b in means) for i in range(len(between))])
    if len(rows) < FEWEST_SOURCES:
        return Estimated(value, np.nan, np.nan)
    draws = np.random.default_rng(seed).choice(rows, size=(DRAWS, len(rows)))
    drawn = np.array([np.mean([_rank(a[d], b[d], between[d]) for a, b in means]) for d in draws])
    drawn = drawn[np.isfinite(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
    return Estimated(value, float(low), float(high))


def _choice(full: TransferMatrix, cheap: Sequence[Cheap], spec: SelectionSpec) -> Choice:
    prepared = prepare(full, spec)
    answer = finish(prepared)
    if isinstance(answer, FailedSelection):
        raise InfeasibleError(answer.reason)
    own, others = _answer(answer), tuple(_ask(c.matrix, spec) for c in cheap)
    even = dict(zip(prepared.request.sources, uniform(len(prepared.request.sources)).tolist(), strict=True))
    weights = np.array([_row(w, prepared) for w in (own.weights, even, *(a.weights for a in others))])
    values, samples = _values(weights, prepared), _sampled(weights, prepared)
    return Choice(
        targets=tuple(t for t, counts in zip(prepared.request.targets, prepared.request.counting, strict=True) if counts),
        full=own,
        cheap=others,
        moved=tuple(_moved(own, other) for other in others),
        value=float(values[0]),
        values=tuple(values[2:].tolist()),
        uniform=float(values[1]),
        losses=samples[:, :1] - samples[:, 2:],
        confidence=spec.confidence,
    )


def _ask(matrix: TransferMatrix, spec: SelectionSpec) -> Answer:
    """A cheap study's answer; where it has none, nothing would be trained."""
    try:
        result = finish(prepare(matrix, spec))
    except InputError as error:
        return Answer(weights={}, verdict="no_answer", reason="; ".join(error.faults))
    if isinstance(result, FailedSelection):
        return Answer(weights={}, verdict="no_answer", reason=result.reason)
    return _answer(result)


def _answer(mixture: Mixture) -> Answer:
    return Answer(weights={s: w for s, w in mixture.weights.items() if w > 0}, verdict=mixture.verdict)


def _row(weights: Mapping[str, float], prepared: Prepared) -> list[float]:
    return [weights.get(s, 0.0) for s in prepared.full.sources]


def _moved(a: Answer, b: Answer) -> float:
    """Total variation; training on nothing is a source of its own."""
    names = {*a.weights, *b.weights}
    apart = sum(abs(a.weights.get(s, 0.0) - b.weights.get(s, 0.0)) for s in names)
    return (apart + abs(sum(a.weights.values()) - sum(b.weights.values()))) / 2


def _values(weights: Floats, prepared: Prepared) -> Floats:
    return _served(prepared.full.gains(weights), prepared)


def _sampled(weights: Floats, prepared: Prepared) -> Floats:
    """Values of mixtures (N, S) under resampled figures of the study they are valued by, (samples, N)."""
    of = prepared.evidence.full_response(prepared.settled)
    responses = prepared.evidence.redrawn(prepared.settled, of, SAMPLES)
    return np.stack([_served(response.gains(weights), prepared) for response in responses])


def _served(gains: Floats, prepared: Prepared) -> Floats:
    """What gains (N, T) are worth to the request, by its objective."""
    request = prepared.request
    return prepared.spec.aim.score(gains[:, request.served], request.requested)


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
    result = [
        Cheap(
            name=" + ".join(full.runs[k] for k in chosen),
            matrix=full.only_runs(chosen),
            rest=full.only_runs([k for k in range(runs) if k not in chosen]),
        )
        for chosen in _choices(runs, count, total, seed)
    ]
    return result, total


def _choices(runs: int, count: int, total: int, seed: int) -> list[tuple[int, ...]]:
    if total <= MOST_SUBSETS:
        return list(combinations(range(runs), count))
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < MOST_SUBSETS:
        drawn[tuple(sorted(rng.permutation(runs)[:count].tolist()))] = None
    return list(drawn)


def at_dose(full: TransferMatrix, dose: float) -> Cheap:
    """The study that the runs at ``dose`` of the budget make, which are stored beside the full one.

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
    dosed = evidence.take(rows)
    labels = dosed.runs or ("",) * len(rows)
    runs = tuple(dict.fromkeys(labels))
    shape = (len(runs), len(full.sources), len(full.targets))
    values, errors = (np.full(shape, np.nan) for _ in range(2))
    columns = [full.targets.index(t) for t in dosed.targets if t in full.targets]
    inside = [j for j, t in enumerate(dosed.targets) if t in full.targets]
    for row, run in enumerate(labels):
        source = dosed.sources[int(dosed.weights[row].argmax())]
        if source in full.sources:
            at = (runs.index(run), full.sources.index(source))
            values[at][columns] = dosed.scores[row, inside]
            errors[at][columns] = dosed.known_errors[row, inside]
    if full.doses is not None:  # a source of few rows has the same run at either budget
        for k, run in enumerate(runs):
            if run in full.runs:
                same = full.doses[full.runs.index(run)] <= dose + _SAME_DOSE
                values[k, same] = full.values[full.runs.index(run), same]
                errors[k, same] = full.item_errors[full.runs.index(run), same]
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
        doses=None,
        placebo=None,
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
    matrix = replace(other.reindex(sources=full.sources, targets=full.targets, missing=True), tasks=full.tasks)
    notes = []
    for word, (ours, theirs) in zip(("source", "target"), _sides(full, other), strict=True):
        lacking, more = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
        notes += [f"{other.name} lacks the {word}s {', '.join(lacking)}"] if lacking else []
        notes += [f"{word}s that only {other.name} has are left out: {', '.join(more)}"] if more else []
    return Cheap(name=other.name, matrix=matrix), tuple(notes)


def _sides(full: TransferMatrix, other: TransferMatrix) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    return (full.sources, other.sources), (full.targets, other.targets)
