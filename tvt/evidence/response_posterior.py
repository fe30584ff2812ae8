"""The posterior that a response itself is: its gains with its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tvt.evidence.estimates import Estimate, Posterior
from tvt.evidence.kernels import Bumps
from tvt.evidence.priors import PRIORS
from tvt.evidence.response import Response, mixedness
from tvt.stats.noise import normal_factor
from tvt.types import Floats


class ResponsePosterior(Posterior):
    """The posterior that a response itself is: its gains with its errors."""

    def __init__(self, response: Response) -> None:
        self.response, self.sources, self.targets = response, response.sources, response.targets

    def at(self, weights: Floats) -> Estimate:
        """See :meth:`Posterior.at`."""
        inner = self.response.inner(weights)
        slope = 1.0 if self.response.limits is None else np.exp(-inner)
        se, sd = (self.response.inner_errors(weights, run=run) for run in (False, True))
        return Estimate(self.response.link(inner), slope * se, slope * sd)

    def interval(self, weights: Floats, confidence: float) -> tuple[Floats, Floats]:
        """See :meth:`Posterior.interval`."""
        z = normal_factor(confidence)
        return self.response.lower_gains(weights, z), self.response.lower_gains(weights, -z)

    def covariances(self, weights: Floats, targets: Sequence[int]) -> Iterator[Floats]:
        """See :meth:`Posterior.covariances`. What mixing adds is alike where the mixtures are, as in
        :mod:`tvt.evidence.study_model`.
        """
        response, rows = self.response, np.atleast_2d(weights)
        mixed = mixedness(rows)
        alike = PRIORS.level + (1 - PRIORS.level) * Bumps(np.sqrt, PRIORS.length).cross(rows, rows)
        slopes = response.slopes(rows)
        for j in targets:
            reach = rows
            for curve, bent in zip(response.curves, response.bent[:, :, j], strict=True):
                reach = np.where(bent, curve(rows), reach)
            errors = reach * np.nan_to_num(response.errors[:, j])
            covariance = errors @ errors.T
            if response.shared is not None:
                common = reach @ response.shared[:, :, j].T
                covariance = covariance + common @ common.T
            if response.mixing is not None:
                covariance = covariance + response.mixing[j] ** 2 * np.outer(mixed, mixed) * alike
            yield covariance * np.outer(slopes[:, j], slopes[:, j])
