"""Errors that a user can act on, each with the exit code that the command line returns for it.

Exit codes: 0 done, 1 a defect of tvt itself, 2 bad usage or bad input, 3 no feasible mixture, 4 a solver gave up,
5 a needed package is not installed, 6 training was stopped by a guard, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from unicodedata import category

_BREAKING = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of surrogate pairs, and separators of lines and paragraphs."""
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text behind them."""


LONGEST_LINE = 500
"""Letters of a line of a message. A longer one, as with a picture written as a data URI, loses its middle."""
_START = 300


class TvtError(Exception):
    """Base of all errors meant for a person: one line with what, where and the next step."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(map(printed_line, message.split("\n"))))


class InputError(TvtError):
    """Bad usage or bad input; carries every fault found, not the first only.

    Args:
        faults: one line a fault, each saying what, where and what to do.
    """

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = tuple(str(self).split("\n")) if faults else ()


class NotFiniteScoreError(InputError):
    """A model's scores for a question are no finite numbers, so that they name no answer.

    Args:
        fault: the line for a person.
        base: whether the model is the base model, on which every run's result rests.
    """

    def __init__(self, fault: str, *, base: bool) -> None:
        super().__init__(fault)
        self.base = base


class InfeasibleError(TvtError):
    """No mixture meets every hard constraint."""

    exit_code = 3


class SolverError(TvtError):
    """Every solver in the fallback order failed on a problem that should be solvable."""

    exit_code = 4


class MissingPackageError(TvtError):
    """An optional package is needed for what was asked."""

    exit_code = 5


class TrainingError(TvtError):
    """Training was stopped by a guard, or one of its processes died; what was saved before is whole."""

    exit_code = 6


class ProcessDiedError(TrainingError):
    """A training or scoring process was killed from outside; what it had saved stays, and it can be started again.

    Args:
        text: the line for a person.
        work: what it was at, *training* or *scoring*.
    """

    def __init__(self, text: str, work: str) -> None:
        super().__init__(text)
        self.work = work


class ProcessFailedError(TrainingError):
    """A training or scoring process of several ended with an exception of its own, which would come again.

    Args:
        text: the line for a person.
        cause: the exception's own line, by which two failures are recognised as the same.
    """

    def __init__(self, text: str, cause: str) -> None:
        super().__init__(text)
        self.cause = cause


def printed_line(text: str) -> str:
    """A line as a terminal shows it: of bounded length, and with what would break it or steer the terminal written out."""
    text = _written_out(text, "\t")
    return text if len(text) <= LONGEST_LINE else f"{text[:_START]} ... {text[_START + 5 - LONGEST_LINE :]}"


def harmless(text: str) -> str:
    """Text as a terminal shows it: lines and tabs stay, and what would steer the terminal is written out."""
    return _written_out(text.replace("\r\n", "\n"), "\t\n")


def _written_out(text: str, stays: str) -> str:
    """Text with its control characters in Python's notation, but for those that stay."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark in stays or (category(mark) not in _BREAKING and mark not in _TURNING) else ascii(mark)[1:-1]
        for mark in text
    )


def suggest(name: str, known: Sequence[str]) -> str:
    """Return `` (did you mean 'X'?)`` for the known name nearest to ``name``, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return f" (did you mean '{lowered[near[0]]}'?)" if near else ""


def reason_of(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def install(extra: str = "") -> str:
    """The command that installs tvt with an extra. tvt is on no package index, so that its name alone would not do.

    It names the clone that this tvt runs from; of an installed one the repository, where its metadata say which it is.

    Args:
        extra: such as ``train``, or several with commas; none by default.
    """
    wanted = f"[{extra}]" if extra else ""
    clone = Path(__file__).resolve().parents[1]
    if (clone / "scripts" / "setup-env").is_file():
        return f"pip install '{'.' if clone == Path.cwd() else clone}{wanted}'"
    address = _repository()
    return f"pip install '.{wanted}' in a clone of tvt" if address is None else f"pip install 'tvt{wanted} @ git+{address}'"


def _repository() -> str | None:
    """The address of tvt's repository, as its project URLs give it."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("tvt").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(str(url).split(", ", 1) for url in urls)
    return named.get("Repository")


@contextmanager
def needs_train_extra() -> Iterator[None]:
    """Say which extra to install when torch, transformers or peft is not there."""
    with _needs("scoring", "train"):
        yield


@contextmanager
def needs_data_extra() -> Iterator[None]:
    """Say which extra to install when datasets, av or imagehash is not there."""
    with _needs("reading this data", "data"):
        yield


@contextmanager
def _needs(what: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, and {what} needs it; {install(extra)}"
        raise MissingPackageError(message) from error


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
    result = list(checks)
    failing = [check for check in result if check.status == "fail"]
    lines = dict.fromkeys(check.line for check in failing)
    if failing and all(check.package for check in failing):
        raise MissingPackageError("\n".join(lines))
    if failing:
        raise InputError(*lines)
    for check in result:
        if check.status == "warn":
            note(check.line)
