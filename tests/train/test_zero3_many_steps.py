"""Many steps under ZeRO-3, with pictures on one process and none on the other: none waits for another for ever, and the
losses are those of one process. ``TVT_ZERO3_STEPS=1000`` takes a thousand steps, some minutes on two quiet cores.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from commands import ROOT
from tiny_models import qwen, write_rows
from training_runs import recipe
from tvt.train import TrainingRecord, train
from tvt.train.batches import Order

pytestmark = pytest.mark.slow

STEPS = int(os.environ.get("TVT_ZERO3_STEPS", "100"))
ROWS = [1, 0, 0, 4, 0, 2, 0, 0, 1, 0]
"""Pictures of each row; four stand for frames of a video, which families are shown as pictures."""


def test_no_process_hangs_and_losses_are_those_of_one(tmp_path: Path) -> None:
    model, rows = qwen(tmp_path / "qwen"), write_rows(tmp_path / "rows", ROWS)
    order = Order(rows=len(ROWS), epochs=2.0 * STEPS / len(ROWS), seed=1, global_batch=2, per_device=1, processes=2)
    shown = [[any(ROWS[row] for row in batch) for batch in order.batches(process)] for process in (0, 1)]
    assert any(one and not other for one, other in zip(*shown, strict=True)), "only one process has a picture"
    assert any(other and not one for one, other in zip(*shown, strict=True))

    def trained(processes: int) -> TrainingRecord:
        zero3 = str(ROOT / "recipes" / "deepspeed" / "zero3.json") if processes > 1 else None
        training = {
            "global_batch_size": 2,
            "per_device_train_batch_size": 1,
            "num_train_epochs": order.epochs,
            "save_steps": 10 * STEPS,
            "optim": "sgd",
            "learning_rate": 1e-3,
        }
        asked = recipe(model, training, runtime={"num_processes": processes, "deepspeed": zero3})
        return train(asked, rows, tmp_path / str(processes), seed=1)

    two, one = trained(2), trained(1)
    assert (two.steps, two.num_processes) == (STEPS, 2)
    assert [loss for _, loss in two.losses] == pytest.approx([loss for _, loss in one.losses], abs=1e-3)
    print(f"{STEPS} steps: {one.seconds:.0f} s in one process, {two.seconds:.0f} s in two")
