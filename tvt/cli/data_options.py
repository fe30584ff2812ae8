"""Where the rows of a mixture's sources are: ``--data SOURCE=PATH``, ``--data-dir`` or task manifests; for several commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.errors import InputError

if TYPE_CHECKING:
    pass

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


def pixels_option(function: F) -> F:
    """Decorator: ``--max-pixels``, as a recipe's ``model.max_pixels``."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pictures with more pixels are scaled down to N for the model, as by a recipe's model.max_pixels.",
    )(function)


def named_paths(option: str, form: str, given: Sequence[str], example: str) -> dict[str, str]:
    """Options of the form ``NAME=PATH`` as a mapping.

    Args:
        option: how it is called, for messages.
        form: what stands on both sides, e.g. ``SOURCE=PATH``.
        given: as they were written.
        example: one that is right.

    Raises:
        InputError: options of another form, or a name given twice; every fault, one line each.
    """
    faults: list[str] = []
    pairs: dict[str, str] = {}
    for item in given:
        name, separator, path = item.partition("=")
        if not (separator and name and path):
            faults.append(f"{option} {item}: not {form}; write e.g. {option} {example}")
        elif name in pairs:
            faults.append(f"{option} {name}: given twice; keep one")
        pairs.setdefault(name, path)
    if faults:
        raise InputError(*faults)
    return pairs


def source_paths(data: Sequence[str]) -> dict[str, str]:
    """``--data SOURCE=PATH`` options as a mapping; see :func:`named_paths`."""
    return named_paths("--data", "SOURCE=PATH", data, "Jigsaw=data/jigsaw.jsonl")


manifests_option = click.option(
    "--manifests",
    multiple=True,
    metavar="PATH",
    help="Task manifest, a folder of them, or 'miniature' for the drawn tasks that come with tvt. Repeatable.",
)
"""Decorator: ``--manifests``, passed as ``manifests``."""
