"""One process of several: ``python -m tvt.train.worker JOB``, started by :mod:`tvt.train.launch` through torchrun.

It tells progress and failures in lines of JSON behind a mark, so that its parent can tell them from what libraries print.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from tvt.errors import InputError, MissingPackageError, TrainingError, TvtError
from tvt.train.record import Job, Progress

MARK = "\x1etvt "
EXCEPTION, LOST = "Exception", "Lost"
"""Kinds of failure beside :data:`ERRORS`: an exception of this process, and one that says that another process is gone."""
_PEER_GONE = re.compile(
    r"connection (?:closed|reset|refused) by peer|broken pipe|socket timeout|remote process exited|heartbeat|store .*time",
    re.IGNORECASE,
)
ERRORS: dict[str, type[TvtError]] = {kind.__name__: kind for kind in (InputError, MissingPackageError, TrainingError)}


def tell(kind: str, what: object) -> None:
    """One line to the parent, in one write: the processes share the pipe."""
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), f"{MARK}{json.dumps([kind, what])}\n".encode())


def main(path: Path) -> None:
    """Run the job, and leave at once when it fails: the other processes may be waiting for this one."""
    job = Job.load(path.read_text(encoding="utf-8"))
    tell("started", None)
    try:
        from tvt.train.run import run

        run(job, tell_progress)
    except TvtError as error:
        kind = next((name for name, known in ERRORS.items() if isinstance(error, known)), TrainingError.__name__)
        tell("error", [kind, str(error)])
        os._exit(error.exit_code)
    except Exception as error:
        traceback.print_exc()
        line = first_line(error)
        tell("error", [LOST if _PEER_GONE.search(line) else EXCEPTION, line])
        os._exit(1)
    leave()


def first_line(error: Exception) -> str:
    """An exception's type and its message in one line; packages underline and wrap theirs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def tell_progress(progress: Progress) -> None:
    """One line of progress to the parent."""
    tell("progress", asdict(progress))


def leave() -> None:
    """End together and at once: everything is written, and threads of gloo and DeepSpeed may abort an orderly end."""
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
