"""Nothing is sent back through a vision tower that is not trained, and no gradient of an adapter changes by a bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import tiny_models
import tower_gradients
import tvt.train.run as run_module
from commands import ENVIRONMENT, ROOT, SUPPORT
from tower_gradients import CHECKPOINTING, Subject
from tvt.io.adapter_file import WEIGHTS
from tvt.model.families import FAMILIES
from tvt.train import TrainingRecord, train

UNHOOKED = ("Qwen3-VL", "Qwen3.5", "GLM-4V")
"""Families in whose towers transformers 5.24 finds no input embeddings: their towers were spared already."""


def check(family: str, found: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == CHECKPOINTING.keys()
    for checkpointing, told in found.items():
        assert told["same"], (family, checkpointing)
        assert told["after"] == 0, (family, checkpointing)
        assert (told["before"] > 0) is (checkpointing != "none" and family not in UNHOOKED), (family, checkpointing)


@pytest.mark.parametrize("family", [family.name for family in FAMILIES if not family.needs])
def test_a_frozen_tower_is_spared_and_gradients_are_the_same(family: str, tmp_path: Path) -> None:
    check(family, tower_gradients.compared(family, tmp_path))


@pytest.mark.slow
def test_families_that_need_torchvision_are_spared_too() -> None:
    needing = [family.name for family in FAMILIES if family.needs]
    path = os.pathsep.join(str(folder) for folder in (ROOT, SUPPORT, SUPPORT / "stand_ins"))
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "tower_gradients.py"), *needing],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told) == needing
    for family, found in told.items():
        check(family, found)


def test_a_tower_without_a_target_is_spared_though_it_is_not_frozen(tmp_path: Path) -> None:
    subject = Subject("LLaVA", tmp_path)
    where = r".*language_model.*\.q_proj"
    for checkpointing in ("reentrant", "not reentrant"):
        before, after = (
            subject.backward(checkpointing, spared=spared, where=where, freeze_vision=False) for spared in (False, True)
        )
        assert (before.reached > 0, after.reached) == (True, 0)
        assert after.same_gradients(before)


@pytest.mark.parametrize("family", ["Qwen2.5-VL", "Idefics3", *UNHOOKED])
def test_a_tower_that_is_trained_gets_its_gradients_however_it_is_checkpointed(family: str, tmp_path: Path) -> None:
    """In some towers transformers finds no embeddings: with reentrant checkpointing they would not learn."""
    subject = Subject(family, tmp_path)
    plain = subject.backward("none", spared=False, freeze_vision=False)
    assert any("vis" in name for name in plain.gradients)
    for checkpointing in ("reentrant", "not reentrant"):
        found = subject.backward(checkpointing, spared=True, freeze_vision=False)
        assert found.farthest(plain) < 1e-6  # checkpointing adds gradients up in another order


@contextmanager
def unspared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As training was before."""
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "spare_frozen_parts", lambda *_told: None)
        yield


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, **loading: Any) -> tuple[TrainingRecord, int]:
    """Train a tiny model with gradient checkpointing, and count what reached its tower."""
    asked = tower_gradients.recipe(folder.parent / "model", **loading)
    steps = {"global_batch_size": 2, "per_device_train_batch_size": 2, "learning_rate": 5e-3, "logging_steps": 1}
    training = {**steps, "num_train_epochs": 2, "gradient_checkpointing": True}
    asked = asked.model_validate({**asked.model_dump(), "training": training})
    reached: list[str] = []
    original = run_module.load_model

    def load(*told: Any, **options: Any) -> Any:
        model = original(*told, **options)
        tower_gradients.watch(model, reached)
        return model

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "load_model", load)
        record = train(asked, folder.parent / "rows", folder, seed=1)
    return record, len(reached)


@pytest.mark.parametrize("loading", [{}, {"dtype": "bfloat16", "load_in_4bit": True}], ids=["float32", "4 bits"])
def test_training_gives_the_same_adapter_without_the_way_back(
    loading: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loading:
        pytest.importorskip("bitsandbytes")
    tiny_models.qwen(tmp_path / "model")
    tiny_models.write_rows(tmp_path / "rows", [1, 2, 1, 1])
    with unspared(monkeypatch):
        before, reached = trained(tmp_path / "before", monkeypatch, **loading)
    after, still_reached = trained(tmp_path / "after", monkeypatch, **loading)
    assert (reached > 0, still_reached) == (True, 0)
    assert (after.adapter / WEIGHTS).read_bytes() == (before.adapter / WEIGHTS).read_bytes()
    assert after.losses == before.losses
    assert after.losses[-1][1] < after.losses[0][1]
