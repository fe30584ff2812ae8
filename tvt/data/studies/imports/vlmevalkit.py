"""Results of VLMEvalKit: ``MODEL_DATASET_acc.csv`` below its work folder, and the judged questions beside them.

Read from VLMEvalKit's code (``vlmeval/dataset/image_mcq.py``, ``utils/multiple_choice.py``): a folder for each model; an
accuracy table has ``Overall`` and a column a category, a row a ``split``; ``MODEL_DATASET_JUDGE_result.xlsx`` (or ``.tsv``)
has a row a question, with ``index``, ``category`` and ``hit``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from tvt.data.csv_table import number, read_table
from tvt.data.studies.imports.results import Result
from tvt.errors import InputError, MissingPackageError, install

ENDING = "_acc.csv"
_WHOLE = ("Overall", "overall")


def read(path: Path, categories: bool) -> tuple[list[Result], list[str]]:
    """The results below ``path``.

    Args:
        path: the work folder, a model's folder in it, or one ``*_acc.csv``.
        categories: each category of a dataset is a target, instead of the dataset.

    Raises:
        InputError: a damaged table, or one without an overall accuracy.
    """
    results: list[Result] = []
    notes: dict[str, None] = {}
    for file in [path] if path.is_file() else sorted(path.glob(f"**/*{ENDING}")):
        model, dataset = _names(file)
        judged = _judged(file, notes)
        found = _of_questions(judged, dataset, categories) if judged else _of_table(file, dataset, categories)
        results += [
            Result(
                source=model,
                target=target,
                accuracy=accuracy,
                origin=file,
                total=None if hits is None else len(hits),
                hits=hits,
                when=f"{file.parent.name} {file.stat().st_mtime_ns:020d}",
            )
            for target, (accuracy, hits) in found.items()
        ]
    return results, list(notes)


Found = dict[str, tuple[float, dict[str, float] | None]]


def _names(file: Path) -> tuple[str, str]:
    """Model and dataset: the model's folder is the beginning of the file's name."""
    name = file.name.removesuffix(ENDING)
    model = next(
        (folder.name for folder in file.absolute().parents if folder.name and name.startswith(folder.name + "_")), None
    )
    if model is None:
        raise InputError(f"{file}: lies in no folder of its model's name, as VLMEvalKit writes it; name its folder")
    return model, name.removeprefix(model + "_")


def _judged(file: Path, notes: dict[str, None]) -> list[dict[str, str]]:
    """The judged questions beside an accuracy table; none where they are not there or cannot be read."""
    stem = file.name.removesuffix(ENDING)
    for place in sorted(file.parent.glob(f"{stem}_*_result.*")):
        if place.suffix == ".xlsx":
            try:
                rows = list(_sheet(place))
            except MissingPackageError as error:
                notes[f"numbers of questions are not read: {error}"] = None
                continue
        elif place.suffix in (".tsv", ".csv"):
            with place.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream, delimiter="\t" if place.suffix == ".tsv" else ","))
        else:
            continue
        if rows and {"index", "hit"} <= rows[0].keys():
            return rows
    return []


def _sheet(file: Path) -> Iterator[dict[str, str]]:
    """The rows of the first sheet.

    Raises:
        MissingPackageError: openpyxl is not installed.
        InputError: no workbook.
    """
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"{file.suffix} needs openpyxl; {install('xlsx')}") from error
    try:
        rows = load_workbook(file, read_only=True, data_only=True).worksheets[0].iter_rows(values_only=True)
    except Exception as error:
        raise InputError(f"{file}: is no workbook ({error}); evaluate again") from error
    header = [str(name) for name in next(rows, ())]
    for row in rows:
        yield {name: "" if cell is None else str(cell) for name, cell in zip(header, row, strict=False)}


def _of_questions(rows: list[dict[str, str]], dataset: str, categories: bool) -> Found:
    by_target: dict[str, dict[str, float]] = {}
    for row in rows:
        target = row.get("category") or dataset if categories else dataset
        by_target.setdefault(target, {})[row["index"]] = float(row["hit"])
    return {target: (sum(hits.values()) / len(hits), hits) for target, hits in by_target.items()}


def _of_table(file: Path, dataset: str, categories: bool) -> Found:
    table = read_table(file)
    overall = next((table.header.index(name) for name in _WHOLE if name in table.header), None)
    if overall is None:
        raise InputError(f"{file}: no column Overall; read it with --from table and --columns")
    split = table.at("split")
    splits = [row.cells[split] for row in table.rows] if split is not None else []
    if len(table.rows) != 1:
        raise InputError(f"{file}: has the splits {', '.join(splits)}; keep one row")
    cells = table.rows[0].cells
    apart = {table.header[at]: at for at in range(len(cells)) if at not in (split, overall)}
    columns = apart if categories else {dataset: overall}
    try:
        values: Mapping[str, float | None] = {target: number(cells[at]) for target, at in columns.items()}
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    return {target: (value, None) for target, value in values.items() if value is not None}
