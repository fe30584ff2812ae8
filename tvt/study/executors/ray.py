"""Runs as tasks of a Ray cluster. Their messages come through files in the study's folder, which all nodes see."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tvt
from tvt.core.events import AttemptEvent, Defect, Died, Stopped
from tvt.core.recipe import Recipe
from tvt.errors import Check, InputError, MissingPackageError, TvtError, install
from tvt.io.atomic import attempted, exclusively
from tvt.io.machine import installed_version
from tvt.study.executors import Engine, Executor, executor_check
from tvt.study.executors.local import default_workers
from tvt.study.jobs import EventFile, Job, RunTask, writing_to
from tvt.study.worker import attempt, start_runner

_LOG_STAYS = Died | Defect | Stopped
"""Ends after which the log stays."""
_LOCK = ".lock"
_STOP_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
"""How long no node may be large enough for a run, after one was: nodes come back."""


@dataclass(frozen=True)
class _RayTask:
    ref: Any
    events: EventFile


class Ray(Engine):
    """Tasks of a Ray cluster."""

    def room(self, recipe: Recipe) -> int:
        """Of this machine alone."""
        return default_workers(recipe)

    def checks(self, recipe: Recipe) -> Iterator[Check]:
        """The package. The cluster is not asked: looking would start one."""
        if not (installed := installed_version("ray")):
            yield executor_check("fail", "ray needs ray, which is not installed", install("ray"))
        else:
            where = recipe.runtime.ray.address or "RAY_ADDRESS, else this machine"
            yield executor_check("ok", f"ray (ray {installed}); {where}; this machine's devices are not looked at", "")

    def need(self, recipe: Recipe) -> None:
        """See :func:`tvt.study.executors.ray.need_ray`."""
        need_ray()

    def start(self, job: Job, workers: int | None) -> Executor:
        """See :class:`RayExecutor`."""
        return RayExecutor(job, workers)


class RayExecutor:
    """One Ray task per attempt, in a process of its own.

    Args:
        job: what may be submitted.
        workers: attempts at once; more than the cluster has room for wait in Ray's queue. Default: as many as
            it has room for.

    Raises:
        InputError: there is no cluster, or no node of it is large enough for a run.
    """

    def __init__(self, job: Job, workers: int | None) -> None:
        self._job, self._workers = job, workers
        self._sent: dict[str, _RayTask] = {}
        self._logs: dict[str, Path] = {}
        self._names = (f"{uuid.uuid4().hex[:8]}-{number}" for number in itertools.count())
        self._cluster = Cluster(job.recipe.runtime.ray.address)
        try:
            self._request = request_of(job.recipe, self._cluster.nodes())
            self._start = self._cluster.task(do_attempt, self._request)
            self.room, self._roomy = 1, -_PATIENCE_SECONDS
            self._look()
            self._open = ExitStack()
            self._folder = self._open.enter_context(_own_folder(job.folder / "logs" / "ray"))
        except BaseException:
            self._cluster.leave()
            raise

    def submit(self, task: RunTask) -> None:
        """Ray places it as soon as a node has room."""
        name = f"{task.run_id}-{next(self._names)}"
        events, log = self._folder / f"{name}.events", self._job.folder / "logs" / f"worker-ray-{name}.log"
        events.touch()  # by which a node knows that it sees the study's folder
        log.touch()
        ref = self._start(self._job.only(task).dump(), str(events), str(log))
        self._sent[task.run_id] = _RayTask(ref, EventFile(events))
        self._logs[task.run_id] = log

    def poll(self, seconds: float) -> list[AttemptEvent]:
        """The messages of all tasks; a task that is over without an end has died."""
        self._look()
        over = self._cluster.over([sent.ref for sent in self._sent.values()], seconds)
        events: list[AttemptEvent] = []
        for run_id, sent in list(self._sent.items()):
            news = sent.events.poll()  # after the look: a task writes its end before it is over
            if not sent.events.ended and sent.ref in over:
                news.append(end_of(sent.ref, run_id))
            elif not sent.events.ended:
                events += news
                continue
            events += news
            del self._sent[run_id]
            sent.events.path.unlink(missing_ok=True)
            if not isinstance(news[-1], _LOG_STAYS):
                self._logs[run_id].unlink(missing_ok=True)
        return events

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
        room = sum(_holds(node, self._request) for node in nodes)
        if room:
            self._roomy = time.monotonic()
        elif time.monotonic() - self._roomy > _PATIENCE_SECONDS:
            sizes = sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes})
            raise InputError(
                f"a run asks for {self._request['CPU']} CPUs and {self._request['GPU']} GPUs of a node, and the nodes of the "
                f"Ray cluster have {', or '.join(sizes)}; lower runtime.num_processes, runtime.ray.cpus_per_run or "
                "runtime.ray.gpus_per_run, or start a larger node"
            )
        self.room = self._workers or max(room, 1)


def request_of(recipe: Recipe, nodes: list[Mapping[str, float]]) -> dict[str, int]:
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
        events: the file of its messages.
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
    job = Job.load(text)
    with writing_to(Path(events)) as report:
        attempt(start_runner(job, report), job.tasks[0], report)


def _holds(node: Mapping[str, float], request: Mapping[str, int]) -> int:
    """How many runs a node has room for when it is idle."""
    return min(int(node.get(kind, 0) // count) for kind, count in request.items() if count)


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


LOCAL = "local"
"""Ray's name for a cluster of this machine that is started here and ends with us."""
# Ray's own checks take minutes, and 60 seconds after it lost its cluster it ends this process with exit code 1.
_ANSWER_SECONDS = 5.0
_GONE_SECONDS = 20.0
_OBJECTS_BYTES = 100 * 2**20
"""Memory for what tasks exchange: strings."""
_START = (
    "start one with ray start on its nodes, this machine among them, or leave the address out for one of this machine alone"
)
_PASSED_ON = ("TVT_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_CACHE")
"""Variables of the command that a run sees too. No tokens: Ray shows variables to everybody who sees the cluster."""


