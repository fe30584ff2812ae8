"""A second opinion on mixtures: values as a smooth function of nothing but where a mixture lies.

One Gaussian process with a Matern 5/2 kernel on square roots of weights (Rasmussen and Williams 2006, equation 4.17), its three
parameters at their maximum likelihood. It knows nothing of sources, so it errs elsewhere than
:mod:`tvt.evidence.posterior` does, and its error far from all runs is the spread of the values and no more: a mixture does not
look promising because nobody knows what a line through the runs would bring there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from tvt.core.values import Frozen
from tvt.types import Floats

BOUNDS = ((1e-2, 1e3), (5e-2, 3e1), (1e-5, 1e1))
"""Of the variance, the length scale and the variance of the noise; variances are in units of that of the values."""
FEWEST = 3
"""Values below which their mean is all there is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Smooth(Frozen):
    """The process, conditioned on values at ``weights`` (n, S)."""

    weights: Floats
    variance: float
    length: float
    noise: float
    root: Floats
    """Lower root of the covariance, (n, n)."""
    solved: Floats
    """Inverse covariance times standardised values, (n,)."""
    centre: float
    spread: float

    @classmethod
    def fit(cls, weights: Floats, values: Floats) -> Smooth | None:
        """Of values (n,) at mixtures (n, S); ``None`` where there are too few or they do not differ."""
        spread = float(values.std()) if len(values) >= FEWEST else 0.0
        if not spread > 0:
            return None
        centre = float(values.mean())
        goal, apart = (values - centre) / spread, distances(weights, weights)

        def factor(logs: Floats) -> Floats:
            noise = np.exp(logs[2]) * np.eye(len(goal))
            found: Floats = cholesky(matern(apart, *np.exp(logs[:2])) + noise, lower=True)
            return found

        def loss(logs: Floats) -> float:
            root = factor(logs)
            half = solve_triangular(root, goal, lower=True)
            return float(0.5 * half @ half + np.log(np.diag(root)).sum())

        logs = minimize(loss, np.log([1.0, 1.0, 0.1]), method="L-BFGS-B", bounds=np.log(BOUNDS)).x
        variance, length, noise = map(float, np.exp(logs))
        root = factor(logs)
        solved = cho_solve((root, True), goal)
        return cls(
            weights=weights,
            variance=variance,
            length=length,
            noise=noise,
            root=root,
            solved=solved,
            centre=centre,
            spread=spread,
        )

    def at(self, weights: Floats) -> tuple[Floats, Floats]:
        """Means and standard errors of the means at mixtures (N, S), (N,) each."""
        cross, half = self._cross(weights)
        variance = np.maximum(self.variance - (half**2).sum(axis=0), 0.0)
        return self.centre + self.spread * (cross @ self.solved), self.spread * np.sqrt(variance)

    def covariance(self, weights: Floats) -> Floats:
        """Covariance of the means' errors at mixtures (N, S), (N, N)."""
        _, half = self._cross(weights)
        left: Floats = matern(distances(weights, weights), self.variance, self.length) - half.T @ half
        return self.spread**2 * left

    @property
    def noise_variance(self) -> float:
        """Of a run."""
        return self.spread**2 * self.noise

    def _cross(self, weights: Floats) -> tuple[Floats, Floats]:
        cross = matern(distances(weights, self.weights), self.variance, self.length)
        return cross, solve_triangular(self.root, cross.T, lower=True)


def distances(left: Floats, right: Floats) -> Floats:
    """Of the roots of mixtures (N, S) and (M, S), (N, M)."""
    a, b = np.sqrt(np.maximum(left, 0.0)), np.sqrt(np.maximum(right, 0.0))
    squared: Floats = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0.0))


def matern(apart: Floats, variance: float, length: float) -> Floats:
    """The Matern 5/2 kernel of distances."""
    scaled = np.sqrt(5) * apart / length
    near: Floats = variance * (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return near
