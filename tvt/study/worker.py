"""What a process of a study does: attempts at runs, on this machine (``tvt.study.worker PIPE``) or in a job of Slurm."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.core.events import AttemptEvent, Defect, Died, End, Failed, Note, Phase, PhaseProgress, Stopped
from tvt.core.recipe import Recipe
from tvt.errors import InputError, MissingPackageError, ProcessDiedError, ProcessFailedError
from tvt.study.jobs import EventWriter, Job, RunTask, writing_to
from tvt.study.run_folders import unmark

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

    from tvt.io.processes import Machines
    from tvt.study.runner import Runner, ShowPhase

Report = Callable[[AttemptEvent], None]
INTERRUPTED = 130
"""Exit code of a worker that got Ctrl-C."""


def attempt(runner: Runner, task: RunTask, report: Report) -> None:
    """Do what is missing of a run. An interruption passes through, and then no end is reported."""

    def progress(phase: Phase, done: int, total: int) -> None:
        report(PhaseProgress(run=task.run_id, phase=phase, done=done, total=total))

    report(_end(runner, task, progress))


def _end(runner: Runner, task: RunTask, progress: ShowPhase) -> End:
    try:
        return runner.do(task, progress)
    except ProcessDiedError as error:
        print(error, file=sys.stderr, flush=True)
        return Died(run=task.run_id, how=f"its {error.work} processes were killed")
    except ProcessFailedError as error:
        print(error, file=sys.stderr, flush=True)
        return Failed(run=task.run_id, cause=error.cause)
    except (InputError, MissingPackageError) as error:
        return Stopped(run=task.run_id, type=type(error).__name__, lines=str(error).split("\n"))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        return Defect(run=task.run_id)


def start_runner(job: Job, report: Report, machines: Machines | None = None) -> Runner:
    """Load what does a job's runs, in a process of its own."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    from tvt.study.runner import Runner

    return Runner(job=job, note=lambda text: report(Note(text=text)), machines=machines)


class Attempt:
    """An attempt at a run in a job of Slurm, which submitit calls, and again when the job was requeued.

    Its pickle holds two strings.

    Args:
        job: the job of one run, as :meth:`tvt.study.jobs.Job.dump` writes it.
        events: the file of its messages.
    """

    def __init__(self, job: str, events: str) -> None:
        self.job, self.events = job, events
        self._life: Life | None = None

    def __call__(self) -> None:
        for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):
            os.environ.setdefault(name, value)
        job = Job.load(self.job)
        with writing_to(Path(self.events)) as report:
            from submitit import JobEnvironment

            runner = start_runner(job, report, machines(job.recipe))
            self._life = Life(runner, self.events)
            attempt(runner, job.tasks[0], report)
        unmark(runner.store.run_folder(job.tasks[0].run_id), JobEnvironment().job_id)

    def checkpoint(self) -> DelayedSubmission:
        """What the job does when it was requeued; submitit calls this when Slurm says that the job's time is over."""
        from submitit.core.utils import DelayedSubmission

        if self._life is not None:
            self._life.give_up_without_checkpoint()
        return DelayedSubmission(Attempt(self.job, self.events))


class Life:
    """From a job's start to its end, or to its being requeued.

    Args:
        runner: at work on its job's only run.
        events: the file of its messages.
    """

    def __init__(self, runner: Runner, events: str) -> None:
        self._runner, self._events = runner, events
        self._task = runner.job.tasks[0]
        self._began, self._stood = time.monotonic(), runner.stands(self._task)

    def give_up_without_checkpoint(self) -> None:
        """End the job where a whole time limit brought no checkpoint: requeued, it would do the same for ever.

        Raises:
            SystemExit: it is given up, which is reported.
        """
        minutes = self._runner.job.recipe.runtime.slurm.timeout_min
        stands = self._runner.stands(self._task)
        if stands != self._stood or stands[0] == "scoring" or time.monotonic() - self._began < 30 * minutes:
            return
        with writing_to(Path(self._events)) as report:
            how = f"its Slurm job met its time limit of {minutes} min before a checkpoint; raise runtime.slurm.timeout_min"
            report(Died(run=self._task.run_id, how=how))
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
    report = EventWriter(int(sys.argv[1]))
    try:
        job = Job.load(sys.stdin.readline())
        runner = start_runner(job, report)
        tasks = {task.run_id: task for task in job.tasks}
        while line := sys.stdin.readline():
            attempt(runner, tasks[line.strip()], report)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
