"""A preview in the terminal: the candidates by merged objective, and how far to trust it. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.objective import OBJECTIVES
from tvt.core.preview import Agreement, Candidate, Gain, Preview
from tvt.report.table_style import MISSING, TABLE, resting

_FIGURES = {"merged": "merged adapters", "predicted": "prediction", "linear": "linear prediction"}


def preview_report(preview: Preview, short: Callable[[str], str] = str) -> list[RenderableType]:
    """Everything that ``tvt select --preview`` adds, in order; ``short`` abbreviates tasks."""
    parts: list[RenderableType] = [candidates_table(preview, short), targets_table(preview, short)]
    if preview.agreement:
        parts.append(agreement_table(preview))
        parts += [Text(line) for line in agreement_sentences(preview)]
    else:
        parts.append(
            Text("Too few of these mixtures were trained in this study to say how far the figures can be trusted.", style="dim")
        )
    return [*parts, *(Text(f"Note: {note}.", style="yellow") for note in preview.notes)]


def candidates_table(preview: Preview, short: Callable[[str], str] = str) -> Table:
    """The objective by merged adapters, as predicted, and as trained."""
    trained = any("trained" in p.objective for p in preview.candidates)
    table = Table(title=f"Preview: {OBJECTIVES[preview.objective].measure} {_listed(preview, short)}", **TABLE)
    table.add_column("mixture", overflow="fold")
    for name in ("merged", "predicted", *(["trained"] if trained else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("largest shares", overflow="fold")
    for p in preview.candidates:
        figures = ("merged", "predicted", *(["trained"] if trained else []))
        told = [_signed(p.objective.get(figure)) for figure in figures]
        told[1] = (
            resting(any(p.predicted[t].estimated for t, w in preview.counting.items() if w and t in p.predicted)) + told[1]
        )
        style = "bold" if p.candidate.label == preview.selected else None
        table.add_row(p.candidate.label, *told, _shares(p.candidate, short), style=style)
    return table


def targets_table(preview: Preview, short: Callable[[str], str] = str, most: int = 8) -> Table:
    """Merged against predicted gain by target, of the best merge and of the selected mixture."""
    table = Table(title="Gain by target: merged (± error) and predicted", **TABLE)
    table.add_column("target", overflow="fold")
    shown = [p for k, p in enumerate(preview.candidates) if p.merged and (k == 0 or p.candidate.label == preview.selected)]
    for p in shown:
        table.add_column(p.candidate.label, justify="right", no_wrap=True)
        table.add_column("predicted", justify="right", no_wrap=True)
    for target in sorted(preview.targets, key=lambda t: -preview.counting.get(t, 0.0))[:most]:
        row = [target if len(shown) < 2 else short(target)]
        for p in shown:
            known = p.predicted.get(target)
            figure = MISSING if known is None else resting(known.estimated) + _signed(known.value)
            row += [_with_error(p.merged.get(target)), figure]
        table.add_row(*row)
    if len(preview.targets) > most:
        table.caption = f"and {len(preview.targets) - most} more targets; --json gives all"
    return table


def agreement_table(preview: Preview) -> Table:
    """Each figure against what training gave."""
    first = preview.agreement[0]
    table = Table(title=f"Against training: {first.mixtures} mixtures, {first.cells} gains", **TABLE)
    table.add_column("")
    for name in ("rank of mixtures", "rank of gains", "mean error", "bias"):
        table.add_column(name, justify="right", no_wrap=True)
    for a in preview.agreement:
        error = MISSING if a.error is None else f"{a.error:.3f}"
        table.add_row(_FIGURES[a.figure], _signed(a.mixture_rank, 2), _signed(a.rank, 2), error, _signed(a.bias))
    if preview.trained_error is not None:
        table.caption = f"The trained gains' own standard error is {preview.trained_error:.3f}."
    return table


def agreement_sentences(preview: Preview) -> list[str]:
    """What the agreement says, in words."""
    by_figure: Mapping[str, Agreement] = {a.figure: a for a in preview.agreement}
    merged, predicted = by_figure["merged"], by_figure["predicted"]
    told = []
    if merged.mixture_rank is None or predicted.mixture_rank is None:
        told.append(
            f"{merged.mixtures} trained mixtures of several sources are too few to say which figure ranks mixtures better."
        )
    else:
        told.append(
            f"Over {merged.mixtures} trained mixtures, merging ranks them with a correlation of {merged.mixture_rank:+.2f} to "
            f"training, the prediction with {predicted.mixture_rank:+.2f}."
        )
    if merged.error is not None and predicted.error is not None:
        nearer = "merging" if merged.error < predicted.error else "the prediction"
        told.append(f"On single gains {nearer} is nearer: {merged.error:.3f} off merged, {predicted.error:.3f} off predicted.")
    return told


def _listed(preview: Preview, short: Callable[[str], str]) -> str:
    names = [short(t) for t in preview.counting]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} targets"


def _shares(candidate: Candidate, short: Callable[[str], str], most: int = 3) -> str:
    top = sorted(candidate.weights.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{short(s)} {w:.0%}" for s, w in top[:most])
    return told + (f" +{len(top) - most}" if len(top) > most else "")


def _signed(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:+.{digits}f}"


def _with_error(gain: Gain | None) -> str:
    if gain is None:
        return MISSING
    return _signed(gain.value) + ("" if gain.error is None else f" ± {gain.error:.3f}")
