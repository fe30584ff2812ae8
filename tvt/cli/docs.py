"""``tvt docs``: the pages in a terminal, and the places in them where words stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.errors import InputError, suggest
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown

PAGES = Path(__file__).parents[1] / "docs"
MOST = 20
"""Places that a search shows."""
WIDTH = 100
"""Letters of a place that are shown."""

EPILOG = """\b
Examples:
  tvt docs
  tvt docs selecting
  tvt docs wandb
  tvt docs merge adapters
  tvt docs concepts > concepts.md
"""


@click.command(name="docs", epilog=EPILOG)
@click.argument(
    "words",
    nargs=-1,
    metavar="[PAGE|WORD...]",
    shell_complete=lambda _context, _parameter, typed: [n for n in _pages() if n.startswith(typed)],
)
def command(words: tuple[str, ...]) -> None:
    """Show a PAGE of the documentation; without one, list them. Where no page has the name, say where the WORDs stand.

    In a terminal a page is set; sent into a file or a pipe, it is the Markdown itself.
    """
    pages = _pages()
    if not words:
        _list(pages)
        return
    by_name = {name.casefold(): path for name, path in pages.items()}
    page = by_name.get("-".join(words).casefold())
    if page is None:
        _search(words, pages)
    else:
        _show(page.read_text(encoding="utf-8"))


def _pages() -> dict[str, Path]:
    """The pages by name."""
    return {path.stem: path for path in sorted(PAGES.glob("*.md"))}


def _list(pages: Mapping[str, Path]) -> None:
    """Names and titles."""
    for name, path in pages.items():
        with path.open(encoding="utf-8") as lines:
            title = lines.readline().lstrip("# ").strip()
        echo(f"{name:<{max(map(len, pages))}}  {title}")


def _show(text: str) -> None:
    if sys.stdout.isatty():
        console = new_console()
        with console.capture() as set_page:
            console.print(_page(text), width=min(console.width, 120))
        click.echo_via_pager(set_page.get())
    else:
        echo(text, nl=False)


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


@dataclass(frozen=True)
class Place:
    """A part of a page that can be found: a heading, a paragraph, an item of a list, a row of a table, a line of code."""

    page: str
    section: str
    """The heading that it stands under."""
    text: str
    """In one line."""

    @property
    def is_heading(self) -> bool:
        return self.text == self.section


def _search(words: Sequence[str], pages: Mapping[str, Path]) -> None:
    """Show where the words stand, a line a place: headings first, then one place of each section before a second one,
    and the changelog last.

    Raises:
        InputError: they stand nowhere.
    """
    patterns = [_pattern(word) for word in words]
    everything = [place for name, path in pages.items() for place in places(name, path.read_text(encoding="utf-8"))]
    found = [place for place in everything if all(pattern.search(place.text) for pattern in patterns)]
    if not found:
        name = " ".join(words)
        raise InputError(
            f"no page '{name}'{suggest('-'.join(words), list(pages))}, and no page has "
            f"{'that word' if len(words) == 1 else 'these words in one place'}; there are {', '.join(pages)}"
        )
    seen: dict[tuple[str, str], int] = {}
    turns = []
    for place in found:
        turns.append(seen.setdefault((place.page, place.section), 0))
        seen[place.page, place.section] += 1
    ranked = sorted(
        zip(turns, found, strict=True), key=lambda pair: (pair[1].page == "CHANGELOG", not pair[1].is_heading, pair[0])
    )
    width = max(len(place.page) for _, place in ranked[:MOST])
    for _, place in ranked[:MOST]:
        echo(f"tvt docs {place.page:<{width}}  {_line(place, patterns[0])}")
    if len(found) > MOST:
        echo(f"{len(found) - MOST} more places; add a word to narrow the search", err=True)


def _pattern(word: str) -> re.Pattern[str]:
    """A word in any of its usual forms (seed, seeds; merge, merges, merging), whatever its case and hyphens."""
    stem = re.sub(r"(?<=\w\w\w)(?:ing|es|ed|e|s)$", "", word.casefold())
    written = "-?".join(map(re.escape, stem.split("-")))
    return re.compile(rf"(?<![^\W_]){written}(?:ing|es|ed|e|s)?(?![^\W_])", re.IGNORECASE)


def _line(place: Place, pattern: re.Pattern[str]) -> str:
    """The heading, and what stands under it, cut to what is around the word."""
    if place.is_heading:
        return f"# {place.section}"
    match = pattern.search(place.text)
    start = 0 if match is None or len(place.text) <= WIDTH else max(0, match.start() - WIDTH // 3)
    start = place.text.rfind(" ", 0, start) + 1 if start else 0
    end = start + WIDTH
    shown = f"{'... ' if start else ''}{place.text[start:end].rstrip()}{' ...' if end < len(place.text) else ''}"
    return f"{place.section}: {shown}"


def places(page: str, text: str) -> Iterator[Place]:
    """The parts of a page in which words are searched, in their order.

    Args:
        page: its name.
        text: its Markdown.
    """
    section, prose, in_code = "", [""], False

    def flush() -> Iterator[Place]:
        joined = " ".join(prose).strip()
        prose.clear()
        if joined:
            yield Place(page, section, joined)

    for line in text.splitlines():
        stripped = line.strip()
        heading = None if in_code else re.fullmatch(r"#+ (.+)", stripped)
        if heading or stripped.startswith(("```", "<!--")) or in_code or not stripped or re.match(r"[|]|[-*] ", stripped):
            yield from flush()
        if heading:
            section = heading.group(1)
            yield Place(page, section, section)
        elif stripped.startswith("```"):
            in_code = not in_code
        elif in_code or stripped.startswith("|"):
            if re.search(r"\w", stripped):
                yield Place(page, section, " ".join(stripped.split()))
        elif stripped and not stripped.startswith("<!--"):
            prose.append(stripped)
    yield from flush()
