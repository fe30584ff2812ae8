"""One line on stderr for work whose length nobody knows: loading a model, reading rows, solving."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

AFTER_SECONDS = 1.0
"""What is done sooner needs no line."""


@contextmanager
def status_line(doing: str) -> Iterator[Callable[[str], None]]:
    """Say what is done at the moment, where a person is watching and once it has taken a while; the line is gone afterwards.

    Notes on stderr come out above the line; nothing may be printed on stdout meanwhile, where stdout is the same terminal.

    Args:
        doing: what is done. What is told later comes behind it; an empty text takes the line away for good.
    """
    if not sys.stderr.isatty():
        yield _unheard
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots", Text(doing))
    # stdout is left alone: its bytes must go where the user sent them.
    line = Live(spinner, console=Console(stderr=True), transient=True, redirect_stdout=False)
    timer = Timer(AFTER_SECONDS, line.start)
    timer.daemon = True
    timer.start()

    def stop() -> None:
        timer.cancel()
        timer.join()
        line.stop()

    def tell(what: str) -> None:
        if what:
            spinner.update(text=Text(f"{doing} {what}"))
        else:
            stop()

    try:
        yield tell
    finally:
        stop()


def _unheard(what: str) -> None:
    """Shows nothing."""
