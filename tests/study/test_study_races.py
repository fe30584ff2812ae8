"""200 rounds of 8 processes racing for the same runs on one folder: one commit a run, none lost. And disks without locks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from commands import PATIENCE, SUPPORT
from racer import FAILING, KEYS, PROCESSES, QUESTIONS, RUNS
from study_world import QUICK
from tvt.study.store import Store

pytestmark = pytest.mark.slow

ROUNDS, SEED = 200, 20261126


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("races")
    command = [sys.executable, str(SUPPORT / "racer.py"), str(folder), str(ROUNDS), str(SEED)]
    result = subprocess.run(command, capture_output=True, text=True, env=QUICK, check=False, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return sorted(folder.iterdir())


def told(folder: Path) -> tuple[set[str], bool]:
    """Which processes were killed, and whether a run was to fail."""
    facts = json.loads((folder / "round.json").read_text())
    return {str(number) for number in facts["killed"]}, facts["fails"]


def test_the_rounds_are_races_with_kills(rounds: list[Path]) -> None:
    assert len(rounds) == ROUNDS
    takers = Counter(len({line.split()[2] for line in (folder / "log").read_text().splitlines()}) for folder in rounds)
    assert sum(count for several, count in takers.items() if several > 1) > ROUNDS / 2, takers
    killed = [number for folder in rounds for number in told(folder)[0]]
    assert len(killed) > ROUNDS / 10


def test_every_run_is_committed_once_and_none_is_lost(rounds: list[Path]) -> None:
    for folder in rounds:
        store, (killed, fails) = Store(folder), told(folder)
        log = [line.split() for line in (folder / "log").read_text().splitlines()]
        for run in (f"run-{k}" for k in range(RUNS)):
            left = [number for what, name, number in log if (what, name) == ("leave", run)]
            entered = [number for what, name, number in log if (what, name) == ("enter", run)]
            failed = fails and run == FAILING
            assert store.status(run, KEYS) == ("failed" if failed else "done"), folder
            # Whoever entered and did not leave was killed; whoever came after it found the run undone, or nobody came.
            assert len(left) <= 1, (folder, log)
            assert set(entered) <= killed | set(left), (folder, log)
            assert len(entered) == len(set(entered)), (folder, log)
            by = (store.failure(run) or "")[3:] if failed else f"{store.finished(run).scoring_seconds:.0f}"
            assert by == entered[-1], "the last one to enter did it"


def test_nobody_enters_a_run_that_is_held(rounds: list[Path]) -> None:
    for folder in rounds:
        killed = told(folder)[0]
        inside: dict[str, str] = {}
        for what, run, number in (line.split() for line in (folder / "log").read_text().splitlines()):
            if what == "enter":
                assert inside.get(run) in (None, *killed), (folder, run)
                inside[run] = number
            else:
                assert inside.pop(run) == number, (folder, run)


def test_every_answer_is_there_once(rounds: list[Path]) -> None:
    for folder in rounds:
        for answers in (folder / "answers").iterdir():
            lines = [line for path in answers.glob("chunk-*.jsonl") for line in path.read_text().splitlines()]
            asked = Counter(json.loads(line)["item"] for line in lines)
            assert asked == dict.fromkeys(map(str, range(QUESTIONS)), 1), answers
        assert len(list((folder / "answers").iterdir())) == RUNS + 1
    assert PROCESSES == 8


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_in_a_line(code: int, tmp_path: Path) -> None:
    (tmp_path / "study" / "runs" / "abc").mkdir(parents=True)
    program = f"""
import fcntl, os
from pathlib import Path
def refuse(handle, how):
    raise OSError({code}, os.strerror({code}))
fcntl.flock = refuse
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io.atomic import exclusively
from tvt.io.atomic import new_folder
from tvt.core.scores import Run
from tvt.study.store import Store
study = Path("study")
answers = AnswerStore(study / "answers", {{}}, {{}})
claim = Store(study).claim("abc", Run(label="run", counts={{}}))
for hold in (claim, answers.locked(), exclusively(study / ".views"), new_folder(study / "new")):
    try:
        with hold:
            print("held")
    except InputError as error:
        print(error)
try:
    Store(study).held("abc")
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, env=QUICK, cwd=tmp_path, check=False)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert "file locks do not work on this disk (" in line
        assert line.endswith(
            "have it mounted with locks (NFS without nolock, Lustre with flock), or use a folder on another disk"
        )
    assert not list((tmp_path / "study").glob(".new*")), "nothing is left over"
