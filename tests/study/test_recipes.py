"""The recipes that come with tvt: each plans, and says of the paper's study what the paper says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import ROOT, tvt
from tvt.core.recipe import Recipe
from tvt.data.task_questions import choose
from tvt.data.tasks import find_manifests, load_manifests
from tvt.io.yaml_files import load_recipe
from tvt.train.checks import deepspeed_faults

FOLDER = ROOT / "recipes"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
PAPER = [f"blink-qwen2.5-vl-{size}.yaml" for size in ("3b", "7b", "32b")]
BLINK = {manifest.name for manifest in load_manifests() if manifest.benchmark == "BLINK" and manifest.left_out is None}


def recipe(name: str) -> Recipe:
    return load_recipe(FOLDER / name)


def test_all_recipes_are_here() -> None:
    assert set(PAPER) < set(NAMES)
    assert len(BLINK) == 13
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", NAMES)
def test_recipe_plans(name: str, tmp_path: Path) -> None:
    done = tvt("study", "plan", str(FOLDER / name), "-o", str(tmp_path / "study"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    wanted = recipe(name)
    rows = len(wanted.sources) * len(wanted.doses) + len(wanted.placebo)
    assert len(told["runs"]) == 1 + rows * len(wanted.seeds)
    estimate = told["estimate"]
    sizes = {
        "evaluation": sum(
            m.evaluation.questions or 0 for m in choose(wanted.targets, manifests(wanted), "").values() if m.evaluation
        )
    }
    assert estimate["questions"] == len(told["runs"]) * sizes["evaluation"]
    assert estimate["training_runs"] == len(told["runs"]) - 1
    if name in ("miniature.yaml", "world.yaml"):  # drawn tasks, and a tiny model that nothing is guessed of
        assert told["missing"] == []
        assert estimate["seconds"] is None
    else:
        assert estimate["device_hours"] > 0
        assert estimate["disk_bytes"] > 1e8
        assert sum("tvt data build" in line for line in told["missing"]) == len(wanted.sources)
        assert told["missing"][-1].startswith(("BLINK-Benchmark/BLINK: not fetched", "nyu-visionx/VSI-Bench: "))
    assert not (tmp_path / "study").exists()


def manifests(of: Recipe) -> dict[str, object]:
    return find_manifests(of.manifests)  # type: ignore[return-value]


@pytest.mark.parametrize("name", [*PAPER, "vsi-qwen2.5-vl-3b.yaml", "vsi-qwen2.5-vl-7b.yaml", "dose-qwen2.5-vl-7b.yaml"])
def test_the_papers_training(name: str) -> None:
    found = recipe(name)
    assert set(found.sources) == BLINK
    assert (found.lora.lora_r, found.lora.lora_alpha) == (8, 16)
    assert found.model.load_in_4bit
    assert found.training.lr_scheduler_type == "cosine"


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_study(name: str) -> None:
    found = recipe(name)
    assert found.targets == found.sources
    assert len(found.seeds) == 4
    assert (found.runtime.num_processes, found.runtime.deepspeed) == (1, None)


@pytest.mark.parametrize("name", PAPER)
def test_several_processes_a_run_are_a_line_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of ``--set`` in a recipe's comments gives a recipe that trains the same, or says that it does not."""
    monkeypatch.chdir(FOLDER.parent)
    lines = [line.lstrip("# ") for line in (FOLDER / name).read_text().splitlines() if line.startswith("# --set")]
    assert lines
    for line in lines:
        done = tvt("recipe", "check", str(FOLDER / name), *line.split())
        assert done.returncode == 0, done.stderr
        found = load_recipe(FOLDER / name, line.replace("--set", "").split())
        assert found.runtime.num_processes == 8
        assert not deepspeed_faults(found)
        assert (found.training_identity() == recipe(name).training_identity()) is found.model.load_in_4bit


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_vsi_and_blink_share_their_runs(size: str) -> None:
    blink, vsi = recipe(f"blink-qwen2.5-vl-{size}.yaml"), recipe(f"vsi-qwen2.5-vl-{size}.yaml")
    assert vsi.training_identity() == blink.training_identity()
    assert (vsi.budget, vsi.seeds) == (blink.budget, blink.seeds)
    assert len(vsi.targets) == 10
    assert not set(vsi.targets) & set(vsi.sources)


def test_doses_and_blink_share_their_runs() -> None:
    blink, dose = recipe("blink-qwen2.5-vl-7b.yaml"), recipe("dose-qwen2.5-vl-7b.yaml")
    assert dose.training_identity() == blink.training_identity()
    assert dose.budget == blink.budget
    assert set(dose.doses) == {0.25, 0.5, 0.75, 1.0}
    assert set(dose.seeds) <= set(blink.seeds)


def test_run_tells_what_is_missing_and_how_to_make_it(tmp_path: Path) -> None:
    done = tvt("study", "run", str(FOLDER / "blink-qwen2.5-vl-3b.yaml"), "-o", str(tmp_path / "study"))
    assert done.returncode == 2
    assert "Jigsaw: no training rows in the recipe's data_dir; tvt data build Jigsaw makes them" in done.stderr
    assert not (tmp_path / "study").exists()
