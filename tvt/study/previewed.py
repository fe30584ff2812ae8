"""A preview: what merged adapters score for mixtures before they are trained, beside what is predicted of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tvt.core.arms import Candidate
from tvt.core.values import Frozen, by_fields

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
