"""Evidence: what is known of the gains that mixtures bring, whether from a study's matrix or from a table of mixture runs.

Selection, prediction, stability and comparison ask an :class:`Evidence` and never which of the two it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tvt.core.choices import RESPONSES
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns, join
from tvt.core.selection import DEFAULT_KAPPA, SelectionSpec
from tvt.core.task import Task
from tvt.core.values import positions
from tvt.errors import InputError
from tvt.evidence.completion import Completed, complete
from tvt.evidence.estimates import Posterior
from tvt.evidence.fit import FOLDS, FitReport, fit_runs
from tvt.evidence.forms import Joint, ResponseForm, transfer_response
from tvt.evidence.kappa import fit_kappa, run_noise
from tvt.evidence.measured import SAMPLES, Measured, bootstrap_means, group_runs, lower_bounds
from tvt.evidence.posterior import Form, TablePosterior
from tvt.evidence.relative import redrawn_relatives
from tvt.evidence.response import Curvature, ErrorRows, Response, sampled
from tvt.evidence.response_posterior import ResponsePosterior
from tvt.evidence.study_model import StudyFit, fit_study
from tvt.evidence.study_rows import UNKNOWN_NOISE, usable_runs
from tvt.types import Bools, Floats

Measurements = TransferMatrix | MixtureRuns
REFITTED = 50
REGION_RIDGE = 0.05
"""Share of the mean variance of a weight that each direction of the measured region has at least."""


class FullResponse(NamedTuple):
    """The response of some evidence over all its sources, what was completed or fitted for it, and notes.

    ``response`` is what a convex program uses, ``posterior`` what predicts: the two agree, but for what no concave response can
    follow.
    """

    response: Response
    completed: Completed | None
    report: FitReport | None
    notes: tuple[str, ...]
    curvature: Curvature | None
    posterior: Posterior
    joint: StudyFit | None = None
    """What was learned of a study's joint response."""


class Fold(NamedTuple):
    """A part of the evidence that is held out, and the rest."""

    label: str
    rest: Evidence
    held_out: Evidence


class Evidence(ABC):
    """What selection, prediction and comparison need to know."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    """What is known of the tasks, for looking up names."""
    matrix: TransferMatrix | None = None
    """The study behind it, where there is one: it alone knows the base model, whose gains are 0."""
    is_pgf: bool = False
    uneven: bool = False
    """Whether sources have different numbers of runs."""

    @staticmethod
    def of(known: Measurements | Evidence) -> Evidence:
        """The evidence that measurements are."""
        if isinstance(known, TransferMatrix):
            return StudyEvidence(known)
        return TableEvidence(known) if isinstance(known, MixtureRuns) else known

    @abstractmethod
    def full_response(self, spec: SelectionSpec, form: Form | None = None) -> FullResponse:
        """The response over all sources; ``form`` is what was learned of a table before."""

    @abstractmethod
    def redrawn(self, spec: SelectionSpec, of: FullResponse, count: int | None = None) -> tuple[Response, ...]:
        """The responses that the evidence might have given with other seeds and questions; ``of`` is the one it gave."""

    @abstractmethod
    def folds(self, seed: int) -> list[Fold]:
        """The parts that are held out in turn; ``seed`` draws them where they are drawn."""

    @abstractmethod
    def measured(self, of: FullResponse) -> Measured:
        """Every mixture that was trained and scored, single sources among them; ``of`` is the response it gave."""

    def region(self, sources: Sequence[str]) -> tuple[ErrorRows, float] | None:
        """Where measured mixtures are, over ``sources`` (S,): the length of the rows is at most the number; ``None`` where no
        mixture lies outside.
        """
        return None

    def has_signal(self, of: FullResponse, shares: Floats) -> bool:
        """Whether the response predicts runs that it has not seen better than their mean, over targets with ``shares`` (T,)."""
        return True

    def spreads(self) -> Floats | None:
        """Standard deviation of each target's scores over the runs of a table, (T,)."""
        return None

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Plain values that name it."""

    def with_runs(self, runs: MixtureRuns | None) -> Evidence:
        """The evidence with mixture runs beside it, where these tell it something."""
        return self

    def curvature(self, spec: SelectionSpec) -> Curvature | None:
        """Kappa of its response and how it came about; ``None`` where the response has none."""
        return None

    def settled(self, spec: SelectionSpec) -> SelectionSpec:
        """The request with the kappa that this evidence tells, so that it holds on other evidence too."""
        return with_kappa(spec, self.curvature(spec))

    def credible(
        self, of: FullResponse, *, sources: Sequence[str], counting: Bools, confidence: float
    ) -> dict[str, dict[str, float]] | None:
        """By counting target, the sources whose gain is credible, with that gain; ``None`` where no base model is known."""
        return None

    def unmeasured(self, target: str) -> str | None:
        """Why nothing is known of a target, or ``None``."""
        return None

    def short(self, name: str) -> str:
        """The task's abbreviation, or its name where there is none."""
        return name


