"""Transfers that stand out of the noise: rarely where there is none, all where it is plain, and worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import Score
from tvt.data.studies.load import load_study
from tvt.transfer.noise import p_values, significance


def study(
    shift: dict[tuple[str, str], float], seed: int, *, runs: int = 2, questions: int = 400, wobble: float = 0.02
) -> TransferMatrix:
    """Accuracies around 0.6 with noise of seeds and of questions, the latter paired exactly."""
    rng = np.random.default_rng(seed)
    tasks = [f"T{k}" for k in range(6)]
    base = {t: rng.random(questions) for t in tasks}
    scores = [score("base", None, t, base[t] < 0.6, base[t] < 0.6) for t in tasks]
    for run in range(runs):
        for s in tasks:
            for t in tasks:
                level = 0.6 + shift.get((s, t), 0.0) + rng.normal(0, wobble)
                # A fifth of the questions are answered afresh, the others as by the base model.
                fresh = rng.random(questions) < 0.2
                after = np.where(fresh, rng.random(questions), base[t]) < level
                scores.append(score(str(run), s, t, after, base[t] < 0.6))
    return TransferMatrix.from_scores(scores)


def score(run: str, source: str | None, target: str, right: np.ndarray, base: np.ndarray) -> Score:
    both = None if source is None else int((right & base).sum())
    count = int(right.sum())
    total = right.size
    return Score(run=run, source=source, target=target, accuracy=count / total, correct=count, total=total, both_correct=both)


def test_without_effects_hardly_ever_a_claim() -> None:
    claims = 0
    for seed in range(120):
        found = significance(study({}, seed))
        assert found is not None
        assert (found.tested, found.own_tested) == (30, 6)
        claims += bool(found.helps or found.harms)
    assert claims <= 120 * 0.05 + 2 * np.sqrt(120 * 0.05 * 0.95)


def test_plain_effects_are_found_with_their_sign() -> None:
    shift = {("T0", "T1"): 0.2, ("T2", "T3"): -0.25, ("T4", "T4"): 0.2}
    found = significance(study(shift, 1))
    assert found is not None
    assert found.helps == (("T0", "T1"),)
    assert found.harms == (("T2", "T3"),)
    assert found.own == ("T4",)


def test_by_hand() -> None:
    matrix = study({("T0", "T1"): 0.1}, 3)
    p = p_values(matrix)
    assert p is not None
    i, j = matrix.sources.index("T0"), matrix.targets.index("T1")
    cells = matrix.values.var(axis=0, ddof=1)  # two runs: one degree of freedom a cell, six a target, four of the prior
    between = float(4 * cells.mean() + 6 * cells[:, j].mean()) / 10 / 2
    item = float(np.mean(matrix.item_errors[:, i, j] ** 2))
    df = (between + item) ** 2 / (between**2 / 10)
    t = float(matrix.values[:, i, j].mean()) / np.sqrt(between + item)
    assert p[i, j] == pytest.approx(2 * stats.t.sf(abs(t), df))


def test_unknown_noise_gives_no_answer() -> None:
    assert significance(study({}, 0, runs=1)) is None
    values = np.random.default_rng(0).normal(size=(3, 4, 4))
    tasks = list("abcd")
    assert significance(TransferMatrix.from_values(values, sources=tasks, targets=tasks, runs=["0", "1", "2"])) is None


def test_published_figures_hardly_stand_out() -> None:
    found = significance(load_study("qwen2.5-vl-7b"))
    assert found is not None
    assert found.tested == 156
    assert len(found.helps) + len(found.harms) < 10
