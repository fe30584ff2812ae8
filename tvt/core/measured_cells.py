"""From evaluations to the cells of a matrix: accuracies, gaps closed, their errors, and why a cell is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvt.core.mixture_runs import MixtureRuns, mixture_gains
from tvt.core.scores import MaskedScore, MixtureScore, Score, has_gap, item_standard_error, perfection_gap_factor
from tvt.core.task import Task
from tvt.types import Floats

Cell = tuple[str, str, str]
"""(run, source, target)."""


class MeasuredCells:
    """The sources, targets and runs of some evaluations, and the arrays over them."""

    def __init__(self, scores: tuple[Score, ...], masked: tuple[MaskedScore, ...], tasks: tuple[Task, ...]) -> None:
        rows: tuple[Score | MaskedScore, ...] = (*scores, *masked)
        self.tasks = tasks
        self.scores = scores
        self.sources = tuple(dict.fromkeys(r.source for r in rows if r.source is not None))
        self.targets = tuple(dict.fromkeys(r.target for r in rows))
        self.runs = tuple(dict.fromkeys(r.run for r in rows if r.source is not None))
        self.reasons: dict[Cell, str] = {(m.run, m.source, m.target): m.reason for m in masked if m.source is not None}
        self.base_reasons = {(m.run, m.target): m.reason for m in masked if m.source is None}
        self.ceilings = {task.name: task.ceiling for task in tasks}

    def fields(self) -> dict[str, Any]:
        """The fields of a matrix that evaluations give."""
        shape = (len(self.runs), len(self.sources), len(self.targets))
        after, total, both = (np.full(shape, np.nan) for _ in range(3))
        base, base_total = self._base()
        position = {s: i for i, s in enumerate(self.sources)}
        column = {t: j for j, t in enumerate(self.targets)}
        row = {r: k for k, r in enumerate(self.runs)}
        for score in self.scores:
            if score.source is None:
                continue
            at = row[score.run], position[score.source], column[score.target]
            after[at] = score.accuracy
            total[at] = np.nan if score.total is None else score.total
            both[at] = np.nan if score.both_correct is None else score.both_correct
        ceiling = np.array([self.ceilings.get(t, 1.0) for t in self.targets])
        # The two accuracies may stand on different numbers of questions; the smaller one bounds what is known.
        asked = np.fmin(total, base_total[:, None, :])
        asked = np.where(np.isnan(total) | np.isnan(base_total[:, None, :]), np.nan, asked)
        self._explain(after, base, ceiling)
        return {
            "sources": self.sources,
            "targets": self.targets,
            "runs": self.runs,
            "values": perfection_gap_factor(after, base[:, None, :], ceiling),
            "item_errors": item_standard_error(after, base[:, None, :], ceiling, asked, both),
            "base": base,
            "after": after,
            "reasons": self.reasons,
            "tasks": self.tasks,
        }

    def evidence(self, mixtures: tuple[MixtureScore, ...]) -> MixtureRuns | None:
        """Gains of the runs with weights."""
        return mixture_gains(mixtures, self._base_rows(), sources=self.sources, targets=self.targets, ceilings=self.ceilings)

    def _base_rows(self) -> dict[str, dict[str, Score]]:
        """Target -> run -> score of the base model."""
        rows: dict[str, dict[str, Score]] = {}
        for score in self.scores:
            if score.source is None:
                rows.setdefault(score.target, {})[score.run] = score
        return rows

    def _base(self) -> tuple[Floats, Floats]:
        """Accuracy and number of questions of the base rows, (runs, targets)."""
        accuracy, total = (np.full((len(self.runs), len(self.targets)), np.nan) for _ in range(2))
        rows = self._base_rows()
        for j, target in enumerate(self.targets):
            known = rows.get(target, {})
            shared = next(iter(known.values())) if len(known) == 1 else None
            for k, run in enumerate(self.runs):
                score = known.get(run, shared)
                if score is not None:
                    accuracy[k, j] = score.accuracy
                    total[k, j] = np.nan if score.total is None else score.total
        return accuracy, total

    def _explain(self, after: Floats, base: Floats, ceiling: Floats) -> None:
        """Give every cell that will be NaN its reason."""
        for k, run in enumerate(self.runs):
            for j, target in enumerate(self.targets):
                reason = None
                if np.isnan(base[k, j]):
                    why = self.base_reasons.get((run, target))
                    reason = "no base row" if why is None else f"base row missing: {why}"
                elif not has_gap(base[k, j], ceiling[j]):
                    reason = f"base accuracy {base[k, j]:.4g} is not below the ceiling {ceiling[j]:.4g}"
                for i, source in enumerate(self.sources):
                    cell = (run, source, target)
                    if reason is not None:
                        self.reasons.setdefault(cell, reason)
                    elif np.isnan(after[k, i, j]):
                        self.reasons.setdefault(cell, "not measured")