class TableEvidence(Evidence):
    """A table of past mixture runs: a posterior is fitted on it, and no base model is known."""

    def __init__(self, runs: MixtureRuns) -> None:
        self.runs, self.sources, self.targets = runs, runs.sources, runs.targets

    def full_response(self, spec: SelectionSpec, form: Form | None = None) -> FullResponse:
        """See :meth:`Evidence.full_response`."""
        posterior, response, report = fit_runs(self.runs, spec.seed, form)
        return FullResponse(response, None, report, self.runs.notes, None, posterior)

    def redrawn(self, spec: SelectionSpec, of: FullResponse, count: int | None = None) -> tuple[Response, ...]:
        """Relatives of draws from the posterior, by default 50."""
        assert isinstance(of.posterior, TablePosterior)  # noqa: S101 - a table has its own
        return redrawn_relatives(of.posterior, of.response, spec.seed, count or REFITTED)

    def folds(self, seed: int) -> list[Fold]:
        """Five parts of the rows."""
        groups = np.random.default_rng(seed + 1).permutation(len(self.runs.ids)) % FOLDS

        def rows(keep: Bools) -> TableEvidence:
            return TableEvidence(self.runs.take(np.flatnonzero(keep).tolist()))

        return [Fold(f"fold {k + 1}", rows(groups != k), rows(groups == k)) for k in range(FOLDS)]

    def measured(self, of: FullResponse) -> Measured:
        """The table's rows, those of one mixture together."""
        response = of.response
        gains = response.sign * (self.runs.scores - response.reference)
        _, se, sd = of.posterior.at(self.runs.weights)
        return group_runs(self.runs, gains, np.maximum(sd**2 - se**2, 0.0))

    def region(self, sources: Sequence[str]) -> tuple[ErrorRows, float] | None:
        """An ellipsoid of the table's covariance around its mean mixture, as large as its farthest row."""
        weights = self.runs.weights
        centre = weights.mean(axis=0)
        covariance = np.cov(weights.T, bias=True).reshape(len(self.sources), -1)
        covariance = covariance + REGION_RIDGE * max(float(np.diag(covariance).mean()), 1e-9) * np.eye(len(self.sources))
        rows = np.linalg.inv(np.linalg.cholesky(covariance))
        radius = float(np.linalg.norm((weights - centre) @ rows.T, axis=1).max())
        used = positions(self.sources, sources)
        nothing = np.zeros(0)
        return ErrorRows(nothing, nothing.astype(np.int64), nothing, rows[:, used], -rows @ centre), max(radius, 1e-6)

    def has_signal(self, of: FullResponse, shares: Floats) -> bool:
        """By the error out of fold."""
        assert of.report is not None  # noqa: S101 - a fitted response has its report
        return float(shares @ np.nan_to_num(of.report.skill)) > 0

    def spreads(self) -> Floats | None:
        """See :meth:`Evidence.spreads`."""
        found: Floats = np.nanstd(self.runs.scores, axis=0)
        return np.where(found > 0, found, 1.0)

    def provenance(self) -> dict[str, Any]:
        """Digest of the table and number of rows."""
        return {"kind": "mixture_runs", "digest": self.runs.digest, "runs": len(self.runs.ids)}


