"""One attempt at a run, in whatever process: what happens is told as events, and exactly one of them is the end."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from tvt.errors import InputError, MissingPackageError, ProcessDiedError, ProcessFailedError, TvtError
from tvt.study.jobs import Task

if TYPE_CHECKING:
    from tvt.study.runner import Runner

ERRORS: dict[str, type[TvtError]] = {"InputError": InputError, "MissingPackageError": MissingPackageError}
ENDS = frozenset({"done", "failed", "nothing", "held", "error", "defect", "died"})
"""The kinds of event that end an attempt."""


class Teller:
    """Writes events as lines of JSON to an open file or pipe; progress at most ten times a second."""

    def __init__(self, handle: int) -> None:
        self._handle, self._last = handle, 0.0

    def __call__(self, kind: str, **what: Any) -> None:
        if kind == "progress":
            now = time.monotonic()
            if now - self._last < 0.1 and 0 < what["done"] < what["total"]:
                return
            self._last = now
        os.write(self._handle, (json.dumps({"kind": kind, **what}) + "\n").encode())


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
