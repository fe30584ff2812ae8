"""Studies by name, folder, table or value: loading them, pooling them as evidence, and analysing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import MATRIX, Frame, is_frame
from tvt.core.pooling import agreement, pool
from tvt.core.study_reading import Metric, Reading, Unit
from tvt.core.task import Ceiling
from tvt.data.studies.csv_study import load_csv_study
from tvt.errors import InputError
from tvt.evidence.evidence import Measurements
from tvt.transfer.analysis import Analysis

if TYPE_CHECKING:
    from tvt.core.answer_statistics import AnswerReport
    from tvt.transfer.adapter_similarity import AdapterSimilarity

Study = str | Path | TransferMatrix | MixtureRuns | Frame
"""A bundled name, a study folder, a CSV (of a study or of past mixture runs), a pandas table of either, or the value."""
_FORMS = "a bundled name, a study folder, a CSV, a pandas table, a TransferMatrix or MixtureRuns"


def load_study(
    reference: str | Path | Frame,
    *,
    metric: Metric | None = None,
    unit: Unit | None = None,
    ceiling: Ceiling = "task",
    base: str | None = None,
    transpose: bool = False,
    questions: int | Mapping[str, int] | None = None,
) -> TransferMatrix:
    """A study by name, folder or file, or a pandas table with a CSV's columns; the options are those of
    :func:`tvt.data.studies.load.load_study`.

    A table of ``to_frame()`` gives the same values back.

    Raises:
        InputError: nothing is found, or it is faulty, every fault on a line of its own.
    """
    if isinstance(reference, TransferMatrix):
        return reference
    if not is_frame(reference):
        _check_path(reference)
        from tvt.data.studies.load import load_study as load

        return load(reference, metric=metric, unit=unit, ceiling=ceiling, base=base, transpose=transpose, questions=questions)
    if set(MATRIX) <= set(reference.columns):
        return TransferMatrix.from_frame(reference, name="DataFrame", metric=metric or "pgf")
    return load_csv_study(reference, metric=metric, unit=unit, base=base, transpose=transpose, questions=questions)


def _check_path(study: object) -> None:
    """Refuse what names no file and no folder, with what a study can be."""
    if isinstance(study, list | tuple | set):
        raise InputError(f"several studies were given where one is needed; name one: {_FORMS}")
    if not isinstance(study, str | Path):
        raise InputError(f"{study!r} is no study; give {_FORMS}")


def load_studies(references: Sequence[str | Path], **reading: Unpack[Reading]) -> list[TransferMatrix]:
    """Every study named: a bundled name, a study folder or a CSV. How CSVs are read is as in :func:`load_study`.

    Raises:
        InputError: the faults of all studies, one line each.
    """
    return collect(lambda reference: load_study(reference, **reading), references)


def collect(make: Callable[[Any], Any], references: Sequence[Any]) -> list[Any]:
    """What ``make`` gives for each; the faults of all are raised together."""
    values, faults = [], list[str]()
    for reference in references:
        try:
            values.append(make(reference))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return values


def load_mixture_runs(
    table: str | Path | Frame, *, lower_is_better: bool = False, weights: Sequence[str] = (), scores: Sequence[str] = ()
) -> MixtureRuns:
    """A table of past mixture runs, a CSV or a pandas table: see :func:`tvt.data.studies.mixtures.load_mixture_runs`.

    Raises:
        InputError: any fault of the table, all at once.
    """
    from tvt.data.studies.mixtures import load_mixture_runs as load

    if not is_frame(table):
        _check_path(table)
    path = table if is_frame(table) else Path(table)
    return load(path, lower_is_better=lower_is_better, weights=weights, scores=scores)


def evidence_of(study: Study) -> Measurements:
    """The matrix, or the mixture runs, that ``study`` means. A table with columns ``w:SOURCE`` holds mixture runs.

    Raises:
        InputError: nothing is found, or it is faulty.
    """
    if isinstance(study, TransferMatrix | MixtureRuns):
        return study
    if not is_frame(study):
        _check_path(study)
    if is_frame(study):
        columns = list(map(str, study.columns))
    elif Path(study).suffix.lower() == ".csv" and Path(study).is_file():
        from tvt.data.csv_table import read_table

        columns = list(read_table(Path(study)).header)
    else:
        columns = []
    return load_mixture_runs(study) if any(name.startswith("w:") for name in columns) else load_study(study)


def pool_evidence(
    studies: Sequence[TransferMatrix], runs: MixtureRuns | None = None, note: Callable[[str], None] = lambda _: None
) -> Measurements:
    """Studies pooled as runs of one, with mixture runs among their evidence; or the mixture runs alone.

    Raises:
        InputError: neither is given, or they do not fit together.
    """
    from tvt.evidence.evidence import with_runs

    if not studies:
        if runs is None:
            raise InputError("no STUDY given; name one (tvt studies lists the bundled ones) or give --runs runs.csv")
        return runs  # its notes come with what is predicted by it
    for text in runs.notes if runs else ():
        note(text)
    if runs is not None and runs.lower_is_better:
        raise InputError("--lower-is-better is for a table of losses alone; beside a STUDY, scores are gains")
    matrix = pool(studies)
    if len(studies) > 1:
        note(_pooled_text(studies, matrix))
    return with_runs(matrix, runs)


def _pooled_text(studies: Sequence[TransferMatrix], matrix: TransferMatrix) -> str:
    """How studies were pooled, and how far they agree."""
    rank = agreement(studies)
    agree = f" Within targets they agree on who helps whom at a rank correlation of {rank:.2f}." if math.isfinite(rank) else ""
    if len({study.model for study in studies}) > 1:
        return f"{len(studies)} studies of different models are pooled as a run each: their spread counts as noise.{agree}"
    return f"{len(studies)} studies are pooled as {len(matrix.runs)} runs: the spread between runs counts as noise.{agree}"


def analyze(studies: Study | Sequence[Study], **options: Any) -> Analysis:
    """Analyse one or more studies: see :func:`tvt.transfer.analysis.analyze`, whose options these are.

    Raises:
        InputError: no study, a table of mixture runs, or an option out of range.
    """
    from tvt.transfer.analysis import analyze as look

    several = studies if isinstance(studies, Sequence) and not isinstance(studies, str) else (studies,)
    matrices = [evidence_of(study) for study in several]
    result = [matrix for matrix in matrices if isinstance(matrix, TransferMatrix)]
    if len(result) < len(matrices):
        raise InputError("analyze: a table of mixture runs holds no transfers between tasks; give a study")
    return look(result, **options)


def adapter_similarities(
    studies: Sequence[str | Path], progress: Callable[[int, int], None] = lambda _, __: None
) -> list[AdapterSimilarity]:
    """How alike the adapters of each study's sources are.

    Raises:
        InputError: a study that holds no adapters; the faults of all studies.
    """
    from tvt.data.studies.load import find_study
    from tvt.study.outputs import study_adapters

    return collect(lambda study: study_adapters(find_study(study), progress), studies)


def answer_reports(studies: Sequence[str]) -> dict[str, AnswerReport]:
    """What is known of the answers behind each study's scores; of bundled studies and tables, nothing.

    Raises:
        InputError: a study's records are damaged.
    """
    from tvt.core.answer_statistics import AnswerReport
    from tvt.core.recipe import WarningSettings
    from tvt.data.studies.load import find_study
    from tvt.study.outputs import folder_report

    unknown = AnswerReport(thresholds=WarningSettings(), known=False)
    paths = {study: find_study(study) for study in studies}
    return {study: folder_report(path) if path.is_dir() else unknown for study, path in paths.items()}
