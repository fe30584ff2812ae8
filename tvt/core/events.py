"""What happens in a study, as messages: a run's process reports them, executors pass them on, and the terminal shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Phase = Literal["mixing", "training", "scoring"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence worth knowing."""

    text: str


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """What happened to an attempt at a run."""

    run: str
    """The run's id."""
    name: str = ""
    """The run's name; the conductor adds it and the slot."""
    slot: int = 0
    """A small number, which only one run at work has."""


@dataclass(frozen=True, kw_only=True)
class PhaseProgress(RunEvent):
    """How far a run is within a phase."""

    phase: Phase
    done: int
    total: int
    """0 where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Done(RunEvent):
    """The attempt ended: the run is recorded."""


@dataclass(frozen=True, kw_only=True)
class Failed(RunEvent):
    """The attempt ended: the run cannot be done, and the store says why."""

    cause: str | None = None
    """The exception of a training process, if one ended it."""
    reason: str | None = None
    """What the store says; the conductor adds it."""


@dataclass(frozen=True, kw_only=True)
class Nothing(RunEvent):
    """The attempt ended: another process had done the run."""


@dataclass(frozen=True, kw_only=True)
class Held(RunEvent):
    """The attempt ended: another process is doing the run."""


@dataclass(frozen=True, kw_only=True)
class Stopped(RunEvent):
    """The attempt ended by an error that would stop every run."""

    type: str
    """The error's class: a name in :data:`tvt.study.jobs.ERRORS`."""
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class Defect(RunEvent):
    """The attempt ended by a defect of tvt; its log has the traceback."""


@dataclass(frozen=True, kw_only=True)
class Died(RunEvent):
    """The attempt's process is gone, or its training processes are."""

    how: str


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A slot has no run any more."""

    slot: int


End = Done | Failed | Nothing | Held | Stopped | Defect | Died
"""Every attempt ends by exactly one of them."""
AttemptEvent = Note | PhaseProgress | End
"""What an attempt reports."""
StudyEvent = Note | PhaseProgress | Done | Failed | Idle
"""What the conductor reports to the display of the study."""
_KINDS: dict[str, type[AttemptEvent]] = {
    "note": Note,
    "progress": PhaseProgress,
    "done": Done,
    "failed": Failed,
    "nothing": Nothing,
    "held": Held,
    "error": Stopped,
    "defect": Defect,
    "died": Died,
}
"""Each message by its name in files and pipes."""
_NAMES = {event: kind for kind, event in _KINDS.items()}


def event_json(event: AttemptEvent) -> dict[str, Any]:
    """A message as JSON, without what only the conductor knows."""
    plain = {name: value for name, value in asdict(event).items() if value is not None and name not in ("name", "slot")}
    return {"kind": _NAMES[type(event)], **plain}


def event_of(plain: dict[str, Any]) -> AttemptEvent:
    """The inverse of :func:`event_json`; keys that are not known, of other versions, are left out.

    Raises:
        ValueError: it is no message.
    """
    try:
        kind = _KINDS[plain["kind"]]
        return kind(**{part.name: plain[part.name] for part in fields(kind) if part.name in plain})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a message: {plain}") from error
