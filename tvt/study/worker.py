"""One process of a study on this machine: ``python -m tvt.study.worker PIPE`` reads a job, then run after run, from its input.

It does each run and tells of it by the pipe. The base model stays loaded between runs of one process.
"""

from __future__ import annotations

import os
import sys
import warnings

from tvt.study.attempt import Teller, attempt
from tvt.study.jobs import Job

INTERRUPTED = 130
"""Exit code of a worker that heard Ctrl-C."""


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
