"""What a file can hold is an error for a person: depth, size, kinds of files, settings of adapters, disks that fail."""

from __future__ import annotations

import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.evaluate import adapter_settings
from tvt.evaluate.adapter_settings import refuse_endless_patterns
from tvt.evaluate.adapters import check_adapter
from tvt.io import json_text, machine, strict_yaml
from tvt.io.adapter_file import CONFIG, WEIGHTS, read_header

DEEP = 5_000


@pytest.mark.parametrize("depth", [DEEP, 20_000])
def test_deep_yaml_is_refused(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * depth + "]" * depth)
    with pytest.raises(InputError, match=r"deep\.yaml: nested too deeply"):
        strict_yaml.load_file(path)


def test_deep_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        json_text.loads("[" * 200_000 + "]" * 200_000)


def test_no_file_is_read_by_json_itself() -> None:
    around = [
        str(path)
        for path in Path(json_text.__file__).parents[1].rglob("*.py")
        if "json.loads(" in path.read_text() and path.name not in ("json_text.py", "numbers.py", "raw_files.py")
    ]
    assert around == []


def test_a_deep_header_of_weights_is_refused(tmp_path: Path) -> None:
    header = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="header is damaged"):
        read_header(path)


@pytest.mark.parametrize("offsets", [[0.0, 8.0], [-8, 0], [False, 8], ["0", "8"]])
def test_odd_offsets_are_refused(offsets: list[Any], tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(InputError):
        read_header(path)


@pytest.mark.parametrize("budget", [2**53 + 1, int("9" * 400)])
def test_a_budget_beyond_exact_floats_is_refused(budget: int) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 9007199254740992"):
        SelectionSpec(budget=budget)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_fifo_in_an_adapter_is_refused_at_once(name: str, tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no regular file"):
        check_adapter(tmp_path)


def test_a_fifo_for_a_recipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(InputError, match="is no regular file"):
        strict_yaml.load_file(tmp_path / "recipe.yaml")


def write(folder: Path, settings: dict[str, Any]) -> None:
    config = {"peft_type": "LORA", "target_modules": ["q_proj"], "r": 2, "lora_alpha": 4, **settings}
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_alpha": float("nan")}, "lora_alpha holds a number that is not finite"),
        ({"alpha_pattern": {"q_proj": float("inf")}}, "alpha_pattern holds a number that is not finite"),
        ({"peft_type": None}, "peft_type is missing"),
        ({"peft_type": 7}, "peft_type is no text"),
        ({"base_model_name_or_path": ["a"]}, "base_model_name_or_path is no text"),
        ({"target_modules": "(unclosed"}, "target_modules: '\\(unclosed' is no regular expression"),
        ({"rank_pattern": {"*": 3}}, "rank_pattern: .* is no regular expression"),
    ],
)
def test_odd_settings_of_an_adapter_are_named(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path, settings)
    with pytest.raises(InputError, match=said):
        check_adapter(tmp_path)


def test_a_pattern_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_settings, "PATTERN_SECONDS", 2.0)
    names = ["model." + "layers." * 30 + "q_proj"]
    with pytest.raises(InputError, match="does not come to an end"):
        refuse_endless_patterns({"target_modules": r"(([a-z._]+)+)+!"}, names)
    refuse_endless_patterns({"target_modules": r".*\.(q|k|v)_proj.*", "rank_pattern": {"q_proj": 4}}, names)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EROFS])
def test_a_failing_disk_is_said_like_a_full_one(code: int, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("library") from OSError(code, os.strerror(code), str(tmp_path / "x"))

    with pytest.raises(InputError, match="what is done is kept"), machine.resource_errors(tmp_path, "training"):
        fail()
