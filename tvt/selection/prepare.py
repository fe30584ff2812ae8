"""From evidence and a spec to a problem ready to solve: response, request, samples, and what to tell about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.core.task import resolve_name
from tvt.errors import InputError
from tvt.evidence.completion import Completed
from tvt.evidence.fit import FitReport, Form
from tvt.evidence.kappa import Curvature
from tvt.evidence.response import Response
from tvt.evidence.whole import Evidence, redrawn, whole_response, with_kappa, with_runs
from tvt.selection.cardinality import solve_with_few_sources
from tvt.selection.request import Request, resolve_request
from tvt.selection.solve import Solution, solve_convex
from tvt.types import Floats


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
        return with_kappa(self.spec, self.curvature)

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
    samples = redrawn(evidence, spec, whole) if spec.cvar is not None else ()
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
