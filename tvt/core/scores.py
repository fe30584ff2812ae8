"""Runs and what they score: how much an answer is worth, how many answers of each target are right, and the Perfection Gap
Factor.

Everything that tvt measures is a run: finetune the base model on a mixture of tasks, with a seed, then score it. An answer is
worth 0 or 1 for a letter, and something between for a number that comes near, so counts of right answers are sums of such
scores; whole ones are integers. The Perfection Gap Factor (PGF) relates two accuracies to the gap up to the ceiling, with its
error from the finite number of questions.

Source of PGF: Sachdeva, Uppal, Java, Balasubramanian, *Understanding Task Transfer in Vision-Language Models*, CVPR 2026,
arXiv 2511.18787.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tvt.core.values import Frozen
from tvt.types import Bools, Floats

BASE = "base"
"""The source name of a base row: the model before any finetuning."""

PlaceboKind = Literal["shuffled", "format"]
"""Training rows that teach nothing of their task: *shuffled*, each row with an answer of chance; *format*, each row's pictures
under the prompt of another task, with an answer of chance among its options."""
_PLACEBO = "placebo-"


def placebo_name(kind: PlaceboKind) -> str:
    """What a placebo's runs are called: ``placebo-shuffled``."""
    return f"{_PLACEBO}{kind}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One evaluation: a run's accuracy on one target.

    ``source`` is what the run was finetuned on, ``None`` for the base model. ``run`` names the repetition (the seed).
    ``correct`` (a sum of credits) and ``total`` are counts of questions and are both ``None`` where only an accuracy is known.
    ``both_correct`` counts the questions right both before and after finetuning (the sum of the products of both credits); it
    makes the paired item error exact.
    """

    run: str
    source: str | None
    target: str
    accuracy: float
    correct: Tally | None = None
    total: int | None = None
    both_correct: Tally | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedScore:
    """An evaluation that is missing for a known reason, e.g. a run that diverged."""

    run: str
    source: str | None
    target: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureScore(Frozen):
    """One evaluation of a run on several sources, or on less than the whole budget of one (a dose).

    ``weights`` are shares of the study's budget by source; those of a dose sum to less than 1.
    """

    mixture: str
    run: str
    weights: Mapping[str, float]
    target: str
    correct: Tally
    total: int
    both_correct: Tally | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers, or mean credit."""
        return self.correct / self.total


Tally = int | float
"""A sum of credits: the count of right answers where answers are right or wrong, else a decimal number."""

_TOLERANCES = 1 - np.linspace(0.5, 0.95, 10)
"""Largest relative errors that still count, 0.5, 0.45, ..., 0.05, in the very floating point numbers of the authors' code."""


def mean_relative_accuracy(answered: float | None, right: float) -> float:
    """The share of ten tolerances that an answer keeps to, ``mean over theta of [|answered - right| / |right| <= 1 - theta]``
    with theta = 0.50, 0.55, ..., 0.95.

    Source: Yang et al., *Thinking in Space* (VSI-Bench), arXiv 2412.14171; the comparison ``<=`` and its rounding are those of
    the authors' code (thinking-in-space, ``lmms_eval/tasks/vsibench/utils.py``; lmms-eval has the same), where 0.3 for 0.4
    misses the tolerance of 0.25 by a rounding error. That code fails at a right answer of 0; here only 0 itself earns the
    credit then. An answer that is no number is worth 0 in both.

    Args:
        answered: the number that was answered, ``None`` where none could be read: no credit.
        right: the right number.

    Returns:
        0, 0.1, ..., 1.

    >>> mean_relative_accuracy(3.0, 4.0)
    0.6
    """
    if answered is None or not math.isfinite(answered):
        return 0.0
    if right == 0:
        return float(answered == 0)
    return int(np.count_nonzero(abs(answered - right) / abs(right) <= _TOLERANCES)) / len(_TOLERANCES)


def tally(credits_: Iterable[float]) -> Tally:
    """The sum of credits, exactly rounded whatever their order; whole sums are integers."""
    total = math.fsum(credits_)
    return int(total) if total.is_integer() else total


_ROUNDING = 1e-12
"""A gap smaller than this share of the ceiling is a rounding error of equal accuracies, and would make an enormous PGF."""


def has_gap(base: ArrayLike, ceiling: ArrayLike) -> Bools:
    """True where ``base`` is below ``ceiling`` by more than rounding; False where either is NaN. The arguments broadcast."""
    base, ceiling = np.asarray(base, dtype=float), np.asarray(ceiling, dtype=float)
    return np.asarray(ceiling - base > _ROUNDING * np.abs(ceiling))


