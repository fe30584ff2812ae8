"""A study of two runs on the bundled miniature: the GPU's scores against the CPU's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from check_gpu import made
from check_gpu.leg import TRAINING, Bench, Leg

SOURCES = ("Count_Comparison", "Relative_Depth")
TARGETS = (*SOURCES, "Visual_Similarity")
NEAR = {"base": 0.01, "trained": 0.04}
"""Accuracies may differ by so much: kernels round otherwise, and what training makes of that is more."""
Scores = dict[str, dict[str, float]]


def study(bench: Bench) -> None:
    """Two sources, three targets, one seed, on each device; both are at work at once."""
    recipe = _trimmed(bench)
    devices = {"GPU": {}, "CPU": {"CUDA_VISIBLE_DEVICES": ""}} if bench.gpu else {"CPU": {}}
    running = {name: _start(recipe, bench.folder / name, hidden) for name, hidden in devices.items()}
    for name, process in running.items():
        told = process.communicate()[0]
        bench.expect(f"{name}: tvt study run ends with 0", told[-300:] if process.returncode else 0, process.returncode == 0)
    found = {name: _scores(bench.folder / name) for name in devices}
    bench.figure(scores=found)
    names = {"base", *SOURCES}
    for name, scores in found.items():
        bench.expect(f"{name}: the base and both runs are scored on all targets", sorted(scores), _whole(scores, names))
    if len(found) == 1:
        bench.left_out("the GPU's scores against these (needs a GPU)")
        return
    for kind, most in NEAR.items():
        apart = _apart(found["GPU"], found["CPU"], base=kind == "base")
        bench.expect(f"{kind}: accuracies on GPU and CPU, within {most}", apart, apart <= most)


def _trimmed(bench: Bench) -> Path:
    """The miniature's recipe with fewer tasks, rows and questions."""
    import yaml

    told: dict[str, Any] = yaml.safe_load((made.ROOT / "recipes" / "miniature.yaml").read_text(encoding="utf-8"))
    told |= {"sources": list(SOURCES), "targets": list(TARGETS), "seeds": [0], "budget": 32 if bench.small else 640}
    told["evaluation"] = {**told["evaluation"], "questions": 20 if bench.small else 500}
    told["training"] = {**told["training"], "learning_rate": float(told["training"]["learning_rate"])}
    path = bench.folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


def _start(recipe: Path, folder: Path, hidden: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tvt", "study", "run", str(recipe), "-o", str(folder), "--workers", "1"]
    environment = {**os.environ, **hidden}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _scores(folder: Path) -> Scores:
    """Accuracies by run (``base``, or its source) and target."""
    found: Scores = {}
    for path in sorted(folder.glob("runs/*/scores.json")):
        run = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[run["label"]] = {cell["target"]: cell["correct"] / cell["total"] for cell in cells}
    return found


def _whole(scores: Scores, names: set[str]) -> bool:
    return set(scores) == names and all(set(told) == set(TARGETS) for told in scores.values())


def _apart(one: Scores, other: Scores, *, base: bool) -> float:
    names = [name for name in one if (name == "base") == base]
    return max(abs(one[name][target] - other[name][target]) for name in names for target in TARGETS)


LEGS = (
    Leg(
        name="study",
        what="a study of two runs on the miniature: the GPU's scores against the CPU's",
        run=study,
        needs=(*TRAINING, "click", "rich", "scipy"),
        seconds=150,
        model=False,
    ),
)
