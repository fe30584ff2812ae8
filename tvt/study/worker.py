"""One process of a study: ``python -m tvt.study.worker JOB PIPE`` does runs until none is left, and tells of them by pipe."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from tvt.errors import InputError, MissingPackageError, ProcessDiedError, TvtError
from tvt.study.jobs import Job, Task

ERRORS: dict[str, type[TvtError]] = {"InputError": InputError, "MissingPackageError": MissingPackageError}
DIED = 75
"""Exit code of a worker whose training processes were killed: worth another try."""
INTERRUPTED = 130
"""Exit code of a worker that heard Ctrl-C."""
_POLL_SECONDS = 0.5


class Teller:
    """Writes events as lines of JSON; progress at most ten times a second."""

    def __init__(self, handle: int) -> None:
        self._handle, self._last = handle, 0.0

    def __call__(self, kind: str, **what: Any) -> None:
        if kind == "progress":
            now = time.monotonic()
            if now - self._last < 0.1 and 0 < what["done"] < what["total"]:
                return
            self._last = now
        os.write(self._handle, (json.dumps({"kind": kind, **what}) + "\n").encode())


def work(job: Job, tell: Teller) -> None:
    """Do the job's runs, in order; then wait for those that other processes hold, and take over what these leave behind."""
    from tvt.study.execute import Executor

    executor = Executor(job=job, note=lambda text: tell("note", text=text))
    left = list(job.tasks)
    waiting = False
    while left:
        held = [task for task in left if _do(executor, task, tell) == "held"]
        if len(held) == len(left):
            if waiting:
                tell("waiting", runs=[task.run_id for task in held])
            time.sleep(_POLL_SECONDS)
        waiting = len(held) == len(left)
        left = held


def _do(executor: Any, task: Task, tell: Teller) -> str:
    def progress(phase: str, done: int, total: int) -> None:
        tell("progress", run=task.run_id, name=task.run.name, phase=phase, done=done, total=total)

    verdict: str = executor.do(task, progress)
    if verdict != "held":
        tell(verdict, run=task.run_id, name=task.run.name)
    return verdict


def main() -> int:
    """Entry point; returns the exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    tell = Teller(int(sys.argv[2]))
    try:
        work(Job.load(Path(sys.argv[1]).read_text(encoding="utf-8")), tell)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ProcessDiedError as error:
        print(error, file=sys.stderr, flush=True)
        return DIED
    except (InputError, MissingPackageError) as error:
        tell("error", type=type(error).__name__, lines=str(error).splitlines())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
