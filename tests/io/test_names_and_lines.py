"""Line separators, long values and odd names: none of them breaks a file, a message or a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import study_world
import tiny_vlm
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.core.task import Task
from tvt.data.questions.files import open_questions, read_questions, write_jsonl, write_parquet
from tvt.errors import LONGEST_LINE, InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.io import json_lines
from tvt.io.names import file_name, folder_name, quoted_name, same_files

SEPARATORS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"
LONG = "深度估计与相机运动判断任务的困难子集以及若干补充说明文" * 2
"""Twice 27 Chinese characters."""


class TestJsonLines:
    def test_every_separator_comes_back(self) -> None:
        values = [{"id": f"a{mark}b", "answer": mark} for mark in SEPARATORS]
        text = json_lines.dump(values)
        assert json_lines.parse(text) == values
        assert len(text.splitlines()) == len(values), "other programs may cut where they like"

    def test_separators_written_as_they_are_are_read(self, tmp_path: Path) -> None:
        values = [{"id": f"a{mark}b"} for mark in SEPARATORS]
        path = tmp_path / "old.jsonl"
        path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
        assert json_lines.read(path) == values

    def test_plain_values_are_written_as_before(self) -> None:
        assert json_lines.dump([{"id": "é–中", "n": 1}]) == '{"id": "é–中", "n": 1}\n'

    def test_questions_with_separators_come_back(self, tmp_path: Path) -> None:
        asked = [replace(q, id=f"{q.id}{SEPARATORS}") for q in tiny_vlm.questions("t", 3)]
        write_jsonl(asked, tmp_path / "q.jsonl")
        assert list(read_questions(tmp_path / "q.jsonl")) == asked


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> study_world.World:
    """A study whose ids hold separators, with a target of a long name."""
    world = study_world.build(tmp_path_factory.mktemp("odd"))
    for task in study_world.TASKS:
        rows = [replace(q, id=f"{q.id}{SEPARATORS}") for q in read_questions(world.rows(task))]
        asked = [replace(q, id=f"{q.id}{SEPARATORS}") for q in read_questions(world.questions(task))]
        write_jsonl(rows, world.rows(task))
        write_parquet(asked, world.questions(task))
    told = yaml.safe_load((world.folder / "tasks" / "gamma.yaml").read_text())
    (world.folder / "tasks" / "gamma.yaml").write_text(yaml.safe_dump({**told, "name": LONG}, allow_unicode=True))
    study_world.write_recipe(world.folder, sources=["Alpha"], targets=["Alpha", LONG], budget=4)
    return world


def test_a_study_of_odd_ids_and_long_names_runs_goes_on_and_is_analysed(world: study_world.World, tmp_path: Path) -> None:
    tvt, study = study_world.warm_tvt(), tmp_path / "study"
    study_world.done(tvt("study", "run", world.recipe, "-o", study))
    before = sorted(study_world.chunks(study))
    scores = next(study.glob("runs/*/scores.json"))
    scores.unlink()  # as if it had been stopped before its record was written
    study_world.done(tvt("study", "run", world.recipe, "-o", study))
    assert sorted(study_world.chunks(study)) == before, "known answers are not asked again"
    shown = study_world.done(tvt("analyze", study, "--json")).stdout
    assert LONG in json.dumps(json.loads(shown), ensure_ascii=False)
    assert "2 done" in study_world.done(tvt("study", "status", study)).stdout
    ids = {item["id"] for path in study.glob("answers/*/Alpha.items.jsonl") for item in json_lines.read(path)}
    assert ids == {q.id for q in read_questions(world.questions("Alpha"))}


class TestMessages:
    def test_a_data_uri_does_not_fill_the_screen(self, tmp_path: Path) -> None:
        uri = "data:image/png;base64," + "iVBORw0KGgo" * 55_000
        row = {"id": "1", "task": "t", "prompt": "?", "options": ["a", "b"], "answer": "A", "images": [uri]}
        (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(InputError) as error:
            list(read_questions(tmp_path / "q.jsonl"))
        (line,) = error.value.faults
        assert len(line) <= LONGEST_LINE
        assert line.startswith(f"{tmp_path / 'q.jsonl'}:1: image 'data:image/png;base64,")
        assert line.endswith("is a data URI; save the picture as a file beside this one and name it")

    def test_any_long_value_loses_its_middle(self) -> None:
        line = f"rows.jsonl:7: id '{'x' * 10_000}' stands already at line 3; make ids unique"
        (shown,) = InputError(line).faults
        assert len(shown) == LONGEST_LINE
        assert shown.startswith("rows.jsonl:7: id 'xxx")
        assert shown.endswith("xxx' stands already at line 3; make ids unique")
        assert InputError(shown).faults == (shown,)

    def test_a_fault_stays_one_line(self) -> None:
        error = InputError(f"id '{SEPARATORS}': twice", "another")
        assert error.faults == (r"id '\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e': twice", "another")
        assert str(error).splitlines() == list(error.faults)


class TestNames:
    @pytest.mark.parametrize("name", ["Relative Depth", "my/task", "é", "深度" * 12, "a" * 200, "..", "x:y*?"])
    def test_names_that_worked_stay(self, name: str) -> None:
        from urllib.parse import quote

        assert quoted_name(name) == quote(name, safe=" -_")

    def test_long_names_are_cut_and_stay_apart(self) -> None:
        names = [LONG, LONG + "一", LONG + "二", "b" * 300, "b" * 301]
        for named in (quoted_name, file_name):
            made = [named(name) for name in names]
            assert len(set(made)) == len(names)
            assert all(len(f".{name}.items.jsonl.12345678.tmp".encode()) <= 255 for name in made)

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("small study", "small study"),
            ("a/b", "a/b"),
            ("../out", "out"),
            ("..", "_"),
            ("/etc", "etc"),
            ("a/../../b", "a_.._.._b"),
        ],
    )
    def test_a_recipes_name_stays_in_the_folder_of_studies(self, name: str, folder: str) -> None:
        assert folder_name(name).strip("_") == folder.strip("_")
        assert ".." not in Path(folder_name(name)).parts
        assert not Path(folder_name(name)).is_absolute()

    def test_names_of_one_file_are_told(self) -> None:
        (line,) = same_files(["Depth", "depth", "Other"], quoted_name)
        assert line == "Depth and depth: their files would have the same name; rename one of them"
        assert same_files(["a/b", "a b"], file_name)
        assert not same_files(["a/b", "a b"], quoted_name)

    def test_a_name_of_two_lines_is_refused(self) -> None:
        for mark in "\n\u2028\0":
            with pytest.raises(ValidationError, match="holds a control character or a line separator; remove it"):
                Task(name=f"a{mark}b")

    def test_sets_of_one_file_are_refused_before_the_model_is_loaded(self, tmp_path: Path) -> None:
        model = ModelConfig(model_name_or_path="no such model", dtype="float32")
        sets = {"Depth": tiny_vlm.questions("Depth", 2), "depth": tiny_vlm.questions("depth", 2)}
        with pytest.raises(InputError, match="Depth and depth: their files would have the same name"):
            Evaluator(model, EvaluationConfig(), tmp_path).evaluate([None], sets)
        assert not list(tmp_path.iterdir())


def test_a_study_refuses_a_task_that_is_called_like_another_ones_report(tmp_path: Path) -> None:
    world = study_world.build(tmp_path)
    told = yaml.safe_load((world.folder / "tasks" / "beta.yaml").read_text())
    (world.folder / "tasks" / "beta.yaml").write_text(yaml.safe_dump({**told, "name": "Alpha report"}))
    recipe = study_world.write_recipe(world.folder, sources=["Alpha"], targets=["Alpha", "Alpha report"])
    result = study_world.warm_tvt()("study", "run", recipe, "-o", tmp_path / "study")
    assert result.returncode == 2
    assert "Alpha report and Alpha report: their files would have the same name; rename one of them" in result.stderr


def test_open_questions_of_odd_ids(tmp_path: Path) -> None:
    asked = [replace(q, id=f"{q.id}\u2028") for q in tiny_vlm.questions("t", 2)]
    write_parquet(asked, tmp_path / "q.parquet")
    assert open_questions(tmp_path / "q.parquet").rows == 2
