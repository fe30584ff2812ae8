"""What a run asks of Slurm, and its submission through submitit, alone or as an array."""

from __future__ import annotations

import math
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.errors import InputError, MissingPackageError
from tvt.study.executors.slurm_job import Attempt

_REQUEUES = 1_000_000
"""As good as any number: a job that gets nowhere gives up by itself, see :mod:`tvt.study.executors.slurm_job`."""


def need_slurm() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        MissingPackageError: submitit is not installed.
        InputError: there is no ``sbatch``.
    """
    if find_spec("submitit") is None:
        raise MissingPackageError("the slurm executor needs submitit; pip install 'tvt[slurm]'")
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch here: start the study on a machine of the cluster that submits jobs, or take --executor local"
        )


def resources(recipe: Recipe) -> dict[str, Any]:
    """What a run asks for, in the names of sbatch's options that submitit knows."""
    runtime, slurm = recipe.runtime, recipe.runtime.slurm
    here = runtime.num_processes // runtime.num_machines
    gpus = here if slurm.gpus_per_node is None else slurm.gpus_per_node
    loaders = runtime.dataloader_num_workers
    if loaders is None:
        loaders = AUTOMATIC_LOADERS if gpus else 0
    asked: dict[str, Any] = {
        "job_name": f"tvt-{recipe.name}",
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.timeout_min,
        "nodes": runtime.num_machines,
        "ntasks_per_node": 1,
        "cpus_per_task": slurm.cpus_per_task or here * (1 + loaders),
        "gpus_per_node": gpus or None,
        "mem": None if slurm.mem_gb is None else f"{math.ceil(slurm.mem_gb * 1024)}M",
        "array_parallelism": slurm.array_parallelism,
        "setup": list(slurm.setup) or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


class Submitter:
    """Submits attempts at a recipe's runs.

    Args:
        recipe: whose ``runtime`` says what a run asks for.
        folder: of scripts and logs.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        from submitit import SlurmExecutor
        from submitit.slurm.slurm import SlurmJobEnvironment

        slurm = recipe.runtime.slurm
        # The interpreter takes the place of the batch script's shell. The process is there once, on the first node, and Slurm's
        # signal before the end (B: to the batch script) reaches it; a shell would die of it, or keep it for itself.
        self._engine = SlurmExecutor(folder, max_num_timeout=_REQUEUES, python=f"exec {shlex.quote(sys.executable)}")
        told = f"B:{SlurmJobEnvironment.USR_SIG}@{slurm.signal_delay_s}"
        self._engine.update_parameters(
            **resources(recipe),
            use_srun=False,
            stderr_to_stdout=True,
            additional_parameters={"signal": told, "requeue": True, **slurm.additional_parameters},
        )

    def submit(self, attempts: Sequence[Attempt]) -> list[str]:
        """The jobs' names, in order.

        Raises:
            InputError: Slurm takes none of them.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with redirect_stderr(StringIO()):  # where submitit prints what its error says
                return [job.job_id for job in self._engine.submit_array(attempts)]
        except (FailedJobError, FailedSubmissionError) as error:
            reason = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).strip().splitlines())
            raise InputError(f"Slurm takes no job ({reason}); change what the recipe's runtime.slurm asks for") from error

    def log(self, job: str) -> Path:
        """The file with what a job printed."""
        from submitit.core.utils import JobPaths

        return Path(JobPaths(self._engine.folder, job_id=job, task_id=0).stdout)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits, also that of sbatch: a job would be in the queue of which nobody knew."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: heard.set())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what is started inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if heard.is_set():
        raise KeyboardInterrupt
