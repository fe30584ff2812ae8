"""Files that are either wholly there or not at all."""

import os
from pathlib import Path

import pytest

from tvt.io import atomic, digest


def test_writes_replace_and_make_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file.txt"
    atomic.write_text(path, "first é")
    atomic.write_text(path, "second é")
    assert path.read_bytes() == "second é".encode()
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_the_old_content_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    atomic.write_text(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_digests_name_content_and_not_key_order(tmp_path: Path) -> None:
    assert digest.of_value({"a": 1, "b": [2]}) == digest.of_value({"b": [2], "a": 1})
    assert digest.of_value({"a": 1}) != digest.of_value({"a": 2})
    (tmp_path / "f").write_bytes(b"abc")
    assert digest.of_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
