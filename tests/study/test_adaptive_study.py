"""``tvt study run --adaptive`` on a study of seconds: real training, real scoring."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("trl")

import study_world
from problems import log_spec
from study_world import Tvt, World, done
from tvt.data.studies.load import load_study
from tvt.selection.engine import prepare
from tvt.study.adaptive import AdaptiveStudy
from tvt.study.session import reopen

SPEC = log_spec(targets={"Gamma": 1.0}, anyway=True)
ASKED = ("--target", "Gamma", "--tolerance", "0", "--anyway")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = study_world.build(tmp_path_factory.mktemp("world"))
    study_world.write_recipe(found.folder, seeds=[0, 1, 2], doses=[1, 0.5], training={"learning_rate": 0.03})
    return found


@pytest.fixture(scope="module")
def study(tvt: Tvt, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of six runs."""
    folder = tmp_path_factory.mktemp("adaptive") / "study"
    result = done(tvt("study", "run", world.recipe, "-o", folder, "--workers", "1", "--adaptive", "--runs", "3", *ASKED))
    assert f"{folder}: 3 of 6 runs. 3 runs are spent; the next would be Alpha, seed 1: " in result.stdout
    assert result.stderr.count("its first run") == 2
    assert "seed 1: no source has two runs, which would tell what runs differ by" in result.stderr
    assert "% of its weight, worth 0." in result.stdout
    command = shlex.split(result.stdout.splitlines()[-1])
    assert command == ["tvt", "select", str(folder), "--target", "Gamma", "--anyway"]
    mixture = json.loads(done(tvt(*command[1:], "--no-stability", "--json")).stdout)["weights"]
    told = {s: f"{w:.0%} {s}" for s, w in mixture.items() if w > 0}
    assert all(words in result.stdout for words in told.values())
    return folder


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """The same study, to go on with."""
    return Path(shutil.copytree(study, tmp_path / "study"))


def runs(study: Path) -> Counter[str]:
    """Finished training runs by source."""
    specs = study_world.specs(study)
    return Counter(label for run in study_world.adapters(study) if (label := specs[run]["label"]))


def test_each_source_has_a_run_and_no_dose_has(study: Path) -> None:
    found = runs(study)
    assert set(found) == {"Alpha", "Beta"}
    assert sum(found.values()) == 3


def test_runs_that_were_not_chosen_are_no_failures(tvt: Tvt, study: Path) -> None:
    told = json.loads(done(tvt("study", "status", study, "--json")).stdout)
    states = Counter(run["status"] for run in told["runs"])
    assert states == {"done": 4, "missing": 9}
    assert not told["failures"]
    analysed = done(tvt("analyze", study))
    assert "nan" not in analysed.stdout.lower()
    read = json.loads(done(tvt("analyze", study, "--json")).stdout)["studies"]["small"]["pgf"]
    assert all(cell["masked"] is None for row in read.values() for cell in row.values())


def test_it_reads_its_folder_as_every_command_does(study: Path) -> None:
    session = reopen(study)
    own = AdaptiveStudy(session, SPEC, 3).matrix()
    assert own is not None
    assert own.digest() == load_study(study).digest()
    assert prepare(own, SPEC).notes == prepare(load_study(study), SPEC).notes


def test_the_same_again_does_nothing_and_more_runs_go_on(tvt: Tvt, world: World, copied: Path) -> None:
    before = study_world.adapters(copied)
    again = ("study", "run", world.recipe, "-o", copied, "--workers", "2", "--adaptive", *ASKED, "--json")
    told = json.loads(done(tvt(*again, "--runs", "3")).stdout)["adaptive"]
    assert study_world.adapters(copied) == before
    assert (told["spent"], told["of"]) == (3, 6)
    told = json.loads(done(tvt(*again, "--runs", "4")).stdout)["adaptive"]
    assert told["spent"] == 4
    assert before.items() < study_world.adapters(copied).items()


def test_it_stops_where_nothing_is_at_stake(tvt: Tvt, world: World, copied: Path) -> None:
    before = study_world.adapters(copied)
    asked = ("--adaptive", "--target", "Gamma", "--exclude", "Beta", "--anyway")
    result = done(tvt("study", "run", world.recipe, "-o", copied, *asked))
    assert "The mixture is stable" in result.stdout
    assert study_world.adapters(copied) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adaptive", "--runs", "1"], "each of the 2 sources needs a first run"),
        (["--adaptive", "--target", "Gama"], "did you mean 'Gamma'"),
        (["--target", "Gamma"], "--target says what an adaptive study is for; add --adaptive"),
        (["--runs", "4"], "--runs says what an adaptive study is for; add --adaptive"),
    ],
)
def test_faults_before_anything_is_spent(tvt: Tvt, world: World, tmp_path: Path, options: list[str], message: str) -> None:
    result = tvt("study", "run", world.recipe, "-o", tmp_path / "study", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "study").exists()
