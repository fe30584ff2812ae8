"""``tvt docs``: the pages that install with tvt, to read in a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.errors import InputError, suggest

PAGES = Path(__file__).parents[1] / "docs"


def _pages() -> dict[str, Path]:
    """The pages by name."""
    return {path.stem: path for path in sorted(PAGES.glob("*.md"))}


if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown


EPILOG = """\b
Examples:
  tvt docs
  tvt docs selecting
  tvt docs concepts > concepts.md
"""


@click.command(name="docs", epilog=EPILOG)
@click.argument(
    "page", required=False, shell_complete=lambda _context, _parameter, typed: [n for n in _pages() if n.startswith(typed)]
)
def command(page: str | None) -> None:
    """Show a PAGE of the documentation; without one, list them.

    In a terminal it is set; sent into a file or a pipe, it is the Markdown itself.
    """
    found = _pages()
    if page is None:
        _list(found)
        return
    if page not in found:
        raise InputError(f"no page '{page}'{suggest(page, list(found))}; there are {', '.join(found)}")
    text = found[page].read_text(encoding="utf-8")
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        with console.capture() as set_page:
            console.print(_page(text), width=min(console.width, 120))
        click.echo_via_pager(set_page.get())
    else:
        click.echo(text, nl=False)


def _page(text: str) -> Markdown:
    """A page for a terminal; a cell of a table that is too narrow goes on in a further line, and is not cut."""
    from rich.markdown import Markdown, TableElement
    from rich.table import Table

    class Folded(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in super().__rich_console__(console, options):
                for column in part.columns if isinstance(part, Table) else ():
                    column.overflow = "fold"
                yield part

    class Page(Markdown):
        elements = {**Markdown.elements, "table_open": Folded}  # noqa: RUF012 - as in rich

    return Page(text, hyperlinks=False)


def _list(found: dict[str, Path]) -> None:
    """Names and titles."""
    for name, path in found.items():
        with path.open(encoding="utf-8") as lines:
            title = lines.readline().lstrip("# ").strip()
        click.echo(f"{name:<{max(map(len, found))}}  {title}")
