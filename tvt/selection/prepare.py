"""From evidence and a spec to a problem ready to solve: response, request, samples, and what to tell about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tvt.core.choices import RESPONSES
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns, join
from tvt.core.selection import DEFAULT_KAPPA, SelectionSpec
from tvt.core.task import resolve_name
from tvt.errors import InputError
from tvt.selection.cardinality import solve_with_few_sources
from tvt.selection.completion import Completed, complete
from tvt.selection.fit import FitReport, Form, fit_response, refit_samples
from tvt.selection.kappa import Curvature, fit_kappa
from tvt.selection.request import Request, resolve_request
from tvt.selection.response import Response, ResponseForm, transfer_response
from tvt.selection.samples import bootstrap_means
from tvt.selection.solve import Solution, solve_convex
from tvt.types import Floats

Evidence = TransferMatrix | MixtureRuns


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One selection ready to solve. ``response`` and ``samples`` are over the request's (allowed) sources;
    ``whole`` is the response over all sources, for predicting any mixture.
    """

    evidence: Evidence
    spec: SelectionSpec
    request: Request
    response: Response
    samples: tuple[Response, ...]
    whole: Response
    notes: tuple[str, ...]
    completed: Completed | None = None
    report: FitReport | None = None
    curvature: Curvature | None = None
    """kappa of the log response and how it came about; None for other responses."""

    @property
    def estimated(self) -> tuple[tuple[str, str], ...]:
        """The (source, target) that were not measured but estimated."""
        return () if self.completed is None else self.completed.estimated

    @property
    def settled(self) -> SelectionSpec:
        """The request with kappa settled: what is prepared from it fits nothing anew."""
        return _with_kappa(self.spec, self.curvature)

    def solve(self) -> Solution:
        """Solve with the method that the request needs."""
        few = self.spec.max_sources is not None or self.spec.min_weight is not None
        solver = solve_with_few_sources if few else solve_convex
        return solver(self.request, self.response, self.samples)

    def spread(self, weights: Floats) -> Floats:
        """Weights over the allowed sources (S,) written over all sources."""
        full = np.zeros(len(self.whole.sources))
        full[[self.whole.sources.index(s) for s in self.request.sources]] = weights
        return full


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
    return _with_kappa(spec, curvature(evidence, spec))


def _with_kappa(spec: SelectionSpec, found: Curvature | None) -> SelectionSpec:
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


def prepare(evidence: Evidence, spec: SelectionSpec, runs: MixtureRuns | None = None, form: Form | None = None) -> Prepared:
    """Look names up, build the response and draw samples.

    ``runs`` are mixture runs beside a matrix, in its metric: they join its evidence on kappa.
    ``form`` fixes the member of the fitted family for a table of mixture runs; else out-of-fold error decides.

    Raises:
        InputError: unknown names, impossible limits, risk without errors; all faults at once.
    """
    evidence = with_runs(evidence, runs)
    whole = whole_response(evidence, spec, form)
    response, completed, report, notes, found = whole
    tasks = evidence.tasks if isinstance(evidence, TransferMatrix) else ()
    known = tuple(dict.fromkeys((*evidence.sources, *evidence.targets)))
    _refuse_dead_targets(evidence, response, spec)
    request = resolve_request(
        spec,
        sources=response.sources,
        targets=response.targets,
        resolve=lambda text: resolve_name(text, tasks, known),
        is_pgf=isinstance(evidence, TransferMatrix) and evidence.metric == "pgf",
        sign=response.sign,
        reference=response.reference,
    )
    careful = spec.risk or spec.protect_z
    if careful and not np.isfinite(response.errors).any():
        raise InputError("no standard errors are known, so risk has nothing to go by; give several runs or counts, or --cvar")
    keep = [response.sources.index(s) for s in request.sources]
    samples = _samples(evidence, spec, whole)
    return Prepared(
        evidence=evidence,
        spec=spec,
        request=request,
        response=response.take_sources(keep),
        samples=tuple(s.take_sources(keep) for s in samples),
        whole=response,
        notes=notes,
        completed=completed,
        report=report,
        curvature=found,
    )


def _refuse_dead_targets(evidence: Evidence, response: Response, spec: SelectionSpec) -> None:
    """Refuse goals, weights and limits on targets without a single measured cell."""
    asked = {*spec.goals, *spec.targets, *spec.protect}
    dead = [t for t in evidence.targets if t not in response.targets and t in asked]
    if dead and isinstance(evidence, TransferMatrix):
        raise InputError(*(f"target {t}: {evidence.reason(evidence.sources[0], t)}; it cannot be asked for" for t in dead))


def _samples(evidence: Evidence, spec: SelectionSpec, whole: Whole) -> tuple[Response, ...]:
    """Responses as they might have come out, for CVaR."""
    if spec.cvar is None:
        return ()
    response = whole.response
    if isinstance(evidence, MixtureRuns):
        assert whole.report is not None  # noqa: S101 - a fitted response has its report
        return refit_samples(evidence, response, whole.report, spec.seed)
    assert whole.completed is not None  # noqa: S101
    means = bootstrap_means(evidence, whole.completed, spec.seed)
    kappa = None if whole.curvature is None else whole.curvature.value
    names = {"sources": response.sources, "targets": response.targets}
    return tuple(transfer_response(mean, response.errors, **names, form=form_of(spec), kappa=kappa) for mean in means)
