"""How values show and leave a notebook: one line, a table in HTML, a pandas table and back.

Names are escaped. pandas is loaded only where a table is asked for; tvt works without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tvt.errors import InputError, MissingPackageError, install
from tvt.types import Floats

if TYPE_CHECKING:
    from tvt.core.matrix import TransferMatrix
    from tvt.core.measured_cells import Cell
    from tvt.core.mixture import Mixture, Prediction
    from tvt.core.mixture_runs import MixtureRuns

MOST = 60
"""Rows and columns of a table; the others are counted below it."""
HELP, HARM = (33, 102, 172), (178, 24, 43)
"""Colours of the strongest help and the strongest harm, which colour-blind readers can tell apart."""


def counted(number: int, noun: str) -> str:
    """The number with its noun, e.g. ``1 run`` and ``4 runs``."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def shares(weights: Mapping[str, float], most: int = 6) -> str:
    """The largest weights in per cent, in one line."""
    used = sorted(((w, s) for s, w in weights.items() if w > 0), key=lambda pair: (-pair[0], pair[1]))
    listed = [f"{name} {100 * weight:.3g}%" for weight, name in used[:most]]
    return ", ".join(listed + ([f"{len(used) - most} more"] if len(used) > most else []))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str, notes: Sequence[str] = ()) -> str:
    """A table in HTML. All text is escaped; long tables are cut, and a line says by how much."""
    listed = list(rows)
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in listed[:MOST])
    cut = [f"{len(listed) - MOST} more rows"] if len(listed) > MOST else []
    return _page(title, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", [*cut, *notes])


def _page(title: str, content: str, notes: Sequence[str]) -> str:
    below = "".join(f"<div>{escape(text)}</div>" for text in notes)
    return f"<div><div><b>{escape(title)}</b></div><table>{content}</table>{below}</div>"


def matrix_html(matrix: TransferMatrix) -> str:
    """The mean matrix as a heatmap: sources down, targets across, values times 100; a missing cell says why when pointed at."""
    mean = matrix.mean[:MOST, :MOST]
    limit = _limit(np.where(matrix.self_cells[:MOST, :MOST], np.nan, mean))
    targets = matrix.targets[:MOST]
    head = "".join(f'<th title="{escape(t)}">{escape(matrix.short(t))}</th>' for t in targets)
    rows = []
    for source, values in zip(matrix.sources[:MOST], mean.tolist(), strict=True):
        cells = (_cell(matrix, source, target, value, limit) for target, value in zip(targets, values, strict=True))
        rows.append(f"<tr><th>{escape(source)}</th>{''.join(cells)}</tr>")
    hidden = max(len(matrix.sources) - MOST, 0), max(len(matrix.targets) - MOST, 0)
    cut = [f"{counted(hidden[0], 'more source')}, {counted(hidden[1], 'more target')}"] if any(hidden) else []
    unit = "PGF" if matrix.metric == "pgf" else "gain"
    title = (
        f"{matrix.name}: mean {unit} x 100 of {counted(len(matrix.runs), 'run')}; finetuned on (rows), evaluated on (columns)"
    )
    return _page(title, f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>", cut)


def _limit(values: Floats) -> float:
    """Magnitude of the deepest colour; a single outlier does not bleach the rest."""
    known = np.abs(values[np.isfinite(values)])
    return max(float(np.quantile(known, 0.97)), 1e-9) if len(known) else 1.0


def _cell(matrix: TransferMatrix, source: str, target: str, value: float, limit: float) -> str:
    about = f"{source} on {target}"
    if not np.isfinite(value):
        return f'<td title="{escape(f"{about}: {matrix.reason(source, target)}")}">-</td>'
    depth = min(abs(value) / limit, 1.0)
    red, green, blue = (round(255 + depth * (end - 255)) for end in (HELP if value > 0 else HARM))
    ink = "white" if depth > 0.62 else "black"
    edge = ";outline:1px solid black;outline-offset:-2px" if source == target else ""
    style = f"background:rgb({red},{green},{blue});color:{ink};text-align:right{edge}"
    return f'<td style="{style}" title="{escape(f"{about}: {value:+.4f}")}">{100 * value:.0f}</td>'


def mixture_html(mixture: Mixture) -> str:
    """Weights and counts by source, then the predicted gains by target with their intervals."""
    order = sorted(mixture.weights, key=lambda s: (-mixture.weights[s], s))
    rows = [(s, f"{mixture.weights[s]:.4f}", str(mixture.counts.get(s, 0))) for s in order]
    title = f"{mixture.decision}: {mixture.budget} examples"
    first = table(("source", "weight", "examples"), rows, title=title, notes=mixture.notes)
    return first + (predictions_html({"": mixture.predicted}) if mixture.predicted else "")


def predictions_html(by_mixture: Mapping[str, Mapping[str, Prediction]]) -> str:
    """Predicted gains with intervals, a row for each mixture and target; estimates that rest on unmeasured cells have a ≈."""
    rows = [
        (name, target, f"{'≈ ' if p.estimated else ''}{p.gain:+.3f}", p.interval_text)
        for name, predicted in by_mixture.items()
        for target, p in predicted.items()
    ]
    if set(by_mixture) <= {""}:
        return table(("target", "gain", "interval"), (row[1:] for row in rows), title="predicted gains")
    return table(("mixture", "target", "gain", "interval"), rows, title="predicted gains")


def runs_html(runs: MixtureRuns) -> str:
    """Weights and scores, a row a run."""
    header = ("id", *(f"w:{s}" for s in runs.sources), *(f"score:{t}" for t in runs.targets))
    rows = (
        (name, *(f"{w:.3g}" for w in weights), *("-" if np.isnan(v) else f"{v:.4g}" for v in scores))
        for name, weights, scores in zip(runs.ids, runs.weights.tolist(), runs.scores.tolist(), strict=True)
    )
    return table(header, rows, title=counted(len(runs.ids), "run"), notes=runs.notes)


Frame = Any
"""A ``pandas.DataFrame``."""
MATRIX = ("run", "source", "target", "value", "item_error", "base", "after", "reason")
MIXTURE = ("source", "weight", "count")
PREDICTIONS = ("mixture", "target", "gain", "low", "high", "value", "estimated", "se", "lower_is_better")


def pandas() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, and tables of to_frame() and from_frame() need it; {install('frames')}"
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


def numbers(frame: Frame, name: str, what: str) -> Floats:
    """A column as numbers, NaN where a value is missing.

    Raises:
        InputError: of every value that is no number, with its row and column.
    """
    try:
        return frame[name].to_numpy(dtype=float, na_value=np.nan)  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        known = pandas().to_numeric(frame[name], errors="coerce")
        wrong = frame[name][known.isna() & frame[name].notna()]
        faults = [f"{what}: row {row}, column {name}: {value!r} is not a number" for row, value in wrong.items()]
        raise InputError(*faults or [f"{what}: column {name} holds what is no number"]) from None


def analysis_frame(studies: Mapping[str, TransferMatrix]) -> Frame:
    """A row for each study, source and target: the mean gain, its standard error, and how many runs have the cell."""
    rows = [
        (name, source, target, mean[i, j], error[i, j], int(count[i, j]))
        for name, matrix in studies.items()
        for mean, error, count in [(matrix.mean, matrix.error, matrix.run_count)]
        for i, source in enumerate(matrix.sources)
        for j, target in enumerate(matrix.targets)
    ]
    return pandas().DataFrame(rows, columns=["study", "source", "target", "gain", "error", "runs"])


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
        InputError: a column is missing, a cell stands twice, or a value is no number.
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
        values = np.full(shape, np.nan)
        if name in frame.columns:
            values[places] = numbers(frame, name, "frame of a matrix")
        return values

    base = np.full((shape[0], shape[2]), np.nan)
    if "base" in frame.columns:
        base[places[0], places[2]] = numbers(frame, "base", "frame of a matrix")
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
        InputError: a column is missing, a source stands twice, or a value is no number.
    """
    check_columns(frame, MIXTURE, "frame of a mixture")
    if frame["source"].duplicated().any():
        raise InputError("frame of a mixture: a source stands twice; keep one")
    weight, count = (numbers(frame, name, "frame of a mixture") for name in ("weight", "count"))
    if not np.isfinite(count).all():
        raise InputError("frame of a mixture: a count is missing; write 0 where a source is not used")
    counts = {str(s): int(n) for s, n in zip(frame["source"], count, strict=True)}
    weights = {str(s): float(w) for s, w in zip(frame["source"], weight, strict=True)}
    return {"weights": weights, "counts": counts, "budget": sum(counts.values())}


def predictions_frame(by_mixture: Mapping[str, Mapping[str, Prediction]]) -> Frame:
    """A row for each mixture and target; ``estimated`` is a tuple of sources."""
    rows = [
        (name, target, p.gain, p.low, p.high, _or_nan(p.value), p.estimated, _or_nan(p.se), p.lower_is_better)
        for name, predicted in by_mixture.items()
        for target, p in predicted.items()
    ]
    return pandas().DataFrame(rows, columns=list(PREDICTIONS))


def _or_nan(figure: float | None) -> float:
    return np.nan if figure is None else figure


def predictions_of(frame: Frame) -> dict[str, dict[str, Prediction]]:
    """The predictions of a table of :func:`predictions_frame`, by mixture and target.

    Raises:
        InputError: a column is missing, or a value is no number.
    """
    from tvt.core.mixture import Prediction

    check_columns(frame, PREDICTIONS[:5], "frame of predictions")
    figures = {
        name: numbers(frame, name, "frame of predictions").tolist()
        for name in ("gain", "low", "high", "value", "se")
        if name in frame.columns
    }
    result: dict[str, dict[str, Prediction]] = {}
    for k, row in enumerate(frame.to_dict("records")):
        value, se = (figures[name][k] if name in figures else np.nan for name in ("value", "se"))
        result.setdefault(str(row["mixture"]), {})[str(row["target"])] = Prediction(
            **{name: figures[name][k] for name in ("gain", "low", "high")},
            value=None if np.isnan(value) else value,
            estimated=tuple(row["estimated"]) if isinstance(row.get("estimated"), tuple | list) else (),
            se=None if np.isnan(se) else se,
            lower_is_better=bool(row.get("lower_is_better", False)),
        )
    return result


def runs_frame(runs: MixtureRuns) -> Frame:
    """A row a run: ``id``, ``w:SOURCE`` and ``score:TARGET``, which is the form that ``load_mixture_runs`` reads."""
    columns = {"id": list(runs.ids)}
    columns |= {f"w:{s}": runs.weights[:, i].tolist() for i, s in enumerate(runs.sources)}
    columns |= {f"score:{t}": runs.scores[:, j].tolist() for j, t in enumerate(runs.targets)}
    return pandas().DataFrame(columns)
