"""Responses: how the gains follow from the weights. One concave form serves every response that a convex program can use.

``h(w) = intercept + linear' w + concave' psi(w)`` with ``concave >= 0`` and ``psi`` concave and increasing in each weight. The
gain is ``h`` itself, or ``limit - exp(-h)`` where it approaches a limit. Both are concave in the weights.

The error of ``h`` is one figure for limits, risk, audit and intervals alike, and intervals go through the same link:
``gain(h - z sd)`` to ``gain(h + z sd)``. Where a program needs a convex error, curves are replaced by their tangents at an
*anchor*, which lie above them: a safe bound, exact at the anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from tvt.core.values import Frozen
from tvt.types import Bools, Floats, Positions

LOWEST, HIGHEST = 1e-2, 1e4
"""The range that is searched: below it the response is linear, above it the first hundredth of the budget brings half."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One concave function of a weight: ``(log(w + offset) - log(offset)) / scale``, or w itself for ``offset=None``.

    With ``offset = 1/kappa`` and ``scale = log(1 + kappa)`` it is ``log(1 + kappa w)/log(1 + kappa)``: 0 at 0 and 1 at 1.
    """

    offset: float | None
    scale: float = 1.0

    @classmethod
    def log(cls, kappa: float) -> Curve:
        """The log response with curvature ``kappa``; it tends to the linear one as kappa goes to 0."""
        return cls(offset=1 / kappa, scale=math.log1p(kappa))

    def __call__(self, weights: Floats) -> Floats:
        """Values, elementwise."""
        if self.offset is None:
            return weights
        return np.log1p(np.maximum(weights, 0.0) / self.offset) / self.scale

    def slope(self, weights: Floats) -> Floats:
        """Derivative, elementwise."""
        if self.offset is None:
            return np.ones_like(weights)
        return 1 / (np.maximum(weights, 0.0) + self.offset) / self.scale


LEAST_PART = 1e-3
"""Share of the largest target's error that each target's counts as at least, where errors of targets are joined."""
FEW_ROWS = 16
"""So many rows of an error are left as they are."""
LEFT_OUT = 3e-3
"""Share of a source's error that fewer rows may leave to a bound; it is added in squares, so that the error grows by 1e-5."""
PASSES = np.array([1.0, 1.7, 3.0, 5.0, 8.0, 13.0, 21.0, 35.0, 60.0, 100.0])
"""Where tangents of the worth of repeated examples are taken."""
FADING = 15.4
"""After so many passes, the worth of another one is a share 1/e of the first one's."""


class Repeats(NamedTuple):
    """What a source's examples are worth when they are repeated, as weights of fresh ones: each pass less than the one before.

    With ``s`` the share of the budget that a source's examples make, a weight w is ``w / s`` passes, and worth
    ``s (1 + R (1 - exp(-(w/s - 1) / R)))`` beyond the first; here the least of its tangents at some numbers of passes, so that
    a convex program has the very same function. R is ``FADING``, of Muennighoff et al., *Scaling
    Data-Constrained Language Models* (arXiv 2305.16264), fitted there to pretraining.
    """

    shares: Floats
    """(S,); infinite where there are enough."""

    @property
    def limited(self) -> Bools:
        """Which sources can run out within the budget, (S,)."""
        return self.shares < 1

    def take(self, keep: Sequence[int]) -> Repeats:
        """Those of some sources (positions)."""
        return Repeats(self.shares[list(keep)])

    def tangents(self) -> tuple[Floats, Floats]:
        """Slopes (P,), and intercepts as multiples of a source's share (P,)."""
        faded = np.exp(-(PASSES - 1) / FADING)
        return faded, 1 + FADING * (1 - faded) - faded * PASSES

    def __call__(self, weights: Floats) -> Floats:
        """Values at weights (..., S)."""
        slopes, feet = self.tangents()
        shares = np.where(self.limited, self.shares, 1.0)
        least = (weights[..., None] * slopes + shares[:, None] * feet).min(axis=-1)
        return np.where(self.limited, least, weights)


