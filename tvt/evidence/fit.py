"""What a table of past mixture runs tells: a posterior of gains at any mixture, its convex relative for the program, and
how well they predict runs that they have not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvt.core.mixture_runs import MixtureRuns
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.evidence.learning import fit_posterior, reference_of
from tvt.evidence.posterior import Form, TablePosterior
from tvt.evidence.relative import convex_relative
from tvt.evidence.response import Response
from tvt.stats.noise import mean_correlation
from tvt.stats.ranks import rank_correlation
from tvt.types import Bools, Floats

FOLDS = 5
REFITTED_ROWS = 64
"""Up to so many rows each fold learns all anew; with more, one row among them teaches so little that leaving it out of the
prediction alone is honest.
"""
RIDGE = 1e-2
"""Penalty of the linear fit beside it, per row and in units of each weight's variance."""
FEWEST_RUNS = 8
MOST_BETWEEN = 0.95
"""Correlation of targets' errors that is taken at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitReport(Frozen):
    """How well a table's posterior predicts runs it has not seen, by target: out-of-fold Spearman rank correlation, RMSE
    and skill.

    ``skill`` is 1 minus the mean squared error over that of the other runs' mean: 0 or less where the fit is no better than the
    mean. ``linear_rank`` is the rank correlation of a linear fit; all are (T,).
    """

    targets: tuple[str, ...]
    runs: int
    form: Form
    rank: Floats
    linear_rank: Floats
    rmse: Floats
    skill: Floats

    @property
    def overall_skill(self) -> float:
        """The mean skill over targets that have one; NaN where none has."""
        known = self.skill[np.isfinite(self.skill)]
        return float(known.mean()) if known.size else float("nan")

    def json_value(self) -> dict[str, Any]:
        """The key ``fit`` of a selection and of predictions."""
        by_target = zip(self.targets, self.rank, self.linear_rank, self.rmse, self.skill, strict=True)
        return {
            "runs": self.runs,
            "skill": self.overall_skill,
            "out_of_fold": {
                target: {"rank_correlation": rank, "linear_rank_correlation": linear, "rmse": rmse, "skill": skill}
                for target, rank, linear, rmse, skill in by_target
            },
        }


class Fitted(NamedTuple):
    """A table's posterior, the response nearest to it, and how good it is."""

    posterior: TablePosterior
    response: Response
    report: FitReport


def fit_runs(runs: MixtureRuns, seed: int = 0, form: Form | None = None) -> Fitted:
    """Fit a table of mixture runs; gains are improvements over the table's mean score.

    Args:
        runs: weights and scores.
        seed: of the folds.
        form: what was learned of a table before; default: it is learned from this one.

    Raises:
        InputError: too few runs for the number of sources.
    """
    n, sources = runs.weights.shape
    needed = max(FEWEST_RUNS, sources // 2)
    if n < needed:
        raise InputError(f"{n} mixture runs are too few to fit a response of {sources} sources; at least {needed} are needed")
    posterior = fit_posterior(runs, form)
    response = convex_relative(posterior, reference_of(runs), -1.0 if runs.lower_is_better else 1.0)
    held_out, mean = _held_out(runs, posterior, seed, anew=form is None and n <= REFITTED_ROWS)
    gains = posterior.gains
    response = replace(response, between=_between(held_out - gains))
    report = FitReport(
        targets=runs.targets,
        runs=n,
        form=posterior.form,
        rank=_rank_correlations(held_out, gains),
        linear_rank=_rank_correlations(_linear(runs.weights, gains), gains),
        rmse=np.sqrt(_mean_square(held_out - gains)),
        skill=_skill(_mean_square(held_out - gains), _mean_square(mean - gains)),
    )
    return Fitted(posterior, response, report)


def _held_out(runs: MixtureRuns, posterior: TablePosterior, seed: int, anew: bool) -> tuple[Floats, Floats]:
    """Each run's gains as predicted without it, and the mean of the runs that these predictions rest on, (n, T) each."""
    gains = posterior.gains
    if not anew:
        known = np.isfinite(gains)
        count, total = known.sum(axis=0), np.where(known, gains, 0.0).sum(axis=0)
        return posterior.leave_one_out(), (total - np.where(known, gains, 0.0)) / np.maximum(count - known, 1)
    folds: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(gains)) % FOLDS
    predicted, mean = np.full(gains.shape, np.nan), np.full(gains.shape, np.nan)
    sign, reference = (-1.0 if runs.lower_is_better else 1.0), reference_of(runs)
    for fold in range(FOLDS):
        away: Bools = np.asarray(folds != fold, dtype=bool)
        rest = runs.take(np.flatnonzero(away).tolist())
        own = sign * (reference_of(rest) - reference)
        predicted[~away] = fit_posterior(rest).at(runs.weights[~away]).mean + own
        mean[~away] = own
    return predicted, mean


def _between(errors: Floats) -> float:
    """Mean correlation of errors (n, T) between targets over rows that all know, at least 0; 0 where there is none to see."""
    errors = errors[np.isfinite(errors).all(axis=1)]
    spread = errors.std(axis=0) if len(errors) else np.zeros(0)
    errors = errors[:, spread > 0]
    if len(errors) < FEWEST_RUNS or errors.shape[1] < 2:
        return 0.0
    return min(max(mean_correlation(errors), 0.0), MOST_BETWEEN)


def _mean_square(errors: Floats) -> Floats:
    """By target, over the known ones; NaN where there is none."""
    known = np.isfinite(errors)
    count = known.sum(axis=0)
    total = (np.where(known, errors, 0.0) ** 2).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _skill(error: Floats, of_mean: Floats) -> Floats:
    """NaN where scores are constant: there is nothing to predict."""
    return np.where(of_mean > 0, 1 - error / np.where(of_mean > 0, of_mean, 1.0), np.nan)


def _linear(weights: Floats, gains: Floats) -> Floats:
    """Leave-one-out predictions of a ridge regression, (n, T)."""
    found = np.full(gains.shape, np.nan)
    for j, column in enumerate(gains.T):
        known = np.isfinite(column)
        if known.sum() < 3:
            continue
        rows = weights[known] - weights[known].mean(axis=0)
        spread = rows.std(axis=0)
        design = np.concatenate([np.ones((len(rows), 1)), rows / np.where(spread > 0, spread, 1.0)], axis=1)
        penalty = np.diag([0.0, *[RIDGE * len(rows)] * weights.shape[1]])
        hat = design @ np.linalg.solve(design.T @ design + penalty, design.T)
        own = np.minimum(np.diagonal(hat), 1 - 1e-9)
        found[known, j] = (hat @ column[known] - own * column[known]) / (1 - own)
    return found


def _rank_correlations(predicted: Floats, observed: Floats) -> Floats:
    """Spearman's rank correlation by column, with average ranks for ties."""
    return np.array([rank_correlation(p, o) for p, o in zip(predicted.T, observed.T, strict=True)])
