"""``scripts/check-gpu``: its legs run on a tiny model on the CPU, and what is missing, fails or takes too long is reported."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bitsandbytes")
pytest.importorskip("trl")

from commands import ENVIRONMENT, PATIENCE, ROOT
from process_list import naming
from warm import WarmPython

pytestmark = pytest.mark.slow

LOADED = ["bitsandbytes", *(f"transformers.models.qwen2_5_vl.{kind}_qwen2_5_vl" for kind in ("modeling", "processing"))]
NEEDS_GPU = {"fp16", "fp16-4bit", "oom-score", "oom-train"}
ELSEWHERE = {"zero3"}
"""Differs from zero2 in its configuration alone; tests/train/test_training_processes.py uses that with two processes."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter that has loaded what legs need; every leg is a process of its own all the same."""
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    server = WarmPython(tmp_path_factory.mktemp("warm"), environment, LOADED)
    yield server.executable
    server.close()


def check_gpu(
    *arguments: str, python: Path | str = sys.executable, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "", "TVT_PYTHON": str(python), "PYTHONPATH": str(path or "")}
    return subprocess.run(
        [str(ROOT / "scripts" / "check-gpu"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE,
        check=False,
    )


def records(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """What each leg came to; stdout has a line of JSON for each, and nothing else."""
    told = [json.loads(line) for line in result.stdout.splitlines()]
    return {record["leg"]: record for record in told}


def names() -> set[str]:
    return {line.split()[0] for line in check_gpu("--list").stdout.splitlines()}


def test_all_legs_that_a_cpu_can_run_pass_on_a_tiny_model(python: Path) -> None:
    asked = names() - ELSEWHERE
    result = check_gpu("--small", *sorted(asked), python=python)
    assert result.returncode == 0, result.stderr
    found = records(result)
    assert set(found) == asked | {"model"}
    for name, record in found.items():
        if name in NEEDS_GPU:
            assert record == {"leg": name, "result": "not run", "reason": "needs a GPU"}
        else:
            assert record["result"] == "PASS", record
            assert record["expectations"]
            assert all(one["ok"] for one in record["expectations"])
    assert "float32" in found["4bit"]["expectations"][0]["found"]
    assert f"{len(found) - len(NEEDS_GPU)} passed, 0 missed, {len(NEEDS_GPU)} not run" in result.stderr
    assert "oom-train (needs a GPU)" in result.stderr.splitlines()[-1]


def test_without_a_gpu_it_says_what_to_do() -> None:
    result = check_gpu()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("check-gpu: torch ")
    assert "scripts/check-gpu --small" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_leg_is_named() -> None:
    result = check_gpu("towr")
    assert result.returncode == 2
    assert "no leg 'towr' (did you mean 'tower'?)" in result.stderr


def test_a_missing_package_and_a_broken_one(tmp_path: Path) -> None:
    """What is not installed leaves a leg out; what is installed and does not work makes it miss."""
    missing, broken = tmp_path / "missing", tmp_path / "broken"
    for folder, text in ((missing, "raise ModuleNotFoundError(name='torch')"), (broken, "raise OSError('no libcuda.so')")):
        folder.mkdir()
        (folder / "torch.py").write_text(text)
    result = check_gpu("--small", "tower", "versions", path=missing)
    found = records(result)
    assert (found["tower"]["result"], found["tower"]["reason"]) == ("not run", "torch missing")
    assert (found["versions"]["result"], found["versions"]["reason"]) == ("not run", "torch missing")
    assert result.returncode == 2
    result = check_gpu("--small", "tower", path=broken)
    assert (result.returncode, records(result)["tower"]["reason"]) == (1, "OSError: no libcuda.so")
    assert "tower: OSError: no libcuda.so" in result.stderr  # the end of its log


def test_where_nothing_can_run(tmp_path: Path) -> None:
    """All that needs the model is left out with it, and nothing that ran is no success."""
    (tmp_path / "transformers.py").write_text("raise ModuleNotFoundError(name='transformers')")
    result = check_gpu("--small", "bf16", "tower", path=tmp_path)
    assert result.returncode == 2
    assert {name: record["reason"] for name, record in records(result).items()} == {
        "model": "transformers missing",
        "bf16": "without its model: transformers missing",
        "tower": "transformers missing",
    }
    assert "not run: model (transformers missing); bf16 (without" in result.stderr


def test_a_leg_over_its_time_is_ended_with_all_that_it_started(python: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    result = check_gpu("--small", "--seconds", "4", "--keep", str(tmp_path), "study", python=python)
    assert result.returncode == 1
    assert records(result)["study"]["reason"] == "ended after its 4 s"
    assert time.monotonic() - started < PATIENCE / 2
    assert not naming(str(tmp_path))