def need_ray() -> None:
    """Fail unless Ray is installed.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec("ray") is None:
        raise MissingPackageError(f"--executor ray needs Ray; {install('ray')}")


class Cluster:
    """A connection to a cluster; the only one of this process.

    Args:
        address: ``host:port``, ``auto`` for one that this machine is in, or None: ``RAY_ADDRESS``, else one that is started
            here.

    Raises:
        InputError: there is none.
    """

    def __init__(self, address: str | None) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or LOCAL
        self._variables: dict[str, str] = {}
        if address == LOCAL:
            # Before Ray is imported: it reads them then.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            _lock_up(self._variables)
        else:
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # with 20, an address that nobody answers takes minutes
            if address != "auto":
                _check(address)
        import ray

        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES} if address == LOCAL else {}
        # Ray prints on our terminal what happens to its processes; the study has messages of its own.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except Exception as error:  # Ray raises what comes; a start that took too long is no more than an Exception
            for name in self._variables:
                os.environ.pop(name, None)
            raise InputError(_unconnected(address, _lines(error)[0])) from error
        if terminated is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)  # Ray's own way prints where its C++ was
        self._ray = ray
        here = ray.get_runtime_context()
        self._address, self._here = str(here.gcs_address), str(here.get_node_id())
        self._answered, self._nodes = time.monotonic(), self._living()

    def nodes(self) -> list[Mapping[str, float]]:
        """The resources of each living node, as known when the cluster last answered.

        Raises:
            InputError: the cluster is gone.
        """
        if _answers(self._address):
            self._answered, self._nodes = time.monotonic(), self._living()
        gone = time.monotonic() - self._answered > _GONE_SECONDS
        if gone or self._here not in self._nodes:
            what = f"the Ray cluster at {self._address} does not answer" if gone else "Ray has ended on this machine"
            raise InputError(f"{what}; start it and run the same command again: what is done stays")
        return list(self._nodes.values())

    def task(self, function: Callable[..., None], request: Mapping[str, int]) -> Callable[..., Any]:
        """What starts, or queues, a task that asks for so much of a node; it returns Ray's reference to the task."""
        options = {
            "num_cpus": request["CPU"],
            "num_gpus": request["GPU"],
            "max_retries": 0,  # the conductor counts failures
            "max_calls": 1,  # a process per task: what it holds of GPUs' memory goes with it
            "runtime_env": {"env_vars": _environment()},
        }
        start: Callable[..., Any] = self._ray.remote(**options)(function).remote
        return start

    def over(self, refs: Sequence[Any], seconds: float) -> set[Any]:
        """The tasks that are over; waits for one to be."""
        if not refs:
            time.sleep(seconds)
            return set()
        return set(self._ray.wait(list(refs), timeout=seconds)[0])

    def cancel(self, refs: Sequence[Any], seconds: float) -> None:
        """End tasks, and wait for that."""
        if not refs:
            return
        for ref in refs:
            self._ray.cancel(ref, force=True)
        self._ray.wait(list(refs), num_returns=len(refs), timeout=seconds)

    def leave(self) -> None:
        """Disconnect; a cluster that was started here ends, and its token with it."""
        self._ray.shutdown()
        for name in self._variables:
            os.environ.pop(name, None)
        if self._variables:
            _read_again()

    def _living(self) -> dict[str, dict[str, float]]:
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}


