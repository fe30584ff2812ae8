"""An adapter is looked at, tensor by tensor, before anybody uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adapter_weights import Tensors, write_weights
from tvt.errors import InputError
from tvt.io import digest
from tvt.io.adapter_file import CONFIG, RECORD, WEIGHTS, check_weights, verify_adapter, write_record


def good() -> Tensors:
    return {"a": np.ones((2, 3), np.float32), "b": np.full(5, 0x3F80, np.uint16), "c": np.zeros((1, 2), np.float16)}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_weights(tmp_path / WEIGHTS, good())
    (tmp_path / CONFIG).write_text(json.dumps({"r": 8, "target_modules": ["v", "q"], "base_model_name_or_path": "base"}))
    write_record(tmp_path, {"a": (2, 3), "b": (5,), "c": (1, 2)})
    return tmp_path


def test_a_whole_adapter_passes(adapter: Path) -> None:
    told = verify_adapter(adapter)
    assert told.tensors == {"a": (2, 3), "b": (5,), "c": (1, 2)}
    assert told.base == "base"
    assert json.loads((adapter / CONFIG).read_text())["target_modules"] == ["q", "v"]


def test_digest_is_of_the_adapter_and_not_of_where_its_base_lies(adapter: Path) -> None:
    before = verify_adapter(adapter).digest
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "/elsewhere"}))
    shapes = check_weights(adapter / WEIGHTS)
    assert write_record(adapter, shapes).digest == before
    (adapter / CONFIG).write_text(json.dumps({**config, "r": 4}))
    assert write_record(adapter, shapes).digest != before


@pytest.mark.parametrize("length", [0, 7, 60, 200, -1])
def test_cut_file(adapter: Path, length: int) -> None:
    path = adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match="cut"):
        verify_adapter(adapter)
    with pytest.raises(InputError, match="cut off"):
        check_weights(path)


@pytest.mark.parametrize(
    ("name", "value"), [("a", np.nan), ("a", np.inf), ("b", 0x7FC0), ("b", 0xFF80), ("c", np.nan), ("c", -np.inf)]
)
def test_value_that_is_not_finite_is_found_in_every_type(tmp_path: Path, name: str, value: float) -> None:
    tensors = good()
    tensors[name].flat[-1] = value
    write_weights(tmp_path / WEIGHTS, tensors)
    with pytest.raises(InputError, match=f"{name}: has values that are not finite"):
        check_weights(tmp_path / WEIGHTS)


def test_missing_foreign_and_misshapen_tensors(tmp_path: Path) -> None:
    write_weights(tmp_path / WEIGHTS, good())
    with pytest.raises(InputError) as caught:
        check_weights(tmp_path / WEIGHTS, {"a": (3, 2), "b": (5,), "d": (1,)})
    assert [fault.split(": ", 1)[1].split(";")[0] for fault in caught.value.faults] == [
        "1 of 3 tensors are missing, e.g. d",
        "1 tensors do not belong there, e.g. c",
        "a: shape (2, 3), not (3, 2)",
    ]


def test_no_tensor_at_all(tmp_path: Path) -> None:
    write_weights(tmp_path / WEIGHTS, {})
    with pytest.raises(InputError, match="no tensor at all"):
        check_weights(tmp_path / WEIGHTS)


def test_changed_weights_of_the_same_size(adapter: Path) -> None:
    tensors = good()
    tensors["a"][0, 0] = 2
    write_weights(adapter / WEIGHTS, tensors)
    with pytest.raises(InputError, match="content changed"):
        verify_adapter(adapter)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": {}, "tensors": {}, "digest": "x"}'])
def test_damaged_record(adapter: Path, text: str) -> None:
    (adapter / RECORD).write_text(text)
    with pytest.raises(InputError):
        verify_adapter(adapter)


def test_record_cannot_name_files_outside(adapter: Path) -> None:
    record = json.loads((adapter / RECORD).read_text())
    outside = adapter.parent / "outside"
    outside.write_text("x")
    record["files"]["../outside"] = {"bytes": 1, "sha256": digest.of_file(outside)}
    (adapter / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="outside"):
        verify_adapter(adapter)
