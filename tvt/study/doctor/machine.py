"""Memory, disks, caches, what is said of the network, and whether locks hold."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tvt import __version__
from tvt.errors import Check, Status
from tvt.io import machine
from tvt.io.machine import installed_version
from tvt.io.model_folder import hub_cache
from tvt.io.stat_cache import VARIABLE, cache_folder

GIB = 2**30
LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHARED = 10 * GIB, 4 * GIB, GIB
"""Bytes below which a warning is due: a study of adapters, a small model, several processes with data loaders."""
CACHE_SECONDS = 1.0
"""How long a cache is measured: some hold millions of files on a network disk."""
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_TRUE = {"1", "ON", "YES", "TRUE"}
"""What huggingface_hub takes for true."""


def memory_checks() -> Iterator[Check]:
    """Free memory, within the limit of a container, cores, and memory that processes share."""
    free, total = machine.memory()
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free, {machine.cores()} cores"
    if free < LITTLE_MEMORY:
        step = "a model of 3 billion parameters needs 6 GiB to load in bfloat16; end what else runs here"
        yield Check(group="memory", name="memory", status="warn", found=found, step=step)
    else:
        yield Check(group="memory", name="memory", status="ok", found=found)
    shared = machine.shared_memory()
    if shared is not None:
        step = "several processes exchange tensors through it; start the container with --shm-size 8g"
        enough = shared >= LITTLE_SHARED
        told = f"{shared / GIB:.1f} GiB"
        name = "shared memory"
        yield Check(group="memory", name=name, status="ok" if enough else "warn", found=told, step="" if enough else step)


def disk_checks(study: Path) -> Iterator[Check]:
    """Free space where studies and caches lie, and whether they can be written to."""
    places = {"studies": study, "hub's cache": hub_cache(), "tvt's cache": cache_folder()}
    for name, place in places.items():
        there = existing(place)
        free = shutil.disk_usage(there).free
        found = f"{free / GIB:.1f} GiB free at {shown(place)}"
        status: Status = "ok"
        step = ""
        if not os.access(there, os.W_OK):
            status, found = "fail", f"{shown(there)} cannot be written to"
            step = "name another folder with -o" if name == "studies" else f"set {_VARIABLES[name]} to a folder of yours"
        elif free < LITTLE_DISK:
            status = "warn"
            step = "make room, or " + ("name another disk with -o" if name == "studies" else f"set {_VARIABLES[name]}")
        yield Check(group="disk", name=name, status=status, found=found, step=step)


_VARIABLES = {"hub's cache": "HF_HOME", "tvt's cache": VARIABLE}


def cache_checks() -> Iterator[Check]:
    """Where the caches are, and how large."""
    for name, place in (("hub's cache", hub_cache()), ("tvt's cache", cache_folder())):
        if not place.is_dir():
            yield Check(group="caches", name=name, status="ok", found=f"{shown(place)}: not there yet")
            continue
        size, whole = measured(place)
        about = f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
        yield Check(group="caches", name=name, status="ok", found=f"{'' if whole else 'more than '}{about} in {shown(place)}")


def measured(folder: Path, seconds: float = CACHE_SECONDS) -> tuple[int, bool]:
    """Bytes of all files below a folder, and whether there was time to see them all. Links are not followed."""
    size, until = 0, time.monotonic() + seconds
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
        if time.monotonic() > until:
            return size, False
    return size, True


def offline() -> str | None:
    """The variable that keeps the hub from being asked."""
    return next((name for name in OFFLINE if os.environ.get(name, "").upper() in _TRUE), None)


def network_checks() -> Iterator[Check]:
    """What the environment says of the hub; it is not asked."""
    variable = offline()
    if variable is not None:
        found = f"{variable} is set: only what is in the cache or in folders is used"
        yield Check(group="network", name="hub", status="ok", found=found, step=f"unset {variable} to download")
        return
    where = os.environ.get("HF_ENDPOINT")
    named = f"HF_ENDPOINT names {where}" if where else "huggingface.co is asked when something is not in the cache"
    token = "with a token" if _token() else "without a token (gated models need one: hf auth login)"
    yield Check(group="network", name="hub", status="ok", found=f"{named}, {token}")


def _token() -> bool:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    return bool(os.environ.get("HF_TOKEN")) or (home / "token").is_file()


def lock_checks(study: Path) -> Iterator[Check]:
    """Whether a second process would be kept out where studies lie: some network disks grant every lock, or none."""
    there = existing(study)
    step = "keep studies on another disk: without locks, two commands at one study do the same runs"
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".tvt-doctor-") as first, open(first.name, "r+b") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield Check(group="disk", name="file locks", status="ok", found=f"hold at {shown(there)}")
            else:
                found = f"do not hold at {shown(there)}: a second lock was granted"
                yield Check(group="disk", name="file locks", status="fail", found=found, step=step)
    except OSError as error:
        found = f"cannot be had at {shown(there)} ({error.strerror or error})"
        yield Check(group="disk", name="file locks", status="fail", found=found, step=step)


def existing(path: Path) -> Path:
    """The nearest folder at or above a path that exists."""
    path = path.absolute()
    return next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))


def shown(path: Path) -> str:
    """A path, with ~ for the home folder and relative where it lies below the working folder."""
    path = path.absolute()
    for base, mark in ((Path.cwd(), "."), (Path.home(), "~")):
        if path.is_relative_to(base):
            return str(Path(mark) / path.relative_to(base)) if mark == "~" else str(path.relative_to(base))
    return str(path)


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
    "bitsandbytes": "0.48",
    "deepspeed": "0.18",
    "peft": "0.18",
    "safetensors": "0.5",
    "torch": "2.6",
    "transformers": "5.3",
    "trl": "1.16",
}
SOLVERS = {"clarabel": "CLARABEL", "scs": "SCS", "scipy": "HIGHS (in scipy)", "pyscipopt": "SCIP"}
"""Solvers that selections use, by their package."""
PYTHON = (3, 11)


def versions() -> dict[str, str | None]:
    """The version of everything that a result may hang on; ``None`` where it is not installed."""
    told: dict[str, str | None] = {"python": ".".join(map(str, sys.version_info[:3])), "tvt": __version__}
    return told | {name: installed_version(name) for name in dict.fromkeys((*CORE, *DATA, *TRAIN, *SOLVERS))}


def checks() -> Iterator[Check]:
    """Python, and the packages of each part of tvt."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        step = f"make an environment with Python {'.'.join(map(str, PYTHON))} or newer"
        yield Check(group="packages", name="Python", status="fail", found=python, step=step)
    else:
        yield Check(group="packages", name="Python", status="ok", found=f"{python}, tvt {__version__}")
    yield _group("core", CORE, "pip install tvt", needed=True)
    yield solvers()
    yield _group("data extra", DATA, "pip install 'tvt[data]'", needed=False)
    yield _group("train extra", TRAIN, "pip install 'tvt[train]'", needed=False)


