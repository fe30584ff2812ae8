"""What several commands share: the studies they are given, ``--json``, and notes on stderr.

Nothing heavy is imported here: the help of a command needs neither numpy nor the studies.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from tvt.cli.completion import complete_studies
from tvt.errors import suggest

if TYPE_CHECKING:
    pass

F = TypeVar("F", bound=Callable[..., Any])
Metric = Literal["pgf", "gain"]
Unit = Literal["fraction", "percent"]
Ceiling = Literal["task", "human"]


class NearestChoice(click.Choice[str]):
    """A choice that names the nearest one where another is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click does it, with a suggestion in the message."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            nearest = suggest(str(value), list(self.choices))
            raise click.BadParameter(error.message.removesuffix(".") + nearest, ctx, param) from error


def reading_options(function: F) -> F:
    """Decorator: how a study is read: ``--metric``, ``--unit`` and ``--ceiling``."""
    for option in (
        click.option(
            "--ceiling",
            type=NearestChoice(["task", "human"]),
            default="task",
            show_default=True,
            help="What counts as a perfect score: what each task states (1 as a rule), or what people reach.",
        ),
        click.option(
            "--unit",
            type=NearestChoice(["fraction", "percent"]),
            help="Unit of the values in a CSV. Default: what the values clearly are, else refused.",
        ),
        click.option(
            "--metric",
            type=NearestChoice(["pgf", "gain"]),
            default="pgf",
            show_default=True,
            help="What a CSV holds: PGF, or gains that are no PGF (a relative change, say).",
        ),
    ):
        function = option(function)
    return function


def study_arguments(*, required: bool = True) -> Callable[[F], F]:
    """Decorator: ``STUDY...`` with :func:`reading_options`, passed as ``studies``, ``metric`` and so on.

    Args:
        required: whether at least one study must be named.
    """

    def decorate(function: F) -> F:
        metavar = "STUDY..." if required else "[STUDY...]"
        argument = click.argument("studies", metavar=metavar, nargs=-1, required=required, shell_complete=complete_studies)
        return argument(reading_options(function))

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
"""Decorator: ``--json``, passed as ``as_json``."""


class SectionedCommand(click.Command):
    """A command with many options, listed in sections; ``sections`` gives a title the names of its options' parameters."""

    def __init__(self, *args: Any, sections: dict[str, tuple[str, ...]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each section in turn; what no section names comes last."""
        records = {p.name: p.get_help_record(ctx) for p in self.get_params(ctx) if isinstance(p, click.Option)}
        named = {name for names in self.sections.values() for name in names}
        rest = tuple(name for name in records if name not in named)
        for title, names in {**self.sections, "Other": rest}.items():
            rows = [record for name in names if (record := records.get(name)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def echo_json(obj: object) -> None:
    """Print a value as one JSON object on stdout: see :func:`tvt.core.encode.encode`."""
    from tvt.core.encode import encode

    click.echo(json.dumps(encode(obj), indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Print a note on stderr, so that stdout stays what was asked for."""
    click.echo(f"note: {text}", err=True)
