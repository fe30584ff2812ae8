"""Where the rows of a mixture's sources are: ``--data SOURCE=PATH`` and ``--data-dir``, shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tvt.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def data_options(kinds: str, names: str) -> Callable[[F], F]:
    """Decorator: ``--data`` and ``--data-dir``, passed as ``data`` (raw, see :func:`source_paths`) and ``data_dir``.

    Args:
        kinds: what may stand for a source.
        names: what is looked for in the folder.
    """

    def decorate(function: F) -> F:
        function = click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            default=Path("data"),
            show_default=True,
            help=f"Folder of {names} for sources without --data.",
        )(function)
        return click.option("--data", multiple=True, metavar="SOURCE=PATH", help=f"A source's rows: {kinds}. Repeatable.")(
            function
        )

    return decorate


def source_paths(data: tuple[str, ...]) -> dict[str, str]:
    """``SOURCE=PATH`` options as a mapping.

    Raises:
        InputError: an option of another form, or a source given twice.
    """
    faults: list[str] = []
    pairs: dict[str, str] = {}
    for item in data:
        source, separator, path = item.partition("=")
        if not (separator and source and path):
            faults.append(f"--data {item}: not SOURCE=PATH; write e.g. --data Jigsaw=data/jigsaw.jsonl")
        elif source in pairs:
            faults.append(f"--data {source}: given twice; keep one")
        pairs[source] = path
    if faults:
        raise InputError(*faults)
    return pairs
