"""What may be asked of a selection: objective, limits, risk, response. Part of a mixture's provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, FiniteFloat, field_validator, model_validator

from tvt.core.choices import RESPONSES
from tvt.core.objective import DEFAULT, DEFAULT_WITH_GOALS, OBJECTIVES, Objective
from tvt.core.values import MOST_EXAMPLES, Frozen, FrozenDict, FrozenModel
from tvt.errors import suggest
from tvt.types import Floats

DEFAULT_KAPPA = 10.0
"""Curvature of the log response where nobody gave it and no runs tell it: an assumption."""
ALL = "all"
"""The key of a limit that holds for every source or target without one of its own."""

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]


class SelectionSpec(FrozenModel):
    """One request for a mixture. Task names are full names; weights are shares of the budget; gains are PGF.

    Names are checked against the study by ``select``, which reports all unknown ones at once. The text under a field is its
    description: the help of the command line has it from there.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    objective: str | None = None
    """One of :data:`tvt.core.objective.OBJECTIVES`. Default: goals where ``goals`` are given, else gain."""
    goals: dict[str, FiniteFloat] = FrozenDict()
    """Gain to reach (PGF; 15% is 0.15), by target."""
    targets: dict[str, NonNegative] = FrozenDict()
    """Count only these targets, with these weights; by default all, equally."""
    risk: NonNegative = 0.0
    """Standard errors of the gain that are given up for safety (ellipsoidal uncertainty)."""
    cvar: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    """Optimise the mean over this worst share of bootstrap samples of the matrix instead of its mean."""
    protect: dict[str, FiniteFloat] = FrozenDict()
    """Least gain allowed, by target (0 if not said); all means every target without one of its own."""
    hard: bool = False
    """Make protection a hard limit; otherwise harm is penalised."""
    protect_z: NonNegative = 0.0
    """Standard errors subtracted from a protected target's gain before it is compared with its limit."""
    harm_penalty: Positive = 1.0
    """What a unit of gain below a soft limit costs, in units of the objective."""
    budget: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)] = 10_000
    """Number of training examples."""
    sizes: dict[str, Annotated[int, Field(ge=0)]] = FrozenDict()
    """How many examples a source has; without an entry it has enough."""
    max_epochs: Positive = 1.0
    """How often an example may be used."""
    caps: dict[str, Share] = FrozenDict()
    """Largest weight, of all sources or of one."""
    floors: dict[str, Share] = FrozenDict()
    """Least weight, of all sources or of one."""
    constraints: tuple[str, ...] = ()
    """A linear constraint on the weights, such as 'RD + RR >= 0.2'."""
    kl: NonNegative = 0.0
    """Weight of the Kullback-Leibler divergence from the prior in the objective."""
    prior: dict[str, NonNegative] = FrozenDict()
    """Prior mixture by source, normalised; by default uniform."""
    max_sources: Annotated[int, Field(ge=1)] | None = None
    """Most sources with a weight."""
    min_weight: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    """Least weight of a source that is used at all."""
    without_direct: bool = False
    """Leave out the targets' own training data."""
    exclude: tuple[str, ...] = ()
    """Do not use this source."""
    response: str | None = None
    """How gains follow from a study: fitted on all of its runs together (joint: gaps multiply, a target's own data saturates),
    or from single sources alone, with help that grows by log(1 + kappa w) or linearly. By default joint, or log where kappa is
    given."""
    kappa: Positive | None = None
    """Curvature of the log response; by default fitted where the study has mixture or dose runs, else 10."""
    confidence: Annotated[FiniteFloat, Field(gt=0.5, lt=1)] = 0.9
    """Level of the intervals (two-sided), and of the one-sided test by which a source's gain is credible."""
    beyond: bool = False
    """Let the mixture leave the region in which runs were measured; by default it stays there."""
    standardise: bool = False
    """Count each score of a table of mixture runs in units of its standard deviation over the runs."""
    anyway: bool = False
    """Give the best mixture even where nothing credibly helps."""
    seed: int = 0
    """Seed of the bootstrap samples."""

    @field_validator("response")
    @classmethod
    def _known_response(cls, name: str | None) -> str | None:
        return None if name is None else RESPONSES.check(name)

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in OBJECTIVES:
            raise ValueError(f"unknown objective '{name}'{suggest(name, [*OBJECTIVES])}; known ones: {', '.join(OBJECTIVES)}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> SelectionSpec:
        faults = []
        if self.aim.needs_goals and not self.goals:
            faults.append(f"objective '{self.aim.name}' needs at least one goal")
        if self.goals and not self.aim.needs_goals:
            faults.append(f"goals and the objective '{self.aim.name}' exclude each other; drop one")
        if self.goals and self.targets:
            faults.append("goals and target weights exclude each other; the goals say which targets count")
        if self.without_direct and not (self.goals or self.targets):
            faults.append("leaving out the direct data needs goals or targets that say which tasks are meant")
        if self.cvar is not None and self.risk:
            faults.append("risk and cvar are two ways to be careful; choose one")
        for name, floor in self.floors.items():
            cap = self.caps.get(name, self.caps.get(ALL, 1.0))
            if name != ALL and floor > cap:
                faults.append(f"floor {floor:g} of {name} is above its cap {cap:g}; raise the cap or lower the floor")
        for name, cap in self.caps.items():
            floor = self.floors.get(ALL, 0.0)
            if name not in self.floors and floor > cap:
                faults.append(f"cap {cap:g} of {name} is below the floor {floor:g}; raise the cap or lower the floor")
        if self.targets and not any(self.targets.values()):
            faults.append("all target weights are 0; give at least one a positive weight")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def form(self) -> str:
        """The name of the response, with its default applied."""
        return self.response or (RESPONSES.default if self.kappa is None else "log")

    @property
    def aim(self) -> Objective:
        """The objective, with its default applied."""
        return OBJECTIVES[self.objective or (DEFAULT_WITH_GOALS if self.goals else DEFAULT)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requested(Frozen):
    """What is asked of the targets that count: ``weights`` (T,), summing to 1, and ``goals`` (T,), NaN where none."""

    weights: Floats
    goals: Floats
