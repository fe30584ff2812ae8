"""What a machine has: packages, memory, disks, caches, the hub's variables, file locks, GPUs, and what DeepSpeed needs."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt import __version__
from tvt.errors import Check, Status, install
from tvt.io import machine
from tvt.io.digest import VARIABLE, cache_folder
from tvt.io.machine import installed_version
from tvt.io.model_folder import hub_cache

GIB = 2**30
LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHARED = 10 * GIB, 4 * GIB, GIB
"""Bytes below which a warning is due: a study of adapters, a small model, several processes with data loaders."""
CACHE_SECONDS = 1.0
"""How long a cache is measured: some hold millions of files on a network disk."""
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
VISIBLE = "CUDA_VISIBLE_DEVICES"
BFLOAT16 = 8.0
"""Compute capability from which on the hardware has bfloat16 (Ampere)."""
CORE = {
    "click": "8.1.8",
    "cvxpy": "1.6",
    "jinja2": "3.1",
    "matplotlib": "3.9",
    "networkx": "3.2",
    "numpy": "1.26",
    "pillow": "11",
    "pyarrow": "21",
    "pydantic": "2.9",
    "pyyaml": "6.0.2",
    "rich": "13.9",
    "scipy": "1.13",
}
"""Oldest versions, as pyproject.toml has them (a test compares)."""
DATA = {"av": "14", "datasets": "4.4", "huggingface-hub": "0.34", "imagehash": "4.3"}
TRAIN = {
    "accelerate": "1.12",
    "peft": "0.18",
    "safetensors": "0.5",
    "torch": "2.6",
    "transformers": "5.3",
    "trl": "1.16",
    **({} if sys.platform == "darwin" else {"bitsandbytes": "0.48"}),
    **({"deepspeed": "0.18"} if sys.platform == "linux" else {}),
}
SOLVERS = {"clarabel": "CLARABEL", "scs": "SCS", "scipy": "HIGHS (in scipy)", "pyscipopt": "SCIP"}
"""Solvers that selections use, by their package."""
PYTHON = (3, 11)


Probed = dict[str, Any] | None
"""What :class:`tvt.train.probe.Probe` says of a package; ``None`` where it is not installed."""


def check(group: str, name: str, found: str, *, fail: str = "", warn: str = "", step: str = "") -> Check:
    """A check that is *ok*, unless it comes with what to do about a failure or about a warning."""
    status: Status = "fail" if fail else "warn" if warn else "ok"
    return Check(group=group, name=name, status=status, found=found, step=fail or warn or step)


def versions() -> dict[str, str | None]:
    """The version of everything that a result may depend on; ``None`` where it is not installed."""
    python = {"python": ".".join(map(str, sys.version_info[:3])), "tvt": __version__}
    return python | {name: installed_version(name) for name in dict.fromkeys((*CORE, *DATA, *TRAIN, *SOLVERS))}


def package_checks() -> Iterator[Check]:
    """Python, and the packages of each part of tvt."""
    python, old = ".".join(map(str, sys.version_info[:3])), sys.version_info[:2] < PYTHON
    step = f"make an environment with Python {'.'.join(map(str, PYTHON))} or newer" if old else ""
    yield check("packages", "Python", f"{python}, tvt {__version__}", fail=step)
    yield _part("core", CORE, install(), needed=True)
    yield solvers()
    yield _part("data extra", DATA, install("data"), needed=False)
    yield _part("train extra", TRAIN, install("train"), needed=False)


def solvers() -> Check:
    """Which solvers selections have: Clarabel, SCS where it fails, HiGHS where the number of sources is limited."""
    here = {package: result for package in SOLVERS if (result := installed_version(package))}
    named = ", ".join(SOLVERS[package] + ("" if package == "scipy" else f" {here[package]}") for package in here)
    if "clarabel" not in here:
        return check("packages", "solvers", f"no CLARABEL; {named}", fail="pip install clarabel")
    return check("packages", "solvers", named)


def _part(name: str, oldest: dict[str, str], install: str, *, needed: bool) -> Check:
    here = {package: result for package in oldest if (result := installed_version(package)) is not None}
    missing = [package for package in oldest if package not in here]
    old = [f"{p} {here[p]} (needs {oldest[p]})" for p in here if _release(here[p]) < _release(oldest[p])]
    faults = [f"{what}: {', '.join(of)}" for what, of in (("not installed", missing), ("too old", old)) if of]
    fail, warn = (install, "") if needed or old else ("", install)
    if not faults:
        return check("packages", name, ", ".join(f"{p} {v}" for p, v in here.items()))
    return check("packages", name, "; ".join(faults), fail=fail, warn=warn)


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def memory_checks() -> Iterator[Check]:
    """Free memory, within the limit of a container, cores, and memory that processes share."""
    free, total = machine.memory()
    step = "a model of 3 billion parameters needs 6 GiB to load in bfloat16; end what else runs here"
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free, {machine.cores()} cores"
    yield check("memory", "memory", text, warn=step if free < LITTLE_MEMORY else "")
    if (shared := machine.shared_memory()) is not None:
        step = "several processes exchange tensors through it; start the container with --shm-size 8g"
        yield check("memory", "shared memory", f"{shared / GIB:.1f} GiB", warn=step if shared < LITTLE_SHARED else "")


def disk_checks(study: Path) -> Iterator[Check]:
    """Free space for studies and caches, and whether they can be written to."""
    for name, place, variable in (("studies", study, None), *_caches()):
        there = existing(place)
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            step = f"set {variable} to a folder of yours" if variable else "name another folder with -o"
            yield check("disk", name, f"{shown(there)} cannot be written to", fail=step)
            continue
        step = f"make room, or {f'set {variable}' if variable else 'name another disk with -o'}" if free < LITTLE_DISK else ""
        yield check("disk", name, f"{free / GIB:.1f} GiB free at {shown(place)}", warn=step)


def _caches() -> tuple[tuple[str, Path, str], ...]:
    return ("hub's cache", hub_cache(), "HF_HOME"), ("tvt's cache", cache_folder(), VARIABLE)


def cache_checks() -> Iterator[Check]:
    """Where the caches are, and how large."""
    for name, place, _ in _caches():
        size, whole = measured(place)
        about = f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
        here = f"{'' if whole else 'more than '}{about} in {shown(place)}"
        yield check("caches", name, here if place.is_dir() else f"{shown(place)}: not there yet")


def measured(folder: Path, seconds: float = CACHE_SECONDS) -> tuple[int, bool]:
    """Bytes of all files below a folder, and whether there was time for all of them. Links are not followed."""
    size, until = 0, time.monotonic() + seconds
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
        if time.monotonic() > until:
            return size, False
    return size, True


def offline() -> str | None:
    """The variable that keeps the hub from being asked; its values are those that huggingface_hub takes for true."""
    return next((name for name in OFFLINE if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}), None)


def network_checks() -> Iterator[Check]:
    """What the environment says of the hub, which is not asked."""
    if variable := offline():
        text = f"{variable} is set: only what is in the cache or in folders is used"
        yield check("network", "hub", text, step=f"unset {variable} to download")
        return
    where = os.environ.get("HF_ENDPOINT")
    named = f"HF_ENDPOINT names {where}" if where else "huggingface.co is asked when something is not in the cache"
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    token = bool(os.environ.get("HF_TOKEN")) or (home / "token").is_file()
    yield check("network", "hub", f"{named}, with{' a' if token else 'out a'} token" + ("" if token else _GATED))


_GATED = " (gated models need one: hf auth login)"


def lock_checks(study: Path) -> Iterator[Check]:
    """Whether a second process would be kept out of a study's folder: some network disks grant every lock, or none."""
    there, fault = existing(study), ""
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".tvt-doctor-") as first, open(first.name, "r+b") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(BlockingIOError):
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fault = f"do not hold at {shown(there)}: a second lock was granted"
    except OSError as error:
        fault = f"cannot be had at {shown(there)} ({error.strerror or error})"
    step = "keep studies on another disk: without locks, two commands at one study do the same runs" if fault else ""
    yield check("disk", "file locks", fault or f"hold at {shown(there)}", fail=step)


