"""How far to trust a choice: weights when one run is left out, and gains on the run that the choice did
not see; and weights at other kappas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvt.core.objective import MET, Objective
from tvt.core.selection import Requested, SelectionSpec
from tvt.core.values import Frozen, aligned, positions
from tvt.errors import InputError
from tvt.evidence.evidence import Evidence, Measurements
from tvt.evidence.posterior import Form
from tvt.evidence.response import Curvature, Response
from tvt.selection.audit import best_single, limited, proportional, tidy, uniform
from tvt.selection.engine import Prepared, prepare
from tvt.types import Floats

STRATEGIES = ("selected", "uniform", "best single", "proportional to PGF")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stability(Frozen):
    """``weights`` (folds, S): the choice without each fold; ``predicted`` and ``held_out`` (folds, strategies): the objective
    by the evidence chosen on, and by the fold left out. NaN where it failed.

    Of an objective of two values, a strategy's figures are one of them in all folds: the second only where the strategy has all
    that the first asks for in every fold, since a shortfall cannot be subtracted from a margin, nor averaged with it.
    """

    sources: tuple[str, ...]
    folds: tuple[str, ...]
    weights: Floats
    predicted: Floats
    held_out: Floats
    objective: Objective
    """What was asked for, by whose score all is compared."""
    limited: bool
    """Whether the choice had limits (caps, protection, few sources) that the other strategies do not keep to."""
    uneven: bool = False
    """Whether sources have different numbers of runs, so that some had none left out."""

    @property
    def optimism(self) -> float:
        """Mean of predicted minus held-out figures of the selected mixture; above 0, predictions are too high."""
        return float(np.nanmean(self.predicted[:, 0] - self.held_out[:, 0]))

    @property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """By strategy, the mean ``promised`` and ``kept``; ``None`` where it failed everywhere."""
        columns = zip(STRATEGIES, self.predicted.T, self.held_out.T, strict=True)
        return {name: {"promised": _mean(predicted), "kept": _mean(held_out)} for name, predicted, held_out in columns}

    def json_value(self) -> dict[str, Any]:
        """Ranges of weights by source and mean scores by strategy."""
        ranges = zip(self.sources, np.nanmin(self.weights, axis=0), np.nanmax(self.weights, axis=0), strict=True)
        return {
            "folds": self.folds,
            "weights": {source: {"low": low, "high": high} for source, low, high in ranges if high > 0},
            "cross_validated": self.scores,
            "optimism": self.optimism,
            "limited": self.limited,
        }


def stability(evidence: Measurements | Evidence, spec: SelectionSpec, form: Form | None = None) -> Stability | None:
    """Choose without each run (each of five folds of a table of mixture runs) and score on what was left out.

    Where sources have different numbers of runs, one run of each source that has several is left out at a time.

    ``form`` is what was learned of all mixture runs. None where there are too few runs to leave one
    out. The decision whether to train plays no part here: the best mixture of each fold counts.
    """
    evidence = Evidence.of(evidence)
    parts = evidence.folds(spec.seed)
    if len(parts) < 2:
        return None
    labels, chosen, figures = [], [], []
    sources = evidence.sources
    # Each fold chooses with the kappa of its own evidence. One run alone can seldom tell kappa, so that of all runs judges.
    judged = evidence.settled(spec)
    for label, rest, held_out_part in parts:
        labels.append(label)
        try:
            prepared = prepare(rest, spec, form=form)
            judge = held_out_part.full_response(judged, form).response
        except InputError:  # the fold alone lacks what the request names
            prepared = None
        solution = prepared.solve() if prepared is not None else None
        if prepared is None or solution is None or solution.weights is None:
            chosen.append(np.full(len(sources), np.nan))
            figures.append(np.full((2, len(STRATEGIES), 1 if spec.aim.then is None else 2), np.nan))
            continue
        candidates = _candidates(prepared, tidy(solution.weights, prepared.request))
        full = np.stack([prepared.spread(c) for c in candidates])
        chosen.append(aligned(full[0], (prepared.full.sources, sources), missing=0.0))
        figures.append(np.stack([_values(prepared, of, full) for of in (prepared.full, judge)]))
    if not np.isfinite(np.stack(chosen)).any():
        return None
    predicted, held_out = _figures(np.stack(figures))
    return Stability(
        sources=sources,
        folds=tuple(labels),
        weights=np.stack(chosen),
        predicted=predicted,
        held_out=held_out,
        objective=spec.aim,
        limited=limited(spec),
        uneven=evidence.uneven,
    )


def _candidates(prepared: Prepared, selected: Floats) -> list[Floats]:
    """The strategies' mixtures over the allowed sources, all chosen on the same evidence."""
    n, request = len(selected), prepared.request
    gains = prepared.response.gains(np.eye(n))
    alone = gains @ request.weights
    best = request.spec.aim.score(gains[:, request.served], request.requested)
    return [selected, uniform(n), best_single(best), proportional(alone - (0.0 if prepared.report is None else alone.min()))]


def _figures(values: Floats) -> tuple[Floats, Floats]:
    """Predicted and held-out figures, (folds, strategies) each, from (folds, 2, strategies, values of the objective)."""
    first, last = values[..., 0], values[..., -1]
    if values.shape[-1] > 1:
        met = ~(first < -MET).any(axis=(0, 1))
        first = np.where(np.abs(first) < MET, 0.0, first)
        last = np.where(met, last, first)
    return last[:, 0], last[:, 1]


def _values(prepared: Prepared, judge: Response, weights: Floats) -> Floats:
    """The objective's values of the counting targets under ``judge``, (mixtures, values); scores of different tables are put on
    one reference.

    Counting targets that ``judge`` does not know are left out; NaN where it knows none.
    """
    request = prepared.request
    known = [j for j in request.served if request.targets[j] in judge.targets]
    if not known:
        return np.full((len(weights), 1 if request.spec.aim.then is None else 2), np.nan)
    targets = [request.targets[j] for j in known]
    columns = positions(judge.targets, targets)
    full = aligned(weights, None, (prepared.full.sources, judge.sources), missing=0.0)
    gains = judge.gains(full)[:, columns]
    if np.isfinite(judge.reference).all():
        own = aligned(prepared.full.reference, (prepared.full.targets, targets))
        gains = judge.sign * (judge.scores(judge.gains(full))[:, columns] - own)
    shares = request.weights[known]
    values = request.spec.aim.values(gains, Requested(weights=shares / shares.sum(), goals=request.goals[known]))
    return np.stack(values, axis=-1)


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


FACTOR = math.sqrt(10)


def kappa_sensitivity(
    evidence: Measurements | Evidence, spec: SelectionSpec, found: Curvature | None = None
) -> dict[float, dict[str, float]]:
    """Weights of the used sources at the ends of a fitted kappa's interval, else at a third and at three times kappa (half a
    power of ten each way).

    ``found`` is the kappa if it is known already. Empty where no kappa bends every help: the joint and the linear response,
    or one fitted on a table of mixture runs.
    """
    found = found or Evidence.of(evidence).curvature(spec)
    if found is None:
        return {}
    ends = (found.value / FACTOR, found.value * FACTOR)
    if found.low is not None and found.high is not None:
        ends = (found.low, found.high)
    by_kappa: dict[float, dict[str, float]] = {}
    for kappa in ends:
        prepared = prepare(evidence, spec.model_copy(update={"kappa": kappa}))
        solution = prepared.solve()
        if solution.weights is not None:
            weights = tidy(solution.weights, prepared.request)
            by_kappa[kappa] = {s: float(w) for s, w in zip(prepared.request.sources, weights, strict=True) if w > 0}
    return by_kappa
