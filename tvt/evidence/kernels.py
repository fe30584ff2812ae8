"""Kernels of Gaussian processes on mixture weights: how alike two mixtures count, one part for each way in which scores change.

Parts are linear in features of the weights (slopes, logarithms), or fall off with distance (of logarithms of one weight, of
square roots of all). Each is scaled to a mean variance of 1 over the table's rows, so that a variance beside it is one in
units of the scores'. Two families of parts exist: one with a part of its own for every source, so that variances tell which
sources matter, and one whose parts all sources share, for tables with too few rows to tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tvt.types import Floats, Positions

OFFSETS = (1e-3, 2e-2)
"""Where a source's logarithms ``log(1 + w/offset)`` bend: at a thousandth of the budget, and at a fiftieth."""
SHARED_OFFSETS = (1e-3, 1e-2, 1e-1)
NEAR = 1e-3
"""The offset of the logarithm in which distances between weights of one source are taken."""
LENGTHS = (0.3, 0.8)
"""Length scales of square roots of weights: these have norm 1, and disjoint mixtures are 1.41 apart."""
TINY = 1e-9


class Part(Protocol):
    """A kernel: (N, S) and (M, S) -> (N, M), and its diagonal."""

    def cross(self, left: Floats, right: Floats) -> Floats:
        """Covariances, (N, M)."""

    def diagonal(self, weights: Floats) -> Floats:
        """Variances, (N,)."""


@dataclass(frozen=True)
class Features:
    """A part that is linear in features (N, F) of the weights."""

    of: Callable[[Floats], Floats]

    def cross(self, left: Floats, right: Floats) -> Floats:
        """See :class:`Part`."""
        return self.of(left) @ self.of(right).T

    def diagonal(self, weights: Floats) -> Floats:
        """See :class:`Part`."""
        squares: Floats = (self.of(weights) ** 2).sum(axis=1)
        return squares


@dataclass(frozen=True)
class Bumps:
    """A part that falls off with the squared distance of points (N, D): ``exp(-d^2 / (2 length^2))``, summed over ``groups`` of
    columns where these are to be told apart.
    """

    of: Callable[[Floats], Floats]
    length: float
    apart: bool = False
    """Whether each column is a part of its own, and their sum counts."""

    def cross(self, left: Floats, right: Floats) -> Floats:
        """See :class:`Part`."""
        a, b = self.of(left), self.of(right)
        if self.apart:
            total = np.zeros((len(a), len(b)))
            for one, other in zip(a.T, b.T, strict=True):
                total += np.exp(-0.5 * ((one[:, None] - other) / self.length) ** 2)
            return total
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        near: Floats = np.exp(-0.5 * np.maximum(squared, 0.0) / self.length**2)
        return near

    def diagonal(self, weights: Floats) -> Floats:
        """See :class:`Part`."""
        return np.full(len(weights), float(weights.shape[1]) if self.apart else 1.0)


@dataclass(frozen=True)
class Sum:
    """A sum of parts with fixed shares."""

    parts: tuple[tuple[float, Part], ...]

    def cross(self, left: Floats, right: Floats) -> Floats:
        """See :class:`Part`."""
        total: Floats = sum(share * part.cross(left, right) for share, part in self.parts)  # type: ignore[assignment]
        return total

    def diagonal(self, weights: Floats) -> Floats:
        """See :class:`Part`."""
        total: Floats = sum(share * part.diagonal(weights) for share, part in self.parts)  # type: ignore[assignment]
        return total


@dataclass(frozen=True)
class Prior:
    """Normal priors of the logarithms of variances, in units of the scores' own, (parts,) each."""

    mean: Floats
    spread: Floats

    def extended(self, variance: float, spread: float) -> Prior:
        """With one more part."""
        return Prior(np.append(self.mean, np.log(variance)), np.append(self.spread, spread))


