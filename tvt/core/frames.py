"""Values as pandas tables and back. pandas is loaded where a table is asked for; tvt works without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tvt.errors import InputError, MissingPackageError
from tvt.types import Floats

if TYPE_CHECKING:
    from tvt.core.comparison import Comparison
    from tvt.core.matrix import Cell, TransferMatrix
    from tvt.core.mixture import Mixture, Prediction
    from tvt.core.mixture_runs import MixtureRuns

Frame = Any
"""A ``pandas.DataFrame``."""
MATRIX = ("run", "source", "target", "value", "item_error", "base", "after", "reason")
MIXTURE = ("source", "weight", "count")
PREDICTIONS = ("mixture", "target", "gain", "low", "high", "value", "estimated")


def pandas() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, and tables of to_frame() and from_frame() need it; pip install 'tvt[frames]'"
        raise MissingPackageError(message) from error
    return pandas


def is_frame(value: object) -> TypeGuard[Any]:
    """Whether the value is a pandas table; pandas is not loaded to find out."""
    return hasattr(value, "columns") and hasattr(value, "itertuples")


def check_columns(frame: Frame, needed: Sequence[str], what: str) -> None:
    """Raise InputError where a column is missing, with all that are."""
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InputError(f"{what}: no column {', '.join(missing)}; the columns are {', '.join(needed)}")


def matrix_frame(matrix: TransferMatrix) -> Frame:
    """A row for each run, source and target. NaN where missing; ``reason`` says why."""
    rows = [
        (
            *(run, s, t, matrix.values[k, i, j], matrix.item_errors[k, i, j], matrix.base[k, j], matrix.after[k, i, j]),
            None if np.isfinite(matrix.values[k, i, j]) else matrix.reasons.get((run, s, t), "not measured"),
        )
        for k, run in enumerate(matrix.runs)
        for i, s in enumerate(matrix.sources)
        for j, t in enumerate(matrix.targets)
    ]
    return pandas().DataFrame(rows, columns=list(MATRIX))


def matrix_fields(frame: Frame) -> dict[str, Any]:
    """The fields of a matrix that a table of :func:`matrix_frame` holds; columns beyond the first four may be absent.

    Raises:
        InputError: a column is missing, or a cell stands twice.
    """
    check_columns(frame, MATRIX[:4], "frame of a matrix")
    keys = list(zip(*(map(str, frame[name]) for name in MATRIX[:3]), strict=True))
    twice = list(dict.fromkeys(key for key in keys if keys.count(key) > 1)) if len(set(keys)) < len(keys) else []
    if twice:
        raise InputError(*(f"frame of a matrix: run {r}, {s} -> {t} stands twice; keep one" for r, s, t in twice))
    runs, sources, targets = (tuple(dict.fromkeys(key[axis] for key in keys)) for axis in range(3))
    at = [{name: k for k, name in enumerate(names)} for names in (runs, sources, targets)]
    places = tuple(np.array([at[axis][key[axis]] for key in keys], dtype=int) for axis in range(3))
    shape = len(runs), len(sources), len(targets)

    def cube(name: str) -> Floats:
        found = np.full(shape, np.nan)
        if name in frame.columns:
            found[places] = frame[name].to_numpy(dtype=float, na_value=np.nan)
        return found

    base = np.full((shape[0], shape[2]), np.nan)
    if "base" in frame.columns:
        base[places[0], places[2]] = frame["base"].to_numpy(dtype=float, na_value=np.nan)
    reasons: dict[Cell, str] = {}
    if "reason" in frame.columns:
        reasons = {key: why for key, why in zip(keys, frame["reason"], strict=True) if isinstance(why, str)}
    return {
        "runs": runs,
        "sources": sources,
        "targets": targets,
        "values": cube("value"),
        "item_errors": cube("item_error"),
        "base": base,
        "after": cube("after"),
        "reasons": reasons,
    }


def mixture_frame(mixture: Mixture) -> Frame:
    """A row for each source."""
    rows = [(s, w, mixture.counts.get(s, 0)) for s, w in mixture.weights.items()]
    return pandas().DataFrame(rows, columns=list(MIXTURE))


def mixture_fields(frame: Frame) -> dict[str, Any]:
    """Weights, counts and budget of a table of :func:`mixture_frame`.

    Raises:
        InputError: a column is missing, or a source stands twice.
    """
    check_columns(frame, MIXTURE, "frame of a mixture")
    if frame["source"].duplicated().any():
        raise InputError("frame of a mixture: a source stands twice; keep one")
    counts = {str(s): int(n) for s, n in zip(frame["source"], frame["count"], strict=True)}
    weights = {str(s): float(w) for s, w in zip(frame["source"], frame["weight"], strict=True)}
    return {"weights": weights, "counts": counts, "budget": sum(counts.values())}


def predictions_frame(by_mixture: Mapping[str, Mapping[str, Prediction]]) -> Frame:
    """A row for each mixture and target; ``estimated`` is a tuple of sources."""
    rows = [
        (name, target, p.gain, p.low, p.high, np.nan if p.value is None else p.value, p.estimated)
        for name, predicted in by_mixture.items()
        for target, p in predicted.items()
    ]
    return pandas().DataFrame(rows, columns=list(PREDICTIONS))


def predictions_of(frame: Frame) -> dict[str, dict[str, Prediction]]:
    """The predictions of a table of :func:`predictions_frame`, by mixture and target.

    Raises:
        InputError: a column is missing.
    """
    from tvt.core.mixture import Prediction

    check_columns(frame, PREDICTIONS[:5], "frame of predictions")
    found: dict[str, dict[str, Prediction]] = {}
    for row in frame.to_dict("records"):
        value = row.get("value")
        found.setdefault(str(row["mixture"]), {})[str(row["target"])] = Prediction(
            **{name: float(row[name]) for name in ("gain", "low", "high")},
            value=None if value is None or value != value else float(value),  # noqa: PLR0124 - NaN
            estimated=tuple(row["estimated"]) if isinstance(row.get("estimated"), tuple | list) else (),
        )
    return found


def runs_frame(runs: MixtureRuns) -> Frame:
    """A row a run: ``id``, ``w:SOURCE`` and ``score:TARGET``, which is the form that ``load_mixture_runs`` reads."""
    columns = {"id": list(runs.ids)}
    columns |= {f"w:{s}": runs.weights[:, i].tolist() for i, s in enumerate(runs.sources)}
    columns |= {f"score:{t}": runs.scores[:, j].tolist() for j, t in enumerate(runs.targets)}
    return pandas().DataFrame(columns)


def comparison_frame(comparison: Comparison) -> Frame:
    """A row for each contrast: entries against the base model (``against`` is None), then the selected one against baselines.

    ``target`` is None for the mean over the counting targets. ``value``, ``error``, ``low`` and ``high`` are of ``tested``.
    """
    rows = []
    for c in (*comparison.gains, *comparison.differences):
        found = c.estimate
        figures = [np.nan] * 4 if found is None else [found.value, found.error, found.low, found.high]
        rows.append((c.entry, c.against, c.target, c.tested, *figures, c.p_corrected, c.verdict, c.reason))
    names = ["entry", "against", "target", "tested", "value", "error", "low", "high", "p_corrected", "verdict", "reason"]
    return pandas().DataFrame(rows, columns=names)
