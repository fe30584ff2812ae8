"""A study watched from beside: what is counted, what a run is said to be at, and how long the rest is said to take."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("trl")

from rich.console import Console

import study_world
from commands import PATIENCE
from study_folders import hold, id_of
from study_world import Tvt, World, done, specs
from tvt.io.yaml_files import load_recipe
from tvt.report.study_tables import Watched, changes, picture, sentence
from tvt.study.session import Session, open_session
from tvt.study.watch import Snapshot, Watch


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: the base and two runs of 12 examples in 3 steps, three targets of 10 questions."""
    study = tmp_path_factory.mktemp("studies") / "first"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    for path in study.glob("runs/*/training.json"):  # round figures: 2 s an example, half a second a question
        path.write_text(json.dumps({**json.loads(path.read_text()), "rows_per_second": 0.5}))
    for path in study.glob("runs/*/scores.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "scoring_seconds": 15.0, "questions": 30}))
    return study


@pytest.fixture
def study(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(first, tmp_path / "study"))


def run_of(study: Path, source: str | None) -> Path:
    (found,) = (run for run, told in specs(study).items() if next(iter(told["counts"]), None) == source)
    return study / "runs" / found


def session(world: World, study: Path) -> Session:
    return open_session(load_recipe(world.recipe), study)


def look(opened: Session) -> Snapshot:
    return Watch(opened.study, opened.store, opened.tasks()).look()


def test_a_run_in_training_and_the_time_left(world: World, study: Path) -> None:
    run = run_of(study, "Beta")
    for name in ("training.json", "scores.json"):
        (run / name).unlink()
    opened = session(world, study)
    assert look(opened).seconds_left is None, "nobody is at work"
    with hold(run):
        (position,) = look(opened).at_work
        assert (position.name, position.phase, position.done, position.total) == ("Beta, seed 0", "mixing", 0, 0)
        (run / "mixed").mkdir()
        found = look(opened)
        assert found.states[id_of(run)] == "running"
        assert not found.over
        assert (found.at_work[0].phase, found.at_work[0].done, found.at_work[0].total) == ("training", 0, 3)
        assert found.seconds_left == pytest.approx(12 * 2 + 30 * 0.5)
        (run / "checkpoints" / "checkpoint-2").mkdir(parents=True)
        assert look(opened).at_work[0].done == 0, "a checkpoint without its record is none"
        (run / "checkpoints" / "checkpoint-2" / "checkpoint.json").touch()
        found = look(opened)
        assert found.at_work[0].done == 2
        assert found.seconds_left == pytest.approx(4 * 2 + 30 * 0.5)


def test_runs_in_scoring_are_counted_by_their_answers(world: World, study: Path) -> None:
    opened = session(world, study)
    beta, base = run_of(study, "Beta"), run_of(study, None)
    (answers,) = (
        path.parent for path in study.glob("answers/*/identity.json") if f"runs/{beta.name}/adapter" in path.read_text()
    )
    for run in (beta, base):
        (run / "scores.json").unlink()
    for path in answers.glob("chunk-*.jsonl"):
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["task"] != "Gamma"))
    with hold(beta), hold(base):
        eye = Watch(opened.study, opened.store, opened.tasks())
        found = eye.look()
        told = {at.name: (at.phase, at.done, at.total) for at in found.at_work}
        assert told == {"base": ("scoring", 30, 30), "Beta, seed 0": ("scoring", 20, 30)}
        assert found.seconds_left == pytest.approx(10 * 0.5 / 2), "two at work"
        (answers / "chunk-000009.jsonl").write_text('{"item": "x", "task": "Gamma", "id": "x", "scores": [0.0]}\n')
        assert {at.name: at.done for at in eye.look().at_work}["Beta, seed 0"] == 21


def test_failed_and_queued_runs(world: World, study: Path) -> None:
    opened = session(world, study)
    alpha, beta = run_of(study, "Alpha"), run_of(study, "Beta")
    for run in (alpha, beta):
        (run / "scores.json").unlink()
    opened.store.fail(alpha.name, "diverged")
    assert not look(opened).over
    (beta / ".queued").write_text('{"executor": "slurm", "cluster": "c", "job": "7", "events": "e"}\n')
    found = look(opened)
    assert (found.states[id_of(alpha)], found.states[id_of(beta)]) == ("failed", "queued")
    assert found.at_work == ()
    opened.store.fail(beta.name, "diverged")
    assert look(opened).over


def test_records_of_finished_runs_are_read_once(world: World, study: Path) -> None:
    opened = session(world, study)
    eye = Watch(opened.study, opened.store, opened.tasks())
    assert eye.look().over
    shutil.rmtree(study / "runs")
    assert eye.look().over