class ErrorRows(NamedTuple):
    """Affine functions of the weights whose root sum of squares is an error: ``scales * w[positions] + starts`` (M,) and
    ``dense @ w + offsets`` (F,).
    """

    scales: Floats
    positions: Positions
    starts: Floats
    dense: Floats
    offsets: Floats

    def trimmed(self) -> ErrorRows:
        """Without the dense rows that are 0 everywhere."""
        kept = np.any(self.dense != 0, axis=1) | (self.offsets != 0)
        return self._replace(dense=self.dense[kept], offsets=self.offsets[kept])

    def compressed(self) -> ErrorRows:
        """With few dense rows in the place of many that are nearly alike; at no weights of at least 0 is the length less.

        What the few leave out of the others is bounded by its column norms, as one more row.
        """
        whole = np.column_stack([self.dense, self.offsets])
        if len(whole) <= FEW_ROWS:
            return self
        _, sizes, directions = np.linalg.svd(whole, full_matrices=False)
        rows = sizes[:, None] * directions
        left = np.sqrt(np.cumsum(rows[::-1] ** 2, axis=0))[::-1]
        small = left.max(axis=1) <= LEFT_OUT * np.linalg.norm(whole, axis=0).mean()
        if not small.any():
            return self
        keep = int(np.argmax(small))
        rows = np.concatenate([rows[:keep], left[keep : keep + 1]])
        return self._replace(dense=rows[:, :-1], offsets=rows[:, -1])

    @property
    def empty(self) -> bool:
        """Whether there is no error."""
        return not len(self.scales) and not len(self.dense)

    def at(self, weights: Floats) -> tuple[float, Floats]:
        """Length at ``weights`` (S,), and its gradient (S,)."""
        sparse, dense = self.scales * weights[self.positions] + self.starts, self.dense @ weights + self.offsets
        length = float(np.sqrt((sparse**2).sum() + (dense**2).sum()))
        gradient = self.dense.T @ dense
        np.add.at(gradient, self.positions, self.scales * sparse)
        return length, gradient / max(length, 1e-300)


