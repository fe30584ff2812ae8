"""What is believed of the objective at several mixtures at once: its mean, the covariance of its errors, the noise of a run.

A weighted mean of gains has both straight from the posterior, with targets' errors taken as independent; other objectives have
them from draws of the gains. Soft protection, divergence from a prior and risk are taken off the mean, so that mixtures are
compared by what a selection would maximise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy.special import ndtr

from tvt.core.values import Frozen, aligned, positions
from tvt.selection.engine import Prepared
from tvt.selection.pool import shortfalls
from tvt.types import Floats

DRAWS = 256
"""Of the gains, for objectives that are no weighted mean."""
CHANCES = 2000
"""Draws for the chance that nothing is better than a mixture, and for what the best of several is expected to bring."""
JITTER = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief(Frozen):
    """Of N mixtures: the objective's ``mean`` (N,), ``covariance`` (N, N) of its errors, and the ``noise`` of a run (N,)."""

    mean: Floats
    covariance: Floats
    noise: Floats

    @property
    def sd(self) -> Floats:
        """Standard errors of the means, (N,)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def learned(self, k: int) -> Belief:
        """After a run of mixture ``k`` that scores as predicted: the means stay, the errors shrink."""
        column = self.covariance[:, k]
        variance = float(self.covariance[k, k] + self.noise[k]) + JITTER
        return replace(self, covariance=self.covariance - np.outer(column, column) / variance)

    def take(self, keep: Floats | list[int]) -> Belief:
        """Of some mixtures (positions)."""
        at = np.asarray(keep, dtype=int)
        return Belief(mean=self.mean[at], covariance=self.covariance[np.ix_(at, at)], noise=self.noise[at])

    def draws(self, rng: np.random.Generator, count: int) -> Floats:
        """What the objective may really be, (count, N)."""
        return self.mean + rng.standard_normal((count, len(self.mean))) @ root(self.covariance).T


def root(covariance: Floats) -> Floats:
    """A square root (N, N), also of a covariance that is singular but for rounding."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    found: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return found


def expected_excess(mean: Floats, sd: Floats, best: float) -> Floats:
    """Expected amount by which normal values exceed ``best``, 0 where they fall short (expected improvement; Mockus 1975)."""
    spread = np.maximum(sd, 1e-12)
    above = (mean - best) / spread
    density = np.exp(-0.5 * above**2) / np.sqrt(2 * np.pi)
    return np.asarray((mean - best) * ndtr(above) + spread * density)


def belief_of(prepared: Prepared, weights: Floats, rng: np.random.Generator) -> Belief:
    """Of mixtures (N, S) over the full response's sources."""
    request, posterior = prepared.request, prepared.of.posterior
    estimate = posterior.at(weights)
    served = [int(j) for j in request.served]
    at = positions(prepared.full.targets, request.targets)
    columns = [at[j] for j in served]
    noise = np.maximum(estimate.sd**2 - estimate.se**2, 0.0)[:, columns]
    covariances = posterior.covariances(weights, columns)
    aim, asked = request.spec.aim, request.requested
    if aim.linear:
        total = np.zeros((len(weights), len(weights)))
        for share, covariance in zip(asked.weights, covariances, strict=True):
            total += share**2 * covariance
        found = Belief(mean=estimate.mean[:, columns] @ asked.weights, covariance=total, noise=noise @ asked.weights**2)
    else:
        shape = (DRAWS, len(weights))
        moved = [rng.standard_normal(shape) @ root(covariance).T for covariance in covariances]
        gains = estimate.mean[:, columns] + np.stack(moved, axis=-1)
        scores = aim.score(gains, asked)
        again = aim.score(gains + rng.standard_normal(gains.shape) * np.sqrt(noise), asked)
        found = Belief(mean=scores.mean(axis=0), covariance=np.cov(scores.T), noise=((again - scores) ** 2).mean(axis=0))
    return replace(found, mean=found.mean - penalties(prepared, weights) - carefulness(prepared, found))


def carefulness(prepared: Prepared, belief: Belief) -> Floats:
    """What risk and CVaR take off the objective, (N,)."""
    spec = prepared.spec
    total = spec.risk * np.sqrt(belief.sd**2 + belief.noise)
    if spec.cvar is not None and spec.cvar < 1:  # of a normal distribution
        normal = NormalDist()
        total = total + normal.pdf(normal.inv_cdf(spec.cvar)) / spec.cvar * belief.sd
    return np.asarray(total)


def penalties(prepared: Prepared, weights: Floats) -> Floats:
    """What soft protection and divergence from the prior take off the objective at mixtures (N, S), (N,)."""
    request, spec = prepared.request, prepared.spec
    total = np.zeros(len(weights))
    if not spec.hard:
        total += spec.harm_penalty * shortfalls(prepared, weights).sum(axis=1)
    if spec.kl:
        over = aligned(weights, None, (prepared.full.sources, request.sources))
        ratio = np.where(over > 0, over, 1.0) / np.where((over > 0) & (request.prior > 0), request.prior, 1.0)
        total += spec.kl * (over * np.log(ratio)).sum(axis=1)
    return total


def chance_of_none_better(belief: Belief, best: int, near: Floats, rng: np.random.Generator) -> float:
    """Probability that none of the mixtures is truly better than ``best``, but for those as ``near`` (N,; true) that they count
    as the same.
    """
    values = belief.draws(rng, CHANCES)
    rivals = np.where(near, -np.inf, values)
    return float((rivals.max(axis=1, initial=-np.inf) <= values[:, best]).mean())


def expected_gain(belief: Belief, chosen: list[int], best: int | None, rng: np.random.Generator) -> float:
    """By how much the best of ``chosen`` is expected to exceed mixture ``best`` (without one: the mean of all), at least 0."""
    if not chosen:
        return 0.0
    if best is None:
        values = belief.take(chosen).draws(rng, CHANCES)
        return float(np.maximum(values.max(axis=1) - belief.mean.mean(), 0.0).mean())
    values = belief.take([best, *chosen]).draws(rng, CHANCES)
    return float(np.maximum(values[:, 1:].max(axis=1) - values[:, 0], 0.0).mean())
