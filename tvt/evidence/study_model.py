"""The joint response of a study: all its runs, on one source, at doses and on mixtures, give one posterior of gains.

Gaps multiply. With ``gain = 1 - exp(-h)`` for PGF (a gain without a ceiling is ``h`` itself) and target j,

    h_j(w) = sum over other sources i of w_i a_ij + psi(w_own) b_j + sqrt(sum w - sum w^2) d_j(w)

so that a run on one source alone has the gain that was measured, help of several sources never sums to more than the whole gap,
and two sources that teach the same do not count twice. Other sources count in proportion to their weight; the target's own
saturates by ``psi(w) = log(1 + kappa w) / log(1 + kappa)``. What mixing adds or takes, ``d_j``, is a Gaussian process: a level
that all mixtures share and a local rest; it is 0 for one source on the whole budget, so that measured single sources are exact
up to their noise and the error grows with the distance from them. The coefficients are normal around the target's mean with the
spread that the cells show beyond their noise (empirical Bayes), so that the largest of many noisy cells is not believed.

Runs that answer the same questions share part of their error, which does not average out over sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.evidence.completion import Completed
from tvt.evidence.estimates import Estimate, Posterior
from tvt.evidence.priors import PRIORS, Priors
from tvt.evidence.response import Curvature, Curve, Repeats, Response, mixedness
from tvt.evidence.response_posterior import ResponsePosterior
from tvt.evidence.study_rows import Rows, rows_of, usable_runs
from tvt.stats.noise import normal_factor
from tvt.types import Floats

KAPPAS = np.geomspace(1.0, 3000.0, 13)
MIXINGS = np.geomspace(0.2, 5.0, 9)
"""Curvatures, and factors of the prior's mixing, that are tried where runs beside the single sources can tell them."""
LEAST_RUNS = 6
"""With fewer runs of several sources or doses, the priors stand."""
MOST_ROWS = 240
"""So many runs are looked at for the curvature and the mixing."""
PASSES_OF_DOSE = 10.0
"""How often a small source's examples are used at the dose that it is measured at (``max_source_epochs`` of a recipe)."""
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPrior:
    """Prior of one target's coefficients: variance ``own`` of its own source's, ``spread`` of the others' around a common level
    of variance ``level``, and the standard deviation of ``mixing``.
    """

    position: int | None
    """Of its own source."""
    own: float
    spread: float
    level: float
    mixing: float


def target_prior(cells: Floats, noise: Floats, position: int | None, priors: Priors) -> TargetPrior:
    """From one target's single-source values of h (S,) and the variances of their noise (S,)."""
    other = np.isfinite(cells)
    if position is not None:
        other[position] = False
    values, variances = cells[other], noise[other]
    scale = float(np.mean(values**2)) if values.size else 0.0
    own = float(cells[position]) if position is not None and np.isfinite(cells[position]) else 0.0
    scale = max(scale, 0.05 * own**2, _TINY)
    spread = scale
    if values.size > 2:
        spread = float(np.clip(values.var(ddof=1) - variances.mean(), 0.01 * scale, None))
    return TargetPrior(
        position=position,
        own=4 * max(own**2, scale),
        spread=spread,
        level=4 * scale,
        mixing=priors.mixing * float(np.sqrt(max(spread + float(np.mean(values)) ** 2 if values.size else scale, _TINY))),
    )


