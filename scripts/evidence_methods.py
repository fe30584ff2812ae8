"""Methods that predict scores of mixtures from a table of mixture runs: tvt's, and what others would do, for
``bench_evidence.py``. A method takes a table and returns a function of weights (N, S): values, low and high ends of 90%
intervals, (N, T) each, in the table's unit (NaN where a method has no intervals).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.evidence.predict import predict
from tvt.types import Floats

CONFIDENCE = 0.9
HALF = 1.6448536269514722
"""Standard normal quantile of 95%."""


class Predicted(NamedTuple):
    """Values and interval ends, (N, T) each."""

    value: Floats
    low: Floats
    high: Floats


Predictor = Callable[[Floats], Predicted]
Method = Callable[[MixtureRuns], Predictor]


def tvt(runs: MixtureRuns) -> Predictor:
    """What ``tvt predict --runs`` answers."""

    def at(weights: Floats) -> Predicted:
        gains, *_ = predict(runs, weights, runs.sources, SelectionSpec(confidence=CONFIDENCE))
        value = np.array([[row[t].value for t in runs.targets] for row in gains], dtype=float)
        ends = [
            value + sign * np.array([[getattr(row[t], end) - row[t].gain for t in runs.targets] for row in gains])
            for end, sign in (("low", _sign(runs)), ("high", _sign(runs)))
        ]
        return Predicted(value, np.minimum(*ends), np.maximum(*ends))

    return at


def _sign(runs: MixtureRuns) -> float:
    return -1.0 if runs.lower_is_better else 1.0


def table_mean(runs: MixtureRuns) -> Predictor:
    """The mean of the table, with the spread of its scores."""
    mean, spread = np.nanmean(runs.scores, axis=0), np.nanstd(runs.scores, axis=0, ddof=1)

    def at(weights: Floats) -> Predicted:
        value = np.tile(mean, (len(weights), 1))
        return Predicted(value, value - HALF * spread, value + HALF * spread)

    return at


def by_target(fit: Callable[[Floats, Floats], Callable[[Floats], tuple[Floats, Floats]]]) -> Method:
    """A method of one that fits (N, S) and (N,), and answers means and standard deviations (N,) each."""

    def method(runs: MixtureRuns) -> Predictor:
        fits = []
        for scores in runs.scores.T:
            known = np.isfinite(scores)
            fits.append(fit(runs.weights[known], scores[known]))

        def at(weights: Floats) -> Predicted:
            pairs = [each(weights) for each in fits]
            value, spread = (np.stack(part, axis=1) for part in zip(*pairs, strict=True))
            return Predicted(value, value - HALF * spread, value + HALF * spread)

        return at

    return method


def _ridge(weights: Floats, scores: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Ridge regression on standardised weights; its penalty by leave-one-out error."""
    centre, scale = weights.mean(axis=0), weights.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    left, values, right = np.linalg.svd((weights - centre) / scale, full_matrices=False)
    mean, best = scores.mean(), (np.inf, 1.0)
    for penalty in np.logspace(-3, 4, 29):
        shrunk = values**2 / (values**2 + penalty)
        fitted = left @ (shrunk * (left.T @ (scores - mean)))
        leverage = (left**2) @ shrunk + 1 / len(scores)
        error = float((((scores - mean - fitted) / (1 - np.minimum(leverage, 0.999))) ** 2).mean())
        best = min(best, (error, float(penalty)))
    slopes = right.T @ (values / (values**2 + best[1]) * (left.T @ (scores - mean)))

    def at(new: Floats) -> tuple[Floats, Floats]:
        value = mean + (new - centre) / scale @ slopes
        return value, np.full(len(new), np.sqrt(best[0]))

    return at


