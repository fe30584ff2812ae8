"""What a selection maximises. One definition of each objective serves the convex program, its audit and every comparison.

An objective is a concave function of the gains of the targets that count. It is written with three operations, which numpy and
cvxpy both have, so that the value that is solved for and the value that is reported cannot differ. A new objective is one more
entry of :data:`OBJECTIVES`: options, recipes, help, solver, tables and comparisons follow. Help and completion read them, so
nothing heavy is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tvt.core.selection import Requested
    from tvt.types import Floats

MET = 1e-6
"""A first value of at least minus this counts as 0: all that was asked for is met."""


class Algebra(Protocol):
    """The operations of objectives, over the last axis of gains."""

    def least(self, values: Any) -> Any:
        """The smallest value."""

    def positive(self, values: Any) -> Any:
        """Each value, or 0 where it is negative."""

    def total(self, values: Any) -> Any:
        """The sum."""


class Numeric:
    """On numpy arrays of shape (..., T)."""

    def least(self, values: Any) -> Any:
        """Of shape (...)."""
        return values.min(axis=-1)

    def positive(self, values: Any) -> Any:
        """Of shape (..., T)."""
        return values.clip(0.0)

    def total(self, values: Any) -> Any:
        """Of shape (...)."""
        return values.sum(axis=-1)


NUMERIC = Numeric()
Term = Callable[[Any, Any, Algebra], Any]
"""(gains of the counting targets, what is asked of them, operations) -> a value, concave in the gains, larger is better."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective. ``value`` is maximised first; where it cannot exceed 0 and reaches it, ``then`` decides between optima."""

    name: str
    """In options, recipes and JSON."""
    wish: str
    """In a headline, e.g. *most gain*."""
    measure: str
    """Before the names of targets, e.g. *mean gain of*."""
    column: str
    """Over a column of its values, in a word."""
    over: str
    """Before the number of targets, e.g. *mean over* 3 targets."""
    about: str
    """A sentence for help."""
    value: Term
    then: Term | None = None
    linear: bool = False
    """Whether ``value`` is the weighted mean of the gains: it is then put together before it reaches the solver, and errors of
    targets are taken as independent in it."""
    needs_goals: bool = False
    """Whether it is about goals, which every other objective excludes."""

    def values(self, gains: Floats, requested: Requested) -> tuple[Floats, ...]:
        """``value`` and, where there is one, ``then`` at gains (..., T): larger is better, compared in order."""
        import numpy as np

        terms = [self.value] if self.then is None else [self.value, self.then]
        return tuple(np.asarray(term(gains, requested, NUMERIC), dtype=float) for term in terms)

    def score(self, gains: Floats, requested: Requested) -> Floats:
        """One number at gains (..., T) to compare mixtures by: ``value``, or ``then`` where all that was asked is met."""
        import numpy as np

        first, *rest = self.values(gains, requested)
        return np.where(first < -MET, first, rest[0]) if rest else first


def _mean(gains: Any, requested: Requested, _: Algebra) -> Any:
    return gains @ requested.weights


def _least(gains: Any, _: Requested, algebra: Algebra) -> Any:
    return algebra.least(gains)


def _shortfall(gains: Any, requested: Requested, algebra: Algebra) -> Any:
    return -algebra.total(algebra.positive(requested.goals - gains))


def _margin(gains: Any, requested: Requested, algebra: Algebra) -> Any:
    return algebra.total(gains - requested.goals) / len(requested.goals)


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            name="gain",
            wish="most gain",
            measure="mean gain of",
            column="mean",
            over="mean over",
            about="the weighted mean of the gains",
            value=_mean,
            linear=True,
        ),
        Objective(
            name="goals",
            wish="meet the goals",
            measure="margin over the goals of",
            column="goals",
            over="margin over the goals (below 0: total shortfall) of",
            about="least total shortfall from the goals, then most margin over them",
            value=_shortfall,
            then=_margin,
            needs_goals=True,
        ),
        Objective(
            name="worst",
            wish="best worst gain",
            measure="smallest gain of",
            column="worst",
            over="smallest gain of",
            about="the smallest gain",
            value=_least,
        ),
    )
}
DEFAULT, DEFAULT_WITH_GOALS = "gain", "goals"
