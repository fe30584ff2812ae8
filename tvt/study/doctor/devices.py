"""GPUs, whether torch can use them, and what DeepSpeed would need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.errors import Check, Status
from tvt.model.needs import ORDINARY_PIXELS, PHOTOGRAPH_PIXELS, PICTURES, USABLE, pass_needs, shape_of
from tvt.study.views import parameters

GIB = 2**30
BFLOAT16 = 8.0
"""Compute capability from which on the hardware has bfloat16 (Ampere)."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
_INSTALL = "pip install 'tvt[train]'"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as the driver lists it."""

    name: str
    memory: float
    """Bytes."""
    driver: str
    capability: float

    @property
    def bfloat16(self) -> bool:
        """Whether the hardware has it."""
        return self.capability >= BFLOAT16


def listed_gpus() -> tuple[Gpu, ...]:
    """All GPUs of this machine, also those that CUDA_VISIBLE_DEVICES hides; empty where there is no driver."""
    text = _said_by("nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader,nounits")
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4:
            memory, capability = _figure(parts[1]) * 2**20, _figure(parts[3])
            found.append(Gpu(name=parts[0], memory=memory, driver=parts[2], capability=capability))
    return tuple(found)


def driver_cuda() -> str | None:
    """The newest CUDA version that the driver runs."""
    match = re.search(r"CUDA Version:\s*(\d+\.\d+)", _said_by("nvidia-smi"))
    return match.group(1) if match else None


def _said_by(*command: str) -> str:
    """What a program prints; nothing where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def _figure(text: str) -> float:
    match = re.match(r"\d+(?:\.\d+)?", text)
    return float(match.group()) if match else 0.0


