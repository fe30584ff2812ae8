"""``runtime.report_to``: what TRL is to report to, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from tiny_models import FAMILIES, write_rows
from training_runs import recipe
from tvt.train import train
from tvt.train.batches import Order
from tvt.train.checks import TRACKERS, training_checks
from tvt.train.record import TrainingJob
from tvt.train.run import training_arguments

ORDER = Order(rows=4, epochs=1.0, seed=0, global_batch=4, per_device=4)


def arguments(folder: Path, **runtime: object) -> list[str]:
    job = TrainingJob(recipe=recipe(folder, runtime=runtime), dataset=folder, output=folder, seed=0, dataset_digest="")
    return list(training_arguments(job, ORDER).report_to)


def test_trl_receives_what_is_asked_for_and_nothing_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "other")  # of a user who reports other work
    assert arguments(tmp_path) == []
    assert arguments(tmp_path, report_to="wandb") == ["wandb"]
    assert arguments(tmp_path, report_to=["wandb", "tensorboard"]) == ["wandb", "tensorboard"]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_starts(tmp_path: Path) -> None:
    if "wandb" in sys.modules:
        pytest.skip("wandb is here")
    faults = [
        check.found for check in training_checks(recipe(tmp_path, runtime={"report_to": "wandb"})) if check.status == "fail"
    ]
    assert "runtime.report_to: wandb needs wandb, which is not installed" in faults


def test_steps_are_reported_to_the_tracker_that_is_named_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb's own callback would need an account; one in its place receives what it would."""
    logged: list[dict[str, float]] = []

    class Recorder(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **options: Any) -> None:
            logged.append(logs)

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "wandb", Recorder)
    monkeypatch.setitem(TRACKERS, "wandb", ("torch", "torch"))  # found here
    model, rows = FAMILIES["llava"](tmp_path / "model"), write_rows(tmp_path / "rows", [1, 0, 1, 0])
    train(recipe(model), rows, tmp_path / "silent", seed=0)
    assert not logged
    train(recipe(model, runtime={"report_to": "wandb"}), rows, tmp_path / "reported", seed=0)
    assert any("loss" in values for values in logged)
