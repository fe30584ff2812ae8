"""A Ray cluster as the executor needs it: found or started, looked at, left; and what Ray says of a task in plain words."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tvt
from tvt.errors import InputError, MissingPackageError, TvtError

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
"""Variables of the command that a run sees too. No tokens: Ray shows variables to whoever sees the cluster."""


def need_ray() -> None:
    """Fail unless Ray is installed.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec("ray") is None:
        raise MissingPackageError("--executor ray needs Ray; pip install 'tvt[ray]'")


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
        if address == LOCAL:
            # Before Ray is imported: it reads them then.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        else:
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # with 20, an address that nobody answers takes minutes
            if address != "auto":
                _check(address)
        import ray

        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES} if address == LOCAL else {}
        # Ray prints on our terminal whatever befell its processes; the study says so in its own words.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except Exception as error:  # Ray raises what comes; a start that took too long is no more than an Exception
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
            raise InputError(f"{what}; start it and run the same command again: what is done is kept")
        return list(self._nodes.values())

    def task(self, function: Callable[..., None], asked: Mapping[str, int]) -> Callable[..., Any]:
        """What starts, or queues, a task that asks for so much of a node; it returns Ray's reference to the task."""
        options = {
            "num_cpus": asked["CPU"],
            "num_gpus": asked["GPU"],
            "max_retries": 0,  # whoever answers for failures counts them
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
        """Disconnect; a cluster that was started here ends."""
        self._ray.shutdown()

    def _living(self) -> dict[str, dict[str, float]]:
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}


def end_of(ref: Any) -> dict[str, Any]:
    """The event of a task that is over and has told no end."""
    import ray
    from ray import exceptions

    try:
        ray.get(ref)
    except exceptions.RayTaskError as error:
        return _refused(error)
    except exceptions.RuntimeEnvSetupError as error:
        lines = [f"a Ray node cannot start runs ({_lines(error)[-1]}); see Ray's logs there"]
        return {"kind": "error", "type": "InputError", "lines": lines}
    except exceptions.OutOfMemoryError:
        how = "Ray ended its process for want of memory"
    except exceptions.WorkerCrashedError:
        how = "its process was killed, often for want of memory"
    except (exceptions.NodeDiedError, exceptions.LocalRayletDiedError):
        how = "its node is gone"
    except exceptions.TaskCancelledError:
        how = "somebody cancelled its Ray task"
    except exceptions.RayError as error:
        how = f"Ray lost it ({_lines(error)[0]})"
    else:
        how = "its process ended without a word"
    return {"kind": "died", "how": how}


def _refused(error: Any) -> dict[str, Any]:
    """The event of a task that could not begin."""
    if isinstance(error.cause, TvtError):
        lines = str(error.cause).splitlines()
    else:
        lines = [f"a Ray node cannot do runs: {_lines(error)[-1]}; install tvt[train,ray] there as here"]
    return {"kind": "error", "type": "InputError", "lines": lines}


def _lines(error: Exception) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]


def _environment() -> dict[str, str]:
    """Variables for the process of a run."""
    told = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    told = {name: os.environ.get(name, value) for name, value in told.items()}
    told |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    code = Path(tvt.__file__).parents[1]
    if code.name != "site-packages":  # a clone, which nodes with the same disk can use
        told["PYTHONPATH"] = f"{code}:${{PYTHONPATH}}"  # Ray fills in the node's own
    return told


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
