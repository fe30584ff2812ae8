"""A Gaussian process of one target: variances of kernel parts at their posterior mode, and predictions given them.

Scores are standardised. Covariance of the rows: ``sum_p v_p K_p + 1 + diag(v_noise + known)``; the 1 is the prior variance
of the level, in units of the scores' own variance, and ``known`` what is known of each row's noise (from numbers of
questions). The logarithms of ``v`` have normal priors, and are set to their mode (Rasmussen and Williams 2006, section
5.4.1, with priors).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs, dtrtri, dtrtrs
from scipy.optimize import minimize

from tvt.evidence.kernels import Prior
from tvt.types import Floats

LEVEL = 1.0
"""Prior variance of the level."""
STEPS = 30
BOUNDS = (-12.0, 6.0)
"""Of the logarithms of variances."""
JITTER = 1e-9


def mode(matrices: Floats, scores: Floats, known: Floats, prior: Prior, start: Floats | None = None) -> tuple[Floats, float]:
    """The most likely logarithms of the variances (parts and noise, (P + 1,)), and minus the log posterior there.

    Args:
        matrices: covariances by part, (P, n, n).
        scores: standardised, (n,).
        known: known noise variances of the rows, (n,).
        prior: of the parts and, last, of the noise.
        start: where to begin; default: at the prior's mean.
    """
    flat = np.ascontiguousarray(matrices.reshape(len(matrices), -1))

    def loss(logs: Floats) -> tuple[float, Floats]:
        return _negative_log_posterior(logs, flat, scores, known, prior)

    bounds = [BOUNDS] * len(prior.mean)
    begin = prior.mean if start is None else start
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return found.x, float(found.fun)


def _negative_log_posterior(logs: Floats, flat: Floats, scores: Floats, known: Floats, prior: Prior) -> tuple[float, Floats]:
    """Minus the log posterior but for a constant, and its gradient."""
    n, variances = len(scores), np.exp(logs)
    covariance = (variances[:-1] @ flat).reshape(n, n) + LEVEL
    covariance.flat[:: n + 1] += variances[-1] + known + JITTER
    root, failed = dpotrf(covariance, lower=1)
    if failed:
        return 1e10, np.zeros_like(logs)
    inverse = _inverse(root)
    solved = inverse @ scores
    from_prior = (logs - prior.mean) / prior.spread
    value = 0.5 * scores @ solved + np.log(np.diagonal(root)).sum() + 0.5 * from_prior @ from_prior
    inner = inverse - np.outer(solved, solved)
    slopes = np.append(flat @ inner.ravel(), np.trace(inner))
    return float(value), 0.5 * variances * slopes + from_prior / prior.spread


def _inverse(root: Floats) -> Floats:
    """The symmetric matrix's inverse, from its lower root."""
    inverse, _ = dpotri(root, lower=1)  # the upper half is 0, as that of the root
    full: Floats = inverse + inverse.T
    full.flat[:: len(full) + 1] *= 0.5
    return full


@dataclass(frozen=True, eq=False)
class Process:
    """A process with its variances (P + 1,), conditioned on standardised scores (n,)."""

    variances: Floats
    root: Floats
    """Lower root of the rows' covariance, (n, n)."""
    solved: Floats
    """Inverse covariance times scores, (n,)."""
    scores: Floats
    noises: Floats
    """Variance of each row's noise, (n,)."""

    @classmethod
    def of(cls, variances: Floats, matrices: Floats, scores: Floats, known: Floats) -> Process:
        """Condition on scores.

        Args:
            variances: of the parts and the noise, (P + 1,).
            matrices: covariances by part, (P, n, n).
            scores: standardised, (n,).
            known: known noise variances, (n,).
        """
        n = len(scores)
        covariance = np.tensordot(variances[:-1], matrices, 1) + LEVEL
        noises = variances[-1] + known + JITTER
        covariance.flat[:: n + 1] += noises
        root, failed = dpotrf(covariance, lower=1)
        while failed:  # rows that are nearly alike, and hardly any noise
            covariance.flat[:: n + 1] += noises
            noises = 2 * noises
            root, failed = dpotrf(covariance, lower=1)
        solved, _ = dpotrs(root, scores, lower=1)
        return cls(variances, root, solved, scores, noises)

    @property
    def smoothed(self) -> Floats:
        """Means at the rows themselves, (n,)."""
        return self.scores - self.noises * self.solved

    def at(self, cross: Floats, diagonal: Floats) -> tuple[Floats, Floats]:
        """Mean and standard error of the mean at new points, standardised.

        Args:
            cross: covariances with the rows by part, (P, N, n).
            diagonal: variances by part, (P, N).
        """
        covariance = np.tensordot(self.variances[:-1], cross, 1) + LEVEL
        half, _ = dtrtrs(self.root, covariance.T, lower=1)
        variance = self.variances[:-1] @ diagonal + LEVEL - (half**2).sum(axis=0)
        return covariance @ self.solved, np.sqrt(np.maximum(variance, 0.0))

    def covariance(self, cross: Floats, between: Floats) -> Floats:
        """Covariance of means at new points, standardised, (N, N). ``cross`` as for :meth:`at`; ``between`` them, (P, N, N)."""
        half, _ = dtrtrs(self.root, (np.tensordot(self.variances[:-1], cross, 1) + LEVEL).T, lower=1)
        left: Floats = np.tensordot(self.variances[:-1], between, 1) + LEVEL - half.T @ half
        return left

    def leave_one_out(self) -> tuple[Floats, Floats]:
        """Each row's score, as all others predict it: mean and standard deviation (Rasmussen and Williams, equation 5.12)."""
        inverse, _ = dtrtri(self.root, lower=1)
        precision = (inverse**2).sum(axis=0)
        return self.scores - self.solved / precision, 1 / np.sqrt(precision)

    def draws(self, matrices: Floats, rng: np.random.Generator, count: int) -> Floats:
        """Draws of the noiseless values at the rows, (count, n); ``matrices`` as for :meth:`of`."""
        covariance = np.tensordot(self.variances[:-1], matrices, 1) + LEVEL
        half, _ = dtrtrs(self.root, covariance, lower=1)
        left = covariance - half.T @ half
        values, vectors = np.linalg.eigh(left)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn: Floats = covariance @ self.solved + rng.standard_normal((count, len(left))) @ root.T
        return drawn

    @property
    def noise(self) -> float:
        """Standard deviation of the noise that was learned."""
        return float(np.sqrt(self.variances[-1]))
