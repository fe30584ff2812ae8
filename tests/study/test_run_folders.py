"""Folders of runs have names for people; their ids decide, so that folders with other names, as of version 0.1.0, are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import study_world
from study_folders import id_of
from study_world import Tvt, World, done, specs
from tvt.core.scores import Run
from tvt.io import digest
from tvt.study.run_folders import RunFolders, run_name

JIGSAW = Run(label="Jigsaw", counts={"Jigsaw": 8})
ID = digest.of_value("a run")[:20]


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (JIGSAW, "Jigsaw-seed0"),
        (Run(label="Jigsaw at 0.25 of the budget", counts={"Jigsaw": 2}, seed=3), "Jigsaw-at-0.25-seed3"),
        (Run(label="base", counts={}), "base"),
        (Run(label="uniform", counts={"A": 1, "B": 1}), "uniform-seed0"),
        (Run(label="", counts={"A": 1, "B": 1}), "mixture-seed0"),
        (Run(label="../../etc/passwd", counts={"A": 1}), "etc-passwd-seed0"),
        (Run(label="50% A + 50% B", counts={"A": 1}), "50-A-+-50-B-seed0"),
        (Run(label="拼图", counts={"A": 1}), "拼图-seed0"),
        (Run(label="x" * 300, counts={"A": 1}), "x" * 80 + "-seed0"),
    ],
)
def test_a_run_has_a_name_for_people(run: Run, name: str) -> None:
    assert run_name(run) == name


@given(st.text(max_size=120))
def test_any_label_makes_the_name_of_one_folder(label: str) -> None:
    name = run_name(Run(label=label, counts={"A": 1}))
    assert Path(name).name == name
    assert not name.startswith((".", "-"))
    assert len(name.encode()) <= 90


def test_a_folder_is_found_by_its_id(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    assert folders.find(ID) is None
    folder = folders.make(ID, JIGSAW)
    assert folder == tmp_path / "runs" / f"Jigsaw-seed0-{ID[:6]}"
    assert folders.make(ID, Run(label="another label", counts={"Jigsaw": 8})) == folder
    assert RunFolders(tmp_path).find(ID) == folder
    renamed = folder.rename(folder.with_name("my best run"))
    assert folders.find(ID) == RunFolders(tmp_path).find(ID) == renamed


def test_of_two_folders_of_one_run_the_first_counts(tmp_path: Path) -> None:
    folder = RunFolders(tmp_path).make(ID, JIGSAW)
    copy = Path(shutil.copytree(folder, folder.with_name("Jigsaw copied")))
    folders = RunFolders(tmp_path)
    assert folders.all() == {ID: copy}, "a space comes before a minus"
    assert folders.find(ID) == copy
    shutil.rmtree(copy)
    assert folders.find(ID) == folder
    assert folders.all() == {ID: folder}


def test_where_two_digests_begin_alike_the_later_has_a_longer_one(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    ids = [f"abcdef{number:014d}" for number in (0, 1, 10**13)]
    upper = Run(label="JIGSAW", counts={"Jigsaw": 8})
    names = [folders.make(run_id, run).name for run_id, run in zip(ids, (JIGSAW, upper, JIGSAW), strict=True)]
    assert names == ["Jigsaw-seed0-abcdef", "JIGSAW-seed0-abcdef0", "Jigsaw-seed0-abcdef1"]
    assert [folder.name for folder in map(RunFolders(tmp_path).find, ids) if folder] == names
    assert len({name.casefold() for name in names}) == 3


@pytest.mark.parametrize("left", [None, "", ID[:7]])
def test_a_folder_whose_making_was_interrupted_is_made_again(left: str | None, tmp_path: Path) -> None:
    half = tmp_path / "runs" / f"Jigsaw-seed0-{ID[:6]}"
    half.mkdir(parents=True)
    if left is not None:
        (half / ".id").write_text(left)
    folders = RunFolders(tmp_path)
    assert folders.all() == {}
    made = folders.make(ID, JIGSAW)
    assert RunFolders(tmp_path).all() == {ID: made}
    assert (made == half) == (left is None)


def old_names(study: Path) -> None:
    """Give a study the names of version 0.1.0, whose records know no digest."""
    for folder in list((study / "runs").iterdir()):
        run_id = id_of(folder)
        record = json.loads((folder / "spec.json").read_text())
        assert record.pop("digest")[:20] == run_id
        (folder / "spec.json").write_text(json.dumps(record))
        (folder / ".id").unlink()
        folder.rename(folder.with_name(run_id))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return study_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def first(world: World, tmp_path_factory: pytest.TempPathFactory, tvt: Tvt) -> Path:
    study = tmp_path_factory.mktemp("first") / "study"
    done(tvt("study", "run", world.recipe, "-o", study))
    return study


def test_folders_are_named_after_their_runs(first: Path) -> None:
    names = sorted(name.rpartition("-")[0] for name in specs(first))
    assert names == ["Alpha-seed0", "Beta-seed0", "base"]
    assert all(id_of(first / "runs" / name).startswith(name.rpartition("-")[2]) for name in specs(first))


def test_a_study_with_old_names_goes_on(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = Path(shutil.copytree(first, tmp_path / "study"))
    old_names(study)
    whole = json.loads(done(tvt("study", "status", study, "--json")).stdout)
    assert {run["status"] for run in whole["runs"]} == {"done"}
    done(tvt("analyze", study, "--json"))
    before = set(specs(study))
    told = done(tvt("study", "run", world.recipe, "-o", study, "--set", "seeds=[0, 1]"))
    assert "5 runs done" in told.stdout
    names = set(specs(study)) - before
    assert {name.rpartition("-")[0] for name in names} == {"Alpha-seed1", "Beta-seed1"}
    assert before < set(specs(study))


@pytest.mark.parametrize("old", ["mine", "theirs", "both"])
def test_studies_with_old_and_new_names_are_merged(old: str, first: Path, tvt: Tvt, tmp_path: Path) -> None:
    mine, theirs = (Path(shutil.copytree(first, tmp_path / name)) for name in ("mine", "theirs"))
    (gone,) = (mine / "runs").glob("Alpha-*")
    shutil.rmtree(gone)
    for study, name in ((mine, "mine"), (theirs, "theirs")):
        if old in (name, "both"):
            old_names(study)
    told = done(tvt("study", "merge", mine, theirs))
    assert told.stdout == f"{theirs}: 1 run copied, 2 known already\n"
    assert (mine / "runs" / gone.name).is_dir(), "a folder that comes has a name for people"
    assert len(list((mine / "runs").iterdir())) == 3
    assert (mine / "scores.csv").read_bytes() == (first / "scores.csv").read_bytes()