def usable(gpus: Sequence[Gpu], torch: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The devices that runs can use: those that torch sees, or, without torch, those that the driver lists."""
    if torch is not None:
        return list(torch.get("devices", []))
    return [{"name": gpu.name, "memory": gpu.memory, "bfloat16": gpu.bfloat16} for gpu in gpus]


def gpu_checks(gpus: Sequence[Gpu], torch: dict[str, Any] | None) -> Iterator[Check]:
    """What GPUs there are, and whether torch can be loaded and can use them."""
    hidden = os.environ.get(VISIBLE)
    yield from _listed(gpus, hidden, torch or {})
    if torch is None:
        return
    if "error" in torch:
        step = f"install it anew: {_INSTALL}"
        yield Check(group="GPUs", name="torch", status="fail", found=f"cannot be loaded: {torch['error']}", step=step)
        return
    built = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built for the CPU"
    devices = torch["devices"]
    if devices or not gpus or hidden in ("", "-1"):
        uses = f", uses {len(devices)} GPU{'s' * (len(devices) != 1)}" if devices else ", uses the CPU"
        yield Check(group="GPUs", name="torch", status="ok", found=built + uses)
        return
    yield Check(group="GPUs", name="torch", status="fail", found=f"{built} and sees no GPU", step=_mismatch(torch["cuda"]))


def _listed(gpus: Sequence[Gpu], hidden: str | None, torch: dict[str, Any]) -> Iterator[Check]:
    seen = [device["name"] for device in torch.get("devices", [])]
    if not gpus and seen:
        found = f"torch sees {len(seen)} ({', '.join(sorted(set(seen)))}); nvidia-smi lists none"
        yield Check(group="GPUs", name="GPUs", status="ok", found=found)
        return
    if not gpus:
        found = "none that the driver lists (nvidia-smi); training and scoring run on the CPU"
        step = "fine for recipes/miniature.yaml; a model of billions of parameters needs a GPU"
        yield Check(group="GPUs", name="GPUs", status="warn", found=found, step=step)
        return
    kinds: dict[Gpu, int] = {}
    for gpu in gpus:
        kinds[gpu] = kinds.get(gpu, 0) + 1
    for gpu, count in kinds.items():
        has = "bfloat16" if gpu.bfloat16 else "no bfloat16"
        found = f"{count} x {gpu.name}, {gpu.memory / GIB:.0f} GiB, {has}, driver {gpu.driver}"
        step = "" if gpu.bfloat16 else "train with --set model.dtype=float16"
        yield Check(group="GPUs", name="GPUs", status="ok" if gpu.bfloat16 else "warn", found=found, step=step)
    if hidden is not None:
        found = f"{VISIBLE}={hidden!r} decides which of them are used"
        yield Check(group="GPUs", name="visible", status="ok", found=found)


def _mismatch(built: str | None) -> str:
    """What to do where torch does not see the GPUs that the driver lists."""
    if built is None:
        return "install a torch with CUDA: this one was built for the CPU"
    driver = driver_cuda()
    if driver is not None and _figure(driver) < _figure(built):
        return f"the driver runs CUDA up to {driver}: install a newer driver, or a torch built for CUDA {driver} or older"
    return f"check {VISIBLE} and the driver (nvidia-smi)"


def deepspeed_checks(gpus: Sequence[Gpu], deepspeed: dict[str, Any] | None) -> Iterator[Check]:
    """Whether DeepSpeed can be loaded, and whether it could build its kernels. Nothing is built."""
    if deepspeed is None:
        found = "not installed; runs take one process each"
        yield Check(group="GPUs", name="DeepSpeed", status="warn", found=found, step=_INSTALL)
        return
    if "error" in deepspeed:
        step = "install it anew, or train without runtime.deepspeed"
        yield Check(group="GPUs", name="DeepSpeed", status="fail", found=f"cannot be loaded: {deepspeed['error']}", step=step)
        return
    missing = build_tools_missing(cuda_home=deepspeed["cuda_home"], gpus=bool(gpus))
    if missing:
        # Seen in its source (0.19): ZeRO itself builds nothing; on the CPU its communication does, with a C++ compiler.
        found = f"{deepspeed['version']} loads; it cannot build kernels without {', '.join(missing)}"
        step = "with recipes/deepspeed it builds none on GPUs; for offloading to the CPU, install them"
        yield Check(group="GPUs", name="DeepSpeed", status="warn", found=found, step=step)
    else:
        found = f"{deepspeed['version']} loads, and has what it builds kernels with"
        yield Check(group="GPUs", name="DeepSpeed", status="ok", found=found)


def build_tools_missing(*, cuda_home: str | None, gpus: bool) -> list[str]:
    """What DeepSpeed needs for building its kernels and is not here: a C++ compiler, ninja, and for GPUs nvcc."""
    tools = {
        "a C++ compiler (g++)": bool(shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")),
        "ninja": bool(shutil.which("ninja")) or find_spec("ninja") is not None,
    }
    if gpus:
        inside = cuda_home is not None and (Path(cuda_home) / "bin" / "nvcc").exists()
        tools["nvcc (a CUDA toolkit, CUDA_HOME)"] = inside or bool(shutil.which("nvcc"))
    return [name for name, there in tools.items() if not there]


_TIGHT = 0.85
"""The share of the memory from which on an estimate may be wrong the other way."""
_LIMIT = f"--set model.max_pixels={ORDINARY_PIXELS}"


def memory_checks(recipe: Recipe, devices: Sequence[dict[str, Any]]) -> Iterator[Check]:
    """The estimate of :mod:`tvt.model.needs` against the smallest GPU, for ordinary pictures and for photographs."""
    shape = shape_of(recipe.model, parameters(recipe.model.model_name_or_path))
    if shape is None or not devices:
        return
    memory = min(float(device["memory"]) for device in devices)
    needs = pass_needs(recipe, shape, ORDINARY_PIXELS)
    tokens = shape.picture_tokens(ORDINARY_PIXELS, recipe.model.max_pixels)
    found = (
        f"weights of about {needs.weights / 1e9:.0f} GB on GPUs of {memory / 1e9:.0f} GB, some {needs.total / 1e9:.0f} GB with "
        f"passes of {recipe.training.per_device_train_batch_size} rows of {PICTURES} pictures of {tokens:,} tokens"
    )
    status: Status = "ok"
    step = ""
    if needs.weights > USABLE * memory:
        status, step = "fail", "--set model.load_in_4bit=true, or ZeRO-3 over several GPUs (recipes/deepspeed/zero3.json)"
    elif needs.total > _TIGHT * memory:
        status, step = "warn", f"if memory runs out, {_less(recipe)}; the result stays the same"
    yield Check(group="recipe", name="memory", status=status, found=found, step=step)
    photographs = pass_needs(recipe, shape, PHOTOGRAPH_PIXELS)
    if status != "fail" and photographs.total > USABLE * memory >= needs.total:
        taken = shape.picture_tokens(PHOTOGRAPH_PIXELS)
        told = f"photographs of 12 megapixels would take {taken:,} tokens each, some {photographs.total / 1e9:.0f} GB in all"
        yield Check(group="recipe", name="pictures", status="warn", found=told, step=f"where yours are large: {_LIMIT}")


def _less(recipe: Recipe) -> str:
    if recipe.training.gradient_checkpointing is False:
        return "set training.gradient_checkpointing=true"
    return "lower training.per_device_train_batch_size"