def solvers() -> Check:
    """Which solvers selections have: Clarabel, SCS where it fails, HiGHS where the number of sources is limited."""
    here = {package: label for package, label in SOLVERS.items() if installed_version(package)}
    told = ", ".join(
        f"{label} {installed_version(package)}" if package != "scipy" else label for package, label in here.items()
    )
    if "clarabel" not in here:
        return Check(group="packages", name="solvers", status="fail", found=f"no CLARABEL; {told}", step="pip install clarabel")
    return Check(group="packages", name="solvers", status="ok", found=told)


def _group(name: str, oldest: dict[str, str], install: str, *, needed: bool) -> Check:
    """The packages of one part of tvt in one line."""
    here = {package: found for package in oldest if (found := installed_version(package)) is not None}
    missing = [package for package in oldest if package not in here]
    old = [f"{p} {here[p]} (needs {oldest[p]})" for p in here if _numbers(here[p]) < _numbers(oldest[p])]
    if not missing and not old:
        return Check(group="packages", name=name, status="ok", found=", ".join(f"{p} {v}" for p, v in here.items()))
    parts = [f"not installed: {', '.join(missing)}"] if missing else []
    parts += [f"too old: {', '.join(old)}"] if old else []
    return Check(group="packages", name=name, status="fail" if needed or old else "warn", found="; ".join(parts), step=install)


def _numbers(text: str) -> tuple[int, ...]:
    """The release of a version, for comparing."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()
