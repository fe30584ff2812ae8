"""``tvt data``: what its commands say, write and refuse."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import blink_copy
from commands import ROOT, tvt
from tiny_builder import write_index
from tvt.cli.main import cli
from tvt.core.choices import BUILDERS
from tvt.core.question import Question
from tvt.data.questions.files import read_questions, write_jsonl
from tvt.errors import InputError
from tvt.report.data_tables import contact_sheet

pytest.importorskip("imagehash")


def run(*arguments: object, width: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(cli, list(map(str, arguments)))


def refused(*arguments: object) -> list[str]:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return list(result.exception.faults)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of the tests' own builder, registered as a layout of Jigsaw."""
    monkeypatch.setitem(BUILDERS.own, "Jigsaw/tiny", "tiny_builder:TinyBuilder")
    lines = [*(f"u{k} s{k % 3} - i{k} j{k}" for k in range(30)), "unfit0 s0 - x0"]
    return write_index(tmp_path / "raw", lines)


def test_build_says_what_it_did(tiny: Path, tmp_path: Path) -> None:
    arguments = ("data", "build", "jg", "--source", tiny, "-n", 12, "--layout", "tiny", "--validation", 4, "-o")
    result = run(*arguments, tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Jigsaw from tiny (layout tiny, builder version 3, seed 0): 12 rows and 4 for validation"
    assert lines[1] == "right answers: A 6, B 6"
    assert lines[2].startswith("units: 31 listed, ")
    assert lines[-1] == "licence: not stated"
    assert "Jigsaw.build.json" in result.stderr
    first = (tmp_path / "out" / "Jigsaw.parquet").read_bytes()
    assert run(*arguments, tmp_path / "again").exit_code == 0
    assert (tmp_path / "again" / "Jigsaw.parquet").read_bytes() == first


def test_what_is_excluded_is_not_shown_whether_a_file_or_a_task_of_a_local_copy(tiny: Path, tmp_path: Path) -> None:
    build = ("data", "build", "Jigsaw", "--source", tiny, "--layout", "tiny", "-n")
    assert run(*build, 10, "-o", tmp_path / "first").exit_code == 0
    faults = refused(*build, 30, "--exclude", tmp_path / "first" / "Jigsaw.parquet", "-o", tmp_path / "second")
    assert "give 20 with no image in more than 1 row" in faults[0]
    result = run(*build, 20, "--exclude", tmp_path / "first" / "Jigsaw.parquet", "-o", tmp_path / "second", "--json")
    assert json.loads(result.stdout)["units"]["unfit"]["looks like an excluded image"] == 10
    pytest.importorskip("datasets")
    copy = blink_copy.write_copy(tmp_path / "BLINK")
    dataset = f"{blink_copy.NAME}={copy}"
    result = run(*build, 5, "--exclude", "Jigsaw", "--dataset", dataset, "-o", tmp_path / "third", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["excluded"]["images"] == 2 * 3 * blink_copy.SHAPES["Jigsaw"][0]  # val and test


def test_every_fault_of_a_request_is_said_with_the_next_step(tiny: Path, tmp_path: Path) -> None:
    build = ("data", "build", "Jigsaw", "--source")
    assert refused(*build, tiny, "-n", 9, "--layout", "nothing")[0].startswith("--layout nothing: Jigsaw is not built from it")
    assert refused("data", "build", "Jigsav", "--source", tiny, "-n", 9) == [
        "unknown task 'Jigsav' (did you mean 'Jigsaw'?); see tvt tasks"
    ]
    faults = refused(*build, tmp_path, "-n", 9)
    assert [fault.split(": ")[1].split(",")[0] for fault in faults] == ["no input/train.jsonl", "no images"]
    assert all("get TARA" in fault and "https://github.com/zeyofu/TARA" in fault for fault in faults)
    assert run(*build, tiny, "-n", 0).exit_code == 2


def test_check_tells_faults_from_warnings_and_exits_2(tiny: Path, tmp_path: Path) -> None:
    build = ("data", "build", "Jigsaw", "--source", tiny, "--layout", "tiny", "-n", 12)
    assert run(*build, "-o", tmp_path / "out").exit_code == 0
    path = tmp_path / "out" / "Jigsaw.parquet"
    good = run("data", "check", path)
    assert (good.exit_code, good.stdout) == (0, f"{path}: 12 rows (right answers: A 6, B 6), no faults\n")
    rows = list(read_questions(path))
    write_jsonl([*rows, *(Question(**{**_fields(row), "id": f"again-{row.id}"}) for row in rows)], tmp_path / "twice.jsonl")
    for width in (80, 120):
        bad = run("data", "check", tmp_path / "twice.jsonl", "--against", path, width=width)
        assert bad.exit_code == 2
        head, *table = bad.stdout.splitlines()
        assert head.startswith(f"{tmp_path / 'twice.jsonl'}: 24 rows (right answers: A 12, B 12), 36 faults, 13 warnings")
        assert max(map(len, table)) <= width
        assert "question asked twice" in bad.stdout
        assert "and 7 more; --json lists all" in bad.stdout
    told = json.loads(run("data", "check", tmp_path / "twice.jsonl", "--against", path, "--json").stdout)
    (file,) = told["files"]
    kinds = Counter(finding["kind"] for finding in file["faults"])
    assert kinds == {"question asked twice": 12, "evaluation image": 24}
    assert Counter(finding["kind"] for finding in file["warnings"]) == {"image shown twice": 12, "shortcut": 1}
    assert told["against"] == {"images": 24, "near_bits": 8}
    few = run("data", "check", path, "--at-least", 100)
    assert few.exit_code == 2
    assert "12 rows, fewer than 100" in " ".join(few.stdout.split())


def test_a_sheet_shows_the_rows_that_were_asked_for(tiny: Path, tmp_path: Path) -> None:
    build = ("data", "build", "Jigsaw", "--source", tiny, "--layout", "tiny", "-n", 12)
    assert run(*build, "-o", tmp_path).exit_code == 0
    path = tmp_path / "Jigsaw.parquet"
    rows = list(read_questions(path))
    assert run("data", "preview", path, "-o", tmp_path / "sheet.png", "--rows", 4, "--columns", 2).exit_code == 0
    first = contact_sheet(rows[:4], "Jigsaw: 4 of 12 rows (first)", 2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(first))
    assert run("data", "preview", path, "-o", tmp_path / "drawn.png", "--rows", 4, "--columns", 2, "--seed", 1).exit_code == 0
    with Image.open(tmp_path / "drawn.png") as sheet:
        assert not np.array_equal(np.asarray(sheet), np.asarray(first))


def test_a_sheet_shows_images_whole_marks_the_right_option_and_survives_what_is_broken() -> None:
    red, blue = (_png((220, 0, 0), (400, 100)), _png((0, 0, 220), (100, 400)))
    asked = Question(id="q", task="t", prompt="Which? " * 80, options=("one", "two"), answer="B", images=(red, blue, b"broken"))
    sheet = np.asarray(contact_sheet([asked], "t"))
    assert (np.all(sheet == (220, 0, 0), axis=2)).any()
    assert (np.all(sheet == (0, 0, 220), axis=2)).any()
    assert (np.all(sheet == (200, 0, 0), axis=2)).any(), "a broken image is crossed out"
    green = np.all(sheet == (0, 128, 66), axis=2)
    assert green.any()
    other = Question(id="q", task="t", prompt="Which? " * 80, options=("one", "two"), answer="A", images=asked.images)
    higher = np.all(np.asarray(contact_sheet([other], "t")) == (0, 128, 66), axis=2)
    assert np.flatnonzero(higher.any(axis=1)).max() < np.flatnonzero(green.any(axis=1)).max()
    number = Question(id="q", task="t", prompt="How far?", options=(), answer="2.5")
    assert contact_sheet([number], "t").height > 0


def test_without_imagehash_one_line_says_what_to_install(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "imagehash.py").write_text("raise ModuleNotFoundError('no', name='imagehash')\n")
    asked = Question(id="q", task="t", prompt="?", options=("a", "b"), answer="A", images=(_png((9, 9, 9), (8, 8)),))
    write_jsonl([asked], tmp_path / "a.jsonl")
    path = f"{tmp_path}:{ROOT}"
    result = tvt("data", "check", str(tmp_path / "a.jsonl"), PYTHONPATH=path)
    assert result.returncode == 5
    assert result.stderr.startswith("tvt: imagehash is not installed, and reading this data needs it; pip install '")
    assert result.stderr.endswith("[data]'\n")


def _fields(row: Question) -> dict[str, object]:
    return {name: getattr(row, name) for name in Question.__dataclass_fields__}


def _png(colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    import io

    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()
