"""Which packages are installed."""

from __future__ import annotations

import importlib.metadata
from functools import cache


@cache
def version(name: str) -> str | None:
    """The installed version of a package; ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
