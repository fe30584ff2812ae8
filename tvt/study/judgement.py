"""What a cheaper study was worth, held against the full one: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tvt.core.values import Frozen
from tvt.types import Floats

Verdict = Literal["train", "nothing_helps", "no_signal", "no_answer"]


class Estimated(NamedTuple):
    """A figure with its interval; NaN where it is not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Answer(Frozen):
    """What one study says to one request."""

    weights: Mapping[str, float]
    """By source, those above 0; empty: train on nothing."""
    verdict: Verdict
    reason: str | None = None
    """Why there is no answer."""

    def json_value(self) -> dict[str, Any]:
        """The fields; the reason only where there is one."""
        return {"verdict": self.verdict, "weights": self.weights, **({"reason": self.reason} if self.reason else {})}


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike a cheap study's cells between tasks and the full study's are."""

    cells: int
    """Cells that both measured."""
    rank: float
    """Spearman's correlation over them; NaN with fewer than three."""
    apart: float
    """The same against the runs that the cheap study leaves out, with which it shares none; NaN where there are none."""
    estimated: int
    """Cells that the full study measured and the cheap one did not."""
    signs: int
    """Cells of both that are credibly not 0 in the full study; 0 where the noise is not known."""
    agreeing: int
    """How many of these have the same sign in the cheap study."""
    shared: int
    """Runs of a source that stand in both studies with the same figures."""
    runs: int
    """Runs of a source in the cheap study."""

    def json_value(self) -> dict[str, Any]:
        """The keys of a cheap study in ``tvt study judge --json``."""
        return {
            "runs": self.runs,
            "shared_runs": self.shared,
            "cells": self.cells,
            "estimated_cells": self.estimated,
            "rank_correlation": self.rank,
            "rank_correlation_left_out": self.apart,
            "signs": {"credible": self.signs, "agree": self.agreeing},
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice(Frozen):
    """One request, as the full study and N cheap ones answer it. Values are gains under the full study's response."""

    targets: tuple[str, ...]
    """Those that count."""
    full: Answer
    cheap: tuple[Answer, ...]
    moved: tuple[float, ...]
    """Total variation between the weights, by cheap study: the share of the budget that changes hands."""
    value: float
    """The objective's score of the full study's mixture."""
    values: tuple[float, ...]
    """Of the cheap studies' mixtures."""
    uniform: float
    """Of equal shares of all allowed sources."""
    losses: Floats
    """Regret of each cheap study's mixture under resampled figures of the full study, (samples, N)."""
    confidence: float

    @property
    def regrets(self) -> tuple[Estimated, ...]:
        """By how much each cheap study's mixture is worse, with an interval from the resampled figures."""
        return tuple(self._told(self.value - v, self.losses[:, n]) for n, v in enumerate(self.values))

    @property
    def regret(self) -> Estimated:
        """The mean over the cheap studies."""
        return self._told(self.value - float(np.mean(self.values)), self.losses.mean(axis=1))

    @property
    def same_verdict(self) -> int:
        """How many cheap studies give the full one's verdict."""
        return sum(answer.verdict == self.full.verdict for answer in self.cheap)

    def json_value(self, names: Sequence[str]) -> dict[str, Any]:
        """The keys of a request in ``tvt study judge --json``; ``names`` are the cheap studies'."""
        cheap = zip(names, self.cheap, self.moved, self.values, self.regrets, strict=True)
        return {
            "targets": self.targets,
            "full": {**self.full.json_value(), "gain": self.value},
            "uniform": {"gain": self.uniform},
            "cheap": [
                {"name": name, **answer.json_value(), "total_variation": moved, "gain": value, "regret": regret}
                for name, answer, moved, value, regret in cheap
            ],
            "regret": self.regret,
            "total_variation": sum(self.moved) / len(self.moved),
            "same_verdict": self.same_verdict,
        }

    def _told(self, value: float, samples: Floats) -> Estimated:
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(samples, [tail, 1 - tail]) if len(samples) else (np.nan, np.nan)
        return Estimated(value, float(low), float(high))


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Cheap studies of one kind against the full one."""

    study: str
    way: Literal["seeds", "dose", "against"]
    names: tuple[str, ...]
    """Of the cheap studies."""
    of: int
    """How many there could be: choices of runs, of which ``names`` may be some."""
    runs: int
    """Runs of a source in the full study."""
    examples: float | None
    """Training examples of a cheap study's run, as a share of the full one's; ``None`` where that is not known."""
    likeness: tuple[Likeness, ...]
    rank: Estimated
    """Mean rank correlation over the cheap studies; the interval is a bootstrap over sources."""
    apart: Estimated
    """The same against the runs left out."""
    choices: tuple[Choice, ...]
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def cheap_runs(self) -> float:
        """Runs of a source in a cheap study, on average."""
        return sum(like.runs for like in self.likeness) / len(self.likeness)

    @property
    def cost(self) -> float | None:
        """Training of a cheap study as a share of the full one's."""
        return None if self.examples is None else self.examples * self.cheap_runs / self.runs

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt study judge --json``."""
        return {
            "schema": 1,
            "study": self.study,
            "way": self.way,
            "confidence": self.confidence,
            "choices_of_runs": {"judged": len(self.names), "of": self.of},
            "cost": {
                "runs": {"full": self.runs, "cheap": self.cheap_runs},
                "examples_per_run": self.examples,
                "training": self.cost,
            },
            "rank_correlation": self.rank,
            "rank_correlation_left_out": self.apart,
            "cheap": [{"name": n, **like.json_value()} for n, like in zip(self.names, self.likeness, strict=True)],
            "requests": [choice.json_value(self.names) for choice in self.choices],
            "notes": self.notes,
        }
