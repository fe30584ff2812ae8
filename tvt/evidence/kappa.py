"""The curvature kappa of the log response, fitted on the mixture and dose runs beside a study.

A run with weights w has the gain ``sum_i help_ij phi(w_i) - harm_ij w_i`` on target j, where help and harm are those of the
single-source runs on the whole budget and ``phi(w) = log(1 + kappa w)/log(1 + kappa)``. kappa is fitted by generalised least
squares over all runs and targets. Three kinds of noise weigh the residuals:

- the run's own: the variance between the study's runs, by target, more where it answered fewer questions; where no seed was
  repeated, the item error squared;
- that of the single-source means, which every prediction inherits. They are errors in variables: help and harm are replaced by
  their posterior means (:func:`signed_parts`, regression calibration), and their posterior variance joins the
  covariance of the residuals, so that runs on the same sources do not count as independent;
- what the model leaves out (sources that help or spoil one another, targets that move together from seed to seed): the
  covariance is scaled up by how much the residuals exceed it, overall, by run and by target, and by how the targets move
  together in the study's own runs; it is never scaled down.

The interval is the set of kappas whose weighted sum of squares is within ``t^2`` scaled variances of the least one
(quasi-likelihood profile, t with runs - 1 degrees of freedom).

On simulated studies with known kappa (tests/support/kappa_worlds.py), 90% intervals held it in 87 to 99 of 100, the fewest
where a seed moves all targets alike. Not corrected: an error of the base model's accuracy that its own questions do not share
with the other runs, such as answers drawn at a temperature. All gains of a target would share it, and it pulls kappa down.

Help and harm follow different curves of the weight, so what counts is ``max(P, 0)`` and ``max(-P, 0)`` of the true gain P.
Taking them from the noisy gain overstates both wherever the noise decides the sign: a cell of no effect seems to help by 0.4
standard errors on average, in every mixture alike, which would bend any curve fitted on mixtures. Hence empirical Bayes: the
prior of P is a mixture of normals around 0 and around the mean gain, its shares fitted to all cells by EM (after Stephens,
*False discovery rates: a new deal*, Biostatistics 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtr
from scipy.stats import t as student

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import NOTHING, MixtureRuns
from tvt.core.selection import DEFAULT_KAPPA
from tvt.core.values import Frozen, positions
from tvt.evidence.completion import Completed, complete
from tvt.evidence.response import HIGHEST, LOWEST, Curvature, Curve
from tvt.stats.noise import pooled_variance
from tvt.types import Bools, Floats

NEAR_LINEAR, NEAR_FLAT = 0.3, 300.0
"""An interval from below the first to above the second says nothing: half the budget would bring anything from 0.53 to 0.88."""
GRID = np.linspace(np.log(LOWEST), np.log(HIGHEST), 139)
LEAST_DF = 4
"""Fewer degrees of freedom between runs than this tell nothing of the seed variance."""
FAR = 1e9
"""Standard errors from 0 of a gain without an error."""
CREDIBLE = 0.01
"""Share of false positives among the sources taken to help."""
ROUNDS = 4
"""How often the weights are computed anew at the kappa found."""


def fit_kappa(matrix: TransferMatrix, runs: MixtureRuns, confidence: float = 0.9) -> Curvature:
    """Fit kappa on runs with weights, whose scores are gains in the matrix's metric.

    Args:
        matrix: the study, for what each source brings on the whole budget.
        runs: mixture and dose runs. Runs on sources that the study has not measured are left out.
        confidence: level of the interval, two-sided.

    Returns:
        The fitted curvature; the default one, with the reason, where the runs cannot tell.
    """
    completed = complete(matrix)
    problem = _Problem.of(matrix, completed, runs)
    doses, mixtures = problem.doses, problem.mixtures
    reason = problem.hopeless()
    if reason is None:
        value, low, high = problem.solve(confidence)
        if low > NEAR_LINEAR or high < NEAR_FLAT:
            return Curvature(
                value=value,
                origin="fitted",
                low=low,
                high=high,
                confidence=confidence,
                doses=doses,
                mixtures=mixtures,
            )
        reason = f"any kappa from {low:.2g} to {high:.2g} fits"
    return Curvature(value=DEFAULT_KAPPA, origin="assumed", doses=doses, mixtures=mixtures, reason=reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """Weights (R, S), gains and their variances (R, T) of the runs that can tell something, and the sources' parts (S, T)."""

    weights: Floats
    gains: Floats
    variances: Floats
    parts: SignedParts
    scores: Floats
    """The single-source means in units of their errors (S, T), far from 0 where no error is known."""
    together: Floats
    """How targets move together from run to run in the study: correlations (T, T)."""
    noisy: bool
    """Whether any error is known; if not, variances are in units of nothing and only the residuals give their scale."""
    doses: int
    mixtures: int

    @classmethod
    def of(cls, matrix: TransferMatrix, completed: Completed, runs: MixtureRuns) -> _Problem:
        known = [s in completed.sources for s in runs.sources]
        foreign = (runs.weights[:, ~np.array(known)] > NOTHING).any(axis=1)
        telling = ~foreign & (runs.doses | runs.mixtures)
        targets = [t for t in completed.targets if t in runs.targets]
        runs = runs.reindex(targets=targets)
        telling &= np.isfinite(runs.scores).any(axis=1)
        runs = runs.take([int(k) for k in np.flatnonzero(telling)])
        doses, mixtures = int(runs.doses.sum()), int(runs.mixtures.sum())
        runs = runs.reindex(sources=completed.sources)
        own = positions(completed.targets, targets)
        measured = matrix.reindex(sources=completed.sources, targets=targets)
        noise, typical = run_noise(measured)
        errors = np.where(np.isfinite(runs.known_errors), runs.known_errors, np.sqrt(typical))
        # Fewer questions than the study's make a run noisier in proportion; more do not help against the seed.
        variances = noise * np.maximum(np.divide(errors**2, typical, out=np.ones_like(errors), where=typical > 0), 1.0)
        noisy = bool(variances.any())
        mean, deviation = completed.mean[:, own], _mean_errors(measured, completed.errors[:, own], noise)
        return cls(
            weights=runs.weights,
            gains=runs.scores,
            variances=variances if noisy else np.ones_like(variances),
            parts=signed_parts(mean, deviation),
            scores=np.where(deviation > 0, mean / np.where(deviation > 0, deviation, 1.0), np.sign(mean) * FAR),
            together=_together(measured.values),
            noisy=noisy,
            doses=doses,
            mixtures=mixtures,
        )

    def hopeless(self) -> str | None:
        """Why there is nothing to fit, if so.

        A gain must be bent, and noise has none: at least one source used must credibly help a target scored, by the rule of
        Benjamini and Hochberg (1995) at 1%. Without it the fit would follow how noise averages out in mixtures.
        """
        if not len(self.gains):
            return "no run is on part of the budget of measured sources"
        used = (self.weights > NOTHING).T.astype(int) @ np.isfinite(self.gains).astype(int) > 0
        chances = np.sort(ndtr(-self.scores[used]))
        if not (chances <= CREDIBLE * np.arange(1, len(chances) + 1) / len(chances)).any():
            return "no source credibly helps, so there is no gain to bend"
        return None

    def solve(self, confidence: float) -> tuple[float, float, float]:
        """Kappa with the ends of its interval."""
        theta = float(np.log(DEFAULT_KAPPA))
        for _ in range(ROUNDS):
            roots = self._roots(theta)
            squares = self._squares(roots, GRID)
            theta = _lowest(GRID, squares)
        least = float(self._squares(roots, np.array([theta]))[0])
        margin = self._scale(roots, theta) * float(student.ppf(0.5 + confidence / 2, max(len(self.gains) - 1, 1))) ** 2
        low, high = _within(GRID, squares - least, theta, margin)
        return float(np.exp(theta)), float(np.exp(low)), float(np.exp(high))

    def _predicted(self, theta: float) -> Floats:
        bent = Curve.log(float(np.exp(theta)))(self.weights)
        predicted: Floats = bent @ self.parts.help - self.weights @ self.parts.harm
        return predicted

    def _roots(self, theta: float) -> list[tuple[Bools, Floats]]:
        """By target, which runs have it, and the lower Cholesky factor of their residuals' covariance."""
        bent, plain = Curve.log(float(np.exp(theta)))(self.weights), self.weights
        found: list[tuple[Bools, Floats]] = []
        for j in range(self.gains.shape[1]):
            known: Bools = np.isfinite(self.gains[:, j])
            b, w = bent[known], plain[known]
            cross = b @ ((self.parts.help[:, j] * self.parts.harm[:, j])[:, None] * w.T)
            covariance = b @ (self.parts.help_variance[:, j, None] * b.T) + w @ (self.parts.harm_variance[:, j, None] * w.T)
            covariance += cross + cross.T + np.diag(self.variances[known, j])
            # A floor keeps runs whose error happens to be 0 from deciding alone.
            floor = 1e-9 + 1e-6 * float(np.trace(covariance)) / max(len(covariance), 1)
            root = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
            found.append((known, root.astype(float)))
        return found

    def _whitened(self, roots: list[tuple[Bools, Floats]], values: Floats) -> Floats:
        """Values of shape (G, R, T) decorrelated over the runs, 0 where missing."""
        white = np.zeros(values.shape)
        for j, (known, root) in enumerate(roots):
            if known.any():
                white[:, known, j] = solve_triangular(root, values[:, known, j].T, lower=True).T
        return white

    def _squares(self, roots: list[tuple[Bools, Floats]], thetas: Floats) -> Floats:
        """Weighted sum of squared residuals at each log kappa, (G,)."""
        rest = np.stack([self.gains - self._predicted(float(theta)) for theta in thetas])
        squares: Floats = (self._whitened(roots, rest) ** 2).sum(axis=(1, 2))
        return squares

    def _scale(self, roots: list[tuple[Bools, Floats]], theta: float) -> float:
        """By how much the residuals' variance exceeds what was reckoned with, where it bears on kappa."""
        step = 0.05
        slope = (self._predicted(theta + step) - self._predicted(theta - step)) / (2 * step)
        slope, rest = self._whitened(roots, np.stack([slope, self.gains - self._predicted(theta)]))
        known, information = int(np.isfinite(self.gains).sum()), float((slope**2).sum())
        overall = max(float(self.noisy), float((rest**2).sum()) / max(known - 1, 1))
        if information == 0:
            return overall
        shared = slope.T @ slope / information
        both = (rest != 0).T.astype(float) @ (rest != 0)
        scales = [
            overall,
            overall * float((self.together * shared).sum()),
            float((rest.T @ rest / np.maximum(both, 1) * shared).sum()),
        ]
        by_kind = ((slope * rest).sum(axis=0), (slope * rest).sum(axis=1))
        scales += [float((g**2).sum()) / information * len(g) / (len(g) - 1) for g in by_kind if len(g) > 1]
        return max(scales)


