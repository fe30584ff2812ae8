"""A rich console whose tables and lines hold no control character but those that rich writes itself."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tvt.errors import harmless


class PlainConsole(Console):
    """Writes out control characters in everything that is rendered; rich adds colours after that."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See ``rich.console.Console.render``. Cells of a table come through here too, before their width is taken."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)
