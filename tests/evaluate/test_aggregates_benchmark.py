"""A benchmark's macro average: hand-worked, grouped, incomplete, its interval by simulation; in the table and in JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import blink_copy

pytest.importorskip("torch")
pytest.importorskip("peft")

import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import tiny_models
from tvt.cli.evaluate import command
from tvt.data.tasks import TaskManifest, benchmarks, load_manifests
from tvt.errors import InputError
from tvt.evaluate.results import CellResult, ItemResult, macro, wilson_interval
from tvt.evaluate.scorer import RawAnswer
from tvt.report.evaluation_tables import accuracy_table

pytestmark = pytest.mark.slow


def cell(task: str, correct: int, total: int) -> CellResult:
    items = tuple(
        ItemResult(
            id=str(k), item=str(k), outcome=RawAnswer(scores=(0.0, -1.0)), predicted="A", answer="A" if k < correct else "B"
        )
        for k in range(total)
    )
    return CellResult(adapter=None, digest=None, key="", target=task, items=items, asked=total)


def numbers(task: str, *pairs: tuple[str, str]) -> CellResult:
    items = tuple(
        ItemResult(id=str(k), item=str(k), outcome=RawAnswer(raw=told), predicted=told, answer=right, metric="mra")
        for k, (told, right) in enumerate(pairs)
    )
    return CellResult(adapter=None, digest=None, key="", target=task, items=items, asked=len(items))


CELLS = {"a": cell("a", 9, 10), "b": cell("b", 1, 100), "c": cell("c", 5, 10), "d": cell("d", 7, 10)}


def test_tasks_count_alike_whatever_their_size() -> None:
    found = macro("X", CELLS, dict.fromkeys("abc"))
    assert found is not None
    assert found.value == pytest.approx((0.9 + 0.01 + 0.5) / 3)
    assert (found.tasks, found.of, found.counted, found.questions) == (3, 3, 3, 120)
    assert found.title == "X: macro over 3 tasks"


def test_tasks_of_a_group_count_as_one() -> None:
    """As VSI-Bench averages the three levels of one question first."""
    found = macro("X", CELLS, {"a": "same", "b": "same", "c": None, "d": None})
    assert found is not None
    assert found.value == pytest.approx(((0.9 + 0.01) / 2 + 0.5 + 0.7) / 3)
    assert (found.tasks, found.counted) == (4, 3)
    assert found.title == "X: macro over 4 tasks, 3 after grouping"


def test_a_task_may_be_called_like_a_group() -> None:
    found = macro("X", CELLS, {"a": "c", "b": "c", "c": None})
    assert found is not None
    assert found.value == pytest.approx(((0.9 + 0.01) / 2 + 0.5) / 2)
    assert found.counted == 2


def test_an_incomplete_benchmark_says_so() -> None:
    found = macro("X", CELLS, {"a": "same", "e": "same", "c": None, "f": None})
    assert found is not None
    assert found.value == pytest.approx((0.9 + 0.5) / 2)
    assert found.title == "X: macro over 2 of 4 tasks"
    assert macro("X", CELLS, {"e": None}) is None


def test_credits_of_numbers_count_too() -> None:
    found = macro("X", {"a": CELLS["a"], "n": numbers("n", ("4", "4"), ("3", "4"))}, {"a": None, "n": None})
    assert found is not None
    assert found.value == pytest.approx((0.9 + (1 + 0.6) / 2) / 2)


def test_one_task_has_its_own_interval() -> None:
    found = macro("X", CELLS, {"a": None})
    assert found is not None
    assert (found.low, found.high) == pytest.approx(wilson_interval(9, 10))


def test_interval_of_two_by_hand() -> None:
    found = macro("X", CELLS, {"a": None, "c": None})
    assert found is not None
    (la, ua), (lc, uc) = wilson_interval(9, 10), wilson_interval(5, 10)
    assert found.low == pytest.approx(0.7 - math.sqrt((0.9 - la) ** 2 + (0.5 - lc) ** 2) / 2)
    assert found.high == pytest.approx(0.7 + math.sqrt((ua - 0.9) ** 2 + (uc - 0.5) ** 2) / 2)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    shares, sizes = rng.uniform(0.2, 1, 13), rng.integers(20, 150, 13)
    names = [f"t{k}" for k in range(13)]
    known = {(name, n, k): cell(name, k, n) for name, n in zip(names, sizes.tolist(), strict=True) for k in range(n + 1)}
    held = 0
    for _ in range(400):
        counts = rng.binomial(sizes, shares)
        drawn = {m: known[m, n, k] for m, n, k in zip(names, sizes.tolist(), counts.tolist(), strict=True)}
        found = macro("X", drawn, dict.fromkeys(names))
        assert found is not None
        held += found.low <= shares.mean() <= found.high
    assert 0.92 <= held / 400 <= 0.98


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, "g", "h"])), min_size=1, max_size=6))
def test_it_lies_among_the_tasks_and_in_its_interval(tasks: list[tuple[int, str | None]]) -> None:
    cells = {str(k): cell(str(k), correct, 5) for k, (correct, _) in enumerate(tasks)}
    found = macro("X", cells, {str(k): group for k, (_, group) in enumerate(tasks)})
    assert found is not None
    shares = [one.accuracy for one in cells.values()]
    assert min(shares) - 1e-12 <= found.value <= max(shares) + 1e-12
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_blink_is_13_tasks_and_the_one_left_out_counts_where_it_was_scored() -> None:
    known = load_manifests()
    assert len(benchmarks(known, ())["BLINK"]) == 13
    left = TaskManifest(name="Extra", benchmark="BLINK", left_out="no part of the study", aggregate="x")
    assert len(benchmarks([*known, left], ())["BLINK"]) == 13
    assert benchmarks([*known, left], {"Extra"})["BLINK"]["Extra"] == "x"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_it_below_the_tasks(width: int) -> None:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    rows = [("base", CELLS), ("runs/jigsaw", {**CELLS, "a": cell("a", 10, 10)})]
    console.print(accuracy_table(rows, unparsed=False, benchmarks={"X": dict.fromkeys("abce"), "Y": {"z": None}}))
    shown = " ".join(console.export_text().split())
    assert "X: macro over" in shown
    assert "Y:" not in shown
    assert "47.0" in shown
    assert "50.3" in shown


# Through the command, on a local copy of BLINK


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny_models.qwen(folder / "model")
    blink_copy.write_copy(folder / "BLINK", 2)
    return folder


@pytest.fixture(autouse=True)
def own_cache(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVT_CACHE", str(world / "cache"))


def run(world: Path, *arguments: str) -> Result:
    fixed = ["--model", str(world / "model"), "--dtype", "float32", "-o", str(world / "answers")]
    return CliRunner(env={"COLUMNS": "160"}).invoke(command, [*fixed, *arguments], catch_exceptions=False)


def copied(world: Path) -> str:
    return f"--dataset={blink_copy.NAME}={world / 'BLINK'}"


def test_the_whole_of_blink(world: Path) -> None:
    told = json.loads(run(world, "--tasks", "blink", copied(world), "--json").stdout)
    (base,) = told["results"]
    assert sorted(base["tasks"]) == sorted(blink_copy.TASKS)
    found = base["aggregates"]["BLINK"]
    assert found["accuracy"] == pytest.approx(sum(task["accuracy"] for task in base["tasks"].values()) / 13)
    assert (found["tasks"], found["of"], found["counted"], found["questions"]) == (13, 13, 13, 26)
    assert found["low"] < found["accuracy"] < found["high"]
    assert "BLINK: macro over 13 tasks" in run(world, "--tasks", "BLINK", copied(world)).stdout


def test_a_part_of_it_says_so_and_other_tasks_are_no_benchmark(world: Path, tmp_path: Path) -> None:
    shown = run(world, "--tasks", "Jigsaw,Counting", copied(world)).stdout
    assert "BLINK: macro over 2 of 13 tasks" in shown
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({"name": "Own", "evaluation": {"dataset": str(world / "BLINK"), "config": "IQ_Test", "format": "blink"}})
    )
    told = json.loads(run(world, "--tasks", "all", "--manifests", str(tmp_path), "--json").stdout)
    assert list(told["results"][0]["tasks"]) == ["Own"]
    assert told["results"][0]["aggregates"] == {}


def test_every_prompt_on_blink(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{% for _ in range(images) %}{{ image }}{% endfor %}{{ question }} {{ letters }}")
    keys = set()
    for prompt in ("dataset", "official", "letter", str(tmp_path / "mine.jinja")):
        told = json.loads(run(world, "--tasks", "Jigsaw,Counting", copied(world), "--prompt", prompt, "--json").stdout)
        assert told["prompt"] == prompt
        keys.add(told["results"][0]["answers"])
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "x"], "--manifests, --dataset and --report are for --tasks"),
        (
            ["--tasks", "JG", "--dataset", "x"],
            "--dataset x: not NAME=DIR; write e.g. --dataset BLINK-Benchmark/BLINK=/data/BLINK",
        ),
        (["--tasks", "JG", "--dataset", "BLINK-Benchmark/BLINK=gone"], "BLINK-Benchmark/BLINK: gone: no such folder"),
        (["--tasks", "JG", "--prompt", "leter"], "'leter' is no file"),
    ],
)
def test_refusals(arguments: list[str], message: str, world: Path) -> None:
    more = [copied(world)] if "--prompt" in arguments else []
    with pytest.raises(InputError, match=message):
        run(world, *arguments, *more)
