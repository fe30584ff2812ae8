"""``training.max_length``: a longer row is refused by its name before training starts, and none is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from tiny_models import FAMILIES, write_rows
from training_runs import recipe
from tvt.errors import InputError
from tvt.model.chat import Chat
from tvt.model.inputs import training_inputs
from tvt.model.limits import ShownRow, load_limits
from tvt.model.loading import load_processor
from tvt.train import train
from tvt.train.lengths import check_lengths
from tvt.train.rows import Examples, load_rows

IMAGES = [1, 0, 2, 3]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "mixed", IMAGES)


@pytest.mark.parametrize("family", ["qwen", "llava", "idefics"])
def test_the_longest_row_decides_to_the_token(family: str, rows: Path, tmp_path: Path) -> None:
    """Also where a processor cannot say how many tokens a picture takes."""
    processor = load_processor(recipe(FAMILIES[family](tmp_path / "model")).model)
    examples = Examples(load_rows(rows, tmp_path / "rows"), rows)
    lengths = [training_inputs(Chat(processor), [examples[index]])["input_ids"].shape[1] for index in range(len(IMAGES))]
    assert max(lengths) == lengths[3]
    check_lengths(examples, processor, lengths[3])
    with pytest.raises(InputError) as refused:
        check_lengths(examples, processor, lengths[3] - 1)
    assert len(refused.value.faults) == 1
    assert "row 3" in refused.value.faults[0]
    assert f"{lengths[3]:,} tokens, more than training.max_length {lengths[3] - 1:,}" in refused.value.faults[0]


def test_training_does_not_start(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FAMILIES["llava"](tmp_path / "model")
    loaded: list[Any] = []
    monkeypatch.setattr("tvt.model.base.load_weights", lambda *args, **options: loaded.append(args))
    for checked in (False, True):  # a study checks rows once for all runs, by its sources' rows
        with pytest.raises(InputError, match=r"row 0.*more than training.max_length 5"):
            train(recipe(model, {"max_length": 5}), rows, tmp_path / "run", seed=0, rows_checked=checked)
    assert not loaded


def test_a_limit_that_no_row_exceeds_changes_nothing(rows: Path, tmp_path: Path) -> None:
    model = FAMILIES["llava"](tmp_path / "model")
    plain = train(recipe(model), rows, tmp_path / "plain", seed=0)
    limited = train(recipe(model, {"max_length": 10_000}), rows, tmp_path / "limited", seed=0)
    assert (limited.identity, limited.adapter_digest) == (plain.identity, plain.adapter_digest)


def test_what_is_surely_too_long_is_refused_without_decoding(tmp_path: Path) -> None:
    limits = load_limits(recipe(FAMILIES["llava"](tmp_path / "model")).model)
    row = ShownRow(name="r", texts=("Which of these is it?",), images=(), answers=("A",))
    tokens = len(limits._processor.tokenizer.encode("Which of these is it?A"))
    assert not list(limits.faults(row, max_length=tokens))
    (fault,) = limits.faults(row, max_length=5)
    assert "more than training.max_length 5" in fault
