"""Who does a study's runs: processes of this machine, Slurm, or Ray; all of them by one small interface."""

from __future__ import annotations

from collections.abc import Callable

from tvt.core.choices import EXECUTORS
from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.study.executors.interface import Engine, Executor
from tvt.study.jobs import Job

Start = Callable[[Job], Executor]


def engine_of(recipe: Recipe, name: str | None = None) -> Engine:
    """The engine that does a recipe's runs, or another one by its name."""
    engine: Engine = EXECUTORS.find(name or recipe.runtime.executor)
    return engine


def choose_executor(recipe: Recipe, name: str | None = None, workers: int | None = None) -> Start:
    """What starts the executor of a job.

    Args:
        recipe: whose ``runtime`` names the executor and what it needs.
        name: another one than the recipe's.
        workers: runs at once; default: :meth:`tvt.study.executors.interface.Engine.room`, and on a Ray cluster as many as its
            living nodes hold.

    Raises:
        InputError: it cannot do the recipe's runs.
        MissingPackageError: its extra is not installed.
    """
    engine = engine_of(recipe, name)
    if recipe.runtime.num_machines > 1 and not engine.spans_machines:
        raise InputError(
            f"runtime.num_machines {recipe.runtime.num_machines}: the {name or recipe.runtime.executor} executor gives each "
            "run one machine; take --executor slurm, or set it to 1"
        )
    engine.need(recipe)
    return lambda job: engine.start(job, workers)
