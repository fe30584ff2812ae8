"""Legs in processes of their own: started, timed, ended when their time is up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_gpu.child import RESULT
from check_gpu.leg import Leg

Record = dict[str, Any]
SMALL_PATIENCE = 10.0
"""A tiny leg may take so many times its limit: small machines run these tests, many at once."""
ENDING_SECONDS = 15.0
"""How long processes may take to end themselves, training processes of their own included."""
_SHOWN = 15


def environment(*, gpu: bool = False) -> dict[str, str]:
    """Of every leg: no network, one thread a process, quiet libraries, and of several GPUs the first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        **({"CUDA_VISIBLE_DEVICES": visible} if gpu else {}),
    }


@dataclass(kw_only=True)
class Processes:
    """Runs legs.

    Args:
        folder: a folder of each leg, and the model, lie in it.
        small: whether the model is tiny.
        gpu: whether there is one.
        seconds: time limit in the place of each leg's own.
        jobs: legs at once; default: one for every four cores, four at most.
        report: told the record and the last lines of the log of each leg when it ends.
    """

    folder: Path
    small: bool
    gpu: bool
    seconds: float | None
    jobs: int | None
    report: Callable[[Record, Sequence[str]], None]

    def __post_init__(self) -> None:
        self._reporting = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, model: Leg, legs: Sequence[Leg]) -> list[Record]:
        """Run the leg that makes the model, if others need it, then all others: those that may share the GPU first.

        Returns:
            Their records, in the order given.
        """
        runnable = [leg for leg in legs if not self._obstacle(leg)]
        records = {leg.name: self._left_out(leg, self._obstacle(leg)) for leg in legs if leg not in runnable}
        first = [model] if any(leg.model for leg in runnable) else []
        records |= {leg.name: self._one(leg) for leg in first}
        if first and records[model.name]["result"] != "PASS":
            why = f"without its model: {records[model.name].get('reason', 'it missed')}"
            records |= {leg.name: self._left_out(leg, why) for leg in runnable if leg.model}
            runnable = [leg for leg in runnable if not leg.model]
        jobs = self.jobs or max(1, min(4, (os.cpu_count() or 1) // 4))
        pool = ThreadPoolExecutor(jobs)
        try:
            together = sorted((leg for leg in runnable if not leg.alone), key=lambda leg: -leg.seconds)  # the longest first
            records |= dict(zip((leg.name for leg in together), pool.map(self._one, together), strict=True))
            records |= {leg.name: self._one(leg) for leg in runnable if leg.alone}
        except BaseException:
            self._stopped = True
            for process in [*self._running]:
                _end(process)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return [records[leg.name] for leg in (*first, *legs)]

    def _one(self, leg: Leg) -> Record:
        """Run a leg to its end, or to that of its time."""
        if self._stopped:
            return {"leg": leg.name, "result": "not run", "reason": "interrupted"}
        own = self.folder / leg.name
        own.mkdir(exist_ok=True)
        (own / RESULT).unlink(missing_ok=True)
        limit = self.seconds or leg.seconds * (SMALL_PATIENCE if self.small else 1)
        command = [sys.executable, "-m", "check_gpu.child", leg.name, str(own), str(self.folder / "model" / "made")]
        command += ["small"] * self.small + ["gpu"] * self.gpu
        began = time.monotonic()
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(gpu=self.gpu),
                process_group=0,
            )
        self._running.add(process)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
            self._running.discard(process)
        record = _record(own / RESULT, code, limit)
        return self._told(leg, {**record, "wall_seconds": round(time.monotonic() - began, 1)}, own)

    def _obstacle(self, leg: Leg) -> str:
        """Why a leg is not even started; empty where it is."""
        if leg.gpu and not self.gpu:
            return "needs a GPU"
        return "needs the whole model" if leg.whole and self.small else ""

    def _left_out(self, leg: Leg, why: str) -> Record:
        return self._told(leg, {"result": "not run", "reason": why})

    def _told(self, leg: Leg, record: Record, own: Path | None = None) -> Record:
        record = {"leg": leg.name, **record}
        lines = (own / "log").read_text(errors="replace").splitlines() if own is not None else []
        with self._reporting:
            self.report(record, [line for line in lines if line.strip()][-_SHOWN:])
        if own is not None:
            for path in own.iterdir():  # rows, adapters, checkpoints: the next leg may want the room
                if path.is_dir() and path.name != "made":
                    shutil.rmtree(path, ignore_errors=True)
        return record


def _record(path: Path, code: int | None, limit: float) -> Record:
    """What a leg wrote, or why it could not."""
    if path.is_file():
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        return record
    reason = f"ended after its {limit:g} s" if code is None else f"its process ended with exit code {code}"
    return {"result": "MISS", "reason": reason}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a leg's process and all that it started: gently first, so that torchrun ends its workers, which have other groups."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        until = time.monotonic() + ENDING_SECONDS
        while time.monotonic() < until and _living(process):
            time.sleep(0.05)
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDING_SECONDS)


def _living(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group is left; a zombie that nobody waits for counts as one, hence the limit above."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
