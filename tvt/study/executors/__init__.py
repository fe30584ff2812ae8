"""Who does a study's runs: processes of this machine, Slurm, or Ray; all of them by one small interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.study.executors.interface import Executor
from tvt.study.executors.local import LocalExecutor, default_workers
from tvt.study.executors.ray import RayExecutor
from tvt.study.executors.ray_cluster import need_ray
from tvt.study.executors.slurm import SlurmExecutor
from tvt.study.executors.slurm_submit import need_slurm
from tvt.study.jobs import Job

Name = Literal["local", "slurm", "ray"]
Start = Callable[[Job], Executor]


def choose_executor(recipe: Recipe, name: Name | None = None, workers: int | None = None) -> Start:
    """What starts the executor of a job.

    Args:
        recipe: whose ``runtime`` names the executor and what it needs.
        name: another one than the recipe's.
        workers: runs at once; default: see :func:`default_room`, and on a Ray cluster as many as its living nodes hold.

    Raises:
        InputError: it cannot do the recipe's runs.
        MissingPackageError: its extra is not installed.
    """
    name = name or recipe.runtime.executor
    room = workers or default_room(recipe, name)
    if name != "slurm" and recipe.runtime.num_machines > 1:
        raise InputError(
            f"runtime.num_machines {recipe.runtime.num_machines}: the {name} executor gives each run one machine; take "
            "--executor slurm, or set it to 1"
        )
    if name == "slurm":
        need_slurm()
        return lambda job: SlurmExecutor(job, room)
    if name == "ray":
        need_ray()
        return lambda job: RayExecutor(job, workers)
    return lambda job: LocalExecutor(job, room)


def default_room(recipe: Recipe, name: Name | None = None) -> int:
    """How many runs are done at once where nobody says; nobody is asked, and of a Ray cluster this machine alone is counted."""
    if (name or recipe.runtime.executor) == "slurm":
        return recipe.runtime.slurm.array_parallelism
    return default_workers(recipe)
