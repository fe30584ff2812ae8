"""What ``tvt study plan`` and ``status`` say of the time that a study takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from tvt.core.recipe import Recipe
    from tvt.study.estimate import Estimate
    from tvt.study.factors import Factor
    from tvt.study.jobs import Task
    from tvt.study.session import Session

GPUS = 8
"""For which time is told where a guess is for GPUs and none is here."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """An estimate, how many runs are done at once, and what settings cost."""

    estimate: Estimate
    slots: int
    where: str
    """What the runs are done on, as a sentence goes on behind a duration."""
    factors: tuple[Factor, ...] | None
    """``None``: nobody asked."""

    @classmethod
    def of(cls, session: Session, tasks: Sequence[Task], *, factors: bool) -> Costs:
        """What ``tasks`` will cost.

        Args:
            session: the study.
            tasks: runs with something to do.
            factors: whether to look at other settings, too.
        """
        from tvt.study.estimate import Work, estimate
        from tvt.study.factors import factors as settings

        study, store = session.study, session.store
        cost = estimate(study, store, tasks)
        slots, where = _slots(study.recipe, cost)
        found = tuple(settings(study, Work.of(study, store, tasks), cost)) if factors else None
        return cls(estimate=cost, slots=slots, where=where, factors=found)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        told = {**self.estimate.plain(), "slots": self.slots, "wall_seconds": self.estimate.wall(self.slots)}
        return told if self.factors is None else {**told, "factors": [dict(vars(factor)) for factor in self.factors]}

    def show(self, console: Console) -> None:
        """The sentence of ``tvt study status``, and with factors the tables of ``tvt study plan``."""
        from tvt.report.plan_tables import cost_sentence, factors_table, phases_table

        console.print(cost_sentence(self.estimate, self.slots, self.where), markup=False)
        if self.factors is None or self.estimate.phases is None:
            return
        console.print("", phases_table(self.estimate), sep="\n")
        if self.factors:
            console.print(factors_table(self.factors, self.estimate))


def _slots(recipe: Recipe, cost: Estimate) -> tuple[int, str]:
    """Runs at once, and on what."""
    from tvt.study.executors import engine_of
    from tvt.train.devices import visible_gpus

    at_most = max(cost.runs, 1)
    if recipe.runtime.executor == "local" and cost.phases is not None and not cost.measured and not visible_gpus():
        return min(max(1, GPUS // recipe.runtime.num_processes), at_most), f" on {GPUS} GPUs (none is here)"
    slots = min(engine_of(recipe).room(recipe), at_most)
    return slots, f" on {slots} workers" if slots > 1 else ""