class StudyEvidence(Evidence):
    """A study's matrix, with the mixture and dose runs beside it."""

    matrix: TransferMatrix

    def __init__(self, matrix: TransferMatrix) -> None:
        self.matrix, self.sources, self.targets, self.tasks = matrix, matrix.sources, matrix.targets, matrix.tasks
        self.is_pgf = matrix.metric == "pgf"
        self.uneven = bool(np.ptp(matrix.run_count.max(axis=1, initial=0)) > 0) if matrix.sources else False

    def full_response(self, spec: SelectionSpec, form: Form | None = None) -> FullResponse:
        """The response of the request's form, from the matrix without holes.

        Raises:
            InputError: no cell was measured.
        """
        completed = complete(self.matrix)
        if not completed.sources or not completed.targets:
            raise InputError(f"study {self.matrix.name}: no cell was measured; nothing can be chosen")
        notes = list(completed.notes)
        if not np.isfinite(self.matrix.mean).any():
            notes.append("no run was measured: estimates alone make no gain credible; tvt study run measures")
        elif not np.isfinite(self.matrix.error).any():
            joint = _form(spec).joint
            how = f"{UNKNOWN_NOISE:.0%} of the variance between sources is taken for it" if joint else "so are the intervals"
            scored = np.isfinite(self.matrix.after).any()
            step = "; --questions N, of how many the accuracies are, gives a part of it" if scored else ""
            notes.append(
                f"the noise is unknown (one run, no counts of questions): {how}, and any gain counts as credible{step}"
            )
        rule = _form(spec)
        if isinstance(rule, Joint):
            shares = {source: size / spec.budget for source, size in spec.sizes.items()}
            fit = fit_study(self.matrix, completed, self.matrix.evidence, shares=shares)
            notes += [fit.text] if fit.runs else []
            return FullResponse(fit.response, completed, None, tuple(notes), None, fit.posterior, fit)
        curvature = self.curvature(spec)
        if curvature is not None and curvature.reason is not None:
            notes.append(f"kappa stays at {curvature.value:g}, an assumption: {curvature.reason}")
        response = transfer_response(
            completed.mean,
            completed.errors,
            sources=completed.sources,
            targets=completed.targets,
            form=rule,
            kappa=None if curvature is None else curvature.value,
        )
        return FullResponse(response, completed, None, tuple(notes), curvature, ResponsePosterior(response))

    def redrawn(self, spec: SelectionSpec, of: FullResponse, count: int | None = None) -> tuple[Response, ...]:
        """Responses of resampled matrices, or of the joint response's posterior, by default 200."""
        assert of.completed is not None  # noqa: S101 - a study's matrix was completed
        rule = _form(spec)
        if isinstance(rule, Joint):
            return sampled(of.response, count or SAMPLES, spec.seed)
        means = bootstrap_means(self.matrix, of.completed, spec.seed, count or SAMPLES)
        kappa = None if of.curvature is None else of.curvature.value
        names = {"sources": of.response.sources, "targets": of.response.targets}
        return tuple(transfer_response(mean, of.response.errors, **names, form=rule, kappa=kappa) for mean in means)

    def folds(self, seed: int) -> list[Fold]:
        """Each run in turn; where sources have different numbers of runs, one run of each source that has several."""
        matrix, runs = self.matrix, range(len(self.matrix.runs))
        if self.uneven:
            return _uneven_folds(matrix)
        return [
            Fold(
                run,
                StudyEvidence(matrix.only_runs([k for k in runs if k != out])),
                StudyEvidence(_as_measured(matrix.only_runs([out]))),
            )
            for out, run in enumerate(matrix.runs)
        ]

    def measured(self, of: FullResponse) -> Measured:
        """The single sources that have a cell, and the runs beside them, those of one mixture together."""
        sources, targets = of.response.sources, of.response.targets
        matrix = self.matrix.reindex(sources=sources, targets=targets)
        alone = Measured(sources, np.eye(len(sources)), matrix.mean, matrix.error, matrix.run_count.max(axis=1, initial=0))
        runs = None if of.completed is None else usable_runs(matrix.evidence, of.completed)
        if runs is None:
            return alone
        runs = runs.reindex(sources=sources, targets=targets)
        between, items = run_noise(matrix)
        errors = np.where(np.isfinite(runs.known_errors), runs.known_errors**2, items)
        beside = group_runs(runs, runs.scores, between + errors)
        return Measured(
            alone.names + beside.names,
            *(np.concatenate([ours, theirs]) for ours, theirs in zip(alone[1:], beside[1:], strict=True)),
        )

    def provenance(self) -> dict[str, Any]:
        """Name, digest, runs, metric and model, with the ids of the runs beside the matrix."""
        matrix = self.matrix
        beside = {} if matrix.evidence is None else {"mixture_runs": list(matrix.evidence.ids)}
        return {
            "kind": "transfer_matrix",
            "name": matrix.name,
            "digest": matrix.digest(),
            "runs": list(matrix.runs),
            "metric": matrix.metric,
            "model": matrix.model,
            **beside,
        }

    def with_runs(self, runs: MixtureRuns | None) -> Evidence:
        """The matrix with the runs among its evidence: see :func:`with_runs`."""
        return StudyEvidence(with_runs(self.matrix, runs))

    def curvature(self, spec: SelectionSpec) -> Curvature | None:
        """Kappa as given, else fitted on the runs beside the matrix, else the default."""
        if not _form(spec).curved:
            return None
        if spec.kappa is not None:
            return Curvature(value=spec.kappa, origin="given")
        if self.matrix.evidence is None:
            return Curvature(value=DEFAULT_KAPPA, origin="assumed")
        return fit_kappa(self.matrix, self.matrix.evidence, spec.confidence)

    def credible(
        self, of: FullResponse, *, sources: Sequence[str], counting: Bools, confidence: float
    ) -> dict[str, dict[str, float]] | None:
        """By counting target, those of ``sources`` whose lower confidence bound is above 0: see :func:`lower_bounds`.

        With no error known, a positive mean is all there is to go by.
        """
        completed = of.completed
        assert completed is not None  # noqa: S101 - a study's matrix was completed
        above = lower_bounds(self.matrix, completed, confidence, len(sources)) > 0
        found: dict[str, dict[str, float]] = {}
        for j, target in enumerate(completed.targets):
            if counting[j]:
                gains = {
                    source: float(completed.mean[i, j])
                    for i, source in enumerate(completed.sources)
                    if source in sources and above[i, j] and (source, target) not in completed.estimated
                }
                found[target] = dict(sorted(gains.items(), key=lambda item: -item[1]))
        return found

    def unmeasured(self, target: str) -> str | None:
        """The reason that the matrix gives."""
        if np.isfinite(self.matrix.reindex(targets=[target]).values).any():
            return None
        return self.matrix.reason(self.sources[0], target)

    def short(self, name: str) -> str:
        """As the matrix's tasks say."""
        return self.matrix.short(name)


