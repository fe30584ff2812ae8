"""Responses: how the gains follow from the weights. One concave form serves the linear, the log and the fitted response.

``h(w) = intercept + linear' w + concave' psi(w)`` with ``concave >= 0`` and ``psi`` concave and increasing in each weight. The
gain is ``h`` itself, or ``limit - exp(-h)`` where returns diminish toward a limit. Both are concave in the weights, so every
problem built on them is convex.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tvt.core.values import Frozen
from tvt.types import Floats

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Response(Frozen):
    """Gains of T targets as a function of the weights of S sources, with Q curves.

    Shapes: ``intercept`` (T,), ``linear`` (S, T), ``concave`` (Q, S, T), ``errors`` (S, T): the standard error of a gain per
    unit of a source's weight, NaN where unknown; ``residual`` (T,): standard deviation of what the response leaves
    unexplained; ``reference`` (T,): the score that a gain of 0 stands for, in the table's unit (NaN for PGF); ``sign`` is -1
    for losses; ``limits`` (T,): the gains that are approached but not reached, ``None`` where the gain is ``h`` itself.
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

    def inner(self, weights: Floats) -> Floats:
        """``h`` at ``weights`` of shape (S,) or (N, S): (T,) or (N, T)."""
        total = self.intercept + weights @ self.linear
        for curve, coefficients in zip(self.curves, self.concave, strict=True):
            total = total + curve(weights) @ coefficients
        return total

    def gains(self, weights: Floats) -> Floats:
        """Gains at ``weights`` of shape (S,) or (N, S): (T,) or (N, T)."""
        total = self.inner(weights)
        if self.limits is None:
            return total
        approached: Floats = self.limits - np.exp(-total)
        return approached

    def gain_errors(self, weights: Floats) -> Floats:
        """Standard errors of the gains at ``weights`` of shape (S,) or (N, S); 0 where no error is known."""
        errors = np.nan_to_num(self.errors)
        reach = weights[..., :, None]
        if self.curves:
            # What is concave in the weight carries its error along the curve, the rest proportionally to the weight.
            bent = sum(c(weights)[..., :, None] * (a > 0) for c, a in zip(self.curves, self.concave, strict=True))
            reach = np.where((self.concave > 0).any(axis=0), bent, reach)
        variance = ((reach * errors) ** 2).sum(axis=-2) + self.residual**2
        spread: Floats = np.sqrt(variance)
        return spread

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
        )


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


class ResponseForm(ABC):
    """How gains follow from a study's matrix: an entry of :data:`tvt.core.choices.RESPONSES`.

    It must be 0 at weight 0 and concave where it helps, so that the problem stays convex.
    """

    curved: bool = False
    """Whether it has a curvature kappa, which is given, fitted on runs beside the matrix, or assumed."""

    @abstractmethod
    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """``linear`` (S, T), ``concave`` (Q, S, T) and ``curves`` of a :class:`Response`, and its label.

        Args:
            mean: gains of training on one source alone, (S, T), complete.
            kappa: the curvature; None where the form has none.
        """


class Linear(ResponseForm):
    """Help and harm are proportional to the weight."""

    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """See :meth:`ResponseForm.parts`."""
        return mean, np.zeros((0, *mean.shape)), (), "linear"


class Log(ResponseForm):
    """Help bends by the log curve, harm is proportional to the weight."""

    curved = True

    def parts(self, mean: Floats, kappa: float | None) -> tuple[Floats, Floats, tuple[Curve, ...], str]:
        """See :meth:`ResponseForm.parts`."""
        assert kappa is not None  # noqa: S101 - curved forms are given one
        return np.minimum(mean, 0.0), np.maximum(mean, 0.0)[None], (Curve.log(kappa),), f"log, kappa {kappa:.3g}"


def transfer_response(
    mean: Floats,
    errors: Floats,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    form: ResponseForm,
    kappa: float | None,
) -> Response:
    """The response of a transfer study.

    Args:
        mean: gains of training on one source alone, (S, T), complete.
        errors: their standard errors, (S, T), NaN where unknown.
        sources, targets: names of rows and columns.
        form: how gains follow from them.
        kappa: its curvature, where it has one.
    """
    n = len(targets)
    linear, concave, curves, label = form.parts(mean, kappa)
    return Response(
        sources=tuple(sources),
        targets=tuple(targets),
        intercept=np.zeros(n),
        linear=linear,
        concave=concave,
        curves=curves,
        errors=errors,
        residual=np.zeros(n),
        reference=np.full(n, np.nan),
        label=label,
    )