def run_noise(matrix: TransferMatrix) -> tuple[Floats, Floats]:
    """By target: the variance of one run's gain around what its mixture would bring on the same questions, and the mean square
    of the item errors (0 where unknown), both (T,).

    Runs that answer the same questions share most of their item error, and what they share is no noise here: the response on
    these questions is what is compared. So the spread between the study's runs counts, item errors only where it is unknown.
    """
    values, item = matrix.values, matrix.item_errors
    freedom = np.maximum(np.isfinite(values).sum(axis=0) - 1, 0).sum()
    measured = np.isfinite(item).sum(axis=(0, 1))
    typical = np.nansum(item**2, axis=(0, 1)) / np.maximum(measured, 1)
    # A target whose error is unknown, beside others whose is not, must not pass for exact.
    typical = np.where(typical > 0, typical, typical[typical > 0].mean() if typical.any() else 0.0)
    return (typical if freedom < LEAST_DF else pooled_variance(values)), typical


def _together(values: Floats) -> Floats:
    """Correlations of the targets' deviations from their means over the runs, (T, T); none where runs are too few to tell.

    A seed that is good or bad for all targets makes them count as fewer than they are.
    """
    targets = values.shape[2]
    count = np.isfinite(values).sum(axis=0)
    rest = np.nan_to_num(values - np.nansum(values, axis=0) / np.maximum(count, 1)).reshape(-1, targets)
    size = np.sqrt((rest**2).sum(axis=0))
    alone = np.eye(targets)
    if np.maximum(count - 1, 0).sum() < LEAST_DF * targets:
        return alone
    return np.where(alone > 0, 1.0, rest.T @ rest / np.maximum(np.outer(size, size), 1e-12))