def with_runs(matrix: TransferMatrix, runs: MixtureRuns | None) -> TransferMatrix:
    """The matrix with ``runs`` (scored in its metric) among its evidence.

    Raises:
        InputError: the runs share no source or no target with the matrix.
    """
    if runs is None:
        return matrix
    if not {*runs.sources} & {*matrix.sources} or not {*runs.targets} & {*matrix.targets}:
        raise InputError("the table of mixture runs shares no source or no target with the study; check the column names")
    return replace(matrix, evidence=join([runs] if matrix.evidence is None else [matrix.evidence, runs]))


def with_kappa(spec: SelectionSpec, found: Curvature | None) -> SelectionSpec:
    """The request with a kappa that was found, so that nothing is fitted anew."""
    return spec if found is None else spec.model_copy(update={"kappa": found.value})


def _form(spec: SelectionSpec) -> ResponseForm | Joint:
    """How gains follow from a study's matrix, as the request says."""
    form: ResponseForm | Joint = RESPONSES.find(spec.form)
    return form


def _as_measured(matrix: TransferMatrix) -> TransferMatrix:
    """A held-out run whose cells are taken as they are: it judges what others chose, and is not drawn toward any mean."""
    return replace(matrix, item_errors=np.where(np.isfinite(matrix.values), 0.0, np.nan))


def _uneven_folds(matrix: TransferMatrix) -> list[Fold]:
    """Folds of a study whose sources have different numbers of runs: the first run of each source, then the second, and so on.

    A source without a run in a fold, or with that one only, is in both parts: its prediction counts as held out.
    """
    measured: Bools = np.asarray(np.isfinite(matrix.values).any(axis=2), dtype=bool)
    number = np.where(measured, np.cumsum(measured, axis=0), 0)
    folds = []
    for k in range(1, int(number.max()) + 1):
        out = (number == k) & (measured.sum(axis=0) > 1)
        parts = ~out, out | ~out.any(axis=0)
        rest, left = (replace(matrix, values=np.where(part[..., None], matrix.values, np.nan)) for part in parts)
        folds.append(Fold(f"run {k} of each", StudyEvidence(rest), StudyEvidence(_as_measured(left))))
    return folds
