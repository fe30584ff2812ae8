"""What a process of a study does: attempts at runs, on this machine (``tvt.study.worker PIPE``) or in a job of Slurm."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.core.recipe import Recipe
from tvt.errors import InputError, MissingPackageError, ProcessDiedError, ProcessFailedError
from tvt.study.events import Teller, telling
from tvt.study.jobs import Job, Task
from tvt.study.store import unmark

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

    from tvt.io.processes import Machines
    from tvt.study.runner import Runner

INTERRUPTED = 130
"""Exit code of a worker that heard Ctrl-C."""


def attempt(runner: Runner, task: Task, tell: Teller) -> None:
    """Do what is missing of a run. An interruption passes through, and then nobody tells an end."""

    def progress(phase: str, done: int, total: int) -> None:
        tell("progress", run=task.run_id, phase=phase, done=done, total=total)

    try:
        verdict: str = runner.do(task, progress)
    except ProcessDiedError as error:
        print(error, file=sys.stderr, flush=True)
        tell("died", run=task.run_id, how=f"its {error.work} processes were killed")
    except ProcessFailedError as error:
        print(error, file=sys.stderr, flush=True)
        tell("failed", run=task.run_id, cause=error.cause)
    except (InputError, MissingPackageError) as error:
        tell("error", run=task.run_id, type=type(error).__name__, lines=str(error).split("\n"))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        tell("defect", run=task.run_id)
    else:
        tell(verdict, run=task.run_id)


class Attempt:
    """What submitit calls in the job, and again when the job was requeued. Its pickle holds two strings.

    Args:
        job: the job of one run, as :meth:`tvt.study.jobs.Job.dump` writes it.
        events: the file by which the attempt tells.
    """

    def __init__(self, job: str, events: str) -> None:
        self.job, self.events = job, events
        self._life: Life | None = None

    def __call__(self) -> None:
        for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false"), ("TRANSFORMERS_VERBOSITY", "error")):
            os.environ.setdefault(name, value)
        warnings.simplefilter("ignore", FutureWarning)
        job = Job.load(self.job)
        with telling(Path(self.events)) as tell:
            from submitit import JobEnvironment

            from tvt.study.runner import Runner

            runner = Runner(job=job, note=lambda text: tell("note", text=text), machines=machines(job.recipe))
            self._life = Life(runner, self.events)
            attempt(runner, job.tasks[0], tell)
        unmark(runner.store.run_folder(job.tasks[0].run_id), JobEnvironment().job_id)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit when Slurm says that the job's time is over: what it shall do when it was requeued."""
        from submitit.core.utils import DelayedSubmission

        if self._life is not None:
            self._life.give_up_if_vain()
        return DelayedSubmission(Attempt(self.job, self.events))


class Life:
    """From a job's start to its end, or to its being requeued.

    Args:
        runner: at work on its job's only run.
        events: the file by which the attempt tells.
    """

    def __init__(self, runner: Runner, events: str) -> None:
        self._runner, self._events = runner, events
        self._task = runner.job.tasks[0]
        self._began, self._stood = time.monotonic(), runner.stands(self._task)

    def give_up_if_vain(self) -> None:
        """End the job where a whole time limit brought no checkpoint: requeued, it would do the same for ever.

        Raises:
            SystemExit: it is given up; whoever waits for it is told.
        """
        minutes = self._runner.job.recipe.runtime.slurm.timeout_min
        stands = self._runner.stands(self._task)
        if stands != self._stood or stands[0] == "scoring" or time.monotonic() - self._began < 30 * minutes:
            return
        with telling(Path(self._events)) as tell:
            how = f"its Slurm job met its time limit of {minutes} min before a checkpoint; raise runtime.slurm.timeout_min"
            tell("died", run=self._task.run_id, how=how)
        sys.exit(1)


def machines(recipe: Recipe) -> Machines | None:
    """The nodes of the job, whose training processes ``srun`` starts."""
    count = recipe.runtime.num_machines
    if count == 1:
        return None
    from tvt.io.processes import Machines

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    shape = ("--nodes", str(count), "--ntasks", str(count), "--ntasks-per-node", "1")
    # Steps do not take over the job's cores per task since Slurm 22.05.
    cores = ("--cpus-per-task", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    launcher = ("srun", *shape, *cores, "--kill-on-bad-exit=1")
    return Machines(count=count, main_ip=socket.gethostname(), main_port=port, launcher=launcher)


def main() -> int:
    """Entry point; returns the exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    tell = Teller(int(sys.argv[1]))
    try:
        job = Job.load(sys.stdin.readline())
        from tvt.study.runner import Runner

        runner = Runner(job=job, note=lambda text: tell("note", text=text))
        tasks = {task.run_id: task for task in job.tasks}
        while line := sys.stdin.readline():
            attempt(runner, tasks[line.strip()], tell)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