@dataclass(frozen=True, kw_only=True, eq=False)
class Response(Frozen):
    """Gains of T targets as a function of the weights of S sources, with Q curves.

    Shapes: ``intercept`` (T,), ``linear`` (S, T), ``concave`` (Q, S, T), ``errors`` (S, T): the standard error of a gain per
    unit of a source's weight, NaN where unknown; ``residual`` (T,): standard deviation of what the response leaves
    unexplained in a run; ``reference`` (T,): the score that a gain of 0 stands for, in the table's unit (NaN for PGF); ``sign``
    is -1 for losses; ``limits`` (T,): the gains that are approached but not reached, ``None`` where the gain is ``h`` itself.
    ``shared`` (F, S, T): errors that sources have in common, each a factor; ``mixing`` (T,): standard deviation of what mixing
    sources adds or takes, where nothing was measured: it is multiplied by ``sqrt(sum w - sum w^2)``, 0 for one source alone.
    ``errors``, ``shared``, ``mixing`` and ``residual`` are those of ``h``.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    intercept: Floats
    linear: Floats
    concave: Floats
    curves: tuple[Curve, ...]
    errors: Floats
    residual: Floats
    reference: Floats
    sign: float = 1.0
    limits: Floats | None = None
    label: str = "linear"
    shared: Floats | None = None
    mixing: Floats | None = None
    level: Floats | None = None
    """What mixing sources adds on average, (T,), at least 0: it is multiplied as ``mixing`` is."""
    repeats: Repeats | None = None
    """What examples that are used more than once are worth; ``None`` where every source has enough of them."""
    between: float = 0.0
    """Correlation of the errors of any two targets at the same mixture: a run that comes out well does so on most of them."""
    anchor: Floats | None = None
    """Where tangents of the errors' curves are taken, (S,); equal shares where nothing is said."""

    def inner(self, weights: Floats) -> Floats:
        """``h`` at ``weights`` of shape (S,) or (N, S): (T,) or (N, T)."""
        worth = self.worth(weights)
        total = self.intercept + worth @ np.maximum(self.linear, 0.0) + weights @ np.minimum(self.linear, 0.0)
        for curve, coefficients in zip(self.curves, self.concave, strict=True):
            total = total + curve(worth) @ coefficients
        return total if self.level is None else total + mixedness(weights)[..., None] * self.level

    def worth(self, weights: Floats) -> Floats:
        """The weights of fresh examples that weights (..., S) are worth. Harm does not become less by repetition."""
        return weights if self.repeats is None else self.repeats(weights)

    def link(self, inner: Floats) -> Floats:
        """Gains for values of ``h`` (..., T)."""
        if self.limits is None:
            return inner
        approached: Floats = self.limits - np.exp(-inner)
        return approached

    def gains(self, weights: Floats) -> Floats:
        """Gains at ``weights`` of shape (S,) or (N, S): (T,) or (N, T)."""
        return self.link(self.inner(weights))

    @property
    def at(self) -> Floats:
        """The anchor, (S,)."""
        n = len(self.sources)
        return np.full(n, 1 / max(n, 1)) if self.anchor is None else self.anchor

    @property
    def bent(self) -> Bools:
        """Which cells follow a curve (the first whose coefficient is positive) and not the weight itself, (Q, S, T)."""
        positive: Bools = self.concave > 0
        first: Bools = positive & (np.cumsum(positive, axis=0) == 1)
        return first

    def inner_errors(self, weights: Floats, *, run: bool) -> Floats:
        """Standard errors of ``h`` at ``weights`` of shape (S,) or (N, S), 0 where none is known: of its mean, or of a new
        ``run`` with its noise.
        """
        reach = np.broadcast_to(weights[..., :, None], (*weights.shape, len(self.targets)))
        for curve, bent in zip(self.curves, self.bent, strict=True):
            reach = np.where(bent, curve(weights)[..., :, None], reach)
        variance = ((reach * np.nan_to_num(self.errors)) ** 2).sum(axis=-2)
        if self.shared is not None:
            variance = variance + (np.einsum("...st,fst->...ft", reach, self.shared) ** 2).sum(axis=-2)
        if self.mixing is not None:
            variance = variance + (mixedness(weights)[..., None] * self.mixing) ** 2
        spread: Floats = np.sqrt(variance + self.residual**2 * run)
        return spread

    def lower_gains(self, weights: Floats, z: float) -> Floats:
        """What a new run at ``weights`` gains at least, ``z`` standard deviations below the prediction: (..., T)."""
        return self.link(self.inner(weights) - z * self.inner_errors(weights, run=True))

    def slopes(self, weights: Floats) -> Floats:
        """By how much gains move with ``h`` at ``weights`` (..., S), (..., T): 1, or the distance to the limit."""
        inner = self.inner(weights)
        return np.ones_like(inner) if self.limits is None else np.exp(-inner)

    def mean_error(self, weights: Floats, shares: Floats) -> float:
        """Standard deviation of the mean gain over targets with ``shares`` (T,) of a new run at ``weights`` (S,)."""
        parts = shares * self.slopes(weights) * self.inner_errors(weights, run=True)
        return float(np.sqrt((1 - self.between) * (parts @ parts) + self.between * parts.sum() ** 2))

    def error_rows(self, shares: Floats) -> ErrorRows:
        """The same for a convex program, of ``h`` and not of gains: the length of these rows is at least the standard deviation
        of the mean over targets with ``shares`` (T,), and equal to it at the anchor.
        """
        n, at = len(self.sources), self.at
        shares = self._joined(shares)
        errors, bent = self.filled_errors * shares, self.bent
        scales = [np.linalg.norm(np.where(bent.any(axis=0), 0.0, errors), axis=1)]
        starts = [np.zeros(n)]
        slope, start = np.ones((n, len(shares))), np.zeros((n, len(shares)))
        for curve, own in zip(self.curves, bent, strict=True):
            size, rise, foot = np.linalg.norm(np.where(own, errors, 0.0), axis=1), curve.slope(at), curve(at)
            scales.append(size * rise)
            starts.append(size * (foot - rise * at))
            slope, start = np.where(own, rise[:, None], slope), np.where(own, (foot - rise * at)[:, None], start)
        dense, offsets = [np.zeros((0, n))], [np.zeros(0)]
        if self.shared is not None:
            common = self.shared * shares
            dense += list((common * slope).transpose(2, 0, 1))
            offsets += list((common * start).sum(axis=1).T)
        constants = [shares * self.residual]
        if self.mixing is not None and (size := float(np.linalg.norm(shares * self.mixing))):
            # sum w - sum w^2 is concave, and so is its root: the tangent lies above.
            height = max(float(mixedness(at)), 1e-2)
            gradient = (1 - 2 * at) / (2 * height)
            dense.append(size * gradient[None])
            offsets.append(np.array([size * (height - float(gradient @ at))]))
        dense.append(np.zeros((1, n)))
        offsets.append(np.array([float(np.linalg.norm(constants))]))
        used = np.concatenate(scales) > 0
        rows = ErrorRows(
            scales=np.concatenate(scales)[used],
            positions=np.tile(np.arange(n), len(scales))[used],
            starts=np.concatenate(starts)[used],
            dense=np.concatenate(dense),
            offsets=np.concatenate(offsets),
        )
        return rows.trimmed().compressed()

    def _joined(self, shares: Floats) -> Floats:
        """Shares with which errors of targets, taken as independent, are at least the correlated ones, and equal at the anchor.

        ``(sum x)^2 <= sum x^2 / p`` for any p > 0 that sum to 1, with equality where x is proportional to p.
        """
        counting = shares > 0
        if not self.between or counting.sum() < 2:
            return shares
        parts = (shares * self.inner_errors(self.at, run=True))[counting]
        if not parts.any():
            return shares
        parts = np.maximum(parts, LEAST_PART * parts.max())
        joined = shares.copy()
        joined[counting] *= np.sqrt(1 - self.between + self.between * parts.sum() / parts)
        return joined

    def matched(self, weights: Floats, gains: Floats, errors: Floats) -> Response:
        """The same, moved and stretched so that at ``weights`` (S,) the gains and the errors of their means are those given,
        (T,) each; tangents are taken there.
        """
        inner = gains
        if self.limits is not None:
            left = np.maximum(self.limits - gains, 1e-9)
            inner, errors = -np.log(left), errors / left
        own = self.inner_errors(weights, run=False)
        ratio = np.where(own > 0, errors / np.where(own > 0, own, 1.0), 1.0)
        return replace(
            self,
            intercept=self.intercept + inner - self.inner(weights),
            errors=self.errors * ratio,
            shared=None if self.shared is None else self.shared * ratio,
            mixing=None if self.mixing is None else self.mixing * ratio,
            anchor=weights,
        )

    def scores(self, gains: Floats) -> Floats:
        """Gains turned back into the table's scores (NaN for PGF studies, where the gain is the score)."""
        return self.reference + self.sign * gains

    @cached_property
    def filled_errors(self) -> Floats:
        """``errors`` with each unknown one replaced by the largest known one of its target (0 where none is known)."""
        known = np.where(np.isnan(self.errors), 0.0, self.errors)
        return np.where(np.isnan(self.errors), known.max(axis=0, initial=0.0), self.errors)

    def take_sources(self, keep: Sequence[int]) -> Response:
        """The response over some sources only (positions); the others have weight 0."""
        kept = list(keep)
        # A dropped source has weight 0, where every curve is 0: nothing moves into the intercept.
        return replace(
            self,
            sources=tuple(self.sources[i] for i in kept),
            linear=self.linear[kept],
            concave=self.concave[:, kept],
            errors=self.errors[kept],
            shared=None if self.shared is None else self.shared[:, kept],
            repeats=None if self.repeats is None else self.repeats.take(kept),
            anchor=None,
        )


