"""The convex problem of a request, in cvxpy, with every constraint under the name by which the user knows it.

The nonlinear pieces come from an *atoms* object: exact cone atoms here, or outer cuts in ``cardinality`` where the number of
sources is limited and the problem becomes a sequence of mixed-integer linear ones. The rest of the problem is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import cvxpy as cp
import numpy as np

from tvt.evidence.response import Curve, ErrorRows, Response
from tvt.selection.request import REGION, Request
from tvt.types import Bools, Floats, Positions

Expression = Any
"""A cvxpy expression; the package has no types of its own."""


class Atoms(Protocol):
    """Where the nonlinear pieces come from; each may add constraints of its own."""

    constraints: list[Any]

    def curve(self, curve: Curve, w: Expression) -> Expression:
        """A concave piece (S,): at most ``curve(w)``."""

    def mixedness(self, w: Expression) -> Expression:
        """A concave piece: at most ``sqrt(1 - sum w^2)``, where the weights sum to 1."""

    def lengths(self, rows: Sequence[ErrorRows], w: Expression) -> Expression:
        """A convex piece (R,): at least the length of each of R sets of rows at ``w``."""

    def decay(self, inner: Expression, at: Callable[[Floats], Floats]) -> Expression:
        """A convex piece: at least ``exp(-inner)``; ``at`` gives the value of ``inner`` for weights."""

    def divergence(self, w: Expression, prior: Floats) -> Expression:
        """A convex piece: at least the Kullback-Leibler divergence of ``w`` from ``prior``."""


class Convex:
    """The operations of objectives on cvxpy expressions of shape (T,)."""

    def least(self, values: Expression) -> Expression:
        """The smallest value."""
        return cp.min(values)

    def positive(self, values: Expression) -> Expression:
        """Each value, or 0 where it is negative."""
        return cp.pos(values)

    def total(self, values: Expression) -> Expression:
        """The sum."""
        return cp.sum(values)


CONVEX = Convex()


class ExactAtoms:
    """Exponential and second-order cones."""

    def __init__(self) -> None:
        self.constraints: list[Any] = []

    def curve(self, curve: Curve, w: Expression) -> Expression:
        """One variable per source under the curve, so that a cone serves all targets."""
        height = cp.Variable(w.shape[0])
        self.constraints.append(height <= cp.log1p(w / curve.offset) / curve.scale)
        return height

    def mixedness(self, w: Expression) -> Expression:
        """A point of the unit ball, of which the weights are coordinates."""
        height = cp.Variable()
        self.constraints.append(cp.SOC(cp.Constant(1.0), cp.hstack([w, height])))
        return height

    def lengths(self, rows: Sequence[ErrorRows], w: Expression) -> Expression:
        """Second-order cones; what is 0 everywhere needs none."""
        bounds = cp.Variable(len(rows), nonneg=True)
        for r, part in enumerate(rows):
            pieces = []
            if len(part.scales):
                pieces.append(cp.multiply(part.scales, w[part.positions]) + part.starts)
            if len(part.dense):
                pieces.append(part.dense @ w + part.offsets)
            if pieces:
                self.constraints.append(cp.SOC(bounds[r], cp.hstack(pieces)))
        return bounds

    def decay(self, inner: Expression, at: Callable[[Floats], Floats]) -> Expression:
        """Exponential cones."""
        return cp.exp(-inner)

    def divergence(self, w: Expression, prior: Floats) -> Expression:
        """Relative entropy; w must be 0 where the prior is."""
        inside = np.flatnonzero(prior > 0)
        outside = np.flatnonzero(prior <= 0)
        if outside.size:
            self.constraints.append(w[outside] == 0)
        return cp.sum(cp.rel_entr(w[inside], prior[inside]))


@dataclass
class Named:
    """A constraint whose rows the user knows by name; ``constraint.dual_value`` has one price per name."""

    constraint: Any
    names: tuple[str, ...]


@dataclass
class Model:
    """A problem being built: variables, named constraints, and the expressions that later steps need."""

    w: Any
    named: list[Named]
    constraints: list[Any]
    objective: Any
    value: Any
    """The objective's first value, without penalties."""
    then: Any = None
    """What decides between mixtures whose first value is 0; None where the objective has no second stage."""
    penalty: Any = 0.0
    extra: list[Any] = field(default_factory=list)

    def problem(self) -> Any:
        """The cvxpy problem: maximise ``objective``."""
        rows = [n.constraint for n in self.named]
        return cp.Problem(cp.Maximize(self.objective), [*rows, *self.constraints, *self.extra])


