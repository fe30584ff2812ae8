"""How work on rows tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and of how much; 0 where nobody knows."""


def silent(what: str, done: int, total: int) -> None:
    """Shows no progress."""
