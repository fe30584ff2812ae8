from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from commands import ROOT
from mixing_rows import COUNTS, mixture, question
from tvt.cli.main import cli
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.errors import InputError
from tvt.io.yaml_files import save_mixture


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    save_mixture(mixture(), tmp_path / "mixture.yaml")
    write_jsonl((question(k, task="One") for k in range(20)), tmp_path / "data" / "One.jsonl")
    write_parquet((question(100 + k, 3, task="Many") for k in range(5)), tmp_path / "data" / "Many.parquet")
    write_parquet((question(200 + k, 0, task="Text") for k in range(6)), tmp_path / "data" / "Text" / "part.parquet")
    return tmp_path


def tvt(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["mix", "mixture.yaml", *arguments])


def refused(*arguments: str) -> list[str]:
    result = tvt(*arguments)
    assert isinstance(result.exception, InputError), result
    return list(result.exception.faults)


def test_a_mix_with_its_table_and_notes(work: Path) -> None:
    result = tvt("-o", "mixed")
    assert result.exit_code == 0, result
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("  ") and "%" in line]
    assert rows == [
        ["Many", "58.1%", "25", "5", "5.00"],
        ["One", "27.9%", "12", "20", "0.60"],
        ["Text", "14.0%", "6", "6", "1.00"],
    ]
    assert "wrote mixed" in result.stderr
    assert "Many: 5 rows, each used 5.0 times" in result.stderr
    assert pq.read_table("mixed/data").num_rows == 43
    again = tvt("-o", "mixed")
    assert again.exit_code == 0
    assert "already there; nothing written" in again.stderr


def test_json(work: Path) -> None:
    told = json.loads(tvt("-o", "mixed", "--seed", "5", "--json").stdout)
    assert (told["schema"], told["rows"], told["seed"], told["written"], told["folder"]) == (1, 43, 5, True, "mixed")
    assert told["sources"]["Many"] == {
        "weight": 25 / 43,
        "examples": 25,
        "available": 5,
        "epochs": 5.0,
        "left_out": 0,
        "digest": told["sources"]["Many"]["digest"],
        "origins": [{"source": "not stated", "licence": "not stated", "rows": 5, "url": None}],
    }
    assert json.loads(tvt("-o", "mixed", "--seed", "5", "--json").stdout) == {**told, "written": False}
    shown = json.loads(tvt("--preview", "3", "--seed", "5", "--json").stdout)
    written = pq.read_table("mixed/data").slice(0, 3).to_pylist()
    assert [(row["source"], row["id"]) for row in shown["preview"]] == [(row["source"], row["id"]) for row in written]
    assert {len(row["images"]) for row in shown["preview"] if row["source"] == "Many"} <= {3}


def test_preview_shows_rows_and_writes_nothing(work: Path) -> None:
    before = sorted(work.rglob("*"))
    result = tvt("--preview", "43")
    assert result.exit_code == 0, result
    assert sorted(work.rglob("*")) == before
    assert "3 images: 9×7, 9×7, 9×7" in result.stdout
    assert "no image" in result.stdout
    assert "pass 5" in result.stdout
    block = result.stdout.partition(" q0\n")[2].splitlines()
    assert [line.strip() for line in block[:6]] == ["1 image: 9×7", "Which one, 0? Ünï ✓", "A. x", "B. y", "→ A. x", ""]
    assert len([line for line in tvt("--preview").stdout.splitlines() if line[:1].isdigit() and ". " in line[:4]]) == 5


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (["--preview", "mixture.yaml"], 5),
        (["mixture.yaml", "--preview"], 5),
        (["--preview", "7", "mixture.yaml"], 7),
        (["--preview=2", "mixture.yaml"], 2),
        (["mixture.yaml", "--preview", "--seed", "1"], 5),
    ],
)
def test_preview_stands_anywhere(work: Path, arguments: list[str], rows: int) -> None:
    result = CliRunner().invoke(cli, ["mix", *arguments, "--json"])
    assert result.exit_code == 0, result
    assert len(json.loads(result.stdout)["preview"]) == rows
    assert CliRunner().invoke(cli, ["mix", "mixture.yaml", "--preview", "-1"]).exit_code == 2


def test_options_that_the_prompt_does_not_tell_are_shown(work: Path) -> None:
    rows = [question(k, prompt="Which is red?", options=("left", "right"), task="One") for k in range(9)]
    write_jsonl(rows, work / "other.jsonl")
    text = tvt("--preview", "9", "--data", "One=other.jsonl").stdout
    assert "→ A. left\n     B. right\n" in text or "  A. left\n   → B. right\n" in text


def test_markup_in_rows_is_shown_as_it_is(work: Path) -> None:
    rows = [question(k, prompt=f"[red]not red[/] {k} \x1b[31m", task="One") for k in range(20)]
    write_jsonl(rows, work / "data" / "One.jsonl")
    text = tvt("--preview", "20").stdout
    assert "[red]not red[/]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ([], ["where to? name a folder with -o DIR, or look at the rows with --preview"]),
        (
            ["-o", "x", "--data", "Onne=a.jsonl"],
            ["--data Onne: no such source in the mixture (did you mean 'One'?); see its counts"],
        ),
        (["-o", "x", "--data", "One"], ["--data One: not SOURCE=PATH; write e.g. --data Jigsaw=data/jigsaw.jsonl"]),
        (
            ["-o", "x", "--data", "One=hub/name"],
            ["--data One: hub/name: no such file or folder; a dataset on the hub is named in a manifest"],
        ),
        (["-o", "x", "--exclude-eval", "no.parquet"], ["no.parquet: no such file; check the path"]),
        (["-o", "mixture.yaml"], ["mixture.yaml: is a file; name a folder with -o DIR"]),
        (["-o", "data"], ["data: not empty, and no whole dataset of tvt mix; name a new folder with -o DIR"]),
    ],
)
def test_bad_usage(work: Path, arguments: list[str], faults: list[str]) -> None:
    assert refused(*arguments) == faults
    assert not (work / "x").exists()


def test_all_missing_sources_are_told(work: Path) -> None:
    found = refused("-o", "x", "--data-dir", "nowhere")
    assert [fault.partition(":")[0] for fault in found] == ["One", "Many", "Text"]
    assert found[0] == "One: no One.jsonl, One.parquet or One/ in nowhere; name its rows with --data One=PATH"


def test_two_sources_of_one_file_are_refused(work: Path) -> None:
    assert "stands for both Many and One" in refused("-o", "x", "--data", "Many=data/One.jsonl")[0]


def test_training_on_nothing_is_refused(work: Path) -> None:
    save_mixture(mixture(dict.fromkeys(COUNTS, 0), verdict="nothing_helps"), work / "mixture.yaml")
    for arguments in (["-o", "x"], ["--preview"]):
        assert "the base model is the answer" in refused(*arguments)[0]


def test_evaluation_rows_are_refused_or_dropped(work: Path) -> None:
    write_parquet([question(3, task="One")], work / "eval.parquet")
    assert refused("-o", "x", "--exclude-eval", "eval.parquet")[0] == (
        "data/One.jsonl:4: the same question as eval.parquet: row 0"
    )
    told = json.loads(tvt("-o", "x", "--exclude-eval", "eval.parquet", "--drop-shared", "--json").stdout)
    assert told["sources"]["One"]["left_out"] == 1
    table = tvt("--preview", "--exclude-eval", "eval.parquet", "--drop-shared").stdout
    assert "left out" in table


def test_the_command_line_itself(work: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tvt", "mix", "none.yaml", "-o", "x"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 2
    assert done.stderr == "tvt: none.yaml: No such file or directory; check the path\n"
