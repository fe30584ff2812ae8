"""tvt init: what it writes passes every command that it tells, and nothing is overwritten."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from commands import tvt
from tvt.cli.main import cli
from tvt.data.questions.files import read_questions
from tvt.data.tasks import load_manifest
from tvt.errors import InputError
from tvt.io.yaml_files import load_recipe


def init(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["init", *arguments])


def told(result: Result | str) -> list[str]:
    text = result if isinstance(result, str) else result.stdout
    return [line.strip() for line in text.splitlines() if line.startswith("  tvt ")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_told_commands_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = "my studies/first"  # a name that a shell would take apart
    commands = told(tvt("init", folder, "--task", "Jigsaw", "--task", "Which Side?").stdout)
    assert [shlex.split(line)[1] for line in commands] == ["doctor", "recipe", "data", "study", "study", "analyze"]
    assert "run" in commands[4]
    for line in commands:
        done = tvt(*shlex.split(line)[1:], OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
        assert done.returncode == 0, (line, done.stderr, done.stdout)
    assert (here / folder / "study" / "scores.csv").is_file()


def test_by_default_it_writes_here(here: Path) -> None:
    assert init().exit_code == 0
    recipe = load_recipe(here / "study.yaml")
    assert (recipe.name, recipe.sources, recipe.targets) == (here.name, ("My_Task",), ("My_Task",))
    manifest = load_manifest(here / "tasks" / "My_Task.yaml")
    assert (manifest.name, manifest.report) == ("My_Task", None)
    rows = {part: list(read_questions(here / "data" / f"My_Task{part}.jsonl")) for part in ("", "-val")}
    for questions in rows.values():
        assert [question.answer for question in questions] == ["A", "B", "A", "B"]
    images = [image for questions in rows.values() for question in questions for image in question.images]
    assert len(set(images)) == 8  # nothing that is trained on is scored


@pytest.mark.parametrize("name", ["yes", "0.5", "a: b", "[x]", "Größe", "two words", "it's", "null", "x # y"])
def test_names_that_yaml_would_read_otherwise(name: str, here: Path) -> None:
    assert init("s", "--task", name, "--task", "Other").exit_code == 0
    assert load_recipe(here / "s" / "study.yaml").sources == (name, "Other")
    planned = CliRunner().invoke(cli, ["study", "plan", "s/study.yaml", "-o", "s/study"])
    assert planned.exit_code == 0, planned


def test_the_same_request_writes_the_same_bytes(here: Path) -> None:
    init("a")
    init("b")
    one, other = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (here / "a", here / "b"))
    different = [str(name) for name in one if one[name] != other[name]]
    assert one.keys() == other.keys()
    assert different == ["study.yaml"]  # it has the folder's name


def test_nothing_is_overwritten_and_all_clashes_are_told(here: Path) -> None:
    init("s", "--task", "Jigsaw")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    (here / "s" / "study.yaml").write_text("mine")
    (here / "s" / "data" / "Jigsaw.jsonl").unlink()
    (here / "s" / "data" / "Jigsaw.jsonl").symlink_to("/no/such/place")
    result = init("s", "--task", "Jigsaw")
    assert isinstance(result.exception, InputError)
    assert len(result.exception.faults) == len(before)
    assert any("Jigsaw.jsonl: is there already" in fault for fault in result.exception.faults)
    assert (here / "s" / "study.yaml").read_text() == "mine"
    other = init("s", "--task", "Counting")
    assert isinstance(other.exception, InputError)
    assert [fault.split(":")[0] for fault in other.exception.faults] == ["s/study.yaml"]
    assert not (here / "s" / "tasks" / "Counting.yaml").exists()


def test_bad_names(here: Path) -> None:
    result = init("--task", "a b", "--task", "A_B", "--task", "../..", "--task", "x" * 101)
    assert isinstance(result.exception, InputError)
    assert len(result.exception.faults) == 4
    assert list(here.iterdir()) == []
