"""``tvt tasks``: what is known of each task, and what is here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tvt.cli.main import cli
from tvt.core.question import Question
from tvt.data.questions.files import write_parquet
from tvt.data.tasks import load_manifests
from tvt.errors import InputError


def run(*arguments: object, width: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(cli, ["tasks", *map(str, arguments)])


def rows_of(task: str, count: int, folder: Path) -> None:
    write_parquet(
        [Question(id=str(k), task=task, prompt="?", options=("a", "b"), answer="AB"[k % 2]) for k in range(count)],
        folder / f"{task}.parquet",
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_every_task_in_a_line_that_fits(width: int, tmp_path: Path) -> None:
    rows_of("Jigsaw", 6, tmp_path)
    result = run("--data-dir", tmp_path, width=width)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= width
    for manifest in load_manifests():
        (line,) = [line for line in lines if line.startswith(f"{manifest.name} ")]
        assert f" {manifest.abbreviation} " in line
        assert re.search(rf" {manifest.options} ", line)
    (jigsaw,) = [line for line in lines if line.startswith("Jigsaw ")]
    assert "tara, coco" in jigsaw
    assert jigsaw.rstrip().endswith(" 6")
    assert "left out of the paper's study: IQ_Test" in lines


def test_the_list_as_json(tmp_path: Path) -> None:
    rows_of("Jigsaw", 6, tmp_path)
    told = json.loads(run("--data-dir", tmp_path, "--json").stdout)
    assert told["schema"] == 1
    tasks = {task["name"]: task for task in told["tasks"]}
    assert list(tasks) == [manifest.name for manifest in load_manifests()]
    assert tasks["Jigsaw"]["rows_here"] == {"where": str(tmp_path / "Jigsaw.parquet"), "rows": 6}
    assert tasks["Counting"]["rows_here"] == {"where": None, "rows": None}
    assert tasks["Jigsaw"]["layouts"] == ["tara", "coco"]
    assert tasks["IQ_Test"]["layouts"] == tasks["IQ_Test"]["commands"] == []


def test_tasks_of_ones_own_and_drawn_ones() -> None:
    told = json.loads(run("--manifests", "miniature", "--json").stdout)
    tasks = {task["name"]: task for task in told["tasks"]}
    assert tasks["Nearest_Post"]["rows_here"] == {"where": "drawn on the spot", "rows": 4000}
    assert tasks["Counting"]["layouts"] == [], "the drawn task of that name has no builder"


@pytest.mark.parametrize("width", [80, 120])
def test_show_says_everything_of_a_task(width: int, tmp_path: Path) -> None:
    result = run("show", "as", "--data-dir", tmp_path / "rows", width=width)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    (manifest,) = [manifest for manifest in load_manifests() if manifest.name == "Art_Style"]
    for source in manifest.sources:
        for told in (source.name, source.url, source.licence, source.revision, source.note or "", *source.files):
            assert str(getattr(told, "path", told)) in text
    assert "a substitute for BLINK's own source" in text
    assert "rows here none" in text
    assert f"tvt data build Art_Style --source DIR -n 1000 --exclude BLINK -o {tmp_path / 'rows'}" in text
    assert "--layout artbench" in text
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith("  tvt")) <= width


def test_show_as_json_has_the_manifest() -> None:
    told = json.loads(run("show", "Relative_Depth", "--json").stdout)
    assert (told["schema"], told["name"], told["level"], told["builder"]) == (1, "Relative_Depth", "low", "diw")
    assert told["sources"][0]["layout"] == "diw"


def test_an_unknown_task_gets_the_nearest() -> None:
    result = run("show", "Jigsav")
    assert isinstance(result.exception, InputError)
    assert result.exception.faults == ("unknown task 'Jigsav' (did you mean 'Jigsaw'?); see tvt tasks",)
