"""Raw sources of every layout end to end: to rows that pass the check and can be looked at."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import raw_sources_correspondence
import raw_sources_objects
import raw_sources_perception
from tvt.cli.main import cli
from tvt.core.choices import BUILDERS
from tvt.data.builders.contract import find_builder
from tvt.data.questions.files import read_questions
from tvt.report.data_tables import CELL, MARGIN

pytest.importorskip("imagehash")

FIXTURES = (raw_sources_correspondence, raw_sources_objects, raw_sources_perception)
ITEMS, ROWS = 4, 4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.mark.parametrize(("task", "layout"), [name.split("/") for name in BUILDERS.names], ids=BUILDERS.names)
def test_every_layout_gives_rows_that_pass_the_check_and_can_be_looked_at(task: str, layout: str, tmp_path: Path) -> None:
    make = next(found for module in FIXTURES if (found := getattr(module, f"make_{layout}", None)) is not None)
    raw, out = make(tmp_path / "raw", ITEMS), tmp_path / "out"
    told = run("data", "build", task, "--source", raw, "-n", ROWS, "--layout", layout, "--reuse", 4, "-o", out, "--json")
    assert told.exit_code == 0, told.output
    record = json.loads(told.stdout)
    rows = list(read_questions(out / f"{task}.parquet"))
    assert len(rows) == record["rows"] == ROWS
    options = find_builder(task, layout).options
    counts = Counter(row.answer for row in rows)
    assert max(counts.values()) - min(counts[letter] for letter in "ABCD"[:options]) <= 1
    assert str(tmp_path) not in (out / f"{task}.build.json").read_text()
    checked = run("data", "check", out / f"{task}.parquet", "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["files"][0]["faults"] == []
    shown = run("data", "preview", out / f"{task}.parquet", "--rows", 2)
    assert shown.exit_code == 0, shown.output
    with Image.open(out / f"{task}.sheet.png") as sheet:
        assert sheet.width == 2 * (CELL + MARGIN) + MARGIN
