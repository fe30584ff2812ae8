"""Finding a study by what the user wrote (a bundled name, a study folder, a CSV file), and reading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tvt.core.matrix import TransferMatrix
from tvt.core.study_reading import Metric, Unit
from tvt.core.task import Ceiling
from tvt.data.studies.csv_study import load_csv_study
from tvt.data.studies.folder import STUDY_FILE, load_study_folder
from tvt.errors import InputError, suggest
from tvt.io.machine import bundled_root


def bundled_studies() -> tuple[str, ...]:
    """Names of the studies that come with tvt, small models first."""
    root = bundled_root() / "studies"
    names = [path.parent.name for path in root.glob(f"*/{STUDY_FILE}")]
    return tuple(sorted(names, key=lambda name: (_digits(name), name)))


def bundled_folder(name: str) -> Path:
    """Folder of a bundled study."""
    return bundled_root() / "studies" / name


def load_study(
    reference: str | Path,
    *,
    metric: Metric | None = None,
    unit: Unit | None = None,
    ceiling: Ceiling = "task",
    base: str | None = None,
    transpose: bool = False,
    questions: int | Mapping[str, int] | None = None,
) -> TransferMatrix:
    """Load the transfer matrix that ``reference`` means.

    Args:
        reference: a bundled name (``qwen2.5-vl-7b``, or its unambiguous end ``7b``), a study folder, or a CSV file (see
            :func:`tvt.data.studies.csv_study.load_csv_study`). A bundled name goes before a path; ``./NAME`` is the path.
        metric: ``pgf``, or ``gain`` for a CSV of values that are no PGF; ``None`` is PGF unless they may be accuracies.
        unit: ``fraction`` or ``percent`` of a CSV's values; ``None`` infers it where that is clear.
        ceiling: what counts as a perfect score: what the tasks state, or what people reach.
        base: the name of the base model's row in a CSV, where it is not ``base``.
        transpose: whether models stand across in a CSV, and tasks down.
        questions: how many questions a CSV's accuracies are of, for all targets or by target.

    Raises:
        InputError: nothing is found (with the nearest name), or what is found is faulty, every fault on a line of its own.
    """
    path = find_study(reference)
    if not path.is_dir():
        if ceiling != "task":
            raise InputError(f"{path}: a CSV does not have its tasks' ceilings; use a study folder for --ceiling {ceiling}")
        return load_csv_study(path, metric=metric, unit=unit, base=base, transpose=transpose, questions=questions)
    if not (path / STUDY_FILE).is_file():
        if (path / "recipe.yaml").is_file():  # of tvt study
            raise InputError(f"{path}: a recipe and no finished run yet; see tvt study status {path}, then tvt study run")
        raise InputError(f"{path}: a directory without {STUDY_FILE}; name a study folder or a CSV file{_results_of(path)}")
    given = {"--metric": metric, "--unit": unit, "--base": base, "--transpose": transpose or None, "--questions": questions}
    options = [option for option, value in given.items() if value is not None and value != "pgf"]
    if options:
        raise InputError(f"{path}: holds counts, from which PGF is computed; drop {' and '.join(options)}")
    return load_study_folder(path, ceiling)


def _results_of(path: Path) -> str:
    """Where a folder holds another program's results, the command that reads them."""
    results = next(path.glob("**/*_results.json"), None) or next(path.glob("**/*_acc.csv"), None)
    return "" if results is None else f"; results of an evaluation are read by tvt studies import {path}"


def find_study(reference: str | Path) -> Path:
    """The folder, or the CSV file, of the study that ``reference`` means.

    Raises:
        InputError: nothing is found, with the nearest name.
    """
    path = _find(reference)
    return path.parent if path.name == STUDY_FILE else path


def _find(reference: str | Path) -> Path:
    text, names = str(reference), bundled_studies()
    if isinstance(reference, str) and text in names:
        return bundled_folder(text)
    path = Path(reference)
    if _exists(path):
        return path
    folded = text.casefold()
    ending = [name for name in names if name.casefold() == folded or (folded and name.endswith("-" + folded.removeprefix("-")))]
    if len(ending) == 1:
        return bundled_folder(ending[0])
    if len(ending) > 1:
        raise InputError(f"study '{text}' may be any of {', '.join(ending)}; write the whole name")
    shown = text if len(text) <= 200 else text[:200] + "..."
    raise InputError(f"no study, folder or file '{shown}'{suggest(text, names)}; run tvt studies for those that come with tvt")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or no permission to look
        return False


def _digits(name: str) -> float:
    """The number of parameters in a name such as ``qwen2.5-vl-32b``, for sorting; infinity where there is none."""
    last = name.rpartition("-")[2].removesuffix("b")
    return float(last) if last.replace(".", "", 1).isdigit() else float("inf")
