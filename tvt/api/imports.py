"""Results that other programs wrote, as a study that every command reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tvt.data.studies.imports import columns as by_columns
from tvt.data.studies.imports import lmms_eval, vlmevalkit
from tvt.data.studies.imports.results import Imported, Result, study_of
from tvt.errors import InputError

Format = Literal["auto", "lmms-eval", "vlmevalkit", "wandb", "table"]
FORMATS: tuple[Format, ...] = ("auto", "lmms-eval", "vlmevalkit", "wandb", "table")


def import_results(
    paths: Sequence[tuple[str | None, Path]],
    *,
    form: Format = "auto",
    base: str | None = None,
    columns: Mapping[str, str] | None = None,
    scores: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    categories: bool = False,
) -> Imported:
    """Read the results of lmms-eval or VLMEvalKit, an export of wandb, or any table, as a CSV study.

    Args:
        paths: folders and files, each with what its model was trained on, or ``None`` where the program's name of the model
            says it. A name that is given twice means two runs.
        form: what wrote them.
        base: the base model's name.
        columns: of a table, by field: see :func:`tvt.data.studies.imports.columns.read`.
        scores: which of a task's metrics counts, by task (lmms-eval).
        without: tasks to leave out.
        categories: the categories of a dataset are the targets (VLMEvalKit).

    Raises:
        InputError: nothing is found, or what is found is faulty or unclear; with what to do.
    """
    results: list[Result] = []
    notes: list[str] = []
    runs: Counter[str] = Counter()
    for name, path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        found, said = _read(
            path, _form(path, form, columns), columns or {}, scores or {}, without=without, categories=categories
        )
        if name is not None:
            if len({result.source for result in found}) > 1:
                raise InputError(f"{name}={path}: holds several models; name the folder of one")
            found = [replace(result, source=name, run=f"run_{runs[name]}") for result in found]
            runs[name] += 1
        results += found
        notes += said
    return study_of([result for result in results if result.target not in without], notes, base)


def _form(path: Path, form: Format, columns: Mapping[str, str] | None) -> Format:
    """What wrote the results, as the files themselves say."""
    if form != "auto":
        return form
    if lmms_eval.results_files(path):
        return "lmms-eval"
    if path.name.endswith(vlmevalkit.ENDING) or next(path.glob(f"**/*{vlmevalkit.ENDING}"), None):
        return "vlmevalkit"
    if path.is_dir():
        raise InputError(
            f"{path}: no results of lmms-eval (*_results.json) or VLMEvalKit (*_acc.csv) below it; name its output"
        )
    if by_columns.is_wandb(path):
        return "wandb"
    if columns:
        return "table"
    raise InputError(f"{path}: what is this? Say which columns count: --columns source=NAME --columns targets='A,B'")


def _read(
    path: Path,
    form: Format,
    columns: Mapping[str, str],
    scores: Mapping[str, str],
    *,
    without: Sequence[str],
    categories: bool,
) -> tuple[list[Result], list[str]]:
    if form == "lmms-eval":
        return lmms_eval.read(path, scores, without)
    if form == "vlmevalkit":
        return vlmevalkit.read(path, categories)
    return by_columns.read(path, columns, wandb=form == "wandb")
