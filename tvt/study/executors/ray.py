"""Runs as tasks of a Ray cluster. What happens in them is told by files in the study's folder, which all nodes see."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.health import Check
from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.io.installed import version
from tvt.io.lock import attempted, exclusively
from tvt.study.attempt import attempt
from tvt.study.executors.event_file import EventFile, telling
from tvt.study.executors.interface import Engine, Event, Executor, executor_check
from tvt.study.executors.local import default_workers
from tvt.study.executors.ray_cluster import Cluster, end_of, need_ray
from tvt.study.jobs import Job, Task

_KEPT = ("died", "defect", "error")
"""Ends after which what was printed may be wanted."""
_LOCK = ".lock"
_STOP_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
"""How long no node may be large enough for a run, after one was: nodes come back."""


@dataclass(frozen=True)
class _Sent:
    ref: Any
    events: EventFile


class Ray(Engine):
    """Tasks of a Ray cluster."""

    def room(self, recipe: Recipe) -> int:
        """Of this machine alone."""
        return default_workers(recipe)

    def checks(self, recipe: Recipe) -> Iterator[Check]:
        """The package. The cluster is not asked: looking would start one."""
        if not (installed := version("ray")):
            yield executor_check("fail", "ray needs ray, which is not installed", "pip install 'tvt[ray]'")
        else:
            where = recipe.runtime.ray.address or "RAY_ADDRESS, else this machine"
            yield executor_check("ok", f"ray (ray {installed}); {where}; this machine's devices are not looked at", "")

    def need(self, recipe: Recipe) -> None:
        """See :func:`tvt.study.executors.ray_cluster.need_ray`."""
        need_ray()

    def start(self, job: Job, workers: int | None) -> Executor:
        """See :class:`RayExecutor`."""
        return RayExecutor(job, workers)


class RayExecutor:
    """One Ray task per attempt, in a process of its own.

    Args:
        job: what may be asked for.
        workers: attempts at once; more than the cluster has room for wait in Ray's queue. Default: as many as
            it has room for.

    Raises:
        InputError: there is no cluster, or no node of it is large enough for a run.
    """

    def __init__(self, job: Job, workers: int | None) -> None:
        self._job, self._workers = job, workers
        self._sent: dict[str, _Sent] = {}
        self._logs: dict[str, Path] = {}
        self._names = (f"{uuid.uuid4().hex[:8]}-{number}" for number in itertools.count())
        self._cluster = Cluster(job.recipe.runtime.ray.address)
        try:
            self._asked = asked(job.recipe, self._cluster.nodes())
            self._start = self._cluster.task(do_attempt, self._asked)
            self.room, self._roomy = 1, -_PATIENCE_SECONDS
            self._look()
            self._open = ExitStack()
            self._folder = self._open.enter_context(_own_folder(job.folder / "logs" / "ray"))
        except BaseException:
            self._cluster.leave()
            raise

    def submit(self, task: Task) -> None:
        """Ray places it as soon as a node has room."""
        name = f"{task.run_id}-{next(self._names)}"
        events, log = self._folder / f"{name}.events", self._job.folder / "logs" / f"worker-ray-{name}.log"
        events.touch()  # by which a node knows that it sees the study's folder
        log.touch()
        ref = self._start(self._job.only(task).dump(), str(events), str(log))
        self._sent[task.run_id] = _Sent(ref, EventFile(events))
        self._logs[task.run_id] = log

    def hear(self, seconds: float) -> list[Event]:
        """Events of all tasks; a task that is over without an end has died."""
        self._look()
        over = self._cluster.over([sent.ref for sent in self._sent.values()], seconds)
        told: list[Event] = []
        for run_id, sent in list(self._sent.items()):
            news: list[Event] = [*sent.events.news()]  # after the look: a task writes its end before it is over
            if not sent.events.ended and sent.ref in over:
                news.append({"run": run_id, **end_of(sent.ref)})
            elif not sent.events.ended:
                told += news
                continue
            told += news
            del self._sent[run_id]
            sent.events.path.unlink(missing_ok=True)
            if news[-1]["kind"] not in _KEPT:
                self._logs[run_id].unlink(missing_ok=True)
        return told

    def log(self, run_id: str) -> Path:
        """What the run's latest task printed, on whichever node."""
        return self._logs[run_id]

    def close(self) -> None:
        """Cancel the tasks and leave the cluster, or end it if it was started here."""
        with self._open:
            self._cluster.cancel([sent.ref for sent in self._sent.values()], _STOP_SECONDS)
            self._cluster.leave()
            for run_id in self._sent:
                self._logs[run_id].unlink(missing_ok=True)

    def _look(self) -> None:
        """Count the runs that the cluster holds, which changes when nodes come and go."""
        nodes = self._cluster.nodes()
        room = sum(_holds(node, self._asked) for node in nodes)
        if room:
            self._roomy = time.monotonic()
        elif time.monotonic() - self._roomy > _PATIENCE_SECONDS:
            sizes = sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes})
            raise InputError(
                f"a run asks for {self._asked['CPU']} CPUs and {self._asked['GPU']} GPUs of a node, and the nodes of the Ray "
                f"cluster have {', or '.join(sizes)}; lower runtime.num_processes, runtime.ray.cpus_per_run or "
                "runtime.ray.gpus_per_run, or start a larger node"
            )
        self.room = self._workers or max(room, 1)


def asked(recipe: Recipe, nodes: list[Mapping[str, float]]) -> dict[str, int]:
    """What a run asks of a node, as Ray calls it."""
    runtime = recipe.runtime
    gpus, cpus = runtime.ray.gpus_per_run, runtime.ray.cpus_per_run
    if gpus is None:
        gpus = runtime.num_processes if any(node.get("GPU") for node in nodes) else 0
    return {"CPU": cpus or runtime.num_processes, "GPU": gpus}


def do_attempt(text: str, events: str, log: str) -> None:
    """What a Ray task does, in a worker process that ends with it.

    Args:
        text: the job of one run, as :meth:`tvt.study.jobs.Job.dump` writes it.
        events: the file by which the attempt tells.
        log: the file for what is printed.

    Raises:
        InputError: the node does not see the study's folder.
    """
    if not Path(events).is_file():
        raise InputError(
            f"{socket.gethostname()}: does not see {Path(events).parent}; put the study's folder on a disk that all Ray nodes "
            "see, and run the same command again"
        )
    with Path(log).open("ab") as stream:
        for handle in (1, 2):
            os.dup2(stream.fileno(), handle)
    warnings.simplefilter("ignore", FutureWarning)
    job = Job.load(text)
    from tvt.study.runner import Runner

    with telling(Path(events)) as tell:
        attempt(Runner(job=job, note=lambda text: tell("note", text=text)), job.tasks[0], tell)


def _holds(node: Mapping[str, float], asked: Mapping[str, int]) -> int:
    """How many runs a node has room for when it is idle."""
    return min(int(node.get(kind, 0) // count) for kind, count in asked.items() if count)


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A folder for the events of one command; those of commands that were killed are removed."""
    for lock in parent.glob(f"*/{_LOCK}"):
        with attempted(lock) as free:
            if free:
                shutil.rmtree(lock.parent, ignore_errors=True)
    folder = parent / uuid.uuid4().hex[:8]
    with exclusively(folder / _LOCK):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
