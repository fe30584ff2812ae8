"""What scripts and notebooks call: selection, prediction and analysis of studies given by name, folder, table or value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tvt.core.frozen import Frozen
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture, Prediction
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import MATRIX, Frame, counted, is_frame, predictions_frame, predictions_html, predictions_of
from tvt.core.selection import SelectionSpec
from tvt.core.task import Ceiling
from tvt.data.studies.load import Metric, load_csv_study
from tvt.data.studies.score_rows import Unit
from tvt.errors import InputError
from tvt.evidence.fit import FitReport
from tvt.evidence.kappa import Curvature
from tvt.evidence.predict import Evidence, curvature
from tvt.transfer.analysis import Analysis
from tvt.types import Floats

Study = str | Path | TransferMatrix | MixtureRuns | Frame
"""A bundled name, a study folder, a CSV (of a study or of past mixture runs), a pandas table of either, or the value."""

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
    """kappa of the log response, and how it came about."""
    notes: tuple[str, ...] = ()

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
        predictions = [
            {"mixture": name, "scores": {target: _score(p) for target, p in gains.items()}}
            for name, gains in zip(self.ids, self.gains, strict=True)
        ]
        curvature = {} if self.curvature is None else {"response": {"form": "log", **self.curvature.json_value()}}
        return {"schema": 1, "predictions": predictions, **curvature, **({} if self.fit is None else {"fit": self.fit})}

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
    """Value with interval, and the sources whose gain is an estimate.

    A score's interval is the gain's, moved to the score and turned over for losses.
    """
    if p.value is None:
        return {"value": p.gain, "low": p.low, "high": p.high, "estimated": p.estimated}
    half = (p.high - p.low) / 2
    return {"value": p.value, "low": p.value - half, "high": p.value + half, "estimated": p.estimated}


def load_study(
    reference: str | Path | Frame, *, metric: Metric = "pgf", unit: Unit | None = None, ceiling: Ceiling = "task"
) -> TransferMatrix:
    """A study by name, folder or file (see :func:`tvt.data.studies.load.load_study`), or a pandas table with a CSV's columns.

    A table of ``to_frame()`` gives the same values back.

    Raises:
        InputError: nothing is found, or it is faulty, every fault on a line of its own.
    """
    if not is_frame(reference):
        from tvt.data.studies.load import load_study as load

        return load(reference, metric=metric, unit=unit, ceiling=ceiling)
    if set(MATRIX) <= set(reference.columns):
        return TransferMatrix.from_frame(reference, name="DataFrame", metric=metric)
    return load_csv_study(reference, metric=metric, unit=unit)


def load_mixture_runs(table: str | Path | Frame, *, lower_is_better: bool = False) -> MixtureRuns:
    """A table of past mixture runs, a CSV or a pandas table: see :func:`tvt.data.studies.mixtures.load_mixture_runs`.

    Raises:
        InputError: any fault of the table, all at once.
    """
    from tvt.data.studies.mixtures import load_mixture_runs as load

    return load(table if is_frame(table) else Path(table), lower_is_better=lower_is_better)


def evidence_of(study: Study) -> Evidence:
    """The matrix, or the mixture runs, that ``study`` means. A table with columns ``w:SOURCE`` holds mixture runs.

    Raises:
        InputError: nothing is found, or it is faulty.
    """
    if isinstance(study, TransferMatrix | MixtureRuns):
        return study
    if is_frame(study):
        columns = list(map(str, study.columns))
    elif Path(study).suffix.lower() == ".csv" and Path(study).is_file():
        from tvt.data.csv_table import read_table

        columns = list(read_table(Path(study)).header)
    else:
        columns = []
    return load_mixture_runs(study) if any(name.startswith("w:") for name in columns) else load_study(study)


def select(
    study: Study, spec: SelectionSpec | None = None, *, runs: MixtureRuns | Frame | str | Path | None = None, **wanted: Any
) -> Mixture | FailedSelection:
    """Choose the mixture that serves the request best: see :func:`tvt.selection.engine.select`.

    Args:
        study: a study's name, folder, CSV, matrix or pandas table, or a table of past mixture runs.
        spec: what is asked for.
        runs: with a study: mixture runs in its metric, which join its own evidence on kappa.
        wanted: fields of :class:`SelectionSpec`, such as ``goals={"Jigsaw": 0.15}``; they go before those of ``spec``. The
            budget is by default the study's own.

    Raises:
        InputError: unknown names or impossible options, all at once.
    """
    from tvt.selection.engine import select as choose

    evidence = evidence_of(study)
    beside = runs if runs is None or isinstance(runs, MixtureRuns) else load_mixture_runs(runs)
    return choose(evidence, _request(evidence, spec, wanted), runs=beside)


def _request(evidence: Evidence, spec: SelectionSpec | None, wanted: Mapping[str, Any]) -> SelectionSpec:
    """The request of a spec and of keywords; a spec that stands alone is taken as it is."""
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
    ids, weights, names = _weights(mixtures, sources, evidence)
    request = _request(evidence, spec, wanted)
    gains, fit, notes = look_up(evidence, weights, names, request)
    return Predictions(ids=ids, gains=gains, fit=fit, notes=notes, curvature=curvature(evidence, request))


def _weights(
    mixtures: Mixtures, sources: Sequence[str] | None, evidence: Evidence
) -> tuple[tuple[str, ...], Floats, tuple[str, ...]]:
    """Ids, weights (N, S) and the sources of their columns."""
    from tvt.data.studies.mixtures import load_mixtures
    from tvt.evidence.predict import weights_of
    from tvt.io.mixture_file import load_mixture

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


def analyze(studies: Study | Sequence[Study], **options: Any) -> Analysis:
    """Analyse one or more studies: see :func:`tvt.transfer.analysis.analyze`, whose options these are.

    Raises:
        InputError: no study, a table of mixture runs, or an option out of range.
    """
    from tvt.transfer.analysis import analyze as look

    several = studies if isinstance(studies, Sequence) and not isinstance(studies, str) else (studies,)
    matrices = [evidence_of(study) for study in several]
    found = [matrix for matrix in matrices if isinstance(matrix, TransferMatrix)]
    if len(found) < len(matrices):
        raise InputError("analyze: a table of mixture runs holds no transfers between tasks; give a study")
    return look(found, **options)
