"""Batches without any row that counts, as the last step has them: a loss of 0 and no gradient, on every path of TRL's loss."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
import trl.trainer.utils
from peft import get_peft_model
from trl.trainer.utils import add_fused_lm_head

from tiny_models import FAMILIES, write_rows
from training_runs import farthest, recipe, weights
from tvt.model.base import load_model
from tvt.model.loading import load_processor
from tvt.train import train
from tvt.train.batches import Collator
from tvt.train.parts import lora_config


@pytest.fixture(scope="module", params=["qwen", "llava"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp("model") / request.param)


@pytest.fixture(params=["every position", "valid positions"])
def positions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which positions TRL's fused head scores: on a GPU with Triton those with a label alone, of which there may be none."""
    if request.param == "valid positions":
        monkeypatch.setattr(trl.trainer.utils, "_use_triton", lambda device: True)
    return str(request.param)


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("checkpointing", [None, False, True], ids=["kept", "recomputed", "reentrant"])
def test_a_batch_that_does_not_count_has_no_loss_and_no_gradient(
    model: Path, positions: str, picture: bool, autocast: bool, checkpointing: bool | None
) -> None:
    asked = recipe(model)
    tuned: Any = load_model(asked.model, sharded=False)
    add_fused_lm_head(tuned, outputs=("log_probs", "entropy", "is_top1"))
    tuned = get_peft_model(tuned, lora_config(tuned, asked)).train()
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    if checkpointing is not None:
        tuned.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        tuned.enable_input_require_grads()
    batch = Collator(load_processor(asked.model), picture_always=picture)([])
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        told = tuned(**batch, fused_lm_head=True)
    loss = -told.log_probs.sum() / 7
    assert loss.item() == 0
    assert int(told.label_mask.sum()) == 0
    loss.backward()
    gradients = [weight.grad for weight in tuned.parameters() if weight.requires_grad]
    assert gradients
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_a_last_step_with_empty_batches_trains_as_one_without(model: Path, positions: str, tmp_path: Path) -> None:
    """Five rows: the second step has one, and three batches of four without any."""
    rows = write_rows(tmp_path / "rows", [1, 1, 2, 1, 1])
    whole, divided = (
        train(recipe(model, {"per_device_train_batch_size": size}), rows, tmp_path / f"run{size}", seed=1) for size in (4, 1)
    )
    assert [loss for _, loss in divided.losses] == pytest.approx([loss for _, loss in whole.losses], abs=1e-5)
    assert farthest(weights(divided), weights(whole)) < 1e-4
