"""Studies with a target that lmms-eval asks. Its part is played by files of a recorded run, in a process of its own."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import yaml

import stand_in_harness
import study_world
from study_world import Tvt, World, done
from tvt.core.recipe import ModelConfig
from tvt.data.task_questions import read, rows_of
from tvt.data.tasks import QuestionData, load_manifest
from tvt.errors import InputError, MissingPackageError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.harness.task import PYTHON, describe, described

GRADED = [0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 1]


def write_target(folder: Path, name: str = "Chart", **fields: Any) -> Path:
    path = folder / "tasks" / f"{name.lower()}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "evaluation": {"harness": "lmms-eval", "task": "own_graded", **fields}}))
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in_harness.write(tmp_path_factory.mktemp("harness"))


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished study, and its recipe."""
    write_target(world.folder)
    write_target(world.folder, "Chart_Two", limit=3, score="closeness")
    settings = {"lmms_eval_python": str(python)}
    recipe = study_world.write_recipe(world.folder, "chart.yaml", targets=["Alpha", "Chart", "Chart_Two"], runtime=settings)
    study = tmp_path_factory.mktemp("studies") / "chart"
    done(tvt("study", "run", recipe, "-o", study))
    return study, recipe


def rows(study: Path, target: str) -> dict[str, dict[str, str]]:
    with (study / "scores.csv").open() as stream:
        return {row["source"]: row for row in csv.DictReader(stream) if row["target"] == target}


def test_scores_are_the_mean_of_the_samples_and_pairs_are_counted(first: tuple[Path, Path]) -> None:
    found = rows(first[0], "Chart")
    assert float(found["base"]["correct"]) == pytest.approx(sum(GRADED))
    assert int(found["base"]["total"]) == 7
    better = [*GRADED[:2], 1, *GRADED[3:]]
    for source in ("Alpha", "Beta"):
        assert float(found[source]["correct"]) == pytest.approx(sum(better))
        assert float(found[source]["both_correct"]) == pytest.approx(sum(a * b for a, b in zip(GRADED, better, strict=True)))
    assert int(rows(first[0], "Chart_Two")["base"]["total"]) == 3


def test_finished_cells_are_not_asked_again(first: tuple[Path, Path], tvt: Tvt, python: Path) -> None:
    before = stand_in_harness.started(python.parent)
    assert before.count("describe") == 2
    assert before.count("score") == 3
    done(tvt("study", "run", first[1], "-o", first[0]))
    assert stand_in_harness.started(python.parent) == before


def test_every_command_takes_the_target_like_any_other(first: tuple[Path, Path], tvt: Tvt) -> None:
    study, recipe = first
    plan = json.loads(done(tvt("study", "plan", recipe, "-o", study, "--json")).stdout)
    assert plan["estimate"]["questions"] == 0
    assert "finished" in (text := done(tvt("study", "status", study)).stdout) or "done" in text
    analysis = json.loads(done(tvt("analyze", str(study), "--json")).stdout)
    ((_, figures),) = analysis["studies"].items()
    cell = figures["pgf"]["Alpha"]["Chart"]
    assert cell["mean"] == pytest.approx(0.5 / (7 - sum(GRADED)))
    assert cell["se_items"] > 0
    chosen = json.loads(done(tvt("select", str(study), "--target", "Chart", "--json")).stdout)
    assert "Chart" in chosen["predicted"]
    judged = done(tvt("study", "judge", study, "--against", study, "--json"))
    assert json.loads(judged.stdout)


def test_a_changed_limit_makes_other_cells(first: tuple[Path, Path], tvt: Tvt, world: World) -> None:
    study, recipe = first
    plan = done(tvt("study", "plan", recipe, "-o", study, "--json", "--set", "evaluation.questions=5"))
    assert json.loads(plan.stdout)["estimate"]["questions"] == 3 * (5 + 5)  # three of Chart_Two are fewer than five


