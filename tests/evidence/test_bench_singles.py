"""``scripts/bench_singles.py`` on a study whose mixtures are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench_singles import figures, measured
from problems import random_matrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.errors import InputError


def test_mixtures_that_add_up_are_foretold_by_the_linear_response() -> None:
    matrix = random_matrix(0, 4, 3)
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 12)
    twice = np.repeat(weights, 2, axis=0)
    scores = twice @ matrix.mean + np.tile([[0.01], [-0.01]], (12, 1))  # two seeds whose noise averages out
    runs = MixtureRuns(
        ids=tuple(f"m{k // 2}/seed_{k % 2}" for k in range(24)),
        sources=matrix.sources,
        targets=matrix.targets,
        weights=twice,
        scores=scores,
    )
    study = replace(matrix, evidence=runs)
    assert measured(study)[0].shape == (12, 4)
    found = figures(study, "linear")
    assert (found.mixtures, found.rank, found.inside) == (12, pytest.approx(1), 1.0)
    assert (found.bias, found.error) == (pytest.approx(0, abs=1e-5), pytest.approx(0, abs=1e-5))
    assert figures(study, "log").error > 0.01


def test_a_study_without_mixtures_is_refused() -> None:
    with pytest.raises(InputError, match="no runs on mixtures"):
        measured(random_matrix(0, 3, 2))
