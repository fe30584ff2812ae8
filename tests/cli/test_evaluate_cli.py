"""``tvt evaluate`` as a command: table, JSON, resuming, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from click.testing import CliRunner, Result

import tiny_vlm
from commands import tvt
from tvt.cli.evaluate import command
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two adapters and the questions of two tasks."""
    folder = tmp_path_factory.mktemp("world")
    tiny_vlm.save(folder / "model")
    tiny_vlm.save_adapter(folder / "model", folder / "first", 1)
    tiny_vlm.save_adapter(folder / "model", folder / "second", 2)
    write_parquet(tiny_vlm.questions("one", 12), folder / "one.parquet")
    write_jsonl(tiny_vlm.questions("two", 9, images=(0, 2), options=2), folder / "two.jsonl")
    return folder


def run(world: Path, output: Path, *arguments: str) -> Result:
    given = [f"--questions=one={world / 'one.parquet'}", f"--questions=two={world / 'two.jsonl'}"]
    fixed = ["--model", str(world / "model"), "--dtype", "float32", *given, "-o", str(output)]
    return CliRunner(env={"COLUMNS": "160"}).invoke(command, [*arguments, *fixed], catch_exceptions=False)


def test_table_and_then_the_same_from_what_is_known(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    first = run(world, tmp_path, "first", "second")
    assert first.exit_code == 0
    assert "asked 63 questions; answers in" in first.stderr
    rows = [line.split() for line in first.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("one", "two")] == ["one", "two"]
    assert sum("first" in line for line in first.stdout.splitlines() if not line.startswith("warning")) == 2
    again = run(world, tmp_path, "first", "second")
    assert "asked 0 questions; 63 were known" in again.stderr
    assert again.stdout == first.stdout


def test_json(world: Path, tmp_path: Path) -> None:
    result = run(world, tmp_path, str(world / "first"), "--json")
    told = json.loads(result.stdout)
    assert told["schema"] == 1
    base, adapter = told["results"]
    assert base["adapter"] is None
    assert base["digest"] is None
    assert (adapter["adapter"], len(adapter["digest"])) == (str(world / "first"), 64)
    for task, total in (("one", 12), ("two", 9)):
        cell = adapter["tasks"][task]
        assert cell["total"] == total
        assert cell["low"] <= cell["accuracy"] <= cell["high"]
        assert sum(cell["letters"].values()) + cell["unparsed"] == total
        assert 0 <= cell["both_correct"] <= min(cell["correct"], base["tasks"][task]["correct"])
        assert "both_correct" not in base["tasks"][task]
    assert (tmp_path / adapter["answers"] / "one.items.jsonl").exists()


def test_generate_tells_unparsed_answers_and_extraction_asks_nothing_anew(world: Path, tmp_path: Path) -> None:
    arguments = ("--mode", "generate", "--max-new-tokens", "3", "--json", str(world / "first"))
    careful = json.loads(run(world, tmp_path, *arguments).stdout)
    other = json.loads(run(world, tmp_path, *arguments, "--extract", "lmms-eval-0.7.2").stdout)
    assert sum(result["asked"] for result in other["results"]) == 0
    unparsed = [sum(cell["unparsed"] for r in told["results"] for cell in r["tasks"].values()) for told in (careful, other)]
    assert unparsed[0] > unparsed[1], "CBC names no letter, but begins with one"
    assert any("name no letter or number and count as wrong" in text for text in careful["warnings"])
    assert {"kind": "unread", "threshold": 0.1}.items() <= careful["answers"]["warnings"][0].items()
    assert "unparsed" in run(world, tmp_path, "--mode", "generate", "--max-new-tokens", "3").stdout


def test_limit_and_no_base(world: Path, tmp_path: Path) -> None:
    told = json.loads(run(world, tmp_path, str(world / "first"), "--no-base", "--limit", "5", "--json").stdout)
    assert [result["adapter"] for result in told["results"]] == [str(world / "first")]
    assert [cell["total"] for cell in told["results"][0]["tasks"].values()] == [5, 5]


def test_odd_cells_are_noted(world: Path, tmp_path: Path) -> None:
    result = run(world, tmp_path)
    assert "the base model puts little of its probability on option letters" in result.stdout
    assert "(mean below 50%); the model would say something else" in result.stdout
    silent = run(world, tmp_path, "--warn", "letter_mass=0", "--warn", "letter_excess=1")
    assert "warning" not in silent.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-base"], "whom to score"),
        (["--questions", "three"], "not TASK=PATH"),
        (["--questions", "one=x.parquet"], "given twice"),
        (["--questions", "three=none.jsonl", "--questions", "four=none.txt"], "none.jsonl: no such file"),
        (["nowhere"], "nowhere: no such folder; name the folder that holds adapter_config.json"),
    ],
)
def test_refusals(arguments: list[str], message: str, world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(world, tmp_path, *arguments)
    assert not list(tmp_path.rglob("chunk-*"))


def test_all_faults_of_question_files_are_lines_before_anything_is_asked(world: Path, tmp_path: Path) -> None:
    whole = tiny_vlm.questions("one", 1, images=(1,))[0].images[0]
    (tmp_path / "cut.png").write_bytes(whole[:60])
    row = {"task": "bad", "prompt": "Which?", "options": ["x", "y"], "answer": "A"}
    rows = [
        {**row, "answer": "C"},
        {**row, "answer": "(A)"},
        {**row, "options": [], "answer": " "},
        {**row, "options": [f"option {k}" for k in range(27)]},
        {**row, "images": ["cut.png"]},
    ]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps({"id": str(k), **found}) + "\n" for k, found in enumerate(rows)))
    with pytest.raises(InputError) as error:
        run(world, tmp_path / "answers", "--questions", f"bad={path}")
    said = "\n".join(error.value.faults)
    for number in range(1, 6):
        assert f"bad.jsonl:{number}: " in said
    assert "one of 27 options, which are more than there are letters (26)" in said
    assert not list(tmp_path.rglob("chunk-*"))


def test_an_error_is_one_line_and_nothing_else(world: Path, tmp_path: Path) -> None:
    questions = f"one={world / 'one.parquet'}"
    done = tvt("evaluate", "--model", str(tmp_path / "none"), "--questions", questions, "-o", str(tmp_path / "answers"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"tvt: {tmp_path}/none: ")
    assert done.stderr.count("\n") == 1
