"""The machine: versions, the compiler that Triton needs, and what ``tvt doctor`` says of it all."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from check_gpu.leg import Bench, Leg, NotRunError, load

PACKAGES = (
    *("torch", "transformers", "peft", "accelerate", "trl", "bitsandbytes", "deepspeed", "flash-attn", "triton"),
    *("datasets", "pyarrow", "pydantic", "numpy", "pillow", "torchvision", "safetensors", "tokenizers"),
)


def versions(bench: Bench) -> None:
    """What is installed, and what GPU there is."""
    bench.figure(python=platform.python_version(), versions={name: _version(name) for name in PACKAGES})
    if bench.gpu:
        import torch

        told = torch.cuda.get_device_properties(0)
        bench.figure(
            gpu=told.name,
            gpu_gb=told.total_memory / 1e9,
            capability=f"{told.major}.{told.minor}",
            cuda=str(torch.version.cuda or torch.version.hip),
            driver=_driver(),
        )
        bench.expect("the GPU has bfloat16 in hardware", told.name, torch.cuda.is_bf16_supported(including_emulation=False))
    _doctor(bench, compiles=_compiler(bench))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _compiler(bench: Bench) -> bool | None:
    """Compile a file that includes Python's headers; on a GPU, build and run a kernel of Triton too, and say whether that went.

    Which compiler Triton calls is in tvt/train/probe.py, which needs more packages than this leg may count on.
    """
    name = os.environ.get("CC") or next((one for one in ("gcc", "clang") if shutil.which(one)), None)
    source = bench.folder / "probe.c"
    source.write_text("#include <Python.h>\nint main(void) { return 0; }\n")
    fault = "no C compiler (gcc, clang, or CC)"
    if name is not None:
        command = [name, "-c", str(source), "-o", str(source.with_suffix(".o")), f"-I{sysconfig.get_path('include')}"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        fault = (built.stderr.strip().splitlines() or ["it failed"])[0] if built.returncode else ""
    bench.figure(compiler=name, python_headers=not fault)
    if not bench.gpu:
        return None
    bench.expect("a C compiler and Python's headers for Triton", fault or name, not fault)
    try:
        load("triton")
    except NotRunError as error:
        bench.left_out(f"a kernel of Triton ({error})")
        return None
    try:
        found: Any = import_module("check_gpu.kernel").doubles()
    except Exception as error:  # whatever Triton raises, it does not build
        found = f"{type(error).__name__}: {str(error).strip()[:200]}"
    bench.expect("a kernel of Triton is built and right", found, found is True)
    return bool(found is True)


def _doctor(bench: Bench, *, compiles: bool | None) -> None:
    """``tvt doctor`` sees what torch sees, and says of the compiler what Triton found; ``compiles`` is that."""
    command = [sys.executable, "-m", "tvt", "doctor", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    missing = re.search(r"No module named '(\w+)", told.stderr)
    if missing:
        bench.left_out(f"tvt doctor ({missing[1]} missing)")
        bench.expect("Python has what this program needs", platform.python_version(), True)
        return
    try:
        checks = json.loads(told.stdout)["checks"]
    except (ValueError, KeyError):
        bench.expect("tvt doctor prints JSON", (told.stderr or told.stdout)[-300:], False)
        return
    failed = [f"{check['name']}: {check['found']}" for check in checks if check["status"] == "fail"]
    bench.figure(doctor_fails=failed)
    bench.expect("tvt doctor ends with 0, or with 2 where a check fails", told.returncode, told.returncode == 2 * bool(failed))
    said = next((check for check in checks if check["name"] == "C compiler"), None)
    if compiles is not None:
        found = said and f"{said['status']}: {said['found']}"
        bench.expect("and says whether Triton can build", found, said is not None and (said["status"] != "fail") == compiles)
    if find_spec("torch") is not None:
        seen = next((check for check in checks if check["name"] == "torch"), {"found": "nothing", "status": "fail"})
        uses = re.search(r"uses \d+ GPU", seen["found"]) is not None
        bench.expect("tvt doctor sees the GPU that torch sees", seen["found"], uses == bench.gpu and seen["status"] == "ok")


LEGS = (
    Leg(
        name="versions",
        what="versions, the compiler that Triton needs, tvt doctor",
        run=versions,
        needs=("torch",),
        model=False,
    ),
)
