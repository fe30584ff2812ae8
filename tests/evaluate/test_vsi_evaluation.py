"""VSI-Bench scored: its overall figure by hand, its reading of answers, and the whole of it through the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("av")

from click.testing import CliRunner, Result

import tiny_vlm
import vsi_copy
from tvt.cli.evaluate import command
from tvt.data.tasks import find_manifests
from tvt.errors import InputError
from tvt.evaluate.readers import read_answer
from tvt.evaluate.results import CellResult, ItemResult, macro
from tvt.evaluate.scorer import RawAnswer
from vsi_copy import CHOICES, DIRECTIONS, NUMBERS

MEMBERS = {name: manifest.aggregate for name, manifest in find_manifests(["vsi-bench"], bundled=False).items()}
FIGURES = {
    "object_counting": 0.6,
    "object_abs_distance": 0.3,
    "object_size_estimation": 0.5,
    "room_size_estimation": 0.2,
    "object_rel_distance": 0.4,
    "object_rel_direction_easy": 0.5,
    "object_rel_direction_medium": 0.4,
    "object_rel_direction_hard": 0.3,
    "route_planning": 0.3,
    "obj_appearance_order": 0.2,
}


def cell(task: str, figure: float) -> CellResult:
    """A cell of ten questions with that mean credit."""
    if task in NUMBERS:  # 3 for 4 earns 0.6, 2 for 4 earns 0.1, 4 for 4 all of it
        told = {
            0.6: ["3"] * 10,
            0.3: ["4"] * 3 + ["9"] * 7,
            0.5: ["4"] * 5 + ["9"] * 5,
            0.2: ["4", "3", "2", "2", "2", "2"] + ["9"] * 4,
        }
        right = "4"
    else:
        told, right = {figure: ["A"] * round(10 * figure) + ["B"] * round(10 - 10 * figure)}, "A"
    metric = "mra" if task in NUMBERS else "accuracy"
    items = [
        ItemResult(id=str(k), item=str(k), outcome=RawAnswer(raw=text), predicted=text, answer=right, metric=metric)
        for k, text in enumerate(told[figure])
    ]
    return CellResult(adapter=None, digest=None, key="k", target=task, items=tuple(items), asked=0)


def test_the_overall_figure_by_hand() -> None:
    """The directions make (0.5 + 0.4 + 0.3) / 3 = 0.4; then (0.6 + 0.3 + 0.5 + 0.2 + 0.4 + 0.4 + 0.3 + 0.2) / 8 = 0.3625."""
    cells = {task: cell(task, figure) for task, figure in FIGURES.items()}
    assert {task: round(found.accuracy, 12) for task, found in cells.items()} == FIGURES
    found = macro("VSI-Bench", cells, MEMBERS)
    assert found is not None
    assert found.value == pytest.approx(0.3625)
    assert (found.tasks, found.of, found.counted, found.questions) == (10, 10, 8, 100)
    assert found.title == "VSI-Bench: macro over 10 tasks, 8 after grouping"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("B. chair", "B"),
        ("B is right", "B"),
        ("E", None),
        ("(B)", None),
        ("B: chair", None),
        ("The answer is B", None),
        (" B", None),
        ("B\nchair", None),
        ("", None),
    ],
)
def test_letters_as_the_benchmark_reads_them(answer: str, letter: str | None) -> None:
    assert read_answer(answer, ("w", "x", "y", "z"), reader="vsi-bench") == letter


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny_vlm.save(folder / "model", layers=1, said="123456")
    vsi_copy.write_copy(folder / "VSI-Bench", 3)
    return folder


def run(world: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, columns: int = 120) -> Result:
    monkeypatch.setenv("TVT_CACHE", str(world / "cache"))
    copy = f"{vsi_copy.NAME}={world / 'VSI-Bench'}"
    fixed = ["--model", str(world / "model"), "--dtype", "float32", "--max-new-tokens", "2", "-o", str(world / "answers")]
    where = ["--tasks", "all", "--manifests", "vsi-bench", "--dataset", copy, "--batch-size", "4"]
    runner = CliRunner(env={"COLUMNS": str(columns)})
    return runner.invoke(command, [*fixed, *where, *arguments], catch_exceptions=False)


def test_the_whole_of_vsi_bench(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    into = ("--json", "-o", str(tmp_path / "answers"))
    told: dict[str, Any] = json.loads(run(world, monkeypatch, *into).stdout)
    (base,) = told["results"]
    assert {name: task.get("metric", "accuracy") for name, task in base["tasks"].items()} == {
        **dict.fromkeys(CHOICES, "accuracy"),
        **dict.fromkeys(NUMBERS, "mra"),
    }
    figures = {name: task["accuracy"] for name, task in base["tasks"].items()}
    single = [figures[name] for name in figures if name not in DIRECTIONS]
    overall = (sum(single) + sum(figures[name] for name in DIRECTIONS) / 3) / 8
    assert base["aggregates"]["VSI-Bench"]["accuracy"] == pytest.approx(overall)
    assert (base["aggregates"]["VSI-Bench"]["counted"], base["asked"]) == (8, 30)
    again = json.loads(run(world, monkeypatch, *into, "--extract", "vsi-bench").stdout)
    assert again["results"][0]["asked"] == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_of_vsi_bench(columns: int, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(world, monkeypatch, columns=columns).stdout
    assert shown.count("MRA ") == 4
    assert "10 tasks, 8 after grouping" in " ".join(shown.split())[-400:] or columns == 80
    assert all(len(line) <= columns for line in shown.splitlines())


def test_a_missing_copy_is_told_once_for_all_tasks(world: Path) -> None:
    arguments = ["--model", str(world / "model"), "--tasks", "VSI-Bench", "--manifests", "vsi-bench"]
    with pytest.raises(InputError, match="it is read from a local copy only") as error:
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert len(error.value.faults) == 1
