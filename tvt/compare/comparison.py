"""The result of a comparison of mixtures that were really trained: contrasts, calibration and the sentences on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tvt.core.arms import Arm, Kind
from tvt.core.notebook import Frame, counted, pandas, table
from tvt.core.values import Frozen, by_fields

TestOutcome = Literal["better", "worse", "no difference shown", "same mixture", "not measured"]
"""*same mixture*: nothing to test. *not measured*: the runs or the answers for it are missing,
or all but those of one seed where others have several."""
Tested = Literal["pgf", "accuracy"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean with its error: a difference of accuracies (fractions) or of PGF.

    ``low`` and ``high`` bound the plain 95% interval, ``low_all`` and ``high_all`` the one that holds for all comparisons of
    its family together (Bonferroni); ``None`` outside of a family. ``p`` is two-sided and not corrected.
    """

    value: float
    error: float
    df: float
    """Degrees of freedom of the t distribution (Satterthwaite)."""
    low: float
    high: float
    p: float
    seeds: int
    questions: int
    """Questions of the target, or of all targets of a mean together."""
    seed_noise: bool
    """Whether the noise between seeds is in ``error``; with one seed it cannot be known."""
    low_all: float | None = None
    high_all: float | None = None


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One arm against another or against the base model, on one target or on the mean over the counting targets."""

    arm: str = field(metadata={"json": "entry"})
    against: str | None
    """The other arm's label; ``None``: the base model."""
    target: str | None
    """``None``: the objective's value over the counting targets, their weighted mean as a rule."""
    accuracy: Difference | None
    """Over several targets always their weighted mean."""
    pgf: Difference | None
    """``None`` where the target's base accuracy is not below its ceiling."""
    outcome: TestOutcome = field(metadata={"json": "verdict"})
    tested: Tested | None = None
    """The measure that ``p_corrected`` and ``outcome`` go by: PGF where it exists."""
    p_corrected: float | None = None
    """Holm's p over its family of comparisons: those on the mean, or those on single targets."""
    reason: str | None = None
    """Why it was not tested, or what its figures leave out."""

    @property
    def estimate(self) -> Difference | None:
        """The estimate of the measure that was tested."""
        return self.pgf if self.tested == "pgf" else self.accuracy if self.tested == "accuracy" else None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One arm on one target: what was predicted and what came."""

    label: str
    kind: Kind
    target: str
    counting: bool
    predicted: float
    low: float
    high: float
    """The predicted interval, at the selection's confidence."""
    realised: float
    error: float
    inside: bool
    """Whether the realised value lies in the predicted interval, widened by the realised error."""
    estimated: tuple[str, ...] = ()
    """Sources of the arm whose gain on the target was not measured but estimated."""