class Family:
    """Parts over the rows of a table, scaled, with the priors of their variances.

    ``matrices`` (P, n, n): covariances of the table's rows by each part.
    """

    def __init__(self, weights: Floats, parts: Sequence[Part], prior: Prior) -> None:
        self.weights, self.parts, self.prior = weights, tuple(parts), prior
        raw = [part.cross(weights, weights) for part in parts]
        self.scales = np.array([max(float(np.diagonal(matrix).mean()), TINY) for matrix in raw])
        self.matrices: Floats = np.stack(raw) / self.scales[:, None, None]

    def cross(self, weights: Floats) -> Floats:
        """Covariances of new mixtures (N, S) with the table's rows, (P, N, n)."""
        raw: Floats = np.stack([part.cross(weights, self.weights) for part in self.parts])
        raw /= self.scales[:, None, None]
        return raw

    def between(self, weights: Floats) -> Floats:
        """Covariances of new mixtures (N, S) with each other, (P, N, N)."""
        raw: Floats = np.stack([part.cross(weights, weights) for part in self.parts])
        raw /= self.scales[:, None, None]
        return raw

    def diagonal(self, weights: Floats) -> Floats:
        """Variances of new mixtures, (P, N)."""
        raw: Floats = np.stack([part.diagonal(weights) for part in self.parts])
        raw /= self.scales[:, None]
        return raw


def separate(weights: Floats) -> Family:
    """A curve for each source (of two logarithms, and whatever else its weight does), slopes, and two parts of interactions.

    Most sources hardly matter to a target: the prior of their variances is small and wide.
    """
    count = weights.shape[1]
    parts: list[Part] = [*(_curve(weights, i) for i in range(count)), _slopes(weights), *_interactions()]
    variances = [*[0.01] * count, 0.1, *[0.05] * len(LENGTHS)]
    spreads = [*[1.5] * count, 2.0, *[2.0] * len(LENGTHS)]
    return Family(weights, parts, Prior(np.log(variances), np.array(spreads)))


def shared(weights: Floats) -> Family:
    """Slopes, logarithms at three offsets, free curves of single weights, and two parts of interactions, alike for all
    sources.
    """
    logs = [_centred(weights, lambda w, offset=offset: np.log1p(w / offset)) for offset in SHARED_OFFSETS]  # type: ignore[misc]
    free = Bumps(lambda w: np.log1p(w / NEAR), 1.5, apart=True)
    parts: list[Part] = [_slopes(weights), *logs, free, *_interactions()]
    return Family(weights, parts, Prior(np.full(len(parts), np.log(0.1)), np.full(len(parts), 2.0)))


FAMILIES: dict[str, Callable[[Floats], Family]] = {"separate": separate, "shared": shared}


def _centred(weights: Floats, of: Callable[[Floats], Floats]) -> Features:
    """Features less their means over the table."""
    centre = of(weights).mean(axis=0)
    return Features(lambda w: of(w) - centre)


def _slopes(weights: Floats) -> Features:
    return _centred(weights, lambda w: w)


def _interactions() -> list[Part]:
    return [Bumps(np.sqrt, length) for length in LENGTHS]


def _curve(weights: Floats, source: int) -> Sum:
    """What one source's weight does: two logarithms, standardised over the table, and half as much of any smooth curve."""

    def logs(w: Floats) -> Floats:
        return np.log1p(w[:, [source] * len(OFFSETS)] / OFFSETS)

    centre, spread = logs(weights).mean(axis=0), logs(weights).std(axis=0)
    # A source whose weight never changes tells nothing: its standardised logarithm would be noise of rounding.
    scale = np.where(spread > TINY, spread, np.inf)
    flexible = Bumps(lambda w: np.log1p(w[:, [source]] / NEAR), 2.0)
    return Sum(((1.0, Features(lambda w: (logs(w) - centre) / scale)), (0.5, flexible)))


def scales(gains: Floats) -> Floats:
    """Standard deviation of each target's gains; 1 where they are constant."""
    with np.errstate(invalid="ignore"):
        spread = np.array([np.nanstd(column) if np.isfinite(column).any() else 0.0 for column in gains.T])
    return np.where(spread > 0, spread, 1.0)


def others_covariance(features: Floats, j: int, rows: Positions) -> Floats:
    """Covariance of rows by what targets other than ``j`` are predicted, scaled to a mean variance of 1."""
    beside = np.delete(features[rows], j, axis=1)
    covariance: Floats = beside @ beside.T / others_scale(features, j)
    return covariance


def others_scale(features: Floats, j: int) -> float:
    """Mean variance of rows by what targets other than ``j`` are predicted."""
    return max(float((np.delete(features, j, axis=1) ** 2).sum(axis=1).mean()), 1e-9)