def perfection_gap_factor(after: ArrayLike, base: ArrayLike, ceiling: ArrayLike = 1.0) -> Floats:
    """Return ``(after - base) / (ceiling - base)``, NaN where the gap is not positive.

    All arguments are accuracies as fractions in [0, 1] and broadcast against each other. For m questions, each right or wrong,
    and a ceiling of 1 the value lies in [-(m - 1), 1].

    >>> round(float(perfection_gap_factor(0.93, 0.90, 0.95)), 2)
    0.6
    """
    after, base, ceiling = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (after, base, ceiling)))
    gap = ceiling - base
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(has_gap(base, ceiling), (after - base) / gap, np.nan)


def item_standard_error(
    after: ArrayLike,
    base: ArrayLike,
    ceiling: ArrayLike,
    total: ArrayLike,
    both_correct: ArrayLike | None = None,
) -> Floats:
    """Return the standard error of a PGF from having asked only ``total`` questions (delta method).

    With ``a`` after, ``b`` base and gap ``g = ceiling - b``, PGF has the derivatives ``1/g`` in ``a`` and
    ``-(1 - PGF)/g`` in ``b``, so its variance is ``(va + (1 - PGF)^2 vb - 2 (1 - PGF) cov) / g^2``
    with binomial ``va``, ``vb``.

    Where answers earn credits between 0 and 1, the error is an upper bound: a credit c has ``c^2 <= c``, so its variance is at
    most ``a (1 - a)``, that of a right or wrong answer with the same mean; the covariance is exact. (Both as variances of the
    questions asked, with the divisor ``total``.)

    Where the same answers before and after are known, the difference of the two accuracies still has at least the variance that
    one question answered otherwise would give it, ``1 / (total (total + 2))``: half a question added to each cell of the table
    of right and wrong before and after (Agresti and Min, Statistics in Medicine 2005). Without it an adapter that answers
    exactly as the base model does would claim no error at all.

    Args:
        after, base, ceiling: accuracies as fractions; they broadcast.
        total: number of questions.
        both_correct: number of questions right both before and after, or the sum of the products of both credits; NaN where
            unknown. It gives the covariance of the two accuracies, which are measured on the same questions. Unknown counts as
            independent, which overstates the error as long as right answers before and after go together.
    """
    after, base, ceiling, total = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (after, base, ceiling, total)))
    joint = np.full(after.shape, np.nan) if both_correct is None else np.asarray(both_correct, dtype=float) / total
    pgf = perfection_gap_factor(after, base, ceiling)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Laplace's rule keeps a perfect or hopeless score from claiming a zero error.
        smooth_a, smooth_b = ((x * total + 1) / (total + 2) for x in (after, base))
        var_a, var_b = smooth_a * (1 - smooth_a) / total, smooth_b * (1 - smooth_b) / total
        cov = np.where(np.isnan(joint), 0.0, (joint - after * base) / total)
        variance = var_a + (1 - pgf) ** 2 * var_b - 2 * (1 - pgf) * cov
        least = np.where(np.isnan(joint), 0.0, 1 / (total * (total + 2)))
        return np.where(has_gap(base, ceiling), np.sqrt(np.maximum(variance, least)) / (ceiling - base), np.nan)


Part = Literal["evaluation", "report"]
"""Which questions of a target: those on which mixtures are selected, or those kept back for comparing them."""


@dataclass(frozen=True, kw_only=True)
class Run(Frozen):
    """One run, before it is done. ``counts`` are examples per source; without any, it is the base model."""

    label: str
    """For people, e.g. ``Jigsaw``, ``Jigsaw at 25%`` or ``uniform``; no part of what the run is."""
    counts: Mapping[str, int]
    seed: int = 0
    placebo: PlaceboKind | None = None
    """What is done to the rows, so that they teach nothing of their tasks; ``None``: nothing."""

    @property
    def is_base(self) -> bool:
        """Whether nothing is trained."""
        return not self.examples

    @property
    def examples(self) -> int:
        """Training examples."""
        return sum(self.counts.values())

    @property
    def name(self) -> str:
        """Label and seed."""
        return BASE if self.is_base else f"{self.label}, seed {self.seed}"

    def plain(self) -> dict[str, Any]:
        """As plain values, sources by name and without empty ones; what is done to the rows only where something is."""
        counts = {source: count for source, count in sorted(self.counts.items()) if count}
        plain = {"label": self.label, "counts": counts, "seed": self.seed}
        return plain if self.placebo is None else {**plain, "placebo": self.placebo}


def set_name(target: str, part: Part) -> str:
    """What a target's questions of a part are called among a run's answers."""
    return target if part == "evaluation" else f"{target} {part}"
