"""The posterior of gains at any mixture, given a table of mixture runs: Gaussian processes, averaged by evidence.

Per target, processes with a variance for every source and with shared ones (:mod:`tvt.evidence.kernels`), on the gain
itself and on minus the log of its distance to a limit above the best run, count by how probable they make the scores
(Bayesian model averaging; Hoeting et al. 1999). Where a table has several targets, a second round adds what the other
targets' predictions say of a mixture: a target that few runs tell is often a blend of others that they tell well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from tvt.core.values import Frozen
from tvt.evidence.estimates import Estimate, Posterior
from tvt.evidence.gaussian_process import Process
from tvt.evidence.kernels import Bumps, Family, others_covariance, others_scale, scales
from tvt.types import Bools, Floats

LEAST_DEGREES = 3.0
"""Of freedom of a new run's distribution. Half as many as scores: variances were learned from the same scores."""
AWAY = 0.4
"""Length scale of square roots of weights over which runs vouch for a mixture."""
STEPS = 45
"""Halvings of the bracket when quantiles are sought."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(Frozen):
    """One process of the average: what was learned of it, without the data."""

    family: str
    headroom: float | None
    others: bool
    """Whether it has the part of other targets' predictions."""
    logs: Floats
    """Logarithms of the variances of its parts and, last, of the noise."""
    share: float
    """Its share of the evidence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Form(Frozen):
    """What was learned of a table, by target: with it a posterior of other rows is had without learning anew."""

    models: dict[str, tuple[Model, ...]]
    first: dict[str, tuple[Model, ...]]
    """Those of the first round, where there is a second; empty elsewhere."""
    sources: dict[str, Floats]
    """By target, the variances (S + 2,) of each source's curve, of slopes, and of noise, where each source has its own."""

    @property
    def label(self) -> str:
        """For people."""
        shares = [m.share for models in self.models.values() for m in models if m.headroom is not None]
        toward = sum(shares) / max(len(self.models), 1)
        return "Gaussian processes" + (", toward a limit" if toward > 0.5 else "")


@dataclass(frozen=True)
class Link:
    """Between gains and what a process is of: the gain, or minus the log of its distance to ``limit``, standardised."""

    limit: float | None
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def to(cls, gains: Floats, headroom: float | None) -> Link:
        limit = None
        if headroom is not None:
            best, middle = float(gains.max()), float(np.median(gains))
            limit = best + headroom * (best - middle if best > middle else float(np.ptp(gains)))
        inner = gains if limit is None else -np.log(limit - gains)
        return cls(limit, float(inner.mean()), float(inner.std()) or 1.0)

    def inner(self, gains: Floats) -> Floats:
        """Standardised; +infinity at the limit and above."""
        if self.limit is None:
            return (gains - self.centre) / self.spread
        left = np.maximum(self.limit - gains, 0.0)
        with np.errstate(divide="ignore"):
            return (-np.log(left) - self.centre) / self.spread

    def gains(self, inner: Floats) -> Floats:
        """The inverse."""
        plain = self.centre + self.spread * inner
        return plain if self.limit is None else self.limit - np.exp(np.minimum(-plain, 50.0))

    def slope(self, gains: Floats) -> Floats:
        """Change of the gain with the standardised value."""
        return np.full_like(gains, self.spread) if self.limit is None else self.spread * (self.limit - gains)

    @property
    def log_volume(self) -> float:
        """Per row, minus the log density that standardising alone brings: log of the spread."""
        return float(np.log(self.spread))

    def log_jacobian(self, gains: Floats) -> float:
        """Sum of the logarithms of the slope of minus the log distance."""
        return 0.0 if self.limit is None else float(-np.log(self.limit - gains).sum())


class Component(NamedTuple):
    """A process of the average, conditioned on a target's scores."""

    model: Model
    process: Process
    link: Link


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The processes of one target on the rows it has scores of; none where its mean is all there is."""

    components: tuple[Component, ...]
    rows: Bools
    gains: Floats
    known: Floats
    """Standard errors of the scores that are known, 0 elsewhere, of the same rows."""
    sources: Floats
    """See :attr:`Form.sources`."""

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """A prediction never leaves the table's range by more than its width."""
        width = float(np.ptp(self.gains))
        return float(self.gains.min()) - width, float(self.gains.max()) + width


