"""The convex problem of a request, in cvxpy, with every constraint under the name by which the user knows it.

The nonlinear pieces come from an *atoms* object: exact cone atoms here, or outer cuts in ``cardinality`` where the number of
sources is limited and the problem becomes a sequence of mixed-integer linear ones. The rest of the problem is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cvxpy as cp
import numpy as np

from tvt.evidence.response import Curve, Response
from tvt.selection.request import Request
from tvt.types import Bools, Floats, Positions

Expression = Any
"""A cvxpy expression; the package has no types of its own."""


class Atoms(Protocol):
    """Where the nonlinear pieces come from; each may add constraints of its own."""

    constraints: list[Any]

    def curve(self, curve: Curve, w: Expression) -> Expression:
        """A concave piece (S,): at most ``curve(w)``."""

    def norm(self, scales: Floats, w: Expression) -> Expression:
        """A convex piece (R,): at least the 2-norm of ``scales[:, r] * w`` for each column r of ``scales`` (S, R)."""

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

    def norm(self, scales: Floats, w: Expression) -> Expression:
        """Second-order cones; sources without an error stay out of them."""
        bounds = cp.Variable(scales.shape[1], nonneg=True)
        for r in range(scales.shape[1]):
            used = np.flatnonzero(scales[:, r])
            if used.size:
                self.constraints.append(cp.SOC(bounds[r], cp.multiply(scales[used, r], w[used])))
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
        guarded = np.flatnonzero(np.isfinite(request.limits))
        if request.spec.hard and guarded.size:
            names = tuple(f"protection of {request.targets[j]}" for j in guarded)
            named.append(Named(self._protected(guarded) >= request.limits[guarded] - relax, names))
        return named

    def _gains(self, which: Positions, response: Response | None = None) -> Any:
        """Gains of the targets at positions ``which``, (len(which),)."""
        response = response or self.response
        total = response.intercept[which] + response.linear[:, which].T @ self.w
        for curve, coefficients in zip(response.curves, response.concave, strict=True):
            total = total + coefficients[:, which].T @ self._height(curve)
        if response.limits is None:
            return total
        return response.limits[which] - self.atoms.decay(total, lambda weights: response.inner(weights)[which])

    def _height(self, curve: Curve) -> Any:
        if curve not in self._heights:
            self._heights[curve] = self.atoms.curve(curve, self.w)
        return self._heights[curve]

    def _protected(self, which: Positions) -> Any:
        """Gains of protected targets less their safety margin."""
        z = self.request.spec.protect_z
        gains = self._gains(which)
        if not z or not self.margins[which].any():
            return gains
        # A zero column of errors costs no cone: that is how a margin is left out.
        return gains - z * self.atoms.norm(self.response.filled_errors[:, which] * self.margins[which], self.w)

    def _robust(self, which: Positions) -> Any:
        """Gains less ``risk`` standard errors."""
        risk = self.request.spec.risk
        gains = self._gains(which)
        return gains - risk * self.atoms.norm(self.response.filled_errors[:, which], self.w) if risk else gains

    def _value(self) -> Any:
        """The objective's first value, over samples under CVaR."""
        spec, which, requested = self.request.spec, self.request.served, self.request.requested
        if spec.cvar is not None:
            if spec.aim.linear:
                return self._tail([self._weighted(s) for s in self.samples])
            return self._tail([spec.aim.value(self._gains(which, s), requested, CONVEX) for s in self.samples])
        if not spec.aim.linear:
            return spec.aim.value(self._robust(which), requested, CONVEX)
        value = self._weighted(self.response)
        if spec.risk:
            scales = np.sqrt((self.response.filled_errors**2) @ self.request.weights**2)
            value = value - spec.risk * self.atoms.norm(scales[:, None], self.w)[0]
        return value

    def _weighted(self, response: Response) -> Any:
        """Weighted mean gain, aggregated before it reaches the solver."""
        v = self.request.weights
        if response.limits is not None:
            which = np.flatnonzero(v)
            return v[which] @ self._gains(which, response)
        total = float(response.intercept @ v) + (response.linear @ v) @ self.w
        for curve, coefficients in zip(response.curves, response.concave, strict=True):
            total = total + (coefficients @ v) @ self._height(curve)
        return total

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
