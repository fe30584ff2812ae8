"""Versions of Python and packages, by their metadata: nothing is imported for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from tvt import __version__
from tvt.core.health import Check
from tvt.io.installed import version

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
    return told | {name: version(name) for name in dict.fromkeys((*CORE, *DATA, *TRAIN, *SOLVERS))}


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
    here = {package: label for package, label in SOLVERS.items() if version(package)}
    told = ", ".join(f"{label} {version(package)}" if package != "scipy" else label for package, label in here.items())
    if "clarabel" not in here:
        return Check(group="packages", name="solvers", status="fail", found=f"no CLARABEL; {told}", step="pip install clarabel")
    return Check(group="packages", name="solvers", status="ok", found=told)


def _group(name: str, oldest: dict[str, str], install: str, *, needed: bool) -> Check:
    """The packages of one part of tvt in one line."""
    here = {package: found for package in oldest if (found := version(package)) is not None}
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