def test_a_plan_starts_nothing_and_says_what_it_does_not_know(world: World, tvt: Tvt, tmp_path: Path) -> None:
    python = stand_in_harness.write(tmp_path)
    write_target(world.folder, "Chart_New", limit=4)
    settings = {"lmms_eval_python": str(python)}
    recipe = study_world.write_recipe(world.folder, "new.yaml", targets=["Alpha", "Chart_New"], runtime=settings)
    plan = done(tvt("study", "plan", recipe, "-o", tmp_path / "s"))
    assert "lmms-eval has not loaded its task own_graded yet: Chart_New; the study does it when it runs." in plan.stdout
    assert json.loads(done(tvt("study", "plan", recipe, "-o", tmp_path / "s", "--json")).stdout)["estimate"]["questions"] == 42
    assert not stand_in_harness.started(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> QuestionData:
    return QuestionData(harness="lmms-eval", task="own_open", limit=4)


def test_what_lmms_eval_says_is_remembered_by_its_version(data: QuestionData, tmp_path: Path) -> None:
    python = str(stand_in_harness.write(tmp_path))
    assert described(data, python=python) is None
    found = describe(data, python=python)
    assert (found.version, found.task_version, found.metric, found.questions) == ("0.7.3", "1.5", "exact_match", 4)
    assert describe(data, python=python) == found
    assert stand_in_harness.started(tmp_path) == ["describe"]
    (tmp_path / "newer").mkdir()
    newer = describe(data, python=str(stand_in_harness.write(tmp_path / "newer", version="0.8.0")))
    assert newer.identity != found.identity
    for limit in (None, 3):
        other = describe(data.model_copy(update={"limit": limit}), python=python)
        assert other.identity != found.identity


def test_folders_of_task_files_are_part_of_what_is_remembered(tmp_path: Path) -> None:
    python = str(stand_in_harness.write(tmp_path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "task.yaml").write_text("task: own_open")
    data = QuestionData(harness="lmms-eval", task="own_open", include_path=str(tmp_path / "own"))
    describe(data, python=python)
    (tmp_path / "own" / "task.yaml").write_text("task: own_open # changed")
    assert described(data, python=python) is None
    with pytest.raises(InputError, match="no such folder; name the folder of lmms-eval's task files"):
        described(data.model_copy(update={"include_path": str(tmp_path / "gone")}), python=python)


def test_a_missing_lmms_eval_names_what_to_install(data: QuestionData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "bare-python"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'print()'\n")
    path.chmod(0o755)
    with pytest.raises(MissingPackageError, match=f"not installed for {path}, .*; {path} -m pip install lmms-eval"):
        describe(data, python=str(path))
    monkeypatch.setenv(PYTHON, str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=f"nothing: cannot be started as a Python .*; name another one in {PYTHON}"):
        describe(data)


def test_an_unknown_task_is_one_line(data: QuestionData, tmp_path: Path) -> None:
    unknown = data.model_copy(update={"task": "own_opem"})
    with pytest.raises(InputError, match=r"^own_opem: no such task in lmms-eval$"):
        describe(unknown, python=str(stand_in_harness.write(tmp_path)))


def test_an_interrupted_scoring_leaves_no_half_results(data: QuestionData, world: World, tmp_path: Path) -> None:
    target = describe(data, python=str(stand_in_harness.write(tmp_path)))
    evaluator = Evaluator(ModelConfig(model_name_or_path=str(world.folder / "model")), study_config(), tmp_path / "answers")
    script = Path(str(target.python))
    whole = script.read_text()
    script.write_text(whole.replace('report("done"', 'os._exit(9)\n        report("done"'))
    with pytest.raises(Exception, match="a lmms-eval process died"):
        evaluator.evaluate([None], {"Open": target})
    script.write_text(whole)
    (cells,) = evaluator.evaluate([None], {"Open": target})
    assert (cells["Open"].correct, cells["Open"].total, cells["Open"].asked) == (0, 4, 4)
    assert not study_world.leftovers(tmp_path)
    (cells,) = evaluator.evaluate([None], {"Open": target})
    assert cells["Open"].asked == 0


def study_config() -> Any:
    from tvt.core.recipe import EvaluationConfig

    return EvaluationConfig(batch_size=4)


def test_questions_of_a_harness_are_not_read(data: QuestionData) -> None:
    for act in (rows_of, lambda it: list(read(it, "Chart"))):
        with pytest.raises(InputError, match="own_open: its questions are asked by lmms-eval in its own process"):
            act(data)


@pytest.mark.parametrize(
    ("part", "fields", "fault"),
    [
        ("evaluation", {"harness": "lmms-eval"}, "name lmms-eval's task"),
        ("evaluation", {"harness": "lmms-eval", "task": "t", "questions": 5}, "'limit' says how many are asked"),
        ("evaluation", {"harness": "lmms-eval", "task": "t", "path": "x.parquet"}, "has questions and scores of its own"),
        ("evaluation", {"path": "x.parquet", "limit": 5}, "add 'harness: lmms-eval'"),
        ("training", {"harness": "lmms-eval", "task": "t"}, "gives scores and no rows to train on"),
    ],
)
def test_faulty_manifests_are_refused(part: str, fields: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "chart.yaml"
    path.write_text(yaml.safe_dump({"name": "Chart", part: fields}))
    with pytest.raises(InputError, match=fault):
        load_manifest(path)


def test_a_plan_of_a_job_keeps_what_a_manifest_says(tmp_path: Path) -> None:
    data = QuestionData(harness="lmms-eval", task="own_open", limit=4, offset=2, score="exact_match")
    assert QuestionData.model_validate(json.loads(data.model_dump_json())) == data
