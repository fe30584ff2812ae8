"""What a person sees of a base model that gives one letter to everything, and of odd questions: real runs, every command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("trl")

from safetensors.torch import load_file, save_file

import study_world
from study_world import Tvt, World, done
from texts import flat
from tvt.core.answer_statistics import AnswerReport
from tvt.data.questions.files import read_questions, write_parquet
from tvt.data.studies.folder import ANSWERS_FILE
from tvt.study.outputs import folder_report

COUNT = 12
NEW = ("choices", "letter", "letter_share", "letter_right", "letter_mass")
"""Keys of a cell that records of version 0.1.0 lack."""
HABITS = "gains and losses from there measure letter habits, not transfer (collapse: one letter to at least 95%"
SHORT = "not the questions that the manifests state: Alpha has 12 of 120 rows"
TWICE = (
    "questions asked twice under two ids, which count double: Beta (1 of 13, 1 with another right answer, e.g. again repeats"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model that answers A to everything: all letters score alike, and the first one wins. Alpha's copy lacks rows, and
    Beta asks a question twice."""
    world = study_world.build(tmp_path_factory.mktemp("world"))
    path = world.folder / "model" / "model.safetensors"
    weights = load_file(path)
    (last,) = (name for name in weights if name.endswith(("language_model.norm.weight", "model.norm.weight")))
    weights[last].zero_()
    save_file(weights, path, metadata={"format": "pt"})
    for k, task in enumerate(study_world.TASKS):
        write_parquet(study_world.drawn(task, COUNT, 100 + k), world.questions(task))
    asked = list(read_questions(world.questions("Beta")))
    again = replace(asked[0], id="again", answer="B" if asked[0].answer == "A" else "A")
    write_parquet([*asked, again], world.questions("Beta"))
    manifest = world.folder / "tasks" / "alpha.yaml"
    told = yaml.safe_load(manifest.read_text())
    told["evaluation"]["questions"] = 120
    manifest.write_text(yaml.safe_dump(told))
    return world


