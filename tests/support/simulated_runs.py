"""Runs of a study whose scores are drawn from a world with a known truth, written as real runs write theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from tvt.core.scores import Run, set_name
from tvt.evaluate.store import items_file
from tvt.io import atomic, digest, json_lines
from tvt.study.jobs import RunTask
from tvt.study.session import Session
from tvt.study.store import Cell, Finished
from tvt.study.views import write_views

Truth = Callable[[Mapping[str, float]], float]
"""The gain (PGF) of a mixture's shares, the same on every target."""


@dataclass(frozen=True, kw_only=True)
class SimulatedRuns:
    """Does runs in no time.

    ``truth`` gives a mixture's gain, ``seed_sd`` the noise of accuracy between seeds; ``shared`` is the share of what decides a
    question that all runs have in common. ``world`` makes other questions and seeds.
    """

    session: Session
    truth: Truth
    seed_sd: float = 0.01
    base: float = 0.5
    shared: float = 0.7
    world: int = 0

    def do(self, tasks: Sequence[RunTask], views: bool = True) -> None:
        """Do what is missing."""
        for task in tasks:
            if self.session.store.status(task.run_id, task.keys) != "done":
                self._run(task)
        if views:
            write_views(self.session.study, self.session.store)

    def _run(self, task: RunTask) -> None:
        store = self.session.store
        with store.claim(task.run_id, task.run):
            store.begin(task.run_id, task.run, task.identity)
            cells = dict(store.finished(task.run_id).cells)
            for where, key in task.keys.items():
                total = self.session.study.sizes[where]
                right = self._answers(task.run, where, total)
                before = self._answers(Run(label="base", counts={}), where, total)
                folder = store.answers / digest.of_value({"run": task.run_id})[:32]
                rows = json_lines.dump({"correct": bool(value)} for value in right)
                atomic.write_text(items_file(folder, set_name(*where)), rows)
                cells[where] = Cell(
                    key=key,
                    correct=int(right.sum()),
                    total=total,
                    both_correct=None if task.run.is_base else int((right & before).sum()),
                    unparsed=0,
                    collapsed=None,
                    answers=folder.name,
                    choices=total,
                )
            store.save(task.run_id, Finished(cells=cells, scoring_seconds=0.0, questions=0))

    def _answers(self, run: Run, where: tuple[str, str], total: int) -> np.ndarray:
        def draw(*parts: object) -> np.random.Generator:
            return np.random.default_rng(int(digest.of_value([self.world, *map(str, parts)])[:12], 16))

        accuracy = self.base
        if run.counts and run.placebo is None:
            shares = {s: n / sum(run.counts.values()) for s, n in run.counts.items()}
            accuracy += self.truth(shares) * (1 - self.base)
        mixture = sorted(run.counts.items())
        if run.counts:
            accuracy += self.seed_sd * draw("seed", mixture, run.placebo, run.seed, where[0]).standard_normal()
        common = draw("questions", *where).standard_normal(total)
        own = draw("answers", mixture, run.placebo, run.seed, *where).standard_normal(total)
        level = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
        return np.asarray(level < ndtri(min(max(accuracy, 0.01), 0.99)))
