"""Everything that commands print goes through here, where what could steer a terminal is written out.

Names, answers and messages come from files that others wrote; an escape sequence in one of them would colour the screen, set
the window's title or hide a line. So no command calls ``click.echo`` or makes a rich ``Console`` of its own (a test looks).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from tvt.errors import harmless

if TYPE_CHECKING:
    from rich.console import Console


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text as it is, but for control characters.

    Args:
        text: of any number of lines.
        err: on stderr instead of stdout.
        nl: whether a line break follows.
    """
    click.echo(harmless(str(text)), err=err, nl=nl)


def new_console(**options: Any) -> Console:
    """A console for tables, which writes out control characters in whatever it is given.

    Args:
        options: those of ``rich.console.Console``.
    """
    from tvt.report.plain_console import PlainConsole

    return PlainConsole(**options)


def replace_unprintable() -> None:
    """Have characters that the terminal's encoding lacks come out as question marks, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            with suppress(OSError):  # a stream that its owner has swapped for another kind of file
                reconfigure(errors="replace")


def encodable(text: str) -> bool:
    """Whether stdout's encoding has every character of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
