"""The executors of a study's runs: processes of this machine, Slurm, or Ray; all of them by one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tvt.core.choices import EXECUTORS
from tvt.core.events import AttemptEvent
from tvt.core.recipe import Recipe
from tvt.errors import Check, InputError, Status
from tvt.study.jobs import Job, RunTask


class Executor(Protocol):
    """Does attempts at runs: at most one at a time of each run, at most :attr:`room` at once.

    It knows nothing of order, tries or failures: :class:`tvt.study.conductor.Conductor` does.
    """

    room: int
    """How many attempts may be submitted and not ended at once."""

    def submit(self, task: RunTask) -> None:
        """Start an attempt at a run, or queue it; returns at once.

        Raises:
            InputError: the engine takes none, with the next step.
        """

    def poll(self, seconds: float) -> Iterable[AttemptEvent]:
        """The messages since the last call; waits at most ``seconds`` for them. Every attempt ends by exactly one.

        Raises:
            InputError: the engine is gone, with the next step.
        """

    def log(self, run_id: str) -> Path:
        """The file with what a run's latest attempt printed."""

    def close(self) -> None:
        """Cancel the attempts that were submitted here and have not ended, and nothing else."""


class Engine(ABC):
    """One way of doing a study's runs: an entry of :data:`tvt.core.choices.EXECUTORS`."""

    here: bool = False
    """Whether runs use the devices of the machine on which the study is started."""
    spans_machines: bool = False
    """Whether a run can have several machines."""

    @abstractmethod
    def room(self, recipe: Recipe) -> int:
        """How many runs are done at once by default. No cluster is asked."""

    @abstractmethod
    def checks(self, recipe: Recipe) -> Iterator[Check]:
        """For ``tvt doctor``: whether what it needs is installed and can be reached."""

    @abstractmethod
    def start(self, job: Job, workers: int | None) -> Executor:
        """The executor of a job.

        Args:
            job: what may be asked for.
            workers: runs at once; default: :meth:`room`.

        Raises:
            InputError: it cannot do the job's runs.
            MissingPackageError: its extra is not installed.
        """

    def need(self, recipe: Recipe) -> None:
        """Check what must be there before anything is written.

        Raises:
            InputError: it cannot do the recipe's runs.
            MissingPackageError: its extra is not installed.
        """
        return


def executor_check(status: Status, found: str, step: str) -> Check:
    """One line of an engine's checks."""
    return Check(group="recipe", name="executor", status=status, found=found, step=step)


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
        workers: runs at once; default: :meth:`tvt.study.executors.Engine.room`, and on a Ray cluster as many as its
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
