"""What the evidence says of a mixture: its response, the predicted gains, those on other seeds and questions, and which are
credible.

The response is the same that a selection maximises. Predictions that rest on estimates, not on measurements, are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from tvt.core.choices import RESPONSES
from tvt.core.labels import aligned
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Prediction
from tvt.core.mixture_runs import MixtureRuns, join
from tvt.core.selection import DEFAULT_KAPPA, SelectionSpec
from tvt.errors import InputError, suggest
from tvt.evidence.completion import Completed, complete
from tvt.evidence.fit import FitReport, Form, fit_response, refit_samples
from tvt.evidence.kappa import Curvature, fit_kappa
from tvt.evidence.response import Response, ResponseForm, transfer_response
from tvt.stats.intervals import normal_factor
from tvt.stats.noise import pooled_degrees
from tvt.types import Bools, Floats

Cells = Sequence[tuple[str, str]]
"""(source, target)."""


def predict(
    evidence: Evidence, weights: Floats, sources: Sequence[str], spec: SelectionSpec | None = None
) -> tuple[tuple[dict[str, Prediction], ...], FitReport | None, tuple[str, ...]]:
    """Predict the gains (and scores) of mixtures, ``weights`` of shape (N, S) over ``sources``.

    Returns one mapping by target for each mixture, the fit's report for a table of mixture runs, and notes (among them a kappa
    that was fitted on a study's mixture and dose runs).

    Raises:
        InputError: a source with weight that the evidence does not know.
    """
    spec = spec or SelectionSpec()
    response, completed, report, notes, curvature = whole_response(evidence, spec)
    if curvature is not None and curvature.origin == "fitted":
        notes = (*notes, curvature.told)
    unknown = [s for j, s in enumerate(sources) if s not in response.sources and np.any(weights[:, j] > 0)]
    if unknown:
        raise InputError(*(f"source '{s}' is not in the study{suggest(s, response.sources)}" for s in unknown))
    full = aligned(weights, None, (sources, response.sources), missing=0.0)
    estimated = () if completed is None else completed.estimated
    told = tuple(predictions(response, row, spec.confidence, estimated) for row in full)
    highest = {t: max((mixture[t] for mixture in told), key=lambda found: found.gain) for t in response.targets} if told else {}
    return told, report, (*notes, *beyond_reach(highest, evidence))


def predictions(response: Response, weights: Floats, confidence: float, estimated: Cells = ()) -> dict[str, Prediction]:
    """Predicted gain of every target at ``weights`` (S,), with its interval; ``estimated`` are the cells not measured."""
    gains = response.gains(weights)
    half = normal_factor(confidence) * response.gain_errors(weights)
    values = response.scores(gains)
    unmeasured = resting_on(estimated, dict(zip(response.sources, weights.tolist(), strict=True)))
    return {
        target: Prediction(
            gain=float(g),
            low=float(g - h),
            high=float(g + h),
            value=float(v) if np.isfinite(v) else None,
            estimated=unmeasured.get(target, ()),
        )
        for target, g, h, v in zip(response.targets, gains, half, values, strict=True)
    }


def beyond_reach(predicted: Mapping[str, Prediction], evidence: Evidence) -> tuple[str, ...]:
    """A note where a predicted PGF is above 1, which none can be."""
    above = [target for target, found in predicted.items() if found.gain > 1]
    if not above or not isinstance(evidence, TransferMatrix) or evidence.metric != "pgf":
        return ()
    more = f" and {len(above) - 2} more" if len(above) > 2 else ""
    return (
        f"no PGF can be above 1, as predicted for {' and '.join(above[:2]) if not more else ', '.join(above[:2])}{more}: "
        "predictions add up what single sources do, and go too far where many of them help",
    )


def resting_on(estimated: Cells, weights: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """By target, the sources with a weight whose cell is an estimate; targets without any are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for source, target in estimated:
        if weights.get(source, 0.0) > 0:
            found[target] = (*found.get(target, ()), source)
    return found