def _lock_up(variables: dict[str, str]) -> None:
    """Have a cluster that is about to start let nobody in without a token of its own.

    Ray listens on every interface of a machine, and takes a loopback address that it is given for the machine's outer one
    (``resolve_ip_for_localhost`` of ``ray._private.services``); so a token, which Ray's processes inherit in their
    environment, is what keeps others out. Where the user has set Ray's mode, it stays.

    Args:
        variables: gets what was set.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    variables["RAY_AUTH_MODE"] = "token"
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        variables["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.update(variables)
    if "ray" in sys.modules:
        _read_again()


def _read_again() -> None:
    """Have a Ray that is imported read the variables of authentication again."""
    from ray import _raylet

    library: Any = _raylet  # compiled, without types
    library.Config.initialize("")
    library.AuthenticationTokenLoader.instance().reset_cache()


def end_of(ref: Any, run: str) -> Died | Stopped:
    """How a task ended that is over and has reported no end."""
    import ray
    from ray import exceptions

    try:
        ray.get(ref)
    except exceptions.RayTaskError as error:
        return Stopped(run=run, type="InputError", lines=_refusal(error))
    except exceptions.RuntimeEnvSetupError as error:
        lines = [f"a Ray node cannot start runs ({_lines(error)[-1]}); see Ray's logs there"]
        return Stopped(run=run, type="InputError", lines=lines)
    except exceptions.OutOfMemoryError:
        how = "Ray ended its process because memory ran out"
    except exceptions.WorkerCrashedError:
        how = "its process was killed, often because memory ran out"
    except (exceptions.NodeDiedError, exceptions.LocalRayletDiedError):
        how = "its node is gone"
    except exceptions.TaskCancelledError:
        how = "somebody cancelled its Ray task"
    except exceptions.RayError as error:
        how = f"Ray lost it ({_lines(error)[0]})"
    else:
        how = "its process ended without a message"
    return Died(run=run, how=how)


def _refusal(error: Any) -> list[str]:
    """Why a task could not begin."""
    if isinstance(error.cause, TvtError):
        return str(error.cause).splitlines()
    return [f"a Ray node cannot do runs: {_lines(error)[-1]}; install tvt with its extras train and ray there as here"]


def _lines(error: Exception) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]


def _environment() -> dict[str, str]:
    """Variables for the process of a run."""
    variables = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    variables = {name: os.environ.get(name, value) for name, value in variables.items()}
    variables |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    code = Path(tvt.__file__).parents[1]
    if code.name != "site-packages":  # a clone, which nodes with the same disk can use
        variables["PYTHONPATH"] = f"{code}:${{PYTHONPATH}}"  # Ray fills in the node's own
    return variables


def _unconnected(address: str, why: str) -> str:
    if address == LOCAL:
        return f"Ray did not start on this machine ({why}); run the same command again, or with --executor local"
    what = "none is at work on this machine" if address == "auto" else why
    return f"runtime.ray.address {address}: no Ray cluster to work with ({what}); {_START}"


def _check(address: str) -> None:
    """Fail unless somebody listens at an address."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            f"runtime.ray.address {address}: give the host and port of Ray's head node, such as 10.0.0.1:6379, or auto"
        )
    if not _answers(address):
        raise InputError(f"runtime.ray.address {address}: no Ray cluster answers there; {_START}")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError:
        return False
    return True
