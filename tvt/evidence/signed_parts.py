"""What noisy gains say of their helping and harming parts: empirical Bayes under a scale mixture of normals.

Help and harm follow different curves of the weight, so what counts is ``max(P, 0)`` and ``max(-P, 0)`` of the true gain P.
Taking them from the noisy gain overstates both wherever the noise decides the sign: a cell of no effect seems to help by 0.4
standard errors on average, in every mixture alike, which would bend any curve fitted on mixtures. The prior of P is a mixture
of normals around 0 and around the mean gain, its shares fitted to all cells by EM (after Stephens, *False discovery rates: a
new deal*, Biostatistics 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tvt.core.frozen import Frozen
from tvt.types import Floats

ROUNDS = 200
"""Steps of EM; the shares move little after some tens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SignedParts(Frozen):
    """Posterior means and variances of help ``max(P, 0)`` and harm ``max(-P, 0)``, all (sources, targets).

    Help and harm of one cell are never both positive, so their covariance is ``-help * harm``.
    """

    help: Floats
    harm: Floats
    help_variance: Floats
    harm_variance: Floats


def signed_parts(mean: Floats, errors: Floats) -> SignedParts:
    """Help and harm behind gains ``mean`` with standard errors ``errors``, both (sources, targets); NaN errors count as 0."""
    noise = np.nan_to_num(errors)
    if not noise.any():
        zero = np.zeros_like(mean)
        return SignedParts(help=np.maximum(mean, 0), harm=np.maximum(-mean, 0), help_variance=zero, harm_variance=zero)
    x, variance = mean.ravel(), np.maximum(noise.ravel(), 1e-9) ** 2
    centre, spread, shares = _prior(x, variance)
    posterior = _responsibility(x, variance, centre, spread, shares)
    keep = spread**2 / (spread**2 + variance[:, None])
    at = keep * x[:, None] + (1 - keep) * centre
    sd = np.sqrt(keep * variance[:, None])
    up, up2 = _part(at, sd)
    down, down2 = _part(-at, sd)
    help_, harm = ((posterior * part).sum(axis=1) for part in (up, down))
    shape = mean.shape
    return SignedParts(
        help=help_.reshape(shape),
        harm=harm.reshape(shape),
        help_variance=np.maximum((posterior * up2).sum(axis=1) - help_**2, 0).reshape(shape),
        harm_variance=np.maximum((posterior * down2).sum(axis=1) - harm**2, 0).reshape(shape),
    )


def _prior(x: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """Centres, standard deviations and shares of the components, each (components,)."""
    widest = 2 * max(float(np.sqrt(np.mean(x**2))), 1e-9)
    grid = np.concatenate([[0.0], widest * 2.0 ** np.arange(-8, 1)])
    middle = float(np.sum(x / variance) / np.sum(1 / variance))
    centre = np.repeat([0.0, middle], len(grid))
    spread = np.tile(grid, 2)
    shares = np.full(len(centre), 1 / len(centre))
    for _ in range(ROUNDS):
        shares = _responsibility(x, variance, centre, spread, shares).mean(axis=0)
    return centre, spread, shares


def _responsibility(x: Floats, variance: Floats, centre: Floats, spread: Floats, shares: Floats) -> Floats:
    """Probability of each component given each gain, (cells, components)."""
    total = spread**2 + variance[:, None]
    with np.errstate(divide="ignore"):
        log = np.log(shares) - 0.5 * np.log(total) - 0.5 * (x[:, None] - centre) ** 2 / total
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    found: Floats = weight / weight.sum(axis=1, keepdims=True)
    return found


def _part(at: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """First two moments of ``max(X, 0)`` for X normal around ``at`` with standard deviation ``sd`` (0 allowed)."""
    safe = np.maximum(sd, 1e-12)
    z = at / safe
    above, density = ndtr(z), np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    first = np.maximum(at * above + safe * density, 0.0)
    second = np.maximum((at**2 + safe**2) * above + at * safe * density, 0.0)
    return first, second
