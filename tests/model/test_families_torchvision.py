"""Families that need torchvision, in a process that has what stands in for it, and what every command says without it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

import tiny_families
import tiny_models
from commands import ENVIRONMENT, ROOT, SUPPORT
from family_capabilities import on_the_page
from study_world import Tvt, World, write_recipe
from tvt.model.families import FAMILIES

pytestmark = pytest.mark.slow

NEEDING = [family.name for family in FAMILIES if family.needs]
QUICK = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def test_the_page_says_what_a_family_can_do_with_torchvision() -> None:
    path = os.pathsep.join(str(folder) for folder in (ROOT, SUPPORT, SUPPORT / "stand_ins"))
    command = [sys.executable, str(SUPPORT / "family_capabilities.py"), *NEEDING]
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


def test_a_family_that_transformers_lacks_is_refused(lacking: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    told = tvt("train", lacking / "rows", "--recipe", _recipe_on(world, "untested", tmp_path), "-o", tmp_path / "run")
    assert told.returncode != 0
    assert "the installed transformers has no vision-language model of type 'untested'" in told.stderr
    assert "defect" not in told.stderr


def _recipe_on(world: World, kind: str, folder: Path) -> Path:
    shutil.copytree(world.folder / "model", folder / "model")
    config = folder / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": kind}))
    recipe = write_recipe(world.folder, f"{kind}.yaml", model={"model_name_or_path": str(folder / "model")})
    return recipe.rename(folder / "recipe.yaml")


BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def test_a_torchvision_that_does_not_import_is_named(world: World, tmp_path: Path) -> None:
    """As PyPI's does beside a torch for the CPU."""
    (tmp_path / "broken" / "torchvision").mkdir(parents=True)
    (tmp_path / "broken" / "torchvision" / "__init__.py").write_text(BROKEN)
    path = os.pathsep.join(str(folder) for folder in (tmp_path / "broken", ROOT))
    command = ["evaluate", "--model", world.folder / "model", "--questions", f"Alpha={world.questions('Alpha')}"]
    done = subprocess.run(
        [sys.executable, "-m", "tvt", *map(str, command), "-o", str(tmp_path / "answers")],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **QUICK, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "torchvision does not work with this torch" in done.stderr
