"""What ``tvt doctor`` finds: one check, its verdict, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    group: str
    """What it belongs to, e.g. ``disk``."""
    name: str
    status: Status
    """*ok*; *warn*: something will be slower or is not possible, nothing breaks; *fail*: what was asked for would fail."""
    found: str
    """What is there, in one line."""
    step: str = ""
    """What to do about it; empty where there is nothing to do."""
