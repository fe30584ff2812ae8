"""Rows of like length are padded less, whatever their pictures, and train the same adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl")

import pyarrow as pa
import pyarrow.parquet as pq

import tiny_vlm
from tiny_models import FAMILIES, write_rows
from training_runs import farthest, recipe, weights
from tvt.core.recipe import ModelConfig
from tvt.model.loading import load_processor
from tvt.train import train
from tvt.train.batches import Collator, Order, row_lengths
from tvt.train.rows import Examples, load_rows

SIDES = [56, 112, 84, 28, 112, 56, 84, 112]


@pytest.fixture(scope="module", params=["qwen", "idefics"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp("model") / request.param)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of four sizes, none to three a row, and questions of differing lengths."""
    folder = write_rows(tmp_path_factory.mktemp("rows") / "rows", [(0, 1, 2, 1, 3, 0, 1, 1)[k % 8] for k in range(32)])
    (path,) = (folder / "data").glob("*.parquet")
    table = pq.read_table(path)
    told = table.to_pylist()
    for k, row in enumerate(told):
        for place, image in enumerate(row["images"]):
            image["bytes"] = tiny_vlm.picture(k, SIDES[(3 * k + place) % 8], SIDES[(5 * k + place) % 8])
        row["prompt"][0]["content"] += " please" * (7 * k % 20)
    pq.write_table(pa.Table.from_pylist(told, table.schema), path)
    return folder


def examples(rows: Path) -> Examples:
    return Examples(load_rows(rows, rows / "cache"), rows)


def test_lengths_are_the_tokens_of_the_rows(model: Path, rows: Path) -> None:
    """But for what the chat template adds, which is the same for rows with equally many pictures."""
    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    collate, found = Collator(processor, picture_always=False), examples(rows)
    told = row_lengths(found, processor)
    added: dict[int, set[int]] = {}
    for k in range(len(found)):
        taken = int(collate([found[k]])["attention_mask"].sum())
        added.setdefault(len(found[k]["images"]), set()).add(taken - told[k])
    assert all(len(more) == 1 for more in added.values()), added


def test_a_picture_that_cannot_be_read_counts_nothing(model: Path, rows: Path, tmp_path: Path) -> None:
    """Its row is named where it is decoded."""
    (path,) = (rows / "data").glob("*.parquet")
    table = pq.read_table(path)
    told = table.to_pylist()[:2]
    told[1]["images"][0]["bytes"] = b"no picture"
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(told, table.schema), tmp_path / "data" / path.name)
    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    assert row_lengths(examples(tmp_path), processor)[1] < row_lengths(examples(rows), processor)[1]


def padded(model: Path, rows: Path, lengths: bool, processes: int) -> int:
    """Tokens of padding in an epoch."""
    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    collate, found = Collator(processor, picture_always=False), examples(rows)
    order = Order(rows=32, epochs=1, seed=0, global_batch=16, per_device=2, processes=processes)
    known = row_lengths(found, processor) if lengths else None
    count = 0
    for process in range(processes):
        for batch in order.batches(process, known):
            mask = collate(found.__getitems__(batch))["attention_mask"]
            count += int((mask == 0).sum())
    return count


@pytest.mark.parametrize("processes", [1, 2])
def test_less_is_padded(processes: int, model: Path, rows: Path) -> None:
    without, grouped = (padded(model, rows, lengths, processes) for lengths in (False, True))
    assert grouped * 3 < without


def test_groups_change_no_loss_and_no_adapter(model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(model, {"global_batch_size": 8, "per_device_train_batch_size": 2, "num_train_epochs": 2})
    grouped = train(asked, rows, tmp_path / "grouped", seed=1)
    monkeypatch.setattr("tvt.train.run.row_lengths", lambda examples, processor: [0] * len(examples))
    plain = train(asked, rows, tmp_path / "plain", seed=1)
    assert grouped.identity == plain.identity
    assert [loss for _, loss in grouped.losses] == pytest.approx([loss for _, loss in plain.losses], abs=1e-5)
    assert farthest(weights(grouped), weights(plain)) < 1e-4
