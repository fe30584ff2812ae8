"""Start a training run: in this process, or as several through torchrun, on one machine or on several
that connect at an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.core.recipe import Recipe
from tvt.errors import InputError, MissingPackageError, TrainingError, install, needs_train_extra, refuse
from tvt.io import atomic, digest, machine
from tvt.io.adapter_file import verify_adapter
from tvt.io.atomic import attempted
from tvt.io.processes import Machines, SharedWork, run_together, without_launcher
from tvt.model.families import rows_fault
from tvt.model.limits import load_limits
from tvt.model.loading import load_processor
from tvt.train.checkpoints import check_same_run, has_checkpoints, layout, newest_checkpoint, remove_broken
from tvt.train.checks import machine_checks, training_checks
from tvt.train.probe import gpus_lacking, visible_gpus, watched
from tvt.train.record import (
    ADAPTER,
    LOG,
    RECORD,
    ROWS,
    TrainingJob,
    TrainingProgress,
    TrainingRecord,
    base_digest,
    load_training_record,
)
from tvt.train.rows import Examples, check_rows, dataset_digest, load_rows, shown_rows
from tvt.types import silent

if TYPE_CHECKING:
    from tvt.model.base import Loaded
import errno
import socket

Report = Callable[[TrainingProgress], None]
Note = Callable[[str], None]


def train(
    recipe: Recipe,
    dataset: Path,
    output: Path,
    *,
    seed: int,
    resume: bool = False,
    machines: Machines | None = None,
    progress: Report = silent,
    note: Note = silent,
    rows_checked: bool = False,
    base: Loaded | None = None,
) -> TrainingRecord:
    """Train one adapter on a dataset that ``tvt mix`` wrote, or find that this very run is done.

    Args:
        recipe: model, adapter, training and number of processes.
        dataset: folder with ``data/*.parquet``.
        output: folder for ``adapter/``, ``training.json`` (written last) and, meanwhile, checkpoints.
        seed: of the adapter's start and of the order after the first pass.
        resume: go on from the newest complete checkpoint of this very run, if there is one.
        machines: default, this one.
        progress: called at every logging step. What it raises stops a run that is in this process.
        note: called with a sentence that is worth knowing.
        rows_checked: whether the rows were checked against the model's limits already, as a study does once for all runs.
        base: the recipe's base model for the caller's runs and scores. A run in this process trains on it and puts it back
            as it was; processes load their own, and it is released.

    Raises:
        InputError: recipe, rows or model cannot be used, or ``output`` holds another run.
        TrainingError: a guard stopped the run, or a process died. Complete checkpoints stay.
    """
    machines = machines or Machines()
    _check_request(recipe, machines, note)
    atomic.refuse_file(output)
    summary = check_rows(dataset)
    if (fault := rows_fault(recipe, rows=summary.rows, with_images=summary.with_images)) is not None:
        raise InputError(f"{dataset}: {fault}")
    if not summary.with_images and "language_model" not in recipe.trained_parts:
        raise InputError(f"{dataset}: no row has an image, and the language model does not train; add it to training.parts")
    job = TrainingJob(
        recipe=recipe,
        dataset=dataset.absolute(),
        output=output.absolute(),
        seed=seed,
        dataset_digest=dataset_digest(dataset),
        base_digest=base_digest(recipe.model.model_name_or_path),
    )
    output.mkdir(parents=True, exist_ok=True)
    with _lock(job.output, machines), without_launcher() as taken:
        check_same_run(job)
        if (done := _finished(job)) is not None:
            note(f"{output}: this very run is done; nothing trained")
            return done
        if taken:
            note(f"not used, since the recipe decides: {', '.join(taken)}, which the environment sets")
        job = _resumed(job, resume, machines, note)
        if not rows_checked and machines.rank == 0 and job.resume_from is None:
            load_limits(recipe.model).check(shown_rows(dataset))
        if recipe.training.max_length is not None and machines.rank == 0 and job.resume_from is None:
            _check_lengths(job, recipe.training.max_length)
        with machine.resource_errors(output, str(output), recipe):
            if recipe.runtime.num_processes == 1 and machines.count == 1 and not recipe.runtime.deepspeed:
                return _run_here(job, progress, base)
            if base is not None:
                base.release()
            with watched(note) if recipe.runtime.deepspeed else nullcontext():
                _run_processes(job, machines, progress)
        if machines.rank and not (job.output / RECORD).is_file():
            raise InputError(
                f"{output}: machine 0 wrote its adapter elsewhere; name a folder on a disk that all machines share"
            )
        return load_training_record(job.output)


def _check_lengths(job: TrainingJob, most: int) -> None:
    with needs_train_extra():
        from tvt.train.lengths import check_lengths
    model = job.recipe.model
    examples = Examples(load_rows(job.dataset, job.output / ROWS), job.dataset, model.max_pixels, model.min_pixels)
    check_lengths(examples, load_processor(model), most)


def _check_request(recipe: Recipe, machines: Machines, note: Note) -> None:
    starts = 1 if machines.launcher else machines.count
    refuse([*training_checks(recipe), *machine_checks(recipe, machines=starts)], note)
    faults = []
    if recipe.runtime.num_processes % machines.count:
        faults.append(
            f"{recipe.runtime.num_processes} processes cannot be shared evenly by {machines.count} machines; change one of them"
        )
    elif (gpus := len(visible_gpus())) and recipe.runtime.num_processes // machines.count > gpus:
        faults.append(gpus_lacking(recipe.runtime.num_processes, machines.count, gpus))
    if not 0 <= machines.rank < machines.count:
        faults.append(f"--machine-rank {machines.rank}: not below --num-machines {machines.count}")
    if machines.count > 1 and machines.main_ip is not None and machines.main_port is not None:
        faults += [] if machines.launcher else address_faults(machines.main_ip, machines.main_port, machines.rank)
    elif machines.count > 1:
        faults.append(
            f"{machines.count} machines need an address of machine 0: --main-process-ip and --main-process-port, or "
            "main_process_ip and main_process_port in the recipe's runtime part; or train here alone with --num-machines 1"
        )
    if faults:
        raise InputError(*faults)


@contextmanager
def _lock(output: Path, machines: Machines) -> Iterator[None]:
    """Keep a second tvt from training into the same folder."""
    if machines.rank:
        yield
        return
    with attempted(output / ".lock") as free:
        if not free:
            raise InputError(f"{output}: another tvt train is at work there; wait for it, or name another folder with -o")
        yield


def _finished(job: TrainingJob) -> TrainingRecord | None:
    if not (job.output / RECORD).is_file():
        return None
    record = load_training_record(job.output)
    if record.identity != job.identity:
        raise InputError(f"{job.output}: holds another finished run; train into another folder with -o DIR")
    adapter = verify_adapter(job.output / ADAPTER)
    if adapter.digest != record.adapter_digest:
        raise InputError(
            f"{job.output / ADAPTER}: is not the adapter of this run's record; train into another folder with -o DIR"
        )
    return record


def _resumed(job: TrainingJob, resume: bool, machines: Machines, note: Note) -> TrainingJob:
    """The job with the checkpoint to go on from."""
    if not has_checkpoints(job.output):
        return job
    if not resume:
        raise InputError(
            f"{job.output}: holds an unfinished run; go on with --resume, or train into another folder with -o DIR"
        )
    resumable = newest_checkpoint(job)
    for reason in resumable.broken:
        note(f"not resumed from {reason}")
    if machines.rank == 0:
        remove_broken(job)
    if resumable.checkpoint is None:
        note("no whole checkpoint; starting from the beginning")
    else:
        note(f"resuming from {resumable.checkpoint.name}")
    return TrainingJob(**{**vars(job), "resume_from": resumable.checkpoint})


def _run_here(job: TrainingJob, progress: Report, base: Loaded | None) -> TrainingRecord:
    try:
        from tvt.train.run import run
    except ImportError as error:
        raise MissingPackageError(f"training needs more packages ({error}): {install('train')}") from error
    with nullcontext() if base is None else base.lent(str(job.output), whole=job.recipe.training.method == "full"):
        record = run(job, progress, base)
    if record is None:  # only the first process gets here
        raise TrainingError(f"{job.output}: this process was started as one of several; use tvt train --num-processes")
    return record


def _run_processes(job: TrainingJob, machines: Machines, progress: Report) -> None:
    """Train in processes of their own; what libraries print goes to a log."""
    work = SharedWork(
        name="training",
        module="tvt.train.worker",
        job=job.dump(),
        job_file=job.output / f".job-{machines.rank}.json",
        log=job.output / (LOG if machines.rank == 0 else f"train-{machines.rank}.log"),
        processes=job.recipe.runtime.num_processes,
        rendezvous=_meeting(job),
        again="go on with --resume",
    )
    run_together(work, machines, lambda _, what: progress(TrainingProgress(**what)))


def _meeting(job: TrainingJob) -> str:
    """Identifies launches that train together: those of other rows, another recipe or another checkpoint must not."""
    checkpoint = job.resume_from.name if job.resume_from else None
    return digest.of_value([job.identity, layout(job.recipe), checkpoint])[:16]


def address_faults(host: str, port: int, rank: int) -> list[str]:
    """What is wrong with an address, as far as this machine can check.

    Args:
        host: name or number of machine 0.
        port: there.
        rank: of this machine; machine 0 must be able to listen at the address.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return [f"--main-process-ip {host}: no such host ({error.strerror or error}); name machine 0 as the others reach it"]
    if rank:
        return []
    refusals = [_refusal(family, address) for family, _, _, _, address in addresses]
    if None in refusals:
        return []
    if errno.EADDRINUSE in refusals:
        return [
            f"--main-process-port {port}: is taken on this machine; name a free one, or another --machine-rank if machine 0 "
            "has started here already"
        ]
    if errno.EADDRNOTAVAIL in refusals:
        return [
            f"--main-process-ip {host}: is no address of this machine, and this is machine 0; name one that is, or give this "
            "machine another --machine-rank"
        ]
    return [f"--main-process-port {port}: cannot be listened on; name a free one above 1023"]


def _refusal(family: int, address: tuple[object, ...]) -> int | None:
    """Why no process can listen at an address of this machine; ``None`` if one can."""
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run before may have ended just now
        try:
            trial.bind(address)
        except OSError as error:
            return error.errno
    return None
