"""What ``tvt study plan`` says of cheaper ways to a study: by hand, and that each command it names works."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import study_world
from commands import ROOT
from study_world import Tvt, done

RECIPES = ROOT / "recipes"
LARGE = RECIPES / "blink-qwen2.5-vl-32b.yaml"
QUESTIONS = 1751
"""Of the 13 tasks together."""


def plan(tvt: Tvt, recipe: Path, folder: Path, *options: str) -> dict[str, Any]:
    return dict(json.loads(done(tvt("study", "plan", recipe, "-o", folder, "--json", *options)).stdout))


def test_the_32b_study_and_cheaper_ones(tvt: Tvt, tmp_path: Path) -> None:
    """13 sources, 4 seeds, 1,000 examples and 3 epochs; the base and every run answer all questions."""
    told = plan(tvt, LARGE, tmp_path / "study")
    full, adaptive, seeds, quarter = told["alternatives"]
    counts = [(way["training_runs"], way["examples"], way["questions"]) for way in (full, adaptive, seeds, quarter)]
    assert counts[0] == (52, 52 * 3000, 53 * QUESTIONS)
    assert counts[1] == counts[2] == (26, 26 * 3000, 27 * QUESTIONS)
    assert counts[3] == (52, 52 * 750, 53 * QUESTIONS)
    assert full["device_hours"] == told["estimate"]["device_hours"]
    # Training t and scoring with loading s of one run: 52 t + 53 s in full, 26 t + 27 s with half of the runs, 13 t + 53 s at a
    # quarter; where a worker loads once, that is some seconds more.
    scoring = 2 * seeds["device_hours"] - full["device_hours"]
    training = (full["device_hours"] - 53 * scoring) / 52
    assert quarter["device_hours"] == pytest.approx(13 * training + 53 * scoring, rel=0.05)
    assert quarter["share"] == pytest.approx(quarter["device_hours"] / full["device_hours"])
    assert [way["disk_bytes"] / full["disk_bytes"] for way in (adaptive, seeds, quarter)] == pytest.approx([0.5, 0.5, 1.0])
    where = ["-o", str(tmp_path / "study")]
    assert shlex.split(full["command"]) == ["tvt", "study", "run", str(LARGE), *where]
    assert shlex.split(adaptive["command"])[4:] == ["--adaptive", "--runs", "26", *where]
    assert shlex.split(seeds["command"])[4:] == ["--set", "seeds=[0,1]", *where]
    assert shlex.split(quarter["command"])[4:] == ["--set", "budget=250", "-o", str(tmp_path / "study-quarter")]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["seeds=[0]"], ["full", "25% of the examples"]),
        (["seeds=[0, 1]"], ["full", "adaptive, 19 of 26 runs", "half the seeds", "25% of the examples"]),
        (["seeds=[0, 1, 2]"], ["full", "adaptive, 19 of 39 runs", "1 of 3 seeds", "25% of the examples"]),
        (["sources=[Jigsaw]"], ["full", "half the seeds", "25% of the examples"]),
        (["budget=100"], ["full", "adaptive, 26 of 52 runs", "half the seeds"]),
        (["budget=100", "seeds=[3]"], []),
    ],
)
def test_only_what_makes_sense(tvt: Tvt, tmp_path: Path, options: list[str], names: list[str]) -> None:
    told = plan(tvt, LARGE, tmp_path / "study", *(part for option in options for part in ("--set", option)))
    assert [way["name"] for way in told.get("alternatives", [])] == names


def test_doses_and_own_values_in_the_commands(tvt: Tvt, tmp_path: Path) -> None:
    options = ("--set", "doses=[1, 0.5]", "--set", "seeds=[4, 5]", "--set", "lora.lora_r=4")
    full, adaptive, seeds, quarter = plan(tvt, LARGE, tmp_path / "study", *options)["alternatives"]
    assert (full["training_runs"], full["examples"]) == (52, 26 * 3000 + 26 * 1500)
    assert adaptive["training_runs"] == 19
    assert (seeds["training_runs"], quarter["training_runs"], quarter["examples"]) == (26, 26, 26 * 750)
    assert "--set 'seeds=[4,5]'" not in quarter["command"]
    told = shlex.split(quarter["command"])
    assert [told[k + 1] for k, word in enumerate(told) if word == "--set"] == [
        "seeds=[4, 5]",
        "lora.lora_r=4",
        "budget=250",
        "doses=[1]",
    ]
    assert "seeds=[4]" in shlex.split(seeds["command"])


def test_what_is_done_costs_nothing(tvt: Tvt, tmp_path: Path) -> None:
    """One seed of four is done, at a speed that is known then; the quarter has a folder of its own, where nothing is done."""
    world = study_world.build(tmp_path / "world")
    recipe = study_world.write_recipe(world.folder, seeds=[0, 1, 2, 3], budget=16)
    done(tvt("study", "run", recipe, "-o", tmp_path / "study", "--set", "seeds=[0]", "--workers", "2"))
    told = plan(tvt, recipe, tmp_path / "study")
    assert told["estimate"]["measured"] is True
    full, adaptive, seeds, *rest = told["alternatives"]
    assert [way["training_runs"] for way in (full, adaptive, seeds)] == [6, 2, 2]
    assert adaptive["name"] == "adaptive, 4 of 8 runs"
    assert adaptive["questions"] == seeds["questions"] == full["questions"] / 3
    assert 1 / 3 <= adaptive["share"] < 1, "two of six runs, and what a worker takes to start"
    assert [(way["training_runs"], way["examples"]) for way in rest] == [(8, 32)]
    options = shlex.split(seeds["command"])[4:6]
    assert plan(tvt, recipe, tmp_path / "study", *options)["estimate"]["training_runs"] == 2
    shown = done(tvt("study", "status", tmp_path / "study")).stdout
    assert "cheaper" not in shown


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(columns: int) -> None:
    command = [sys.executable, "-m", "tvt", "study", "plan", str(LARGE)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": str(columns)}
    ).stdout
    assert max(map(len, told.splitlines())) <= columns
    assert "adaptive, 26 of 52 runs" in told
