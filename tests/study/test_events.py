"""Messages of a study: written as lines, read back as they were, also behind a line that a kill cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from tvt.core.events import (
    AttemptEvent,
    Defect,
    Died,
    Done,
    Failed,
    Held,
    Note,
    Nothing,
    PhaseProgress,
    Stopped,
    event_json,
    event_of,
)
from tvt.study.jobs import EventFile, writing_to

EVENTS: tuple[AttemptEvent, ...] = (
    Note(text="slow"),
    PhaseProgress(run="R", phase="training", done=1, total=2),
    Done(run="R"),
    Failed(run="R", cause="ValueError: x"),
    Failed(run="R"),
    Nothing(run="R"),
    Held(run="R"),
    Stopped(run="R", type="InputError", lines=["one", "two"]),
    Defect(run="R"),
    Died(run="R", how="it was killed"),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_message_is_read_back_as_it_was_written(event: AttemptEvent, tmp_path: Path) -> None:
    assert event_of({**event_json(event), "of another version": 1}) == event
    with writing_to(tmp_path / "run.events") as report:
        report(event)
    assert EventFile(tmp_path / "run.events").poll() == [event]


def test_every_kind_of_message_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(AttemptEvent))


def test_a_requeued_attempt_goes_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.events"
    with writing_to(path) as report:
        report(Note(text="first"))
    with path.open("ab") as stream:
        stream.write(b'{"kind": "progr')
    file = EventFile(path)
    assert file.poll() == [Note(text="first")]
    with writing_to(path) as report:
        report(Done(run="R"))
        report(Note(text="after the end"))
    assert file.poll() == [Done(run="R")]
    assert file.ended
    assert file.poll() == []


def test_what_is_no_message_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.linesep.encode().join([b'{"kind": "song"}', b"[1]", b'{"kind": "died"}', b""]))
    assert EventFile(tmp_path / "x").poll() == []
