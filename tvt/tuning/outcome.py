"""How a tuning campaign came out: the mixture, what it is better than, and how the best known gain grew with the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvt.compare.comparison import Comparison
from tvt.core.arms import Arm
from tvt.core.mixture import Mixture
from tvt.core.values import Frozen
from tvt.tuning.campaign import TUNED, Campaign
from tvt.tuning.stages import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned(Frozen):
    """The end of a campaign."""

    mixture: Mixture
    """What was tuned: the one that raced, as it is now predicted."""
    end: str
    """Why the race ended."""
    better: tuple[str, ...]
    """The arms that it is shown to be better than, on questions that no choice has seen."""
    against: tuple[str, ...]
    """The arms that were asked about."""
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    """Of the race."""
    runs: int
    """Training runs of the folder."""
    most_runs: int
    stages: tuple[Stage, ...]
    comparison: Comparison | None
    """Of the race's runs on what is reported on; ``None`` where none was run."""

    @property
    def decided(self) -> bool:
        """Whether it is shown to be better than all that were asked about."""
        return bool(self.against) and set(self.better) == set(self.against)

    @property
    def sentence(self) -> str:
        """The outcome for people."""
        if self.comparison is None:
            return f"{self.end[0].upper()}{self.end[1:]}: nothing was raced."
        gain = self.comparison.gain(TUNED, None).pgf
        text = (
            ""
            if gain is None
            else f" It gains {gain.value:+.3f} (95% {gain.low:+.3f} to {gain.high:+.3f}) over the base model."
        )
        return f"{self._verdict()}{text}"

    def _verdict(self) -> str:
        if self.decided:
            return f"Decided: the tuned mixture is better than {_and(self.against)}."
        rest = [label for label in self.against if label not in self.better]
        worse = [label for label in rest if self.comparison is not None and self._loses(label)]
        if worse:
            return f"{self.end[0].upper()}{self.end[1:]}: the tuned mixture is worse than {_and(worse)}; train on that instead."
        some = f"better than {_and(self.better)}, but " if self.better else ""
        return f"{self.end[0].upper()}{self.end[1:]}: the tuned mixture is {some}not shown to be better than {_and(rest)}."

    def _loses(self, label: str) -> bool:
        """Whether an arm is shown to be better than the tuned mixture."""
        assert self.comparison is not None  # noqa: S101 - the caller has looked
        return self.comparison.difference(label, None).outcome == "worse"

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt tune --json``."""
        return {
            "schema": 1,
            "end": self.end,
            "decided": self.decided,
            "better": self.better,
            "against": self.against,
            "weights": self.mixture.weights,
            "counts": self.mixture.counts,
            "predicted": self.mixture.predicted,
            "runs": self.runs,
            "most_runs": self.most_runs,
            "seeds": self.seeds,
            "stages": [{"kind": s.kind, "runs": len(s.runs), "why": s.why, "best": s.best} for s in self.stages],
            "comparison": None if self.comparison is None else self.comparison.json_value(),
        }


def outcome(campaign: Campaign) -> Tuned:
    """How a campaign came out that has its report."""
    stages = campaign.record.stages()
    report = stages[-1]
    raced = report.level is not None
    mixture = campaign.selected()
    tuned = next((arm for arm in report.arms if arm.label == TUNED), None)
    if tuned is not None and tuned.counts:
        budget = sum(tuned.counts.values())
        counts = dict.fromkeys(mixture.counts, 0) | dict(tuned.counts)
        mixture = mixture.model_copy(
            update={"counts": counts, "weights": {s: n / budget for s, n in counts.items()}, "budget": budget}
        )
    return Tuned(
        mixture=mixture,
        end=str(report.end),
        better=campaign.better(report),
        against=tuple(arm.label for arm in report.arms if arm.kind in campaign.record.plan.against and arm.label != TUNED),
        arms=report.arms,
        seeds=report.seeds,
        runs=campaign.record.used(),
        most_runs=campaign.record.plan.runs,
        stages=stages,
        comparison=campaign.comparison(report) if raced else None,
    )


def _and(labels: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else list(labels))
