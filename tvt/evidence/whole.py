"""The response of some evidence: what a mixture of its sources brings, and might bring on other seeds and questions."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tvt.core.choices import RESPONSES
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns, join
from tvt.core.selection import DEFAULT_KAPPA, SelectionSpec
from tvt.errors import InputError
from tvt.evidence.completion import Completed, complete
from tvt.evidence.fit import FitReport, Form, fit_response, refit_samples
from tvt.evidence.kappa import Curvature, fit_kappa
from tvt.evidence.response import Response, ResponseForm, transfer_response
from tvt.types import Floats

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
    rows = [matrix.sources.index(s) for s in completed.sources]
    columns = [matrix.targets.index(t) for t in completed.targets]
    cut = np.ix_(range(len(matrix.runs)), rows, columns)
    values = matrix.values[cut]
    deviation = np.nan_to_num(values - matrix.mean[np.ix_(rows, columns)])
    draws = rng.integers(0, len(matrix.runs), size=(count, len(matrix.runs)))
    shares = np.stack([np.bincount(d, minlength=len(matrix.runs)) for d in draws]) / len(matrix.runs)
    spread = np.einsum("bk,kst->bst", shares, deviation)
    # A resample of K runs, of which a cell has n, spreads by n (n - 1) / K^2 of the variance that it stands for.
    own = matrix.run_count[np.ix_(rows, columns)]
    spread *= len(matrix.runs) / np.sqrt(np.maximum(own * (own - 1), 1))
    once = own == 1
    item = np.nan_to_num(np.where(once, matrix.error[np.ix_(rows, columns)], matrix.item_error[np.ix_(rows, columns)]))
    for source, target in completed.estimated:
        at = completed.sources.index(source), completed.targets.index(target)
        item[at] = np.nan_to_num(completed.errors[at])
    noise: Floats = rng.standard_normal(spread.shape) * item
    means: Floats = completed.mean + spread + noise
    return means