def estimated_cells(matrix: TransferMatrix, confidence: float | None = None) -> dict[tuple[str, str], Prediction]:
    """What a selection takes missing cells for, by (source, target), with the interval that a measurement is foreseen in.

    A source or a target without any measured cell has none.

    Args:
        matrix: the study.
        confidence: level of the intervals; default: a selection's.
    """
    if np.isfinite(matrix.mean).all():
        return {}
    completed = complete(matrix)
    z = normal_factor(SelectionSpec().confidence if confidence is None else confidence)
    found = {}
    for source, target in completed.estimated:
        mean, error = completed.cell(source, target)
        reach = z * error
        found[source, target] = Prediction(gain=mean, low=mean - reach, high=mean + reach, estimated=(source,))
    return found


def weights_of(mixture: Mapping[str, float]) -> tuple[Floats, tuple[str, ...]]:
    """A mixture's weights as (1, S) with its sources."""
    return np.array([list(mixture.values())], dtype=float), tuple(mixture)


Evidence = TransferMatrix | MixtureRuns
SAMPLES = 200
REFITTED = 50


class Whole(NamedTuple):
    """The response of some evidence over all its sources, what was completed or fitted for it, and notes."""

    response: Response
    completed: Completed | None
    report: FitReport | None
    notes: tuple[str, ...]
    curvature: Curvature | None


def with_runs(evidence: Evidence, runs: MixtureRuns | None) -> Evidence:
    """The matrix with ``runs`` (scored in its metric) among its evidence.

    Raises:
        InputError: the runs share no source or no target with the matrix.
    """
    if runs is None or not isinstance(evidence, TransferMatrix):
        return evidence
    if not {*runs.sources} & {*evidence.sources} or not {*runs.targets} & {*evidence.targets}:
        raise InputError("the table of mixture runs shares no source or no target with the study; check the column names")
    return replace(evidence, evidence=join([runs] if evidence.evidence is None else [evidence.evidence, runs]))


def form_of(spec: SelectionSpec) -> ResponseForm:
    """How gains follow from a study's matrix, as the request says."""
    form: ResponseForm = RESPONSES.find(spec.response)
    return form


def curvature(evidence: Evidence, spec: SelectionSpec) -> Curvature | None:
    """Kappa as given, else fitted on the evidence beside the matrix, else the default; None where the response has none."""
    if not isinstance(evidence, TransferMatrix) or not form_of(spec).curved:
        return None
    if spec.kappa is not None:
        return Curvature(value=spec.kappa, origin="given")
    if evidence.evidence is None:
        return Curvature(value=DEFAULT_KAPPA, origin="assumed")
    return fit_kappa(evidence, evidence.evidence, spec.confidence)


def settle(evidence: Evidence, spec: SelectionSpec) -> SelectionSpec:
    """The request with the kappa that this evidence tells, so that it holds on other evidence too."""
    return with_kappa(spec, curvature(evidence, spec))


def with_kappa(spec: SelectionSpec, found: Curvature | None) -> SelectionSpec:
    """The request with a kappa that was found, so that nothing is fitted anew."""
    return spec if found is None else spec.model_copy(update={"kappa": found.value})


def whole_response(evidence: Evidence, spec: SelectionSpec, form: Form | None = None) -> Whole:
    """The response of the evidence over all its sources."""
    if isinstance(evidence, MixtureRuns):
        response, report = fit_response(evidence, spec.seed, form)
        return Whole(response, None, report, evidence.notes, None)
    completed = complete(evidence)
    if not completed.sources or not completed.targets:
        raise InputError(f"study {evidence.name}: no cell was measured; nothing can be chosen")
    notes = list(completed.notes)
    if not np.isfinite(evidence.error).any():
        notes.append(
            "the noise is unknown (one run, no counts of questions): intervals leave it out, and any gain counts as credible"
        )
    found = curvature(evidence, spec)
    if found is not None and found.reason is not None:
        notes.append(f"kappa stays at {found.value:g}, an assumption: {found.reason}")
    response = transfer_response(
        completed.mean,
        completed.errors,
        sources=completed.sources,
        targets=completed.targets,
        form=form_of(spec),
        kappa=None if found is None else found.value,
    )
    return Whole(response, completed, None, tuple(notes), found)


