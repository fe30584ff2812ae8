"""``scripts/bench_evidence.py`` on small generated tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from commands import ROOT


def write(path: Path, sources: Sequence[str], targets: Sequence[str], weights: np.ndarray, scores: np.ndarray) -> None:
    lines = [",".join(["run", *(f"w:{s}" for s in sources), *(f"score:{t}" for t in targets)])]
    for k, (row, known) in enumerate(zip(weights, scores, strict=True)):
        lines.append(",".join([f"r{k}", *(f"{x:.6f}" for x in row), *(f"{y:.6f}" if np.isfinite(y) else "" for y in known)]))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Accuracies with single sources among the runs, and groups of tasks with their pairs."""
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    weights = np.concatenate([np.eye(4), rng.dirichlet(np.ones(4), 28)])
    scores = 0.4 + weights @ np.array([0.3, 0.2, 0.1, 0.0]) + rng.normal(0, 0.005, 32)
    write(tmp_path / "tune_x.csv", names, ["x"], weights, scores[:, None])
    groups = np.array([[(k >> i) & 1 for i in range(4)] for k in range(1, 16)], dtype=float)
    gains = np.where(groups > 0, groups @ np.array([0.1, 0.2, -0.1, 0.0])[:, None], np.nan)
    write(tmp_path / "groups_y.csv", names, names, groups / groups.sum(axis=1, keepdims=True), gains)
    pairs = [f"0,{s},{t},{gains_of}" for s, gains_of in zip(names, (0.1, 0.2, -0.1, 0.0), strict=True) for t in names]
    (tmp_path / "pairs_y.csv").write_text("seed,source,target,pgf\n" + "\n".join(pairs) + "\n")
    return tmp_path


def test_all_protocols_give_figures_of_all_methods_on_the_same_splits(tables: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/bench_evidence.py"), "--tables", str(tables), "--splits", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert {f["protocol"] for f in figures} == set("ABDEF")
    errors = {f["method"]: f["value"] for f in figures if f["measure"] == "error" and f["n"] == 16}
    assert set(errors) == {"tvt", "mean", "ridge", "plain GP"}
    assert errors["tvt"] < 0.5 * errors["mean"]  # nearly linear scores with little noise
    assert all(0 <= f["value"] <= 1 for f in figures if f["measure"].startswith("coverage"))
    ranks = [f["value"] for f in figures if f["protocol"] == "E" and f["measure"] == "rank"]
    assert min(ranks) > 0.5