@dataclass(frozen=True, kw_only=True)
class Calibration(Frozen):
    """Did the predicted gains come true? A figure is ``None`` where there are too few points for it; ``notes`` says so.

    Mixtures with the same counts are the same runs and count once; the base model, whose gains are 0 by definition, not at all.
    """

    points: tuple[Point, ...]
    confidence: float
    rank: float | None
    """Spearman's rho of predicted and realised over all points."""
    rank_by_target: Mapping[str, float | None]
    """Spearman's rho over the arms, by target."""
    slope: float | None
    """Least squares line of realised on predicted; 1 is perfect, below 1 the predictions spread too far."""
    intercept: float | None
    covered: float | None
    """Share of the points with ``inside``; honest predictions have about ``confidence``."""
    optimism_selected: float | None
    """Mean of predicted minus realised over the counting targets, for the selected mixture."""
    optimism_others: float | None
    """The same over all other mixtures. What the selected one has beyond it is the winner's curse."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A run that the comparison lacks."""

    arm: str = field(metadata={"json": "entry"})
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Frozen):
    """Selected mixture and baselines, trained at equal budget and measured on the same questions."""

    arms: tuple[Arm, ...] = field(metadata={"json": "entries"})
    targets: tuple[str, ...]
    counting: Mapping[str, float]
    """Weights of the targets that the selection served, summing to 1."""
    objective: str
    """Name of what the selection asked of them, by which arms are compared: see :mod:`tvt.core.objective`."""
    seeds: tuple[int, ...]
    base: Mapping[str, float]
    """The base model's accuracy, by target."""
    ceilings: Mapping[str, float]
    questions: Mapping[str, int]
    gains: tuple[Contrast, ...]
    """Every arm against the base model, on the mean over the counting targets (one family) and on every target (another)."""
    differences: tuple[Contrast, ...]
    """The selected mixture against each baseline, on the mean over the counting targets (the family that the outcome goes by)
    and on every counting target (another)."""
    gains_family: tuple[int, int]
    """How many comparisons the corrections of ``gains`` count: on the mean, and on single targets."""
    differences_family: tuple[int, int]
    """The same for ``differences``. With one counting target they are one family, and both numbers its size."""
    same: Mapping[str, str]
    """Arms whose counts are those of an earlier arm, with that arm's label."""
    calibration: Calibration = field(metadata={"json": "promise"})
    missing: tuple[Missing, ...]
    sentences: tuple[str, ...]
    """The result in plain sentences, the main one first."""
    questions_shared: bool
    notes: tuple[str, ...] = ()

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt compare --json``: the fields, and the result on the mean by whom it is against."""
        return {"schema": 1, "verdict": {c.against: c.outcome for c in self.differences if c.target is None}, **by_fields(self)}

    def __repr__(self) -> str:
        axes = (self.arms, "mixture"), (self.targets, "target"), (self.seeds, "seed")
        text = f": {self.sentences[0]}" if self.sentences else ""
        return f"Comparison({', '.join(counted(len(names), noun) for names, noun in axes)}{text})"

    def _repr_html_(self) -> str:
        return html_of(self)

    def to_frame(self) -> Frame:
        """A pandas table, a row for each contrast: see :func:`frame_of`.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return frame_of(self)

    @property
    def selected(self) -> Arm:
        """The arm that was selected."""
        return next(e for e in self.arms if e.kind == "selected")

    def gain(self, arm: str, target: str | None) -> Contrast:
        """An arm against the base model, on a target or (``None``) on the mean over the counting targets."""
        return next(c for c in self.gains if c.arm == arm and c.target == target)

    def difference(self, against: str, target: str | None) -> Contrast:
        """The selected mixture against a baseline, on a counting target or (``None``) on their mean."""
        return next(c for c in self.differences if c.against == against and c.target == target)


def measure_of(contrasts: Sequence[Contrast]) -> Tested:
    """The measure to speak of: PGF unless nothing has one."""
    return "pgf" if any(c.pgf is not None for c in contrasts) or not contrasts else "accuracy"


def frame_of(comparison: Comparison) -> Frame:
    """A row for each contrast: arms against the base model (``against`` is None), then the selected one against baselines.

    ``target`` is None for the mean over the counting targets. ``value``, ``error``, ``low`` and ``high`` are of ``tested``.
    """
    rows = []
    for c in (*comparison.gains, *comparison.differences):
        result = c.estimate
        figures = [np.nan] * 4 if result is None else [result.value, result.error, result.low, result.high]
        rows.append((c.arm, c.against, c.target, c.tested, *figures, c.p_corrected, c.outcome, c.reason))
    names = ["arm", "against", "target", "tested", "value", "error", "low", "high", "p_corrected", "outcome", "reason"]
    return pandas().DataFrame(rows, columns=names)


def html_of(comparison: Comparison) -> str:
    """What the comparison found in sentences, then every arm's gain over the base model."""
    rows = []
    for c in comparison.gains:
        result = c.estimate
        figures = (
            ("-", c.reason or c.outcome)
            if result is None
            else (f"{result.value:+.4f}", f"{result.low:+.4f} to {result.high:+.4f}")
        )
        rows.append((c.arm, c.target or "mean", c.tested or "-", *figures, c.outcome))
    header = ("mixture", "target", "measure", "against the base model", "95% interval", "result")
    return table(header, rows, title="; ".join(comparison.sentences), notes=comparison.notes)
