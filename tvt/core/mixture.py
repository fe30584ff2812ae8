"""A mixture: what share of the budget each source gets, what is predicted of it, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tvt.core.notebook import Frame, counted, mixture_fields, mixture_frame, mixture_html, shares
from tvt.core.values import FrozenDict, FrozenModel


class Prediction(FrozenModel):
    """Predicted gain of one target with its interval, in the study's metric (PGF unless stated)."""

    gain: float
    low: float
    high: float
    value: float | None = None
    """The predicted score in the table's own unit, for a response fitted on mixture runs."""
    estimated: tuple[str, ...] = ()
    """Sources with a weight whose gain on this target was not measured but estimated."""
    se: float | None = None
    """Standard error of ``gain`` as a mean over runs; ``low`` to ``high`` is for one new run, and wider."""
    lower_is_better: bool = False
    """Whether the value falls by what is gained, as losses do."""

    @property
    def value_interval(self) -> tuple[float, float]:
        """``low`` and ``high`` in the unit of ``value``; those of the gain where there is no value."""
        if self.value is None:
            return self.low, self.high
        below, above = self.gain - self.low, self.high - self.gain
        return (self.value - above, self.value + below) if self.lower_is_better else (self.value - below, self.value + above)

    @property
    def unknown_noise(self) -> bool:
        """Whether the interval has no width because nothing is known of the noise: one run, and no counts of questions."""
        return self.se == 0 and self.gain != 0 and self.low == self.high

    @property
    def interval_text(self) -> str:
        """The interval of the gain for a table."""
        return "unknown" if self.unknown_noise else f"{self.low:+.3f} to {self.high:+.3f}"

    def json_value(self) -> dict[str, Any]:
        """The fields; ``value`` and ``se`` only where there is one, and no interval where the noise is unknown."""
        known = {name: figure for name, figure in (("value", self.value), ("se", self.se)) if figure is not None}
        if self.unknown_noise:
            return {"gain": self.gain, "low": None, "high": None, **known, "se": None, "estimated": self.estimated}
        plain = {"gain": self.gain, "low": self.low, "high": self.high}
        return {**plain, **known, "estimated": self.estimated}


class Audit(FrozenModel):
    """Result of checking the weights independently of the solver."""

    passed: bool
    worst_violation: float
    """Largest violation of any constraint, in the constraint's own unit."""


class SolverRecord(FrozenModel):
    """Which solver answered, with what status, after how many seconds; ``tried`` lists those that failed before."""

    name: str
    status: str
    seconds: float
    tried: tuple[str, ...] = ()

    def json_value(self) -> dict[str, Any]:
        """Who answered; those that failed stand in a mixture's file."""
        return {"name": self.name, "status": self.status, "seconds": self.seconds}


class Harm(FrozenModel):
    """A protected target that falls below its limit: by how much."""

    target: str
    limit: float
    gain: float
    shortfall: float


class Nearby(FrozenModel):
    """A measured mixture, and how far from it another one is: half the sum of absolute differences of weights, 0 to 1."""

    mixture: str
    distance: float


class BestMeasured(FrozenModel):
    """The measured mixture with the best value of an objective among those that keep to its limits on weights."""

    mixture: str
    objective: float
    se: float | None
    """Standard error of the value, where the noise of runs is known."""
    runs: int
    """How many runs the value is the mean of."""
    weights: dict[str, float]
    scores: dict[str, float]
    """What was measured, by target: gains of a study, scores in a table's own unit."""

    @property
    def text(self) -> str:
        """For people: ``run 7: 0.62 ± 0.02``."""
        error = "" if self.se is None else f" ± {self.se:.2g}"
        several = f" (mean of {self.runs} runs)" if self.runs > 1 else ""
        return f"{self.mixture}: {self.objective:+.3g}{error}{several}"


