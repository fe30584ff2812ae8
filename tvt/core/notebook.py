"""What a notebook shows of a value: one line, and a table in HTML. Names are escaped; nothing is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from tvt.types import Floats

if TYPE_CHECKING:
    from tvt.core.comparison import Comparison
    from tvt.core.matrix import TransferMatrix
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
    title = f"{mixture.verdict}: {mixture.budget} examples"
    first = table(("source", "weight", "examples"), rows, title=title, notes=mixture.notes)
    return first + (predictions_html({"": mixture.predicted}) if mixture.predicted else "")


def predictions_html(by_mixture: Mapping[str, Mapping[str, Prediction]]) -> str:
    """Predicted gains with intervals, a row for each mixture and target; estimates that rest on unmeasured cells have a ≈."""
    rows = [
        (name, target, f"{'≈ ' if p.estimated else ''}{p.gain:+.3f}", f"{p.low:+.3f} to {p.high:+.3f}")
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


def comparison_html(comparison: Comparison) -> str:
    """What the comparison found in sentences, then every entry's gain over the base model."""
    rows = []
    for c in comparison.gains:
        found = c.estimate
        told = (
            ("-", c.reason or c.verdict) if found is None else (f"{found.value:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}")
        )
        rows.append((c.entry, c.target or "mean", c.tested or "-", *told, c.verdict))
    header = ("mixture", "target", "measure", "against the base model", "95% interval", "result")
    return table(header, rows, title="; ".join(comparison.verdict), notes=comparison.notes)
