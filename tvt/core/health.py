"""What ``tvt doctor`` finds: one check, its verdict, and what mends it. Commands that start something refuse what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tvt.errors import InputError, MissingPackageError

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
    package: str = ""
    """The package that is not installed, where that is all that is wrong."""

    @property
    def line(self) -> str:
        """What is there and what to do about it, as an error says it."""
        return f"{self.found}; {self.step}" if self.step else self.found


def _no_note(text: str) -> None:
    pass


def refuse(checks: Iterable[Check], note: Callable[[str], None] = _no_note) -> None:
    """Stop where a check fails; all that fail are named.

    Args:
        checks: what was looked at.
        note: called with a line for each warning, where nothing fails.

    Raises:
        MissingPackageError: nothing but packages is missing.
        InputError: something else is wrong.
    """
    found = list(checks)
    failing = [check for check in found if check.status == "fail"]
    lines = dict.fromkeys(check.line for check in failing)
    if failing and all(check.package for check in failing):
        raise MissingPackageError("\n".join(lines))
    if failing:
        raise InputError(*lines)
    for check in found:
        if check.status == "warn":
            note(check.line)
