"""The folder of what tvt can make anew at any time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "TVT_CACHE"


def cache_folder() -> Path:
    """``$TVT_CACHE``, or else ``tvt`` in the platform's folder of caches (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tvt"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "tvt"