def existing(path: Path) -> Path:
    """The nearest folder at or above a path that exists."""
    path = path.absolute()
    return next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))


def shown(path: Path) -> str:
    """A path, with ~ for the home folder and relative where it is below the working folder."""
    path = path.absolute()
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(Path("~") / path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else str(path)


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
    query = ("--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader,nounits")
    rows = [[part.strip() for part in line.split(",")] for line in _output("nvidia-smi", *query).splitlines()]
    return tuple(
        Gpu(name=row[0], memory=_figure(row[1]) * 2**20, driver=row[2], capability=_figure(row[3]))
        for row in rows
        if len(row) == 4
    )


def _output(*command: str) -> str:
    """What a program prints; nothing where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def _figure(text: str) -> float:
    match = re.match(r"\d+(?:\.\d+)?", text)
    return float(match.group()) if match else 0.0


def usable(gpus: Sequence[Gpu], torch: Probed) -> list[dict[str, Any]]:
    """The devices that runs can use: those that torch finds, or, without torch, those that the driver lists."""
    if torch is not None:
        return list(torch.get("devices", []))
    return [{"name": gpu.name, "memory": gpu.memory, "bfloat16": gpu.bfloat16} for gpu in gpus]


def gpu_checks(gpus: Sequence[Gpu], torch: Probed) -> Iterator[Check]:
    """What GPUs there are, and whether torch can be loaded and can use them."""
    hidden = os.environ.get(VISIBLE)
    yield from _listed(gpus, hidden, torch or {})
    if torch is None:
        return
    if "error" in torch:
        yield check("GPUs", "torch", f"cannot be loaded: {torch['error']}", fail=f"install it anew: {install('train')}")
        return
    built = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built for the CPU"
    if (count := len(torch["devices"])) or not gpus or hidden in ("", "-1"):
        yield check("GPUs", "torch", built + (f", uses {count} GPU{'s' * (count != 1)}" if count else ", uses the CPU"))
    else:
        yield check("GPUs", "torch", f"{built} and sees no GPU", fail=_mismatch(torch["cuda"]))


def _listed(gpus: Sequence[Gpu], hidden: str | None, torch: dict[str, Any]) -> Iterator[Check]:
    names = [device["name"] for device in torch.get("devices", [])]
    if not gpus and names:
        yield check("GPUs", "GPUs", f"torch sees {len(names)} ({', '.join(sorted(set(names)))}); nvidia-smi lists none")
    elif not gpus:
        text = "none that the driver lists (nvidia-smi); training and scoring run on the CPU"
        step = "fine for recipes/miniature.yaml; a model of billions of parameters needs a GPU"
        yield check("GPUs", "GPUs", text, warn=step)
    for gpu, count in Counter(gpus).items():
        has = "bfloat16" if gpu.bfloat16 else "no bfloat16"
        text = f"{count} x {gpu.name}, {gpu.memory / GIB:.0f} GiB, {has}, driver {gpu.driver}"
        yield check("GPUs", "GPUs", text, warn="" if gpu.bfloat16 else "train with --set model.dtype=float16")
    if gpus and hidden is not None:
        yield check("GPUs", "visible", f"{VISIBLE}={hidden!r} decides which of them are used")


def _mismatch(built: str | None) -> str:
    """What to do where torch does not find the GPUs that the driver lists."""
    if built is None:
        return "install a torch with CUDA: this one was built for the CPU"
    match = re.search(r"CUDA Version:\s*(\d+\.\d+)", _output("nvidia-smi"))
    if match and _figure(driver := match.group(1)) < _figure(built):
        return f"the driver runs CUDA up to {driver}: install a newer driver, or a torch built for CUDA {driver} or older"
    return f"check {VISIBLE} and the driver (nvidia-smi)"


def deepspeed_checks(gpus: Sequence[Gpu], deepspeed: Probed) -> Iterator[Check]:
    """Whether DeepSpeed can be loaded, and whether it could build its kernels. Nothing is built."""
    if deepspeed is None:
        yield check("GPUs", "DeepSpeed", "not installed; runs take one process each", warn=install("train"))
    elif "error" in deepspeed:
        step = "install it anew, or train without runtime.deepspeed"
        yield check("GPUs", "DeepSpeed", f"cannot be loaded: {deepspeed['error']}", fail=step)
    elif missing := build_tools_missing(cuda_home=deepspeed["cuda_home"], gpus=bool(gpus)):
        # By its source (0.19), ZeRO itself builds nothing; on the CPU its communication does, with a C++ compiler.
        text = f"{deepspeed['version']} loads; it cannot build kernels without {', '.join(missing)}"
        step = "with recipes/deepspeed it builds none on GPUs; for offloading to the CPU, install them"
        yield check("GPUs", "DeepSpeed", text, warn=step)
    else:
        yield check("GPUs", "DeepSpeed", f"{deepspeed['version']} loads, and has what it builds kernels with")


def build_tools_missing(*, cuda_home: str | None, gpus: bool) -> list[str]:
    """What DeepSpeed needs for building its kernels and is not here: a C++ compiler, ninja, and for GPUs nvcc."""
    tools: dict[str, object] = {
        "a C++ compiler (g++)": shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++"),
        "ninja": shutil.which("ninja") or find_spec("ninja"),
    }
    if gpus:
        inside = cuda_home is not None and (Path(cuda_home) / "bin" / "nvcc").exists()
        tools["nvcc (a CUDA toolkit, CUDA_HOME)"] = inside or shutil.which("nvcc")
    return [name for name, item in tools.items() if not item]
