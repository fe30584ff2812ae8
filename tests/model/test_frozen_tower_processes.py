"""ZeRO-3 in two processes, whose checkpointing is reentrant: nothing is sent back through the frozen tower there either."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

import faulty_workers
import tower_gradients
from commands import ROOT
from tiny_models import qwen, write_rows
from tvt.io.adapter_file import WEIGHTS
from tvt.train import TrainingRecord, train

pytestmark = pytest.mark.slow

WATCHED = textwrap.dedent("""
    import os
    import sys
    from pathlib import Path
    from torch.utils.checkpoint import CheckpointFunction
    import tvt.train.run as run
    from tower_gradients import watch

    class Reached(list):
        def append(self, name):
            with Path(os.environ["REACHED"]).open("a") as file:
                file.write(name + "\\n")

    forward = CheckpointFunction.forward
    def noted(*told):
        Reached().append("reentrant")
        return forward(*told)

    CheckpointFunction.forward = staticmethod(noted)
    original = run.load_model
    def load_model(*told, **options):
        model = original(*told, **options)
        watch(model, Reached())
        return model

    run.load_model = load_model
    if "UNSPARED" in os.environ:
        run.spare_frozen_parts = lambda *told: None
""")
"""A worker that writes down what the backward passes reach in the tower, and that checkpoints are reentrant."""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a run are such workers."""
    faulty_workers.install(monkeypatch, tmp_path / "path", "tvt.train.worker", WATCHED)


@pytest.mark.usefixtures("watched")
def test_zero3_gives_the_same_adapter_without_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = qwen(tmp_path / "model"), write_rows(tmp_path / "rows", [1, 2, 1, 0])
    settings = {"global_batch_size": 4, "per_device_train_batch_size": 2, "num_train_epochs": 2, "logging_steps": 1}
    asked = tower_gradients.recipe(model)
    asked = asked.model_validate(
        asked.model_dump()
        | {"training": {**settings, "learning_rate": 5e-3, "gradient_checkpointing": True}}
        | {"runtime": {"num_processes": 2, "deepspeed": str(ROOT / "recipes" / "deepspeed" / "zero3.json")}}
    )

    def trained(name: str) -> tuple[TrainingRecord, set[str]]:
        reached = tmp_path / f"{name}.txt"
        monkeypatch.setenv("REACHED", str(reached))
        record = train(asked, rows, tmp_path / name, seed=1)
        return record, set(reached.read_text().split())

    after, reached = trained("after")
    assert reached == {"reentrant"}
    monkeypatch.setenv("UNSPARED", "")
    before, reached = trained("before")
    assert len(reached) > 1
    assert (after.adapter / WEIGHTS).read_bytes() == (before.adapter / WEIGHTS).read_bytes()
    assert after.losses == before.losses
    assert after.losses[-1][1] < after.losses[0][1]
