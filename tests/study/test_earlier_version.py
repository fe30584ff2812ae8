"""A study folder, a mixture and evaluations that version 0.1.0 wrote: they open, and what must be done again is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from commands import ROOT
from study_world import Tvt, done
from tvt.io.yaml_files import model_path
from tvt.study.outputs import folder_report

WRITTEN = ROOT / "tests" / "study" / "version-0.1.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder as it lay on the machine that wrote it."""
    copy = tmp_path / "written"
    shutil.copytree(WRITTEN, copy)
    for path in copy.rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            path.write_text(
                text.replace("@MINIATURE@", model_path("tvt/miniature")).replace("@HERE@", str(copy)), encoding="utf-8"
            )
    return copy


def test_a_study_of_version_0_1_0_is_analysed_as_it_was(tvt: Tvt, folder: Path) -> None:
    analysis = json.loads(done(tvt("analyze", folder / "study", "--json")).stdout)
    assert list(analysis["studies"]) == ["small"]
    done(tvt("select", folder / "study", "--anyway", "--json"))
    status = done(tvt("study", "status", folder / "study"))
    assert "2 finished runs here are of other seeds, sources, settings or of another version of tvt" in status.stderr


def test_running_it_again_says_what_is_done_again_and_why(tvt: Tvt, folder: Path) -> None:
    planned = done(tvt("study", "plan", folder / "recipe.yaml", "-o", folder / "study"))
    assert "the way rows are trained on: version 1 before, 2 now" in planned.stderr
    assert "the way answers are scored: version 1 before, 2 now" in planned.stderr
    run = done(tvt("study", "run", folder / "recipe.yaml", "-o", folder / "study"))
    assert "the way rows are trained on: version 1 before, 2 now" in run.stderr
    again = done(tvt("study", "run", folder / "recipe.yaml", "-o", folder / "study"))
    assert "version 1 before" not in again.stderr
    assert len(list((folder / "study" / "runs").iterdir())) == 5  # the base, two runs of each version


def test_a_mixture_of_version_0_1_0_is_mixed(tvt: Tvt, folder: Path, tmp_path: Path) -> None:
    rows = [f"--data={task}={folder / 'tasks' / task.lower()}-train.jsonl" for task in ("Alpha", "Beta")]
    done(tvt("mix", folder / "mixture.yaml", *rows, "-o", tmp_path / "mixed"))


def test_its_answers_are_counted_where_their_statistics_were_not_kept(folder: Path) -> None:
    found = folder_report(folder / "study")
    assert (len(found.cells), found.unknown) == (6, ())
    assert all(cell.statistics.letter_mass is not None for cell in found.cells if cell.statistics is not None)