class ProblemBuilder:
    """Builds the model of one request under one response (and, for CVaR, under samples of it).

    ``margins`` (T,) says which protected targets get their safety margin (default: all); without some it is a looser problem.
    """

    def __init__(
        self,
        request: Request,
        response: Response,
        samples: Sequence[Response] = (),
        atoms: Atoms | None = None,
        margins: Bools | None = None,
    ) -> None:
        self.request, self.response, self.samples = request, response, samples
        self.margins = np.ones(len(request.targets), dtype=bool) if margins is None else margins
        self.atoms: Atoms = atoms or ExactAtoms()
        self.w = cp.Variable(len(request.sources), nonneg=True, name="w")
        self._heights: dict[Curve, Any] = {}
        self._mixed: Any = None

    @cached_property
    def worth(self) -> Any:
        """The weights of fresh examples that the weights are worth."""
        repeats = self.response.repeats
        if repeats is None or not repeats.limited.any():
            return self.w
        worth = cp.Variable(len(self.request.sources))
        limited = np.flatnonzero(repeats.limited)
        self.atoms.constraints.append(worth <= self.w)
        for slope, foot in zip(*repeats.tangents(), strict=True):
            self.atoms.constraints.append(worth[limited] <= slope * self.w[limited] + foot * repeats.shares[limited])
        return worth

    def build(self) -> Model:
        """The whole problem; its objective is the first stage where there are two."""
        named = self.limits()
        value, aim = self._value(), self.request.spec.aim
        then = None if aim.then is None else aim.then(self._robust(self.request.served), self.request.requested, CONVEX)
        penalty, harm = self._soft_protection()
        named += harm
        if self.request.spec.kl:
            penalty = penalty + self.request.spec.kl * self.atoms.divergence(self.w, self.request.prior)
        model = Model(self.w, named, self.atoms.constraints, value - penalty, value, then, penalty)
        model.constraints = [cp.sum(self.w) == 1, *self.atoms.constraints]
        return model

    def limits(self, relax: Any = 0.0) -> list[Named]:
        """Hard limits on weights and protected gains, each relaxed by ``relax`` (a number or a variable)."""
        request, named = self.request, []
        capped = np.flatnonzero(request.caps < 1)
        if capped.size:
            names = tuple(request.cap_names[i] for i in capped)
            named.append(Named(self.w[capped] <= request.caps[capped] + relax, names))
        floored = np.flatnonzero(request.floors > 0)
        if floored.size:
            names = tuple(f"floor of {request.sources[i]}" for i in floored)
            named.append(Named(self.w[floored] >= request.floors[floored] - relax, names))
        for limit in request.linear:
            row = cp.reshape(limit.coefficients @ self.w, (1,), order="C")
            named.append(Named(row <= limit.bound + relax, (limit.name,)))
        if request.region is not None:
            length = self.atoms.lengths([request.region.rows], self.w)
            named.append(Named(length <= request.region.radius + relax, (REGION,)))
        guarded = np.flatnonzero(np.isfinite(request.limits))
        if request.spec.hard and guarded.size:
            names = tuple(f"protection of {request.targets[j]}" for j in guarded)
            named.append(Named(self._protected(guarded) >= request.limits[guarded] - relax, names))
        return named

    def _inner(self, which: Positions, response: Response) -> Any:
        """``h`` of the targets at positions ``which``, (len(which),)."""
        linear = response.linear[:, which]
        if response.repeats is None:
            total = response.intercept[which] + linear.T @ self.w
        else:
            total = response.intercept[which] + np.maximum(linear, 0).T @ self.worth + np.minimum(linear, 0).T @ self.w
        for curve, coefficients in zip(response.curves, response.concave, strict=True):
            if coefficients[:, which].any():
                total = total + coefficients[:, which].T @ self._height(curve)
        if response.level is not None and response.level[which].any():
            total = total + response.level[which] * self._mixedness()
        return total

    def _mixedness(self) -> Any:
        if self._mixed is None:
            self._mixed = self.atoms.mixedness(self.w)
        return self._mixed

    def _gains(self, which: Positions, response: Response | None = None, *, z: float = 0.0, only: Bools | None = None) -> Any:
        """Gains of the targets at positions ``which`` (of a new run, ``z`` standard deviations below the prediction where
        ``only`` (T,) says), (len(which),).
        """
        response = response or self.response
        inner = self._inner(which, response)
        careful = np.ones(len(response.targets), dtype=bool) if only is None else only
        if z and careful[which].any():
            inner = inner - z * self._errors(which, careful)
        if response.limits is None:
            return inner
        return response.limits[which] - self.atoms.decay(
            inner, lambda weights: self._lower(response, weights, z, careful)[which]
        )

    def _errors(self, which: Positions, careful: Bools) -> Any:
        """At least the standard deviations of a new run's ``h``; 0 where a target is not among the ``careful`` ones."""
        shares = np.eye(len(self.request.targets)) * careful
        return self.atoms.lengths([self.response.error_rows(shares[j]) for j in which], self.w)

    def _lower(self, response: Response, weights: Floats, z: float, careful: Bools) -> Floats:
        """``h`` less its errors in numbers, as the program has them."""
        inner = response.inner(weights)
        if not z:
            return inner
        shares = np.eye(len(response.targets)) * careful
        lengths = np.array([response.error_rows(row).at(weights)[0] for row in shares])
        lower: Floats = inner - z * lengths
        return lower

    def _height(self, curve: Curve) -> Any:
        if curve not in self._heights:
            self._heights[curve] = self.atoms.curve(curve, self.worth)
        return self._heights[curve]

    def _protected(self, which: Positions) -> Any:
        """Gains of protected targets less their safety margin."""
        return self._gains(which, z=self.request.spec.protect_z, only=self.margins)

    def _robust(self, which: Positions) -> Any:
        """Gains less ``risk`` standard deviations."""
        return self._gains(which, z=self.request.spec.risk)

    def _value(self) -> Any:
        """The objective's first value, over samples under CVaR."""
        spec, which, requested = self.request.spec, self.request.served, self.request.requested
        if spec.cvar is not None:
            if spec.aim.linear:
                return self._tail([self._weighted(s) for s in self.samples])
            return self._tail([spec.aim.value(self._gains(which, s), requested, CONVEX) for s in self.samples])
        if not spec.aim.linear:
            return spec.aim.value(self._robust(which), requested, CONVEX)
        if not spec.risk:
            return self._weighted(self.response)
        # How gains move with h is taken at the anchor, where the response is matched anyway.
        shares = self.request.weights * self.response.slopes(self.response.at)
        error = self.atoms.lengths([self.response.error_rows(shares)], self.w)[0]
        return self._weighted(self.response) - spec.risk * error

    def _weighted(self, response: Response) -> Any:
        """Weighted mean gain, aggregated before it reaches the solver."""
        v = self.request.weights
        if response.limits is not None:
            which = np.flatnonzero(v)
            return v[which] @ self._gains(which, response)
        total = float(response.intercept @ v) + (np.minimum(response.linear, 0) @ v) @ self.w
        total = total + (np.maximum(response.linear, 0) @ v) @ self.worth
        for curve, coefficients in zip(response.curves, response.concave, strict=True):
            total = total + (coefficients @ v) @ self._height(curve)
        return total if response.level is None else total + float(response.level @ v) * self._mixedness()

    def _tail(self, values: list[Any]) -> Any:
        """CVaR of sampled objective values: their mean over the worst share ``cvar`` (Rockafellar and Uryasev, 2000)."""
        level = cp.Variable()
        losses = cp.pos(level - cp.hstack(values))
        return level - cp.sum(losses) / ((self.request.spec.cvar or 1.0) * len(values))

    def _soft_protection(self) -> tuple[Any, list[Named]]:
        """Penalty and constraints of soft no-harm."""
        guarded = np.flatnonzero(np.isfinite(self.request.limits))
        if self.request.spec.hard or not guarded.size:
            return 0.0, []
        slack = cp.Variable(guarded.size, nonneg=True)
        names = tuple(f"protection of {self.request.targets[j]}" for j in guarded)
        rows = Named(self._protected(guarded) + slack >= self.request.limits[guarded], names)
        return self.request.spec.harm_penalty * cp.sum(slack), [rows]
