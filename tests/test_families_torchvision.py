"""Families that need torchvision, in a process that has what stands in for it, and what every command says without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

import tiny_families
import tiny_models
from family_capabilities import on_the_page
from study_world import Tvt, World, write_recipe
from test_cli import ENVIRONMENT, ROOT

from tvt.model.families import FAMILIES

NEEDING = [family.name for family in FAMILIES if family.needs]
QUICK = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def test_the_page_says_what_a_family_can_do_with_torchvision() -> None:
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "tests", ROOT / "tests" / "stand_ins"))
    command = [sys.executable, str(ROOT / "tests" / "family_capabilities.py"), *NEEDING]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **QUICK, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == len(NEEDING)
    assert set(rows) <= set(on_the_page())


@pytest.fixture(scope="module")
def lacking(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that needs torchvision, a recipe on it, rows and questions."""
    folder = tmp_path_factory.mktemp("lacking")
    tiny_families.build("LFM2-VL", folder / "model")
    recipe = write_recipe(world.folder, "lacking.yaml", model={"model_name_or_path": str(folder / "model")})
    recipe.rename(folder / "recipe.yaml")
    tiny_models.write_rows(folder / "rows", [1, 1])
    return folder


COMMANDS = {
    "recipe check": ("recipe", "check", "{folder}/recipe.yaml"),
    "study plan": ("study", "plan", "{folder}/recipe.yaml", "-o", "{folder}/study"),
    "study run": ("study", "run", "{folder}/recipe.yaml", "-o", "{folder}/study"),
    "train": ("train", "{folder}/rows", "--recipe", "{folder}/recipe.yaml", "-o", "{folder}/run"),
    "evaluate": ("evaluate", "--model", "{folder}/model", "--questions", "Alpha={questions}", "-o", "{folder}/answers"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_is_missing_before_anything_is_loaded(
    command: str, lacking: Path, world: World, tvt: Tvt
) -> None:
    done = tvt(*(part.format(folder=lacking, questions=world.questions("Alpha")) for part in COMMANDS[command]))
    assert (done.returncode, done.stdout) == (5, "")
    line = f"tvt: {lacking}/model: LFM2-VL needs torchvision, which is not installed; pip install torchvision"
    assert done.stderr.splitlines()[-1] == line
    assert not [name for name in ("study", "run", "answers") if (lacking / name).exists()]


def test_doctor_says_it_too(lacking: Path, tvt: Tvt) -> None:
    done = tvt("doctor", lacking / "recipe.yaml")
    assert "LFM2-VL needs torchvision, which is not installed" in " ".join(done.stdout.split())
