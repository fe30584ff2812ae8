"""BLINK from end to end: a whole study of 13 sources and 13 targets on a local copy, then what it says and what to mix."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("datasets")

import yaml

import blink_copy
import tiny_models
from blink_copy import NAME, SHAPES, TASKS
from study_world import Tvt, adapters, chunks, done, leftovers

pytestmark = pytest.mark.slow

BUDGET, QUESTIONS = 4, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a copy of BLINK, training rows, and a recipe that names them by relative paths."""
    folder = tmp_path_factory.mktemp("blink")
    tiny_models.qwen(folder / "model")
    blink_copy.write_copy(folder / "BLINK", QUESTIONS)
    blink_copy.write_training(folder / "rows", BUDGET)
    recipe: dict[str, Any] = {
        "name": "blink",
        "model": {"model_name_or_path": "model", "dtype": "float32"},
        "sources": list(TASKS),
        "targets": list(TASKS),
        "datasets": {NAME: "BLINK"},
        "data_dir": "rows",
        "budget": BUDGET,
        "seeds": [0],
        "lora": {"lora_r": 2, "lora_alpha": 4},
        "training": {
            "learning_rate": 0.05,
            "global_batch_size": 4,
            "per_device_train_batch_size": 4,
            "gradient_checkpointing": False,
        },
        "evaluation": {"batch_size": 52},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def cache(world: Path) -> dict[str, str]:
    return {"TVT_CACHE": str(world / "cache")}


@pytest.fixture(scope="module")
def study(world: Path, cache: dict[str, str], tvt: Tvt) -> Path:
    told = done(tvt("study", "run", world / "recipe.yaml", "-o", world / "study", "--workers", "2", **cache))
    assert "14 runs done" in told.stdout
    return world / "study"


def rows_of(study: Path) -> list[dict[str, str]]:
    with (study / "scores.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_source_is_trained_and_scored_on_every_target(study: Path) -> None:
    rows = rows_of(study)
    assert {(row["source"], row["target"]) for row in rows} == {(s, t) for s in ("base", *TASKS) for t in TASKS}
    assert {row["total"] for row in rows} == {str(QUESTIONS)}
    assert len(set(adapters(study).values())) == 13
    assert leftovers(study) == []


def test_every_question_was_asked_once_of_every_run_and_is_kept_once(study: Path, world: Path) -> None:
    asked = list(chunks(study))
    assert len(asked) == len(set(asked)) == 14 * 13 * QUESTIONS
    kept = sorted(path.name.rpartition("-val-")[0] for path in (world / "cache" / "datasets").rglob("*.parquet"))
    assert kept == sorted(TASKS), "one file a task, though three processes read them"
    assert "IQ_Test" in SHAPES, "the copy has it, and nobody read it"


def test_the_same_study_on_a_moved_copy_has_nothing_to_do(study: Path, world: Path, cache: dict[str, str], tvt: Tvt) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.glob("runs/*/scores.json")}
    (world / "BLINK").rename(world / "moved")
    try:
        told = done(
            tvt("study", "run", world / "recipe.yaml", "-o", study, "--set", f"datasets={{{NAME}: {world}/moved}}", **cache)
        )
    finally:
        (world / "moved").rename(world / "BLINK")
    assert "14 runs done" in told.stdout
    assert "changed" not in told.stderr
    assert {path: path.stat().st_mtime_ns for path in study.glob("runs/*/scores.json")} == before


def test_analyze_gives_the_whole_matrix(study: Path, tvt: Tvt) -> None:
    told = json.loads(done(tvt("analyze", study, "--json")).stdout)
    (found,) = told["studies"].values()
    assert found["sources"] == found["targets"] == list(TASKS)
    right = {(row["source"], row["target"]): int(row["correct"]) / QUESTIONS for row in rows_of(study)}
    for source in TASKS:
        for target in TASKS:
            base, after, cell = right["base", target], right[source, target], found["pgf"][source][target]
            if base == 1:
                assert cell["masked"]
            else:
                assert math.isclose(cell["mean"], (after - base) / (1 - base), abs_tol=1e-9)


def test_select_and_mix_on_it(study: Path, world: Path, tvt: Tvt, tmp_path: Path) -> None:
    chosen = tmp_path / "mixture.yaml"
    told = json.loads(
        done(tvt("select", study, "--target", "Jigsaw", "--without-direct", "--anyway", "--json", "-o", chosen)).stdout
    )
    assert set(told["weights"]) == set(TASKS)
    assert sum(told["weights"].values()) == pytest.approx(1)
    assert told["weights"]["Jigsaw"] == 0
    assert told["audit"]["passed"]
    done(tvt("mix", chosen, "--data-dir", world / "rows", "-o", tmp_path / "mixed"))


def test_another_prompt_scores_anew_and_trains_nothing(
    study: Path, world: Path, cache: dict[str, str], tvt: Tvt, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(study, tmp_path / "study"))
    known = adapters(study)
    path = world / "mine.jinja"
    path.write_text("{% for _ in range(images) %}{{ image }}{% endfor %}{{ question }} {{ letters | join(' or ') }}?")

    def ask(action: str, prompt: str) -> str:
        chosen = ("--set", f"evaluation.prompt={prompt}")
        return done(tvt("study", action, world / "recipe.yaml", "-o", study, *chosen, **cache)).stderr

    assert f"evaluation.prompt: dataset before, {path} now: adapters stay and are scored anew" in ask("run", "mine.jinja")
    assert adapters(study) == known
    assert len(list(chunks(study))) == 2 * 14 * 13 * QUESTIONS
    path.rename(world / "moved.jinja")
    assert "changed" not in ask("plan", "moved.jinja")
    (world / "moved.jinja").write_text("{{ prompt }}")
    assert "adapters stay and are scored anew" in ask("plan", "moved.jinja")


def test_training_rows_that_blink_scores_are_refused(study: Path, world: Path, cache: dict[str, str], tvt: Tvt) -> None:
    from tvt.data.questions.files import read_questions, write_parquet

    stored = next((world / "cache" / "datasets").rglob("Jigsaw-val-*.parquet"))
    (world / "leak").mkdir()
    for path in (world / "rows").iterdir():
        (world / "leak" / path.name).symlink_to(path)
    (world / "leak" / "Counting.parquet").unlink()
    write_parquet(read_questions(stored), world / "leak" / "Counting.parquet")
    told = tvt("study", "plan", world / "recipe.yaml", "--set", "data_dir=leak", **cache)
    assert told.returncode == 2
    assert "the same question as" in told.stderr
    assert "which is scored (4 rows of Counting are)" in told.stderr
