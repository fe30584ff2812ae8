"""A preview: what merged adapters score for mixtures before they are trained, what is predicted of them, and how both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never, get_args

import numpy as np

from tvt.core.arms import Candidate
from tvt.core.values import Frozen, by_fields
from tvt.evidence.predict import resting_on
from tvt.selection.engine import Prepared
from tvt.stats.noise import known
from tvt.stats.ranks import rank_correlation
from tvt.types import Floats

Figure = Literal["merged", "predicted", "linear"]
"""*merged*: scored on merged adapters. *predicted*: by the selection's response. *linear*: weighted mean of sources' gains."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A gain over the base model (PGF) with its standard error, from seeds and questions; ``None`` where it is not known."""

    value: float = field(metadata={"json": "gain"})
    error: float | None
    estimated: tuple[str, ...] = field(default=(), metadata={"json": None})
    """Of a prediction: sources with a weight whose gain on the target was not measured but estimated."""


@dataclass(frozen=True, kw_only=True)
class Previewed(Frozen):
    """A candidate with its gains by target. A target without a gap between base model and ceiling is not there."""

    candidate: Candidate
    merged: Mapping[str, Gain]
    predicted: Mapping[str, Gain]
    linear: Mapping[str, float]
    trained: Mapping[str, Gain]
    """Of runs of this study on the same counts; empty where there are none."""
    merged_seeds: tuple[int, ...]
    trained_seeds: tuple[int, ...]
    objective: Mapping[str, float]
    """The request's objective at ``merged``, ``predicted``, ``linear`` and ``trained`` gains, where they are known."""
    missing: str | None = None
    """Why it could not be merged for every seed."""

    def json_value(self) -> dict[str, Any]:
        """The keys of a candidate in ``tvt select --preview --json``."""
        of = self.candidate
        return {
            "mixture": of.label,
            "about": of.about,
            "weights": of.weights,
            "counts": of.counts,
            "objective": {figure: self.objective.get(figure) for figure in ("merged", "predicted", "linear", "trained")},
            "merged": self.merged,
            "predicted": {t: {**by_fields(gain), "estimated": gain.estimated} for t, gain in self.predicted.items()},
            "linear": self.linear,
            "trained": self.trained,
            "seeds": {"merged": self.merged_seeds, "trained": self.trained_seeds},
            "missing": self.missing,
        }


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a figure compares with what training gave, over mixtures of several sources that were trained.

    Cells are (mixture, target). A correlation is ``None`` with fewer than four points, or where one side is constant.
    """

    figure: Figure
    cells: int
    rank: float | None
    """Spearman's rho over all cells."""
    error: float | None
    """Mean absolute difference from the trained gain, in PGF."""
    bias: float | None
    """Mean of the figure minus the trained gain: negative where it promises too little."""
    mixtures: int
    mixture_rank: float | None
    """Spearman's rho of the objective over the mixtures: whether it would have chosen as training does."""


@dataclass(frozen=True, kw_only=True)
class Preview(Frozen):
    """Candidates, best merged objective first."""

    objective: str
    """Name of the request's objective."""
    targets: tuple[str, ...]
    """Those that were scored."""
    counting: Mapping[str, float]
    """Weights of the targets that the objective serves, summing to 1."""
    selected: str | None
    """Label of the selected mixture."""
    candidates: tuple[Previewed, ...]
    agreement: tuple[Agreement, ...]
    trained_error: float | None
    """Root mean square of the trained gains' own errors in the cells compared: nothing agrees with them better than that."""
    asked: int = field(metadata={"json": "questions_asked"})
    """Questions really asked; the others were known."""
    notes: tuple[str, ...] = ()

    def json_value(self) -> dict[str, Any]:
        """The fields, the first note by itself."""
        return {"about": self.notes[0] if self.notes else "", **by_fields(self)}


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
    response, completed = prepared.full, prepared.completed
    if not set(candidate.counts) <= set(response.sources):
        return {}, {}
    weights = np.array([candidate.weights.get(s, 0.0) for s in response.sources])
    gains, errors, _ = (values[0] for values in prepared.of.posterior.at(weights[None]))
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
    return float(spec.aim.score(values[request.served], request.requested)) - spec.harm_penalty * float(harm)


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
    figures = np.array([_value(p, t, figure) for p, t in cells])
    values = [(p.objective[figure], p.objective["trained"]) for p in several if {figure, "trained"} <= set(p.objective)]
    left, right = np.array(values).reshape(-1, 2).T
    return Agreement(
        figure=figure,
        cells=len(cells),
        rank=known(rank_correlation(figures, trained)),
        error=float(np.abs(figures - trained).mean()),
        bias=float((figures - trained).mean()),
        mixtures=len(values),
        mixture_rank=known(rank_correlation(left, right)) if len(values) >= FEWEST else None,
    )


def _value(previewed: Previewed, target: str, figure: Figure) -> float:
    match figure:
        case "linear":
            return previewed.linear[target]
        case "merged":
            return previewed.merged[target].value
        case "predicted":
            return previewed.predicted[target].value
        case _:
            assert_never(figure)