class _Points(NamedTuple):
    """New mixtures, as each family sees them."""

    cross: dict[str, Floats]
    diagonal: dict[str, Floats]
    away: Floats
    """How far each is from all runs, (N,): 0 as near as runs are to each other, 1 far away."""
    others: Floats | None = None
    """Other targets' predictions, (N, T), standardised; of the first round."""
    errors: Floats | None = None
    """Their standard errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TablePosterior(Posterior):
    """Gains (improvements over the table's mean score) of ``targets`` at any mixture of ``sources``."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    form: Form
    weights: Floats
    """The table's, (n, S)."""
    gains: Floats
    """The table's, (n, T), NaN where missing."""
    families: dict[str, Family]
    parts: tuple[Target, ...]
    first: tuple[Target, ...] = ()
    """The first round, whose predictions the second has as a part; empty where there is no second."""
    features: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """Predictions of the first round at the table's rows, (n, T), standardised."""

    def at(self, weights: Floats) -> Estimate:
        """Means and errors at mixtures (N, S)."""
        found = [self._moments(points) for points in self._blocks(weights)]
        return Estimate(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def interval(self, weights: Floats, confidence: float) -> tuple[Floats, Floats]:
        """Ends of intervals for a new run at mixtures (N, S), (N, T) each."""
        tail = (1 - confidence) / 2
        found = [(self._quantile(points, tail), self._quantile(points, 1 - tail)) for points in self._blocks(weights)]
        low, high = zip(*found, strict=True)
        return np.concatenate(low), np.concatenate(high)

    def low(self, weights: Floats, confidence: float) -> Floats:
        """Lower ends of intervals for a new run, (N, T)."""
        return self.interval(weights, confidence)[0]

    def high(self, weights: Floats, confidence: float) -> Floats:
        """Upper ends of intervals for a new run, (N, T)."""
        return self.interval(weights, confidence)[1]

    def smoothed(self) -> Floats:
        """Means at the table's own rows, (n, T)."""
        return self._at_rows(lambda process: process.smoothed)

    def leave_one_out(self) -> Floats:
        """Each row's gains as the other rows predict them, with the variances learned from all, (n, T); at rows without a
        score, as all rows do.
        """
        return self._at_rows(lambda process: process.leave_one_out()[0], alone=True)

    def _at_rows(self, of: Callable[[Process], Floats], alone: bool = False) -> Floats:
        """Gains at the table's rows (n, T), by what each process says of its own rows; ``alone``: without the row itself."""
        found = np.full(self.gains.shape, np.nan)
        for j, target in enumerate(self.parts):
            found[target.rows, j] = _at_own_rows(target, of, alone)
        missing = ~np.isfinite(self.gains).all(axis=1)
        if missing.any():
            elsewhere = np.full(self.gains.shape, np.nan)
            elsewhere[missing] = self.at(self.weights[missing]).mean
            found = np.where(np.isfinite(self.gains), found, elsewhere)
        return found

    def draws(self, rng: np.random.Generator, count: int) -> Floats:
        """Gains that the table's mixtures may really have, (count, n, T): target by target a process, and a draw of it.
        Rows without a score keep their mean.
        """
        found = np.tile(self.smoothed(), (count, 1, 1))
        for j, target in enumerate(self.parts):
            if not target.components:
                continue
            which = rng.choice(len(target.components), size=count, p=[c.model.share for c in target.components])
            for k, (model, process, link) in enumerate(target.components):
                drawn = np.flatnonzero(which == k)
                if drawn.size:
                    inner = process.draws(self._matrices(model, j), rng, drawn.size)
                    within = np.clip(link.gains(inner), *target.bounds)
                    found[drawn[:, None], np.flatnonzero(target.rows), j] = within
        return found

    def _matrices(self, model: Model, j: int) -> Floats:
        """Covariances of a target's rows by part, (P, n, n)."""
        rows = np.flatnonzero(self.parts[j].rows)
        matrices = self.families[model.family].matrices[:, rows[:, None], rows]
        return np.concatenate([matrices, others_covariance(self.features, j, rows)[None]]) if model.others else matrices

    def _blocks(self, weights: Floats, size: int = 1024) -> list[_Points]:
        rows = np.atleast_2d(weights)
        return [self._points(rows[at : at + size]) for at in range(0, max(len(rows), 1), size)]

    def _away(self, weights: Floats) -> Floats:
        nearest: Floats = nearness(weights, self.weights).max(axis=1)
        return np.clip(1 - nearest / self._usual_nearness, 0.0, 1.0)

    @cached_property
    def _usual_nearness(self) -> float:
        """The median run's to its nearest other run."""
        near = nearness(self.weights, self.weights)
        np.fill_diagonal(near, 0.0)
        return max(float(np.median(near.max(axis=1))), 1e-9)

    def _points(self, weights: Floats) -> _Points:
        cross = {name: family.cross(weights) for name, family in self.families.items()}
        diagonal = {name: family.diagonal(weights) for name, family in self.families.items()}
        points = _Points(cross, diagonal, self._away(weights))
        if not self.first:
            return points
        moments = [_estimate(t, self._inner(t, j, points), points.away) for j, t in enumerate(self.first)]
        mean, se = (np.stack(each, axis=1) / scales(self.gains) for each in list(zip(*moments, strict=True))[:2])
        return points._replace(others=np.nan_to_num(mean), errors=np.nan_to_num(se))

    def _inner(self, target: Target, j: int, points: _Points) -> list[tuple[Floats, Floats]]:
        """Mean and standard error of each component, standardised."""
        found = []
        for component in target.components:
            diagonal = points.diagonal[component.model.family]
            cross = self._cross(component.model, target, j, points)
            if not component.model.others:
                found.append(component.process.at(cross, diagonal))
                continue
            assert points.others is not None and points.errors is not None  # noqa: S101, PT018 - the first round's
            at, rows = np.delete(points.others, j, axis=1), np.delete(self.features[target.rows], j, axis=1)
            scale = others_scale(self.features, j)
            mean, error = component.process.at(cross, np.concatenate([diagonal, ((at**2).sum(axis=1) / scale)[None]]))
            # The part is linear in the other targets' predictions, so their errors reach this one by its coefficients.
            slopes = component.process.variances[-2] / scale * (component.process.solved @ rows)
            passed_on = np.delete(points.errors, j, axis=1) ** 2 @ slopes**2
            found.append((mean, np.sqrt(error**2 + passed_on)))
        return found

    def _cross(self, model: Model, target: Target, j: int, points: _Points) -> Floats:
        """Covariances of new mixtures with the target's rows by part, (P, N, n)."""
        cross = points.cross[model.family][:, :, target.rows]
        if not model.others or points.others is None:
            return cross
        at, rows = np.delete(points.others, j, axis=1), np.delete(self.features[target.rows], j, axis=1)
        return np.concatenate([cross, (at @ rows.T / others_scale(self.features, j))[None]])

    def covariances(self, weights: Floats, targets: Sequence[int]) -> Iterator[Floats]:
        """See :meth:`Posterior.covariances`: correlations are those inside of each process, and their means' differences."""
        points = self._points(weights)
        between = {name: family.between(weights) for name, family in self.families.items()}
        for j in targets:
            target = self.parts[j]
            found = self._inner(target, j, points)
            mean, se, _ = _estimate(target, found, points.away)
            if not found:  # the mean of the scores is all there is, and its error is one for all mixtures
                yield np.outer(se, se)
                continue
            total = np.zeros((len(weights), len(weights)))
            for component, (inner, _) in zip(target.components, found, strict=True):
                own = between[component.model.family]
                if component.model.others and points.others is not None:
                    beside = np.delete(points.others, j, axis=1)
                    own = np.concatenate([own, (beside @ beside.T / others_scale(self.features, j))[None]])
                gains = np.clip(component.link.gains(inner), *target.bounds)
                slope, apart = component.link.slope(gains), gains - mean
                inside = component.process.covariance(self._cross(component.model, target, j, points), own)
                total += component.model.share * (inside * np.outer(slope, slope) + np.outer(apart, apart))
            total.flat[:: len(total) + 1] = se**2  # model error, and errors passed on, are each mixture's own
            yield total

    def _moments(self, points: _Points) -> Estimate:
        columns = [_estimate(t, self._inner(t, j, points), points.away) for j, t in enumerate(self.parts)]
        mean, se, sd = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
        return Estimate(mean, se, sd)

    def _quantile(self, points: _Points, level: float) -> Floats:
        columns = []
        for j, target in enumerate(self.parts):
            found = self._inner(target, j, points)
            columns.append(_quantile(target, found, level, points.away))
        return np.stack(columns, axis=1)


def _mean(target: Target, found: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Mean gain over components, (N,): each at its own mean, within bounds."""
    if not target.components:
        return np.full(1, float(target.gains.mean()) if len(target.gains) else np.nan)
    low, high = target.bounds
    total = sum(
        c.model.share * np.clip(c.link.gains(mean), low, high) for c, (mean, _) in zip(target.components, found, strict=True)
    )
    return np.asarray(total)


def _estimate(target: Target, found: Sequence[tuple[Floats, Floats]], away: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, its standard error and the standard deviation of a new run, (N,) each."""
    count = len(away)
    mean = np.broadcast_to(_mean(target, found), (count,)).astype(float)
    if not target.components:
        spread, n = float(target.gains.std(ddof=1)) if len(target.gains) > 1 else 0.0, max(len(target.gains), 1)
        return mean, np.full(count, spread / np.sqrt(n)), np.full(count, spread * np.sqrt(1 + 1 / n))
    low, high = target.bounds
    known = float((target.known**2).mean())
    se2, noise2 = np.zeros(count), np.full(count, known)
    for component, (inner, error) in zip(target.components, found, strict=True):
        own = np.clip(component.link.gains(inner), low, high)
        slope = component.link.slope(own)
        se2 += component.model.share * ((error * slope) ** 2 + (own - mean) ** 2)
        noise2 += component.model.share * (component.process.noise * slope) ** 2
    # Model error: what kernels leave out shows first where no run is near.
    se2 += away * (se2 + noise2)
    return mean, np.sqrt(se2), np.sqrt(se2 + noise2)


def _quantile(target: Target, found: Sequence[tuple[Floats, Floats]], level: float, away: Floats) -> Floats:
    """Of a new run's gain, by halving: components are Student t on their own scales."""
    mean, _, sd = _estimate(target, found, away)
    if not target.components:
        n = len(target.gains)
        return mean + float(stdtrit(n - 1, level)) * sd if n > 1 else mean
    low, high = (np.full(len(away), end) for end in target.bounds)
    degrees = max(len(target.gains) / 2, LEAST_DEGREES)
    spreads = []
    for component, (_, error) in zip(target.components, found, strict=True):
        known = (target.known / component.link.slope(target.gains)) ** 2
        spreads.append(np.sqrt((1 + away) * (error**2 + component.process.noise**2 + float(known.mean()))))
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = np.zeros(len(away))
        for component, (inner, _), spread in zip(target.components, found, spreads, strict=True):
            below += component.model.share * stdtr(degrees, (component.link.inner(middle) - inner) / spread)
        low, high = np.where(below < level, middle, low), np.where(below < level, high, middle)
    ends: Floats = (low + high) / 2
    return ends


def _at_own_rows(target: Target, of: Callable[[Process], Floats], alone: bool) -> Floats:
    """Gains of the target's rows, averaged over processes."""
    n = len(target.gains)
    if not target.components:
        others = (target.gains.sum() - target.gains) / (n - 1) if n > 1 else target.gains
        return np.where(alone, others, target.gains.mean()) if n else target.gains
    total = np.zeros(n)
    for component in target.components:
        total += component.model.share * np.clip(component.link.gains(of(component.process)), *target.bounds)
    return total


def nearness(left: Floats, right: Floats) -> Floats:
    """Of mixtures (N, S) and (M, S), (N, M): 1 where they are alike, toward 0 with the distance of their square roots."""
    near: Floats = Bumps(np.sqrt, AWAY).cross(left, right)
    return near
