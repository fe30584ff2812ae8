"""Joint errors of several mixtures: what proposals of several runs at once rest on."""

from __future__ import annotations

import numpy as np
import pytest

from problems import random_matrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.evidence.estimates import Posterior
from tvt.evidence.evidence import Evidence

RNG = np.random.default_rng(0)


def table(targets: int) -> MixtureRuns:
    weights = RNG.dirichlet(np.ones(5), 30)
    scores = weights @ RNG.normal(size=(5, targets)) + 0.1 * RNG.normal(size=(30, targets))
    names = tuple(f"s{i}" for i in range(5)), tuple(f"t{j}" for j in range(targets))
    return MixtureRuns(ids=tuple(map(str, range(30))), sources=names[0], targets=names[1], weights=weights, scores=scores)


def posterior_of(kind: str) -> Posterior:
    known = {
        "a table of one score": lambda: table(1),
        "a table of three scores": lambda: table(3),
        "single sources": lambda: random_matrix(1, sources=5, targets=3),
        "a study with mixtures": lambda: load_study("miniature-swarm"),
    }[kind]()
    return Evidence.of(known).full_response(SelectionSpec()).posterior


@pytest.mark.parametrize("kind", ["a table of one score", "a table of three scores", "single sources", "a study with mixtures"])
def test_covariances_hold_the_errors_that_predictions_have(kind: str) -> None:
    posterior = posterior_of(kind)
    weights = RNG.dirichlet(np.ones(len(posterior.sources)), 12)
    weights = np.concatenate([weights, weights[:1], np.eye(len(posterior.sources))[:1]])
    targets = range(len(posterior.targets))
    se = posterior.at(weights).se
    for j, covariance in zip(targets, posterior.covariances(weights, targets), strict=True):
        assert np.sqrt(np.diag(covariance)) == pytest.approx(se[:, j], rel=1e-5, abs=1e-9)
        assert covariance == pytest.approx(covariance.T, abs=1e-12)
        assert np.linalg.eigvalsh(covariance).min() > -1e-8 * np.diag(covariance).max()
        assert covariance[0, 12] > 0.3 * covariance[0, 0]  # the same mixture twice