def _mean_errors(matrix: TransferMatrix, estimate: Floats, noise: Floats) -> Floats:
    """Standard errors of the single-source means, (S, T): the noise of one run shared out over the runs; estimated cells keep
    the error of their estimate.
    """
    count = matrix.run_count
    return np.where(count > 0, np.sqrt(noise / np.maximum(count, 1)), np.nan_to_num(estimate))


def _lowest(grid: Floats, values: Floats) -> float:
    """Where the values are least, by a parabola through the best point and its neighbours."""
    k = int(np.argmin(values))
    if k in (0, len(grid) - 1):
        return float(grid[k])
    left, middle, right = values[k - 1 : k + 2]
    bend = left - 2 * middle + right
    return float(grid[k] + (0.5 * (left - right) / bend if bend > 0 else 0.0) * (grid[1] - grid[0]))


def _within(grid: Floats, excess: Floats, best: float, margin: float) -> tuple[float, float]:
    """The ends of the stretch around ``best`` in which ``excess`` stays below ``margin``, between grid points linearly."""

    def end(points: Floats, values: Floats) -> float:
        over = np.flatnonzero(values > margin)
        if not over.size:
            return float(points[-1])
        k = int(over[0])
        before, at = (best, 0.0) if k == 0 else (float(points[k - 1]), float(values[k - 1]))
        return float(before + (points[k] - before) * (margin - at) / (values[k] - at))

    above, below = grid >= best, grid <= best
    low = end(grid[below][::-1], excess[below][::-1])
    high = end(grid[above], excess[above])
    return min(low, best), max(high, best)


EM_ROUNDS = 200
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
    for _ in range(EM_ROUNDS):
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
