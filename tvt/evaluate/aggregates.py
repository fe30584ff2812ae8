"""A benchmark's figure over its tasks: the macro average, every task counting alike however many questions it has."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvt.evaluate.results import CellResult

Members = Mapping[str, str | None]
"""The tasks of a benchmark; those with the same name of a group are averaged first and count as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """The macro average over the tasks of a benchmark that were scored."""

    benchmark: str
    value: float
    low: float
    """Lower end of the 95% interval, from the numbers of questions."""
    high: float
    tasks: int
    """How many tasks were scored, ..."""
    of: int
    """... of how many that the benchmark has."""
    counted: int
    """How many figures were averaged in the end: groups count as one."""
    questions: int

    @property
    def title(self) -> str:
        """What was averaged."""
        over = f"{self.tasks} tasks" if self.tasks == self.of else f"{self.tasks} of {self.of} tasks"
        grouped = f", {self.counted} after grouping" if self.counted < self.tasks else ""
        return f"{self.benchmark}: macro over {over}{grouped}"

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = {"accuracy": self.value, "low": self.low, "high": self.high}
        return {**told, "tasks": self.tasks, "of": self.of, "counted": self.counted, "questions": self.questions}


def macro(benchmark: str, cells: Mapping[str, CellResult], members: Members) -> Macro | None:
    """The macro average over the tasks of ``members`` that ``cells`` has; ``None`` where it has none.

    The interval puts the tasks' Wilson intervals together: with weights ``w``, shares ``p`` and intervals ``[l, u]``, its ends
    are ``sum w p - sqrt(sum (w (p - l))^2)`` and ``sum w p + sqrt(sum (w (u - p))^2)`` (the method of variance estimates
    recovery: Zou, Huang and Zhang, *A note on confidence interval estimation for a linear function of binomial proportions*,
    Computational Statistics & Data Analysis 53, 2009). It takes the questions of different tasks as independent.

    Args:
        benchmark: its name.
        cells: an adapter's results by task.
        members: all tasks of the benchmark, with the groups that count as one.
    """
    weights = _weights({task: group for task, group in members.items() if task in cells})
    if not weights:
        return None
    value = math.fsum(weight * cells[task].accuracy for task, weight in weights.items())
    below = math.hypot(*(weight * (cells[task].accuracy - cells[task].interval[0]) for task, weight in weights.items()))
    above = math.hypot(*(weight * (cells[task].interval[1] - cells[task].accuracy) for task, weight in weights.items()))
    return Macro(
        benchmark=benchmark,
        value=value,
        low=max(0.0, value - below),
        high=min(1.0, value + above),
        tasks=len(weights),
        of=len(members),
        counted=len({group or f"\0{task}" for task, group in members.items() if task in weights}),
        questions=sum(cells[task].total for task in weights),
    )


def _weights(scored: Members) -> dict[str, float]:
    """The share of each task in the average."""
    groups: dict[str, list[str]] = defaultdict(list)
    for task, group in scored.items():
        groups[group or f"\0{task}"].append(task)
    return {task: 1 / (len(groups) * len(tasks)) for tasks in groups.values() for task in tasks}
