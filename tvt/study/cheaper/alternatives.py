"""Cheaper ways to a study: what each would cost, and the options that ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tvt.study.estimate import Estimate, estimate
from tvt.study.jobs import Task
from tvt.study.session import Session
from tvt.study.store import Store

QUARTER = 0.25


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One way to do a study, and what is still to be done for it."""

    name: str
    options: tuple[str, ...]
    """What asks for it, behind ``tvt study run RECIPE``; a value that is given again takes the place of the earlier one."""
    folder: Path | None
    """Another folder than the study's own, where it needs one."""
    estimate: Estimate


def alternatives(session: Session) -> list[Alternative]:
    """The study in full, then the cheaper ways that make sense for it. Runs that are done cost nothing.

    *Adaptive* takes one run of every source and spends the rest where the choice of a mixture hangs on it, so it needs several
    seeds. *Half the seeds* is the first of them. *A quarter of the examples* is another study, in a folder of its own.
    """
    study, store = session.study, session.store
    tasks = session.tasks()
    found = [_alternative("full", (), session, tasks)]
    ways = (_adaptive(session, tasks), _half_the_seeds(session, tasks))
    found += [way for way in ways if way is not None]
    budget = round(QUARTER * study.recipe.budget)
    if budget >= study.recipe.training.global_batch_size:  # at least a step
        smaller = replace(study, recipe=study.recipe.model_copy(update={"budget": budget, "doses": (1.0,)}))
        apart = Session(study=smaller, store=Store(store.folder.with_name(f"{store.folder.name}-quarter")))
        options = (f"budget={budget}", *(("doses=[1]",) if len(study.recipe.doses) > 1 else ()))
        found.append(
            Alternative(
                name=f"{QUARTER:.0%} of the examples",
                options=tuple(part for option in options for part in ("--set", option)),
                folder=apart.store.folder,
                estimate=estimate(smaller, apart.store, apart.tasks(), speed=store),
            )
        )
    return found


def _alternative(name: str, options: Sequence[str], session: Session, tasks: Sequence[Task]) -> Alternative:
    states = session.status(tasks)
    todo = [task for task in tasks if states[task.run_id] not in ("done", "failed")]
    cost = estimate(session.study, session.store, todo)
    return Alternative(name=name, options=tuple(options), folder=None, estimate=cost)


def _adaptive(session: Session, tasks: Sequence[Task]) -> Alternative | None:
    """Half of the runs at the full budget, or, where these are no more than one for each source, half of what comes after."""
    study = session.study
    full = [task for task in tasks if task.run.examples == study.recipe.budget]
    sources, total = len(study.sources), len(full)
    count = total // 2 if total // 2 > sources else sources + (total - sources) // 2
    if sources < 2 or not sources < count < total:
        return None
    states = session.status(full)
    # Which runs it will choose is not known; what is done counts, and seeds outermost the first others cost as much as any.
    chosen = sorted(full, key=lambda task: states[task.run_id] != "done")[:count]
    base = [task for task in tasks if task.run.is_base]
    return _alternative(f"adaptive, {count} of {total} runs", ("--adaptive", "--runs", str(count)), session, [*base, *chosen])


def _half_the_seeds(session: Session, tasks: Sequence[Task]) -> Alternative | None:
    seeds = session.study.recipe.seeds
    if len(seeds) < 2:
        return None
    half = seeds[: len(seeds) // 2]
    chosen = [task for task in tasks if task.run.is_base or task.run.seed in half]
    name = "half the seeds" if 2 * len(half) == len(seeds) else f"{len(half)} of {len(seeds)} seeds"
    return _alternative(name, ("--set", f"seeds=[{','.join(map(str, half))}]"), session, chosen)
