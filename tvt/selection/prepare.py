"""From evidence and a spec to a problem ready to solve: response, request, samples, and what to tell about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.pgf import Floats
from tvt.core.selection import SelectionSpec
from tvt.core.task import resolve_name
from tvt.errors import InputError
from tvt.selection.cardinality import solve_with_few_sources
from tvt.selection.completion import Completed, complete
from tvt.selection.fit import FitReport, Form, fit_kappa, fit_response, refit_samples
from tvt.selection.request import Request, resolve_request
from tvt.selection.response import Response, transfer_response
from tvt.selection.samples import bootstrap_means
from tvt.selection.solve import Solution, solve_convex

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


def whole_response(
    evidence: Evidence, spec: SelectionSpec, form: Form | None = None
) -> tuple[Response, Completed | None, FitReport | None, tuple[str, ...]]:
    """The response of the evidence over all its sources, what was completed or fitted for it, and notes."""
    if isinstance(evidence, MixtureRuns):
        response, report = fit_response(evidence, spec.seed, form)
        return response, None, report, evidence.notes
    completed = complete(evidence)
    if not completed.sources or not completed.targets:
        raise InputError(f"study {evidence.name}: no cell was measured; nothing can be chosen")
    notes = list(completed.notes)
    if not np.isfinite(evidence.error).any():
        notes.append(
            "the noise is unknown (one run, no counts of questions): intervals leave it out, and any gain counts as credible"
        )
    kappa = None if spec.response == "linear" else spec.kappa
    response = transfer_response(
        completed.mean, completed.errors, sources=completed.sources, targets=completed.targets, kappa=kappa
    )
    return response, completed, None, tuple(notes)


def prepare(evidence: Evidence, spec: SelectionSpec, runs: MixtureRuns | None = None, form: Form | None = None) -> Prepared:
    """Look names up, build the response and draw samples.

    ``form`` fixes the member of the fitted family for a table of mixture runs; else out-of-fold error decides.

    Raises:
        InputError: unknown names, impossible limits, risk without errors; all faults at once.
    """
    fitted: tuple[str, ...] = ()
    if runs is not None and isinstance(evidence, TransferMatrix):
        spec = spec.model_copy(update={"kappa": fit_kappa(evidence, runs), "response": "log"})
        fitted = (f"kappa {spec.kappa:.3g} fitted on {len(runs.ids)} mixture runs",)
    response, completed, report, notes = whole_response(evidence, spec, form)
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
    samples = _samples(evidence, spec, response, completed, report)
    return Prepared(
        evidence=evidence,
        spec=spec,
        request=request,
        response=response.take_sources(keep),
        samples=tuple(s.take_sources(keep) for s in samples),
        whole=response,
        notes=(*notes, *fitted),
        completed=completed,
        report=report,
    )


def _refuse_dead_targets(evidence: Evidence, response: Response, spec: SelectionSpec) -> None:
    """Refuse goals, weights and limits on targets without a single measured cell."""
    asked = {*spec.goals, *spec.targets, *spec.protect}
    dead = [t for t in evidence.targets if t not in response.targets and t in asked]
    if dead and isinstance(evidence, TransferMatrix):
        raise InputError(*(f"target {t}: {evidence.reason(evidence.sources[0], t)}; it cannot be asked for" for t in dead))


def _samples(
    evidence: Evidence,
    spec: SelectionSpec,
    response: Response,
    completed: Completed | None,
    report: FitReport | None,
) -> tuple[Response, ...]:
    """Responses as they might have come out, for CVaR."""
    if spec.cvar is None:
        return ()
    if isinstance(evidence, MixtureRuns):
        assert report is not None  # noqa: S101 - a fitted response has its report
        return refit_samples(evidence, response, report, spec.seed)
    assert completed is not None  # noqa: S101
    means = bootstrap_means(evidence, completed, spec.seed)
    curve = response.curves[0] if response.curves else None
    kappa = None if curve is None or curve.offset is None else 1 / curve.offset
    return tuple(
        transfer_response(mean, response.errors, sources=response.sources, targets=response.targets, kappa=kappa)
        for mean in means
    )