def plain_gp(weights: Floats, scores: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """A Gaussian process with a Matern 5/2 kernel on square roots of weights and white noise, by maximum likelihood:
    scikit-learn's ``ConstantKernel * Matern + WhiteKernel`` with ``normalize_y`` and its bounds, written out because tvt
    does without it.
    """
    points, mean, spread = np.sqrt(weights), scores.mean(), scores.std() or 1.0
    distance, goal = cdist(points, points), (scores - mean) / spread

    def kernel(at: Floats, logs: Floats) -> Floats:
        scaled = np.sqrt(5) * at / np.exp(logs[1])
        matern: Floats = np.exp(logs[0]) * (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
        return matern

    def loss(logs: Floats) -> float:
        root = cholesky(kernel(distance, logs) + (np.exp(logs[2]) + 1e-10) * np.eye(len(goal)), lower=True)
        half = solve_triangular(root, goal, lower=True)
        return float(0.5 * half @ half + np.log(np.diag(root)).sum())

    bounds = np.log([(1e-2, 1e3), (5e-2, 3e1), (1e-5, 1e1)])
    logs = minimize(loss, np.log([1.0, 1.0, 0.1]), method="L-BFGS-B", bounds=bounds).x
    root = cholesky(kernel(distance, logs) + np.exp(logs[2]) * np.eye(len(goal)), lower=True)
    solved = cho_solve((root, True), goal)

    def at(new: Floats) -> tuple[Floats, Floats]:
        cross = kernel(cdist(np.sqrt(new), points), logs)
        half = solve_triangular(root, cross.T, lower=True)
        variance = np.maximum(np.exp(logs[0]) - (half**2).sum(axis=0), 0.0) + np.exp(logs[2])
        return mean + spread * (cross @ solved), spread * np.sqrt(variance)

    return at


def _lightgbm(weights: Floats, scores: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """LightGBM with the settings of RegMix."""
    import lightgbm  # type: ignore[import-not-found]

    model = lightgbm.LGBMRegressor(n_estimators=1000, learning_rate=1e-2, seed=42, verbosity=-1, n_jobs=1, min_child_samples=5)
    model.fit(weights, scores)
    return lambda new: (np.asarray(model.predict(new)), np.full(len(new), np.nan))


def _olmix(weights: Floats, scores: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Olmix's law, ``loss = exp(c) + exp(x . t)``, under Huber loss with delta .02; scores are losses here."""
    best, rng, delta = (np.inf, np.zeros(0)), np.random.default_rng(42), 0.02

    def loss(p: Floats) -> tuple[float, Floats]:
        floor, rest = np.exp(p[0]), np.exp(np.clip(weights @ p[1:], -30, 30))
        left = floor + rest - scores
        slope = np.clip(left, -delta, delta)
        value = np.where(np.abs(left) <= delta, 0.5 * left**2, delta * (np.abs(left) - 0.5 * delta)).sum()
        return float(value), np.r_[floor * slope.sum(), weights.T @ (rest * slope)]

    for start in np.linspace(-1, 1, 2):
        first = np.r_[start, rng.random(weights.shape[1]) * 0.1]
        found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 200})
        best = min(best, (float(found.fun), found.x), key=lambda pair: pair[0])
    law = best[1]
    return lambda new: (np.exp(law[0]) + np.exp(np.clip(new @ law[1:], -30, 30)), np.full(len(new), np.nan))


def olmix(runs: MixtureRuns) -> Predictor:
    """Olmix's law; of scores that are higher when better it takes 1 minus them."""

    def turned(values: Floats) -> Floats:
        return values if runs.lower_is_better else 1 - values

    def fit(weights: Floats, scores: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
        law = _olmix(weights, turned(scores))
        return lambda new: (turned(law(new)[0]), law(new)[1])

    return by_target(fit)(runs)


METHODS: dict[str, Method] = {
    "tvt": tvt,
    "mean": table_mean,
    "ridge": by_target(_ridge),
    "plain GP": by_target(plain_gp),
    "Olmix": olmix,
    **({"LightGBM": by_target(_lightgbm)} if find_spec("lightgbm") else {}),
}
