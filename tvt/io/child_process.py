"""One process of several that :mod:`tvt.io.processes` starts through torchrun.

It tells progress and failures in lines of JSON behind a mark, so that its parent can tell them from what libraries print.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from tvt.errors import InputError, MissingPackageError, NotFiniteScoreError, TrainingError, TvtError

MARK = "\x1etvt "
EXCEPTION, LOST = "Exception", "Lost"
"""Kinds of failure beside :data:`ERRORS`: an exception of this process, and one that says that another process is gone."""
_PEER_GONE = re.compile(
    r"connection (?:closed|reset|refused) by peer|broken pipe|socket timeout|remote process exited|heartbeat|store .*time",
    re.IGNORECASE,
)
_NOT_FINITE_BASE = "NotFiniteBaseScoreError"
ERRORS: dict[str, Callable[[str], TvtError]] = {
    "InputError": lambda text: InputError(*text.split("\n")),
    "MissingPackageError": MissingPackageError,
    "TrainingError": TrainingError,
    "NotFiniteScoreError": lambda text: NotFiniteScoreError(text, base=False),
    _NOT_FINITE_BASE: lambda text: NotFiniteScoreError(text, base=True),
}
"""What a parent raises where a process reports an error of the kind."""


def tell(kind: str, what: object) -> None:
    """One line to the parent, in one write: the processes share the pipe."""
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), f"{MARK}{json.dumps([kind, what])}\n".encode())


def do(work: Callable[[], object]) -> NoReturn:
    """Do this process's part, and leave at once when it fails: the other processes may be waiting for this one."""
    tell("started", None)
    try:
        work()
    except TvtError as error:
        tell("error", [_kind(error), str(error)])
        os._exit(error.exit_code)
    except Exception as error:
        traceback.print_exc()
        line = first_line(error)
        tell("error", [LOST if _PEER_GONE.search(line) else EXCEPTION, line])
        os._exit(1)
    # Everything is written, and threads of gloo and DeepSpeed may abort an orderly end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def first_line(error: Exception) -> str:
    """An exception's type and its message in one line; packages underline and wrap theirs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _kind(error: TvtError) -> str:
    """The name in :data:`ERRORS` of the nearest kind of an error."""
    if isinstance(error, NotFiniteScoreError) and error.base:
        return _NOT_FINITE_BASE
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS), TrainingError.__name__)