STATES = {"base": "done", "Alpha, seed 0": "running", "Beta, seed 0": "queued", "Gamma, seed 0": "failed"}
WATCHED = Watched(
    title="small, 4 runs, in studies/small",
    rows={"base": {"seed 0": "done"}, "Alpha": {"seed 0": "running"}},
    columns=["seed 0"],
    states=STATES,
    at_work=[
        ("A very long name of a source that no narrow terminal shows at 25% of the budget, seed 0", "training", 1200, 9600)
    ],
    seconds_left=7200.0,
)


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture(width: int) -> None:
    console = Console(width=width, force_terminal=False, color_system=None, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(picture(WATCHED))
    lines = console.export_text().splitlines()
    assert lines[:3] == [
        "small, 4 runs, in studies/small",
        "✓ 1 done  ▸ 1 running  ○ 1 queued  ✗ 1 failed",
        "1 at work, about 2.0 h left",
    ]
    assert re.search(r"^A very long name of a source .*training +━━╌{14} +1,200/9,600", lines[4])
    assert max(map(len, map(str.rstrip, lines))) <= width


def test_sentences_and_lines() -> None:
    assert sentence(WATCHED) == "1 of 4 done, 1 failed, 1 at work, about 2.0 h left"
    (line,) = changes(None, WATCHED)
    assert line[8:] == "  small, 4 runs, in studies/small: 1 of 4 done, 1 failed, 1 at work, about 2.0 h left"
    after = Watched(**{**vars(WATCHED), "states": {**STATES, "Alpha, seed 0": "done"}, "at_work": [], "seconds_left": None})
    (line,) = changes(WATCHED, after)
    assert line[8:] == "  ✓ done  Alpha, seed 0  (2 of 4 done, 1 failed, none at work: runs wait in a queue)"
    assert list(changes(after, after)) == []
    over = Watched(**{**vars(after), "states": {**after.states, "Beta, seed 0": "done"}})
    assert sentence(over) == "3 of 4 done, 1 failed"


def test_a_watched_study_is_told_run_by_run_until_it_is_done(study: Path, world: World, tvt: Tvt) -> None:
    for run in (run_of(study, "Alpha"), run_of(study, "Beta")):
        (run / "scores.json").unlink()
    watching = tvt.start("study", "status", study, "--watch", "--interval", "0.1")
    assert watching.stdout is not None
    first = watching.stdout.readline()
    assert first[8:] == f"  small, 3 runs, in {study}: 1 of 3 done, none at work: tvt study run goes on with it\n"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "1"))
    rest = watching.communicate(timeout=PATIENCE)[0].splitlines()
    assert watching.returncode == 0
    assert [line[8:].split("  ")[1:3] for line in rest if "✓" in line] == [
        ["✓ done", "Alpha, seed 0"],
        ["✓ done", "Beta, seed 0"],
    ]
    assert [line for line in rest if line[8:10] == "  "][-1].endswith("(3 of 3 done)")


def test_ctrl_c_ends_the_watching_alone(study: Path, tvt: Tvt) -> None:
    run_of(study, "Alpha").joinpath("scores.json").unlink()
    watching = tvt.start("study", "status", study, "--watch", "--interval", "0.1")
    assert watching.stdout is not None
    assert "2 of 3 done" in watching.stdout.readline()
    os.killpg(watching.pid, signal.SIGINT)
    _, stderr = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, stderr) == (0, "")


def test_in_a_terminal_the_picture_is_drawn_anew(study: Path, world: World) -> None:
    run = run_of(study, "Alpha")
    kept = (run / "scores.json").read_bytes()
    (run / "scores.json").unlink()
    main, side = pty.openpty()
    command = [study_world.PYTHON, "-m", "tvt", "study", "status", str(study), "--watch", "--interval", "0.1"]
    environment = {**study_world.QUICK, "COLUMNS": "80", "LINES": "40", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=side, stderr=side, stdin=subprocess.DEVNULL, env=environment) as process:
        os.close(side)
        shown = bytearray()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(OSError):
                piece = os.read(main, 65536)
                shown += piece
            if b"2 done" in shown and not (run / "scores.json").exists():
                (run / "scores.json").write_bytes(kept)
            if process.poll() is not None:
                break
        assert process.returncode == 0, shown.decode()
    os.close(main)
    assert b"3 done" in shown
    assert shown.count(b"small, 3 runs, in ") > 1


def test_watching_is_no_object(study: Path, tvt: Tvt) -> None:
    told = tvt("study", "status", study, "--watch", "--json")
    assert told.returncode == 2
    assert told.stderr == "tvt: --json is one object and --watch goes on: drop one of them\n"
    assert "✓ 3 done" in done(tvt("study", "status", study)).stdout
