"""Mixtures of a study's sources: which one to train on, how far to trust it, and what given ones would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from tvt.api.studies import Study, evidence_of, load_mixture_runs
from tvt.core.choices import RESPONSES
from tvt.core.mixture import FailedSelection, Mixture, Nearby, Prediction
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import Frame, counted, is_frame, predictions_frame, predictions_html, predictions_of
from tvt.core.selection import SelectionSpec
from tvt.core.values import Frozen
from tvt.errors import InputError, MissingPackageError, install
from tvt.evidence.evidence import Evidence, Measurements
from tvt.evidence.fit import FitReport
from tvt.evidence.response import Curvature
from tvt.evidence.study_model import StudyFit, response_json
from tvt.types import Floats

if TYPE_CHECKING:
    from tvt.report.selection_tables import SelectionResult
    from tvt.selection.engine import Prepared
    from tvt.study.previewed import Preview
    from tvt.study.session import Session

Frontier = Literal["risk", "harm"]
_DUST = 1e-6
"""By how much weights may sum to more than 1, since they are rounded."""
Mixtures = Mixture | Mapping[str, float] | Floats | Frame | str | Path
"""One mixture or several: see :func:`predict`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Frozen):
    """What mixtures are predicted to do. Unpacks to ``gains, fit, notes``."""

    ids: tuple[str, ...]
    gains: tuple[Mapping[str, Prediction], ...]
    """By target, for each mixture."""
    fit: FitReport | None = None
    """How well the response of a table of mixture runs predicts runs it has not seen."""
    curvature: Curvature | None = None
    """kappa of a response that is curved, and how it came about."""
    response: str = RESPONSES.default
    """Name of the response where there is a curvature."""
    notes: tuple[str, ...] = ()
    joint: StudyFit | None = None
    """What was learned of a study's joint response."""
    nearby: tuple[Nearby | None, ...] = ()
    """For each mixture, the measured one that is nearest."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.gains, self.fit, self.notes))

    @property
    def by_mixture(self) -> dict[str, Mapping[str, Prediction]]:
        """Gains by the mixture's id."""
        return dict(zip(self.ids, self.gains, strict=True))

    def __repr__(self) -> str:
        targets = len(self.gains[0]) if self.gains else 0
        return f"Predictions({counted(len(self.ids), 'mixture')}, {counted(targets, 'target')})"

    def _repr_html_(self) -> str:
        return predictions_html(self.by_mixture)

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt predict --json``: scores in the table's unit where it has one, else gains."""
        nearby = self.nearby or (None,) * len(self.ids)
        predictions = [
            {"mixture": name, "scores": {target: _score(p) for target, p in gains.items()}, "measured_nearby": near}
            for name, gains, near in zip(self.ids, self.gains, nearby, strict=True)
        ]
        found = response_json(self.response, self.curvature, self.joint)
        response = {} if found is None else {"response": found}
        return {"schema": 1, "predictions": predictions, **response, **({} if self.fit is None else {"fit": self.fit})}

    def to_frame(self) -> Frame:
        """A pandas table, a row for each mixture and target: mixture, target, gain, low, high, value, estimated.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return predictions_frame(self.by_mixture)

    @classmethod
    def from_frame(cls, frame: Frame) -> Predictions:
        """The predictions of a table that :meth:`to_frame` made; the fit and the notes are in no table.

        Raises:
            InputError: a column is missing.
        """
        found = predictions_of(frame)
        return cls(ids=tuple(found), gains=tuple(found.values()))


def _score(p: Prediction) -> dict[str, Any]:
    """Value with interval, its standard error where it is known, and the sources whose gain is an estimate."""
    low, high = p.value_interval
    known = {} if p.se is None else {"se": p.se}
    return {"value": p.gain if p.value is None else p.value, "low": low, "high": high, **known, "estimated": p.estimated}


def select(
    study: Study, spec: SelectionSpec | None = None, *, runs: MixtureRuns | Frame | str | Path | None = None, **wanted: Any
) -> Mixture | FailedSelection:
    """Choose the mixture that serves the request best: see :func:`tvt.selection.engine.select`.

    Args:
        study: a study's name, folder, CSV, matrix or pandas table, or a table of past mixture runs.
        spec: what is asked for.
        runs: with a study: mixture runs in its metric, which join its own evidence.
        wanted: fields of :class:`SelectionSpec`, such as ``goals={"Jigsaw": 0.15}``; they go before those of ``spec``. The
            budget is by default the study's own.

    Raises:
        InputError: unknown names or impossible options, all at once.
    """
    from tvt.selection.engine import select as choose

    evidence = evidence_of(study)
    beside = runs if runs is None or isinstance(runs, MixtureRuns) else load_mixture_runs(runs)
    return choose(evidence, request_of(evidence, spec, wanted), runs=beside)


def select_in_detail(
    evidence: Measurements,
    spec: SelectionSpec,
    *,
    stability: bool = True,
    frontier: Frontier | None = None,
    preview: Callable[[Prepared, Mixture], Preview] | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> SelectionResult | FailedSelection:
    """The mixture of :func:`select` with what there is to know about it.

    Args:
        evidence: a study, or a table of mixture runs.
        spec: what is asked for.
        stability: whether each run is left out in turn, and kappa moved where the response is the log one.
        frontier: also trace gain against risk, or against the worst harm.
        preview: scores merged adapters for mixtures, such as :func:`preview_selection` for a session of :func:`open_previewed`.
        doing: called with what is done at the moment.

    Raises:
        InputError: unknown names or impossible options, all at once.
    """
    from tvt.report.selection_tables import SelectionResult
    from tvt.selection import frontier as frontiers
    from tvt.selection.engine import finish, prepare
    from tvt.selection.explain import beyond_placebo
    from tvt.selection.stability import kappa_sensitivity
    from tvt.selection.stability import stability as leave_out

    doing("choosing the mixture")
    prepared = prepare(evidence, spec)
    mixture = finish(prepared)
    if isinstance(mixture, FailedSelection):
        return mixture
    doing("how stable is it: leaving each run out")
    stable = leave_out(evidence, spec, prepared.report.form if prepared.report else None) if stability else None
    doing("how stable is it: moving kappa")
    moved = kappa_sensitivity(evidence, spec, prepared.curvature) if stability and mixture.verdict == "train" else {}
    doing(f"tracing gain against {frontier}")
    traced = frontiers.frontier(evidence, prepared.settled, frontier) if frontier else ()
    doing("")
    return SelectionResult(
        mixture=mixture,
        spec=spec,
        fit=prepared.report,
        stability=stable,
        sensitivity=moved,
        curvature=prepared.curvature,
        joint=prepared.of.joint,
        frontier=traced,
        frontier_kind=frontier or "harm",
        preview=preview(prepared, mixture) if preview else None,
        short=Evidence.of(evidence).short,
        beyond_placebo=beyond_placebo(mixture, prepared.evidence.matrix, spec.confidence),
    )


def open_previewed(studies: Sequence[str], progress: Callable[[str], None] = lambda _: None) -> Session:
    """The one study whose adapters can be merged.

    Raises:
        InputError: several studies or none, or one that holds no runs of tvt study.
    """
    from tvt.study.session import reopen
    from tvt.study.store import RECIPE

    if len(studies) != 1:
        raise InputError(f"--preview merges the adapters of one study of tvt study run; name one STUDY, not {len(studies)}")
    folder = Path(studies[0])
    folder = folder if folder.is_dir() else folder.parent  # its study.yaml may be named as well
    if not (folder / RECIPE).is_file():
        raise InputError(
            f"{studies[0]}: holds scores only; --preview merges adapters, so name the folder of a study by tvt study run"
        )
    if find_spec("peft") is None:  # said now rather than after the selection
        raise MissingPackageError(f"--preview scores adapters, and peft is not installed; {install('train')}")
    return reopen(folder, progress)


def preview_selection(
    session: Session, prepared: Prepared, answer: Mixture, progress: Callable[[int, int], None] = lambda _, __: None
) -> Preview:
    """What merged adapters score for the selected mixture among others.

    Raises:
        InputError: see :func:`tvt.study.preview.preview`.
    """
    from tvt.compare.baselines import candidates, distinct
    from tvt.study.preview import preview, trained_candidates

    matrix, study = prepared.evidence.matrix, session.study
    if matrix is None:
        raise InputError("--preview needs a STUDY; a table of mixture runs has no adapters")
    sizes = {s: m.training.questions for s, m in study.sources.items() if m.training and m.training.questions}
    found = candidates(matrix, answer, prepared, study.recipe.budget, sizes)
    found = distinct((*found, *trained_candidates(study, session.store)))
    first = found[0].label if found and found[0].label == "selected" else None
    return preview(session, found, prepared, progress=progress, selected=first)


def request_of(evidence: Measurements, spec: SelectionSpec | None, wanted: Mapping[str, Any]) -> SelectionSpec:
    """The request of a spec and of keywords; a spec that stands alone is taken as it is."""
    if spec is not None and not isinstance(spec, SelectionSpec):
        raise InputError("a request is a SelectionSpec, or its fields as keywords: tvt.select(study, goals={'Jigsaw': 0.15})")
    if spec is not None and not wanted:
        return spec
    fields = {**(spec.model_dump(exclude_unset=True) if spec else {}), **wanted}
    budget = getattr(evidence, "budget", None)
    if spec is None and budget is not None:
        fields.setdefault("budget", budget)
    try:
        return SelectionSpec(**fields)
    except ValidationError as error:
        from tvt.io.strict_yaml import input_error

        raise input_error(error, SelectionSpec, "select") from error


def predict(
    study: Study,
    mixtures: Mixtures,
    sources: Sequence[str] | None = None,
    spec: SelectionSpec | None = None,
    **wanted: Any,
) -> Predictions:
    """Predict what mixtures would do, under the response that selection uses.

    Args:
        study: as for :func:`select`.
        mixtures: a mixture or its file, weights by source, a CSV or a pandas table (a row a mixture, columns ``w:SOURCE`` or
            ``SOURCE``, optional ``id``; or one mixture's own table), or an array (mixtures, sources) over ``sources``.
        sources: the sources of an array's columns.
        spec: response, kappa and confidence are read of it.
        wanted: fields of the spec, as for :func:`select`.

    Raises:
        InputError: a source with weight that the study does not know, or a faulty table.
    """
    from tvt.evidence.predict import predict as look_up

    evidence = evidence_of(study)
    ids, weights, names = mixtures_of(mixtures, sources, evidence)
    _check_shares(ids, weights)
    request = request_of(evidence, spec, wanted)
    gains, fit, notes, nearby, joint = look_up(evidence, weights, names, request)
    return Predictions(
        ids=ids,
        gains=gains,
        fit=fit,
        notes=notes,
        nearby=nearby,
        joint=joint,
        curvature=Evidence.of(evidence).curvature(request),
        response=request.form,
    )


def _check_shares(ids: Sequence[str], weights: Floats) -> None:
    """Shares are not negative, and sum to 1 at the most: to less at a dose, to 0 for the base model.

    Raises:
        InputError: of every mixture that is none.
    """
    faults = []
    for name, row in zip(ids, weights, strict=True):
        total = float(row.sum())
        if not (row >= 0).all():
            faults.append(f"{name}: a weight is negative or no number; weights are shares of the budget")
        elif total > 1 + _DUST:
            faults.append(f"{name}: weights sum to {total:.6g}, above 1; make them shares of the budget")
    if faults:
        raise InputError(*faults)


def mixtures_of(
    mixtures: Mixtures, sources: Sequence[str] | None, evidence: Measurements
) -> tuple[tuple[str, ...], Floats, tuple[str, ...]]:
    """Ids, weights (N, S) and the sources of their columns."""
    from tvt.data.studies.mixtures import load_mixtures
    from tvt.evidence.predict import weights_of
    from tvt.io.yaml_files import load_mixture

    if isinstance(mixtures, str | Path):
        path = Path(mixtures)
        if path.suffix.lower() != ".csv":
            weights, names = weights_of(load_mixture(path).weights)
            return (path.stem,), weights, names
        ids, weights = load_mixtures(path, evidence.sources)
        return tuple(ids), weights, evidence.sources
    if is_frame(mixtures):
        if {"source", "weight"} <= set(mixtures.columns):
            pairs = zip(mixtures["source"], mixtures["weight"], strict=True)
            weights, names = weights_of({str(name): float(weight) for name, weight in pairs})
            return ("mixture_1",), weights, names
        ids, weights = load_mixtures(mixtures, evidence.sources)
        return tuple(ids), weights, evidence.sources
    if isinstance(mixtures, Mixture | Mapping):
        weights, names = weights_of(mixtures.weights if isinstance(mixtures, Mixture) else mixtures)
        return ("mixture_1",), weights, names
    rows = np.atleast_2d(np.asarray(mixtures, dtype=float))
    if sources is None or rows.shape[1:] != (len(sources),):
        raise InputError("predict: an array of mixtures needs sources, the names of its columns; or give weights by source")
    return tuple(f"mixture_{k + 1}" for k in range(len(rows))), rows, tuple(sources)