class Mixture(FrozenModel):
    """A mixture with what is predicted of it and its provenance. All-zero weights mean the base model: train on nothing."""

    schema_version: int = 1
    status: Literal["optimal", "optimal_inaccurate"] = "optimal"
    verdict: Literal["train", "nothing_helps", "no_signal"] = "train"
    objective: float | None = None
    """*gain*: the weighted mean gain less risk and penalties. *goals*: the mean margin when all goals are met, else minus the
    total shortfall (both less penalties). *worst*: the smallest gain. ``None`` for a mixture that nobody optimised."""
    weights: dict[str, float]
    counts: dict[str, int]
    """Integer examples per source; they sum to the budget (or to 0 where nothing helps)."""
    budget: int
    predicted: dict[str, Prediction] = FrozenDict()
    prices: dict[str, float] = FrozenDict()
    """Gain of the objective per unit by which a binding constraint is relaxed, by the constraint's name."""
    harmed: tuple[Harm, ...] = ()
    audit: Audit | None = None
    solver: SolverRecord | None = None
    measured_nearby: Nearby | None = None
    """The measured mixture that is nearest."""
    best_measured: BestMeasured | None = None
    """The measured mixture that did best by the same objective."""
    credible: dict[str, dict[str, float]] = FrozenDict()
    """By counting target, the sources whose gain is credible, with that gain."""
    least_bad: dict[str, float] = FrozenDict()
    """Where nothing helps: the mixture that would have been best, for the record."""
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = FrozenDict()

    def __repr__(self) -> str:
        return f"Mixture({self.decision}, {counted(self.budget, 'example')}: {shares(self.weights) or 'the base model'})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return mixture_html(self)

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt select --json``; the file of a mixture holds all fields."""
        first = ("objective", "weights", "counts", "verdict", "predicted", "prices", "audit", "solver", "harmed")
        names = (*first, "measured_nearby", "best_measured", "credible", "least_bad", "notes", "provenance")
        return {"schema": self.schema_version, "status": "optimal", **{name: getattr(self, name) for name in names}}

    def to_frame(self) -> Frame:
        """Weights and counts as a pandas table, a row a source: source, weight, count.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return mixture_frame(self)

    @classmethod
    def from_frame(cls, frame: Frame) -> Mixture:
        """The mixture of a table with the columns of :meth:`to_frame`. Predictions and provenance are in no table.

        Raises:
            InputError: a column is missing, or a source stands twice.
        """
        return cls(**mixture_fields(frame))

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], **more: Any) -> Mixture:
        """A mixture by its examples per source, such as a baseline or a single source."""
        budget = sum(counts.values())
        return cls(
            weights={source: count / budget if budget else 0.0 for source, count in counts.items()},
            counts=dict(counts),
            budget=budget,
            **more,
        )

    @property
    def decision(self) -> str:
        """``train``, ``nothing_helps`` or ``no_signal``: what files and JSON call the verdict."""
        return self.verdict

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources with a positive weight, largest first."""
        return tuple(sorted((s for s, w in self.weights.items() if w > 0), key=lambda s: (-self.weights[s], s)))


class FailedSelection(FrozenModel):
    """A request that no mixture can meet, with the constraints in conflict and the smallest relaxation that helps."""

    schema_version: int = 1
    status: Literal["infeasible", "solver_error"]
    reason: str
    conflicts: tuple[str, ...] = ()
    """Names of the constraints that cannot hold together."""
    relaxation: float | None = None
    """Smallest amount by which all conflicting constraints must be relaxed together, in their own units."""
    attempts: tuple[str, ...] = ()
    """Solvers tried, in order, with their status."""

    def __repr__(self) -> str:
        return f"FailedSelection({self.status}: {self.reason if len(self.reason) <= 100 else self.reason[:99] + '…'})"

    __str__ = __repr__

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt select --json`` where no mixture is feasible."""
        names = ("status", "conflicts", "relaxation", "reason", "attempts")
        return {"schema": self.schema_version, **{name: getattr(self, name) for name in names}}
