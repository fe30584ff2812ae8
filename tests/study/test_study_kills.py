"""Fifty kills at random moments over small studies: nothing is lost, nothing is done twice, the matrix is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("trl")

import study_world
from study_world import Tvt, World, done, specs, workers

pytestmark = pytest.mark.slow

SEED = 20260101
KILLS_PER_STUDY = 10
PHASES = ("mixing", "training", "scoring", "writing")
LONGEST = 2.5
"""Seconds from a start, or the last kill, to the next kill; a run that is left alone takes about as long."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Long enough runs to be killed in: seven steps with a checkpoint each."""
    world = study_world.build(tmp_path_factory.mktemp("world"))
    study_world.write_recipe(world.folder, budget=28)
    return world


@pytest.fixture(scope="module")
def whole(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, never interrupted."""
    study = tmp_path_factory.mktemp("whole") / "study"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    return study


@dataclass
class Killer:
    """Runs one study to its end, killing on the way."""

    tvt: Tvt
    world: World
    study: Path
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[str]:
        return self.tvt.start("study", "run", self.world.recipe, "-o", self.study, "--workers", "2")

    def life(self, kills: int) -> bool:
        """One command: some of its workers are killed, then all of it. Says whether it was quicker and ended by itself."""
        process = self.start()
        try:
            for left in range(kills, 0, -1):
                self.wait(process, self.dice.choice([*PHASES, None]))
                if process.poll() is not None:
                    assert process.returncode == 0, process.communicate()
                    return True
                self.check_nothing_lost()
                self.kills.update(phases(self.study))
                self.kills["all"] += 1
                found = workers(process.pid)
                if left > 1 and found:
                    os.kill(self.dice.choice(found), signal.SIGKILL)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                    return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return False

    def wait(self, process: subprocess.Popen[str], phase: str | None) -> None:
        """Until some moment, or some moment soon after a phase began."""
        end = time.monotonic() + self.dice.uniform(0, LONGEST)
        if phase is not None:
            end = time.monotonic() + 2 * LONGEST
            while time.monotonic() < end and process.poll() is None and phase not in phases(self.study):
                time.sleep(0.001)
            end = time.monotonic() + self.dice.choice([0, self.dice.uniform(0, 0.3)])
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.001)

    def check_nothing_lost(self) -> None:
        """What was recorded once stays as it is: the very same files."""
        for name, stamp in self.kept.items():
            state = (self.study / name).stat()
            assert (state.st_ino, state.st_mtime_ns) == stamp, f"{name} was done twice"
        for pattern in ("runs/*/training.json", "runs/*/adapter/adapter_model.safetensors", "answers/*/chunk-*.jsonl"):
            for path in self.study.glob(pattern):
                if path.parent.name == "adapter" and not (path.parents[1] / "training.json").exists():
                    continue
                state = path.stat()
                self.kept.setdefault(str(path.relative_to(self.study)), (state.st_ino, state.st_mtime_ns))


def phases(study: Path) -> set[str]:
    """What is being done, as far as the disk tells; by several workers, several things."""
    found = set()
    for run in study.glob("runs/*/"):
        names = {path.name for path in run.iterdir()}
        if any(name.startswith(".mixed.") for name in names):
            found.add("mixing")
        if "checkpoints" in names and "training.json" not in names:
            found.add("training")
        if "scores.json" not in names and ("training.json" in names or names == {".claim", "spec.json"}):
            found.add("scoring")
        if any(name.endswith((".tmp", ".unfinished")) for name in names):
            found.add("writing")
    return found | ({"writing"} if list(study.glob("answers/*/.*.tmp")) + list(study.glob(".*.tmp")) else set())


def test_fifty_kills_change_nothing(whole: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    kills: Counter[str] = Counter()
    studies = 0
    while kills["all"] < 50 or (not all(kills[phase] for phase in PHASES) and kills["all"] < 500):
        studies += 1
        killer = Killer(tvt, world, tmp_path / f"study-{studies}", dice)
        ended = False
        while not ended and killer.kills["all"] < KILLS_PER_STUDY:
            ended = killer.life(dice.choice([1, 1, 2, 3]))
        last = done(tvt("study", "run", world.recipe, "-o", killer.study, "--workers", "2"))
        killer.check_nothing_lost()
        assert "FAILED" not in last.stderr
        check_equal(killer.study, whole)
        kills += killer.kills
    print(f"{studies} studies, kills: {dict(kills)}")
    assert all(kills[phase] for phase in PHASES), kills


def check_equal(study: Path, whole: Path) -> None:
    assert (study / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert study_world.adapters(study) == study_world.adapters(whole)
    assert specs(study) == specs(whole)
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked)), "a question that was recorded is not asked again"
    assert sorted(asked) == sorted(study_world.chunks(whole))
    for path in whole.glob("answers/*/*.json*"):
        if not path.name.startswith(("chunk", "identity")):
            assert (study / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert study_world.leftovers(study) == []
    assert len(list(study.glob("logs/*.log"))) <= 40
    for run in study.glob("runs/*"):
        told = json.loads((run / "scores.json").read_text())
        assert {cell["total"] for cell in told["cells"]} == {study_world.QUESTIONS}
        assert not (run / "failure.json").exists()