def sampled(response: Response, count: int, seed: int) -> tuple[Response, ...]:
    """Responses drawn from the errors of the coefficients; a coefficient that follows a curve stays at least 0."""
    rng = np.random.default_rng(seed)
    bent, straight = response.bent, ~response.bent.any(axis=0)
    drawn = []
    apart, together = np.sqrt(1 - response.between), np.sqrt(response.between)

    def normal(shape: tuple[int, ...]) -> Floats:
        own, common = rng.standard_normal(shape), rng.standard_normal((*shape[:-1], 1))
        return np.asarray(apart * own + together * common)

    for _ in range(count):
        moved = response.filled_errors * normal(response.errors.shape)
        if response.shared is not None:
            moved = moved + np.einsum("fst,ft->st", response.shared, normal(response.shared.shape[::2]))
        concave = np.where(bent, np.maximum(response.concave + moved, 0.0), response.concave)
        drawn.append(replace(response, linear=response.linear + moved * straight, concave=concave))
    return tuple(drawn)


def mixedness(weights: Floats) -> Floats:
    """``sqrt(sum w - sum w^2)`` of weights (..., S): 0 for one source on the whole budget and for none, near 1 for many."""
    mixed: Floats = np.sqrt(np.maximum(weights.sum(axis=-1) - (weights**2).sum(axis=-1), 0.0))
    return mixed


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """kappa, and how it came about: given by the user, fitted (with its interval), or the default, an assumption."""

    value: float
    origin: Literal["given", "fitted", "assumed"]
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    """Level of ``low`` to ``high``, which end at ``LOWEST`` and ``HIGHEST`` where the data set no bound."""
    doses: int = 0
    mixtures: int = 0
    """How many dose and mixture runs were looked at."""
    reason: str | None = None
    """Why the runs there are could not tell kappa."""

    @property
    def text(self) -> str:
        """For people: ``kappa 6.2 (90%: 3.1 to 14), fitted on 8 dose and 14 mixture runs``."""
        if self.origin != "fitted":
            return f"kappa {self.value:.3g}"
        return f"kappa {self.value:.3g} ({self.interval}), fitted on {self.runs_text}"

    @property
    def interval(self) -> str:
        """``90%: 3.1 to 14``, or one-sided where one end is open."""
        assert self.low is not None and self.high is not None and self.confidence is not None  # noqa: S101, PT018
        if self.low <= LOWEST:
            bounds = f"up to {self.high:.2g}"
        elif self.high >= HIGHEST:
            bounds = f"from {self.low:.2g}"
        else:
            bounds = f"{self.low:.2g} to {self.high:.2g}"
        return f"{self.confidence:.0%}: {bounds}"

    @property
    def runs_text(self) -> str:
        """``8 dose and 14 mixture runs``."""
        kinds = [f"{n} {kind}" for n, kind in ((self.doses, "dose"), (self.mixtures, "mixture")) if n]
        return " and ".join(kinds) + (" run" if self.doses + self.mixtures == 1 else " runs")

    def json_value(self) -> dict[str, Any]:
        """Plain values; ``low``, ``high`` and ``confidence`` only where fitted, ``fitted_on`` null elsewhere."""
        plain: dict[str, Any] = {"kappa": self.value, "origin": self.origin, "fitted_on": None}
        if self.origin == "fitted":
            plain |= {"low": self.low, "high": self.high, "confidence": self.confidence}
            plain["fitted_on"] = {"doses": self.doses, "mixtures": self.mixtures}
        return plain