@pytest.fixture(scope="module")
def ran(small: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A finished study, with what running it printed on stdout and on stderr."""
    study = tmp_path_factory.mktemp("studies") / "study"
    result = done(tvt("study", "run", small.recipe, "-o", study, "--workers", "1"))
    return study, result.stdout, result.stderr


def test_a_run_says_it_when_it_is_done_and_the_study_at_its_end(ran: tuple[Path, str, str]) -> None:
    stdout, stderr = flat(ran[1]), ran[2]
    lines = stderr.splitlines()
    assert f"note: {SHORT}" in lines[0]
    assert f"note: {TWICE}" in lines[1]
    base = next(k for k, line in enumerate(lines) if line.startswith("done 1/3  base"))
    assert lines[base + 1].startswith("note: the base model answers A to 100% of Alpha's questions, A to 100% of")
    assert HABITS in lines[base + 1]
    assert any("collapsed to one letter (at least 95%): Alpha, seed 0 -> Alpha (A 100%)" in line for line in lines[base + 2 :])
    assert "warning: the base model answers A to 100% of Alpha's questions" in stdout
    assert f"warning: {SHORT}" in stdout
    assert f"warning: {TWICE}" in stdout


def test_every_cell_keeps_its_letters(ran: tuple[Path, str, str]) -> None:
    for path in ran[0].glob("runs/*/scores.json"):
        for cell in json.loads(path.read_text())["cells"]:
            assert (cell["letter"], cell["letter_share"], cell["choices"]) == ("A", 1.0, cell["total"])
            assert cell["letter_right"] == cell["correct"] / cell["total"]
            assert 0 < cell["letter_mass"] < 0.05, "all tokens score alike"


def test_status_and_analyze_and_compare_say_it(ran: tuple[Path, str, str], tvt: Tvt, tmp_path: Path) -> None:
    study = ran[0]
    for command in (("study", "status"), ("analyze",)):
        shown = flat(done(tvt(*command, study)).stdout)
        assert "the base model answers A to 100% of Alpha's questions" in shown
        assert SHORT in shown
        told = done(tvt(*command, study, "--json"))
        assert HABITS in told.stderr
        assert json.loads(told.stdout)["answers"]["warnings"][0]["base"]
    quiet = flat(done(tvt("study", "status", study, "--warn", "letter_excess=1", "--warn", "letter_mass=0")).stdout)
    assert "base model" not in quiet
    assert SHORT in quiet
    mixture = tmp_path / "mixture.yaml"
    done(tvt("select", study, "--anyway", "-o", mixture))
    done(tvt("study", "status", study))
    copy = Path(shutil.copytree(study, tmp_path / "study"))
    compared = done(tvt("compare", copy, mixture, "--run", "--randoms", "0", "--workers", "1"))
    assert "the base model answers A to 100% of Alpha's questions" in flat(compared.stdout)
    assert "Alpha report" in flat(compared.stdout), "the questions that are reported on, too"
    told = done(tvt("compare", copy, "--json"))
    assert {found["target"] for found in json.loads(told.stdout)["answers"]["warnings"]} >= {"Alpha", "Alpha report"}


def test_thresholds_of_the_recipe_go_into_the_folder(ran: tuple[Path, str, str], tvt: Tvt, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ran[0], tmp_path / "study"))
    settings = ("--set", "warnings.letter_excess=1", "--set", "warnings.letter_mass=0.001")
    done(tvt("study", "run", copy / "recipe.yaml", "-o", copy, *settings))
    shown = done(tvt("analyze", copy)).stdout
    assert "base model" not in shown
    assert folder_report(copy).thresholds.letter_mass == 0.001


def as_of_version_0_1_0(study: Path) -> None:
    """Take away what that version did not record."""
    (study / ANSWERS_FILE).unlink()
    for path in study.glob("runs/*/scores.json"):
        told = json.loads(path.read_text())
        for cell in told["cells"]:
            for name in NEW:
                del cell[name]
        path.write_text(json.dumps(told))
    recipe = study / "recipe.yaml"
    recipe.write_text(recipe.read_text().split("\nwarnings:")[0] + "\n")


def said(report: AnswerReport) -> list[tuple[str, str, str, float]]:
    return [(found.kind, found.run, found.target, found.value) for found in report.findings]


def test_folders_of_version_0_1_0_are_counted_from_their_answers(ran: tuple[Path, str, str], tvt: Tvt, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ran[0], tmp_path / "study"))
    as_of_version_0_1_0(copy)
    assert sorted(said(folder_report(copy))) == sorted(said(folder_report(ran[0])))
    assert "the base model answers A to 100% of Alpha's questions" in flat(done(tvt("analyze", copy)).stdout)
    assert "the base model answers A to 100% of Alpha's questions" in flat(done(tvt("study", "status", copy)).stdout)
    done(tvt("study", "run", copy / "recipe.yaml", "-o", copy))
    assert said(folder_report(copy)) == said(folder_report(ran[0]))


def test_without_answers_they_are_unknown_and_not_fine(ran: tuple[Path, str, str], tvt: Tvt, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ran[0], tmp_path / "study"))
    as_of_version_0_1_0(copy)
    shutil.rmtree(copy / "answers")
    told = done(tvt("analyze", copy, "--json"))
    assert "how the answers behind 9 of 9 scores are spread over the letters is not known" in told.stderr
    answers = json.loads(told.stdout)["answers"]
    assert (answers["warnings"], len(answers["unknown"])) == ([], 9)


def test_an_older_record_of_the_same_score_is_no_conflict(ran: tuple[Path, str, str], tvt: Tvt, tmp_path: Path) -> None:
    old = Path(shutil.copytree(ran[0], tmp_path / "old"))
    as_of_version_0_1_0(old)
    (old / ANSWERS_FILE).write_text((ran[0] / ANSWERS_FILE).read_text())
    (told,) = json.loads(done(tvt("study", "merge", old, ran[0], "--json")).stdout)["from"]
    assert (len(told["known"]), told["conflicts"]) == (3, [])


def test_plan_and_doctor_look_at_the_questions_first(small: World, tvt: Tvt, tmp_path: Path) -> None:
    planned = done(tvt("study", "plan", small.recipe, "-o", tmp_path / "none"))
    assert f"warning: {SHORT}" in flat(planned.stdout)
    assert f"warning: {TWICE}" in flat(planned.stdout)
    told = json.loads(done(tvt("study", "plan", small.recipe, "-o", tmp_path / "none", "--json")).stdout)
    assert told["answers"]["questions"][0] == {
        "name": "Alpha",
        "rows": 12,
        "stated": 120,
        "repeated": 0,
        "example": None,
        "contradicting": 0,
    }
    looked = tvt("doctor", small.recipe, "-o", tmp_path / "none", "--json")
    found = [check["found"] for check in json.loads(looked.stdout)["checks"] if check["name"] == "questions"]
    assert found[0] == SHORT
    assert found[1].startswith(TWICE)


def test_evaluate_says_all_of_it(small: World, tvt: Tvt, tmp_path: Path) -> None:
    place = ("--model", small.folder / "model", "--dtype", "float32", "-o", tmp_path, "--manifests", small.folder / "tasks")
    shown = flat(done(tvt("evaluate", *place, "--tasks", "Alpha,Beta")).stdout)
    assert "the base model answers A to 100% of Alpha's questions, A to 100% of Beta's questions" in shown
    assert SHORT in shown
    assert TWICE in shown
    told = done(tvt("evaluate", *place, "--tasks", "Alpha,Beta", "--json"))
    assert f"note: {SHORT}" in told.stderr
    assert [found["name"] for found in json.loads(told.stdout)["answers"]["questions"]] == ["Alpha", "Beta"]
