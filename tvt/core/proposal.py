"""What to train next: mixtures worth a run, why each, what they are expected to bring, and whether more runs pay at all."""

from __future__ import annotations

from typing import Any, Literal

from tvt.core.mixture import BestMeasured, Mixture, Prediction
from tvt.core.notebook import counted, shares
from tvt.core.values import FrozenDict, FrozenModel

Why = Literal["best predicted", "explore", "replicate"]
Reason = Literal["expected improvement below the noise", "decided", "budget spent"]


class Proposal(FrozenModel):
    """One mixture to train next."""

    weights: dict[str, float]
    counts: dict[str, int]
    """Integer examples per source; they sum to the budget."""
    why: Why
    """The best predicted of those left, one whose result is uncertain enough to be better still, or a measured one again."""
    predicted: dict[str, Prediction] = FrozenDict()
    mixture: str | None = None
    """Its id among the candidates, where these were given."""

    def json_value(self) -> dict[str, Any]:
        """The fields; ``mixture`` only among candidates."""
        plain = {name: getattr(self, name) for name in ("weights", "counts", "why", "predicted")}
        return plain if self.mixture is None else {**plain, "mixture": self.mixture}

    def as_mixture(self, provenance: dict[str, Any]) -> Mixture:
        """As a mixture that can be mixed, trained and compared."""
        return Mixture(
            weights=self.weights,
            counts=self.counts,
            budget=sum(self.counts.values()),
            predicted=self.predicted,
            notes=(f"proposed by tvt propose: {self.why}",),
            provenance=provenance,
        )


class Stop(FrozenModel):
    """Why no further run is worth it."""

    reason: Reason
    expected: float
    """What the proposals are expected to bring all the same, in units of the objective."""


class Proposals(FrozenModel):
    """The next mixtures, best first, and whether to go on."""

    proposals: tuple[Proposal, ...]
    expected: float
    """By how much the best of the proposals is expected to exceed the best measured mixture, in units of the objective."""
    noise: float
    """Standard deviation of the objective from run to run of one mixture, as far as it is known; 0 where nothing is."""
    chance: float | None = None
    """Probability that no other mixture is better than the best measured one; ``None`` where nothing was measured."""
    stop: Stop | None = None
    best_measured: BestMeasured | None = None
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = FrozenDict()

    def __repr__(self) -> str:
        going = "" if self.stop is None else f"stop: {self.stop.reason}, "
        mixtures = "; ".join(f"{p.why}: {shares(p.weights)}" for p in self.proposals)
        return f"Proposals({going}{counted(len(self.proposals), 'mixture')}, {self.expected:+.3g} expected: {mixtures})"

    __str__ = __repr__

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt propose --json``."""
        names = ("proposals", "stop", "best_measured", "expected", "noise", "chance", "notes")
        return {"schema": 1, **{name: getattr(self, name) for name in names}}

    def mixtures(self) -> tuple[Mixture, ...]:
        """The proposals as mixtures that can be mixed, trained and compared."""
        return tuple(p.as_mixture(dict(self.provenance)) for p in self.proposals)
