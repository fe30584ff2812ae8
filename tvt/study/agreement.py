"""What a candidate mixture is worth by some gains, and how well merged and predicted gains agree with trained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from tvt.core.preview import Agreement, Candidate, Figure, Gain, Previewed
from tvt.evidence.predict import resting_on
from tvt.selection.prepare import Prepared
from tvt.stats.intervals import known
from tvt.stats.ranks import rank_correlation
from tvt.types import Floats

FEWEST = 4
"""Points below which a correlation or a mean says nothing."""


def wished_targets(prepared: Prepared) -> tuple[str, ...]:
    """The targets that the request's objective counts, and those that it protects."""
    request = prepared.request
    wished = request.counting | np.isfinite(request.limits)
    return tuple(t for t, wish in zip(request.targets, wished, strict=True) if wish)


def predicted_gains(
    candidate: Candidate, prepared: Prepared, targets: Sequence[str]
) -> tuple[dict[str, Gain], dict[str, float]]:
    """What the selection's response predicts, with its standard error, and the weighted mean of the sources' own gains.

    Both are empty where the study knows nothing of one of the sources.
    """
    response, completed = prepared.whole, prepared.completed
    if not set(candidate.counts) <= set(response.sources):
        return {}, {}
    weights = np.array([candidate.weights.get(s, 0.0) for s in response.sources])
    gains, errors = response.gains(weights), response.gain_errors(weights)
    place = {t: j for j, t in enumerate(response.targets)}
    unmeasured = resting_on(prepared.estimated, candidate.weights)
    predicted = {
        t: Gain(value=float(gains[place[t]]), error=float(errors[place[t]]) or None, estimated=unmeasured.get(t, ()))
        for t in targets
    }
    if completed is None:
        return predicted, {}
    shares = np.array([candidate.weights.get(s, 0.0) for s in completed.sources])
    plain = shares @ completed.mean
    return predicted, {t: float(plain[completed.targets.index(t)]) for t in targets}


def judged(gains: Mapping[str, float], prepared: Prepared) -> float | None:
    """The request's objective at these gains (:meth:`tvt.core.objective.Objective.score`); ``None`` where a target is missing.

    ``harm_penalty`` times the harm below protected targets' limits is taken off. Risk and divergence from a prior are left out:
    they are about not knowing the gains.
    """
    request, spec = prepared.request, prepared.spec
    values = np.array([gains.get(t, np.nan) for t in request.targets])
    guarded = np.isfinite(request.limits)
    if np.isnan(values[request.counting | guarded]).any():
        return None
    harm = np.maximum(request.limits - values, 0.0)[guarded].sum()
    return float(spec.aim.score(values[request.served], request.wanted)) - spec.harm_penalty * float(harm)


def agreements(previewed: Sequence[Previewed]) -> tuple[tuple[Agreement, ...], float | None]:
    """Each figure against the trained gains, and the trained gains' own error.

    Mixtures of one source are left out: their merge is the trained adapter, and their prediction its measured gain. All figures
    are compared on the same cells.
    """
    several = [p for p in previewed if p.trained and p.merged and p.predicted and p.linear and not p.candidate.single]
    cells = [(p, t) for p in several for t in p.trained if t in p.merged and t in p.predicted]
    if len(cells) < FEWEST:
        return (), None
    trained = np.array([p.trained[t].value for p, t in cells])
    own = np.array([p.trained[t].error or np.nan for p, t in cells])
    noise = float(np.sqrt(np.nanmean(own**2))) if np.isfinite(own).any() else None
    return tuple(_agreement(figure, several, cells, trained) for figure in get_args(Figure)), noise


def _agreement(
    figure: Figure, several: Sequence[Previewed], cells: Sequence[tuple[Previewed, str]], trained: Floats
) -> Agreement:
    told = np.array([_value(p, t, figure) for p, t in cells])
    values = [(p.objective[figure], p.objective["trained"]) for p in several if {figure, "trained"} <= set(p.objective)]
    left, right = np.array(values).reshape(-1, 2).T
    return Agreement(
        figure=figure,
        cells=len(cells),
        rank=known(rank_correlation(told, trained)),
        error=float(np.abs(told - trained).mean()),
        bias=float((told - trained).mean()),
        mixtures=len(values),
        mixture_rank=known(rank_correlation(left, right)) if len(values) >= FEWEST else None,
    )


def _value(previewed: Previewed, target: str, figure: Figure) -> float:
    if figure == "linear":
        return previewed.linear[target]
    return (previewed.merged if figure == "merged" else previewed.predicted)[target].value