def redrawn(evidence: Evidence, spec: SelectionSpec, whole: Whole, count: int | None = None) -> tuple[Response, ...]:
    """The responses that the evidence might have given with other seeds and other questions.

    Args:
        evidence, spec: what ``whole`` is the response of.
        whole: from :func:`whole_response`.
        count: how many; default: 200 of a matrix, 50 of a table of mixture runs, each of which is fitted.
    """
    response = whole.response
    if isinstance(evidence, MixtureRuns):
        assert whole.report is not None  # noqa: S101 - a fitted response has its report
        return refit_samples(evidence, response, whole.report, spec.seed, count or REFITTED)
    assert whole.completed is not None  # noqa: S101
    means = bootstrap_means(evidence, whole.completed, spec.seed, count or SAMPLES)
    kappa = None if whole.curvature is None else whole.curvature.value
    names = {"sources": response.sources, "targets": response.targets}
    return tuple(transfer_response(mean, response.errors, **names, form=form_of(spec), kappa=kappa) for mean in means)


def bootstrap_means(matrix: TransferMatrix, completed: Completed, seed: int, count: int = SAMPLES) -> Floats:
    """Mean matrices, (count, S, T) in the order of ``completed``.

    Runs are drawn with replacement (whole runs, as their cells share a seed), then each cell gets normal noise of its item
    error; a cell with one run gets noise of its whole error, and so does an estimated one.
    """
    rng = np.random.default_rng(seed)
    matrix = matrix.reindex(sources=completed.sources, targets=completed.targets)
    deviation = np.nan_to_num(matrix.values - matrix.mean)
    draws = rng.integers(0, len(matrix.runs), size=(count, len(matrix.runs)))
    shares = np.stack([np.bincount(d, minlength=len(matrix.runs)) for d in draws]) / len(matrix.runs)
    spread = np.einsum("bk,kst->bst", shares, deviation)
    # A resample of K runs, of which a cell has n, spreads by n (n - 1) / K^2 of the variance that it stands for.
    own = matrix.run_count
    spread *= len(matrix.runs) / np.sqrt(np.maximum(own * (own - 1), 1))
    once = own == 1
    item = np.nan_to_num(np.where(once, matrix.error, matrix.item_error))
    item = np.where(own > 0, item, np.nan_to_num(completed.errors))
    noise: Floats = rng.standard_normal(spread.shape) * item
    means: Floats = completed.mean + spread + noise
    return means


def credible_sources(
    matrix: TransferMatrix, completed: Completed, *, sources: Sequence[str], counting: Bools, confidence: float
) -> dict[str, dict[str, float]]:
    """By counting target, those of ``sources`` whose lower confidence bound is above 0, with their mean gain.

    The bound is one-sided at ``confidence``: ``mean - sqrt((t * seed error)^2 + (z * item error)^2)``. Seed noise is
    independent between sources, and the best of many is picked, so t carries Bonferroni's correction for the number of sources
    and the degrees of freedom of the target's variance between runs (:mod:`tvt.stats.noise`). Item noise is mostly shared by
    the sources (same questions, same base model), so z carries none. With neither error known a positive mean is all there is
    to go by.
    """
    bound = lower_bounds(matrix, completed, confidence, len(sources))
    found: dict[str, dict[str, float]] = {}
    for j, target in enumerate(completed.targets):
        if not counting[j]:
            continue
        gains = {}
        for source in sources:
            i = completed.sources.index(source)
            if (source, target) not in completed.estimated and bound[i, j] > 0:
                gains[source] = float(completed.mean[i, j])
        found[target] = dict(sorted(gains.items(), key=lambda item: -item[1]))
    return found


def lower_bounds(matrix: TransferMatrix, completed: Completed, confidence: float, candidates: int) -> Floats:
    """Lower confidence bounds of the gains, (S, T) in the order of ``completed``."""
    matrix = matrix.reindex(sources=completed.sources, targets=completed.targets)
    seed = np.sqrt(np.nan_to_num(matrix.run_variance) / np.maximum(matrix.run_count, 1))
    t = stdtrit(pooled_degrees(matrix.values), 1 - (1 - confidence) / max(candidates, 1))
    margin = np.hypot(t * seed, float(ndtri(confidence)) * np.nan_to_num(matrix.item_error))
    bounds: Floats = completed.mean - margin
    return bounds