class TargetModel:
    """The posterior of one target's h: a Gaussian process over the rows that have it."""

    def __init__(self, rows: Rows, target: int, prior: TargetPrior, kappa: float, priors: Priors) -> None:
        known = np.isfinite(rows.inner[:, target])
        self.prior, self.priors, self.curve = prior, priors, Curve.log(kappa)
        self.repeats = rows.repeats
        self.weights = rows.weights[known]
        self.values = rows.inner[known, target]
        sources = rows.weights.shape[1]
        self.diagonal = np.full(sources, prior.spread)
        self.common = np.full(sources, np.sqrt(prior.level))
        if prior.position is not None:
            self.diagonal[prior.position], self.common[prior.position] = prior.own, 0.0
        self.features = self.reach(self.weights)
        noise = rows.noise[known, target] + 1e-6 * prior.spread
        covariance = self.between(self.weights, self.features, self.weights, self.features) + np.diag(noise)
        self.factor = cho_factor(covariance + rows.shared[target], lower=True)
        self.solved = cho_solve(self.factor, self.values)

    def reach(self, weights: Floats) -> Floats:
        """What the coefficients are multiplied by at ``weights`` (N, S): the weight, or the own source's curve."""
        worth = weights if self.repeats is None else self.repeats(weights)
        if self.prior.position is None:
            return worth
        found = worth.copy()
        found[:, self.prior.position] = self.curve(worth[:, self.prior.position])
        return found

    def between(self, a: Floats, features_a: Floats, b: Floats, features_b: Floats) -> Floats:
        """Prior covariances of h at weights ``a`` (N, S) and ``b`` (M, S), (N, M)."""
        linear: Floats = (features_a * self.diagonal) @ features_b.T
        linear = linear + np.outer(features_a @ self.common, features_b @ self.common)
        roots_a, roots_b = np.sqrt(np.maximum(a, 0.0)), np.sqrt(np.maximum(b, 0.0))
        apart = (roots_a**2).sum(1)[:, None] + (roots_b**2).sum(1) - 2 * roots_a @ roots_b.T
        alike = np.exp(-0.5 * np.maximum(apart, 0.0) / self.priors.length**2)
        level = self.priors.level
        mixed: Floats = np.outer(mixedness(a), mixedness(b)) * self.prior.mixing**2 * (level + (1 - level) * alike)
        return linear + mixed

    @property
    def evidence(self) -> float:
        """Log marginal likelihood of the rows."""
        return float(-0.5 * self.values @ self.solved - np.log(np.diag(self.factor[0])).sum())

    def at(self, weights: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of h at ``weights`` (N, S), (N,) each."""
        features = self.reach(weights)
        cross = self.between(weights, features, self.weights, self.features)
        own = (features**2 * self.diagonal).sum(axis=1) + (features @ self.common) ** 2
        own = own + (mixedness(weights) * self.prior.mixing) ** 2
        rest = own - (cross * cho_solve(self.factor, cross.T).T).sum(axis=1)
        mean: Floats = cross @ self.solved
        return mean, np.maximum(rest, 0.0)

    def covariance(self, weights: Floats) -> Floats:
        """Covariance of h at ``weights`` (N, S), (N, N)."""
        features = self.reach(weights)
        cross = self.between(weights, features, self.weights, self.features)
        prior = self.between(weights, features, weights, features)
        left: Floats = prior - cross @ cho_solve(self.factor, cross.T)
        return left

    @property
    def level(self) -> float:
        """Posterior mean of what mixing adds on average."""
        return float(self.prior.mixing**2 * self.priors.level * (mixedness(self.weights) @ self.solved))

    def coefficients(self) -> tuple[Floats, Floats]:
        """Posterior mean (S,) of the coefficients, and factors (F, S) of their covariance."""
        prior = self.features * self.diagonal + np.outer(self.features @ self.common, self.common)
        mean = prior.T @ self.solved
        covariance = np.diag(self.diagonal) + np.outer(self.common, self.common) - prior.T @ cho_solve(self.factor, prior)
        values, vectors = np.linalg.eigh(covariance)
        kept = values > 1e-10 * max(float(values[-1]), _TINY)
        factors: Floats = (vectors[:, kept] * np.sqrt(values[kept])).T
        return mean, factors


def singles_coefficients(rows: Rows, target: int, prior: TargetPrior, kappa: float) -> tuple[Floats, Floats, Floats]:
    """The same where every row is a run on one source, without a matrix of all sources: mean (S,), the standard deviations (S,)
    of what sources have each for themselves, and two factors (2, S) of what they have in common.

    With prior precision ``diag(1/spread) - a a'`` and the runs' precision ``diag(1/noise) - b b'`` (Sherman and Morrison), the
    posterior covariance is a diagonal and a matrix of rank two.
    """
    sources = rows.weights.shape[1]
    diagonal, common = np.full(sources, prior.spread), np.full(sources, np.sqrt(prior.level))
    reach = (rows.weights if rows.repeats is None else rows.repeats(rows.weights)).diagonal().copy()
    if prior.position is not None:
        diagonal[prior.position], common[prior.position] = prior.own, 0.0
        reach[prior.position] = Curve.log(kappa)(reach[prior.position])
    known = np.isfinite(rows.inner[:, target])
    mixed = (mixedness(rows.weights) * prior.mixing) ** 2  # of a dose, as the Gaussian process has it
    noise = np.where(known, (rows.noise[:, target] + mixed + 1e-6 * prior.spread) / reach**2, np.inf)
    a = common / diagonal / np.sqrt(1 + (common**2 / diagonal).sum())
    shared = np.sqrt(rows.shared[target]) / reach
    b = shared / noise / np.sqrt(1 + (shared**2 / noise).sum())
    own = 1 / (1 / diagonal + 1 / noise)
    pair = own * np.stack([a, b])
    inside = np.linalg.inv(np.eye(2) - pair @ np.stack([a, b]).T)
    factors: Floats = np.linalg.cholesky((inside + inside.T) / 2).T @ pair
    values = np.where(known, np.nan_to_num(rows.inner[:, target]) / reach, 0.0)
    informed = values / noise - b * (b @ values)
    return own * informed + factors.T @ (factors @ informed), np.sqrt(own), factors


class StudyPosterior(Posterior):
    """The posterior of a study with runs beside its single sources: each target's Gaussian process, through the link."""

    def __init__(self, models: Sequence[TargetModel], response: Response) -> None:
        self.models, self.response = models, response
        self.sources, self.targets = response.sources, response.targets

    def inner(self, weights: Floats) -> tuple[Floats, Floats]:
        """Mean and standard error of h at ``weights`` (N, S), (N, T) each."""
        found = [model.at(weights) for model in self.models]
        return np.stack([mean for mean, _ in found], axis=1), np.sqrt(np.stack([variance for _, variance in found], axis=1))

    def at(self, weights: Floats) -> Estimate:
        """See :meth:`Posterior.at`."""
        mean, error = self.inner(weights)
        slope = 1.0 if self.response.limits is None else np.exp(-mean)
        return Estimate(self.response.link(mean), slope * error, slope * np.hypot(error, self.response.residual))

    def interval(self, weights: Floats, confidence: float) -> tuple[Floats, Floats]:
        """See :meth:`Posterior.interval`."""
        mean, error = self.inner(weights)
        reach = normal_factor(confidence) * np.hypot(error, self.response.residual)
        return self.response.link(mean - reach), self.response.link(mean + reach)

    def covariances(self, weights: Floats, targets: Sequence[int]) -> Iterator[Floats]:
        """See :meth:`Posterior.covariances`."""
        for j in targets:
            model = self.models[j]
            slope = np.ones(len(weights)) if self.response.limits is None else np.exp(-model.at(weights)[0])
            yield model.covariance(weights) * np.outer(slope, slope)


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyFit:
    """The response that a program uses, the posterior that predicts, and what was learned of the curvature and of mixing."""

    response: Response
    posterior: Posterior
    kappa: float
    own: bool
    """Whether some target has data of its own, which ``kappa`` is about."""
    mixing: float
    """In units of a target's typical transfer."""
    doses: int
    mixtures: int
    """How many runs at doses, and of several sources, were looked at."""

    @property
    def runs(self) -> int:
        """How many runs beside the single sources were looked at."""
        return self.doses + self.mixtures

    @property
    def origin(self) -> Literal["fitted", "assumed"]:
        """Where ``kappa`` and ``mixing`` are from: the runs, or what is assumed where there are too few."""
        return "fitted" if self.runs >= LEAST_RUNS else "assumed"

    @property
    def text(self) -> str:
        """For people: on what it stands."""
        own = f"own data saturates with kappa {self.kappa:.2g}, " if self.own else ""
        which = f"both {self.origin}" if self.own else self.origin
        return (
            f"the response is fitted on {self.runs} runs beside the single sources: {own}mixing moves gains by "
            f"{self.mixing:.0%} of a typical transfer ({which})"
        )

    @property
    def shape(self) -> str:
        """For people: how gain grows with a source's weight."""
        own = f", a target's own data saturates with kappa {self.kappa:.3g} ({self.origin})" if self.own else ""
        return f"gaps multiply, other sources count in proportion{own}"

    def json_value(self) -> dict[str, Any]:
        """Plain values; ``fitted_on`` is null where nothing was fitted, ``kappa`` where no target has data of its own."""
        kappa = self.kappa if self.own else None
        on = {"doses": self.doses, "mixtures": self.mixtures} if self.origin == "fitted" else None
        return {
            "form": "joint",
            "kappa": kappa,
            "mixing": self.mixing,
            "origin": self.origin,
            "fitted_on": on,
        }


def response_json(form: str, curvature: Curvature | None, joint: StudyFit | None) -> dict[str, Any] | None:
    """``response`` in JSON: the form with what is known of its shape; ``None`` for one without any."""
    if joint is not None:
        return joint.json_value()
    return None if curvature is None else {"form": form, **curvature.json_value()}


def fit_study(
    matrix: TransferMatrix,
    completed: Completed,
    runs: MixtureRuns | None,
    priors: Priors = PRIORS,
    shares: Mapping[str, float] | None = None,
) -> StudyFit:
    """The joint response of a study.

    Args:
        matrix: its single-source runs.
        completed: the same without holes.
        runs: mixture and dose runs beside it, in its metric.
        priors: what is known before.
        shares: by source, the share of the budget that its examples make; without one it has enough, or as many as make the
            dose that it was measured at in ``PASSES_OF_DOSE`` passes.
    """
    usable = usable_runs(runs, completed)
    known = {source: dose / PASSES_OF_DOSE for source, dose in matrix.dose.items() if dose < 1} | dict(shares or {})
    repeats = Repeats(np.array([known.get(s, np.inf) for s in completed.sources])) if known else None
    rows, noise = rows_of(matrix, completed, usable, priors, repeats)
    positions = [completed.sources.index(t) if t in completed.sources else None for t in completed.targets]
    singles = len(completed.sources)
    targets = [
        target_prior(rows.inner[:singles, j], rows.noise[:singles, j], position, priors) for j, position in enumerate(positions)
    ]
    beside = 0 if usable is None else len(usable.ids)
    if beside >= LEAST_RUNS:
        priors = _learned(rows, targets, priors)
        targets = [replace(t, mixing=t.mixing * priors.mixing / PRIORS.mixing) for t in targets]
    kappa, bounded = priors.own_kappa, matrix.metric == "pgf"
    level = None
    if beside:
        models = [TargetModel(rows, j, prior, kappa, priors) for j, prior in enumerate(targets)]
        parts = [(mean, np.zeros(singles), factors) for mean, factors in (model.coefficients() for model in models)]
        level = np.array([max(model.level, 0.0) for model in models])
    else:
        parts = [singles_coefficients(rows, j, prior, kappa) for j, prior in enumerate(targets)]
    response = _response(completed, positions, parts, Curve.log(kappa), bounded)
    response = replace(response, repeats=repeats)
    response = replace(response, residual=np.sqrt(noise), mixing=np.array([t.mixing for t in targets]), level=level)
    response = replace(response, between=priors.between_targets)
    posterior: Posterior = StudyPosterior(models, response) if beside else ResponsePosterior(response)
    doses, mixtures = (0, 0) if usable is None else (int(usable.doses.sum()), int(usable.mixtures.sum()))
    return StudyFit(
        response=response,
        posterior=posterior,
        kappa=kappa,
        own=any(position is not None for position in positions),
        mixing=priors.mixing,
        doses=doses,
        mixtures=mixtures,
    )


def _response(
    completed: Completed,
    positions: Sequence[int | None],
    parts: Sequence[tuple[Floats, Floats, Floats]],
    curve: Curve,
    bounded: bool,
) -> Response:
    """The concave response of posterior coefficients: harm by the own source is proportional to its weight."""
    shape, targets = (len(completed.sources), len(completed.targets)), range(len(completed.targets))
    linear, concave = np.stack([mean for mean, _, _ in parts], axis=1), np.zeros((1, *shape))
    shared = np.zeros((max((len(f) for _, _, f in parts), default=0), *shape))
    for j in targets:
        i = positions[j]
        if i is not None and linear[i, j] > 0:
            concave[0, i, j], linear[i, j] = linear[i, j], 0.0
        shared[: len(parts[j][2]), :, j] = parts[j][2]
    count = len(completed.targets)
    return Response(
        sources=completed.sources,
        targets=completed.targets,
        intercept=np.full(count, -0.0),
        linear=linear,
        concave=concave,
        curves=(curve,),
        errors=np.stack([sd for _, sd, _ in parts], axis=1),
        residual=np.zeros(count),
        reference=np.full(count, np.nan),
        limits=np.ones(count) if bounded else None,
        label=f"joint, own kappa {curve_kappa(curve):.3g}",
        shared=shared,
    )


def curve_kappa(curve: Curve) -> float:
    """The kappa of a log curve."""
    assert curve.offset is not None  # noqa: S101 - it is a log curve
    return 1 / curve.offset


def _learned(rows: Rows, targets: Sequence[TargetPrior], priors: Priors) -> Priors:
    """The priors with the curvature and the mixing that are most likely after the runs, one after the other."""
    keep = np.random.default_rng(0).permutation(len(rows.weights))[:MOST_ROWS]
    seen = rows.take(np.sort(keep))

    def likelihood(kappa: float, mixing: float) -> float:
        changed = [replace(t, mixing=t.mixing * mixing / priors.mixing) for t in targets]
        models = [TargetModel(seen, j, prior, kappa, priors) for j, prior in enumerate(changed)]
        distance = (
            np.log(kappa / priors.own_kappa) / priors.own_kappa_log_sd,
            np.log(mixing / priors.mixing) / priors.mixing_log_sd,
        )
        return sum(model.evidence for model in models) - 0.5 * float(np.square(distance).sum())

    kappa, mixing = priors.own_kappa, priors.mixing
    if any(t.position is not None for t in targets):
        kappa = max(map(float, KAPPAS), key=lambda k: likelihood(k, mixing))
    mixing = max((float(m) * priors.mixing for m in MIXINGS), key=lambda m: likelihood(kappa, m))
    return replace(priors, own_kappa=kappa, mixing=mixing)
