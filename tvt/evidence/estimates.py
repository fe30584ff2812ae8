"""What evidence says of the gains of any mixture: means, their errors, and what a new run may bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tvt.types import Floats


class Estimate(NamedTuple):
    """Of mixtures (N) and targets (T), each (N, T), in the unit of gains."""

    mean: Floats
    se: Floats
    """Standard error of the mean."""
    sd: Floats
    """Standard deviation of a new run's gain around the mean: its own noise and that of questions included."""


class Posterior(ABC):
    """The joint posterior of the gains of all mixtures."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]

    @abstractmethod
    def at(self, weights: Floats) -> Estimate:
        """Gains at ``weights`` (N, S)."""

    @abstractmethod
    def interval(self, weights: Floats, confidence: float) -> tuple[Floats, Floats]:
        """Ends of the interval in which a new run's gain at ``weights`` (N, S) is foreseen, two-sided: (N, T) each."""

    @abstractmethod
    def covariances(self, weights: Floats, targets: Sequence[int]) -> Iterator[Floats]:
        """For each of some targets (positions), the covariance of its mean gains at ``weights`` (N, S), (N, N): the diagonal is
        the square of ``se``.
        """
