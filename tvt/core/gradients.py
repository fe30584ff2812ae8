"""Transfer as gradients of the base model estimate it: what was computed, and what it comes to as PGF once it is calibrated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvt.core.values import Frozen, aligned
from tvt.types import Bools, Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientCells(Frozen):
    """What a small step on each source's loss is expected to change of each target, to first order. Its unit is arbitrary: a
    calibration turns it into PGF.

    Arrays are (sources, targets), NaN where a target is masked.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    change: Floats
    """Minus the product of the gradient of the source's loss and that of the target's scored quantity, over the target's
    gap.
    """
    row_error: Floats
    """Standard error from the finite number of rows."""
    question_error: Floats
    """Standard error from the finite number of questions."""
    projection_error: Floats
    """Standard error from the projection, 0 where there was none."""
    quantities: Mapping[str, str] = field(default_factory=dict)
    """By target, what was differentiated: changes are comparable within one of them."""
    masked: Mapping[str, str] = field(default_factory=dict)
    """Why a target has no estimate."""
    identity: str = ""
    """Digest of what it rests on: model, adapter, rows, questions."""

    @property
    def error(self) -> Floats:
        """All errors together, (sources, targets)."""
        return np.sqrt(self.row_error**2 + self.question_error**2 + self.projection_error**2)

    @property
    def own(self) -> Bools:
        """Where the source is the target, (sources, targets)."""
        return np.array([[s == t for t in self.targets] for s in self.sources], dtype=bool)

    def over(self, gaps: Mapping[str, float]) -> GradientCells:
        """The changes as shares of each target's gap between ceiling and base model, which is what PGF is of; a target
        without a gap is masked.
        """
        lacking = {t: "the base model is not scored on it" for t in self.targets if t not in gaps}
        lacking |= {t: "base accuracy is not below the ceiling" for t in self.targets if gaps.get(t, 1.0) <= 0}
        by = np.array([np.nan if t in lacking else gaps[t] for t in self.targets])
        return self._with(
            {name: getattr(self, name) / by for name in ("change", "row_error", "question_error", "projection_error")},
            masked={**lacking, **self.masked},
        )

    def reindex(self, sources: tuple[str, ...], targets: tuple[str, ...], change: Floats | None = None) -> GradientCells:
        """The same over other names; a cell that it does not have is NaN. ``change`` may stand for its own."""
        axes = (self.sources, sources), (self.targets, targets)
        arrays = {name: getattr(self, name) for name in ("row_error", "question_error", "projection_error")}
        arrays["change"] = self.change if change is None else change
        return self._with({n: aligned(of, *axes) for n, of in arrays.items()}, sources=sources, targets=targets)

    def _with(self, arrays: Mapping[str, Floats], **other: Any) -> GradientCells:
        kept = {name: getattr(self, name) for name in ("sources", "targets", "quantities", "masked", "identity")}
        fields: dict[str, Any] = {**kept, **other, **arrays}
        return GradientCells(**fields)

    def digest(self) -> str:
        """sha256 of names and changes."""
        cells = sorted(
            (s, t, repr(float(self.change[i, j]))) for i, s in enumerate(self.sources) for j, t in enumerate(self.targets)
        )
        return hashlib.sha256(json.dumps([self.identity, cells]).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration(Frozen):
    """How changes become PGF: ``level + slope * change / unit``, with the scatter of true values around that."""

    runs: int
    """True runs that it rests on; with fewer than five it is a rule of thumb, fixed on the miniature."""
    calibrated: bool
    slope: float
    """PGF for a change of one unit, the root mean square of all changes between different tasks."""
    slope_error: float
    scatter: float
    """Standard deviation of true PGF around the estimate, within a target."""

    @property
    def text(self) -> str:
        """For people."""
        if not self.calibrated:
            known = f"{self.runs} true runs" if self.runs != 1 else "1 true run"
            return (
                f"estimates from gradients are not calibrated ({known}, five are needed): their order within a target tells "
                "something, their size is a rule of thumb of one tiny model"
            )
        return (
            f"estimates from gradients are calibrated on {self.runs} true runs: slope {self.slope:.3f} +- "
            f"{self.slope_error:.3f} PGF a unit, true values scatter by {self.scatter:.3f} around them"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class EstimatedCells(Frozen):
    """PGF as gradients estimate it, own data included: ``mean`` and standard error ``se`` of a cell's true PGF, (sources,
    targets), NaN where a target is masked.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    mean: Floats
    se: Floats
    calibration: Calibration
    masked: Mapping[str, str] = field(default_factory=dict)

    def json_value(self) -> dict[str, dict[str, dict[str, float]]]:
        """``gradients`` in ``tvt analyze --json``; a masked target's figures are null."""
        return {
            source: {
                target: {"mean": float(self.mean[i, j]), "se": float(self.se[i, j])} for j, target in enumerate(self.targets)
            }
            for i, source in enumerate(self.sources)
        }
