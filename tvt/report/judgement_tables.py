"""Cheaper studies against the full one, in the terminal. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tvt.report.style import MISSING, dense_table, number, percent, plain, shortened, titled
from tvt.study.judgement import Choice, Estimated, Judgement

NAME = 24
"""Letters of a task's name."""
_LEGEND = (
    "full: train, or keep the base model; same: how often the cheaper study says so too; moved: share of the budget that "
    "changes hands; gain: of the full study's mixture, by its own figures; regret: how much of it is lost."
)
_WAYS = {
    "seeds": "fewer of its runs",
    "dose": "its runs at a part of the budget",
    "against": "another study",
}


def judgement_report(found: Judgement) -> list[RenderableType]:
    """Everything that ``tvt study judge`` shows, in order."""
    parts: list[RenderableType] = [Text(_headline(found), style="bold"), Text(_cost(found)), Text("")]
    parts += [_cells(found), Text("")]
    parts += [_weights(found.choices[0]), Text("")] if len(found.choices) == 1 else []
    parts += [_choices(found), Text(_LEGEND, style="dim"), Text(""), Text(_summary(found))]
    parts += [Text(f"Note: {note}.", style="yellow") for note in _notes(found)]
    return parts


def _headline(found: Judgement) -> str:
    if found.way != "seeds":
        return f"{found.study}, judged by {_WAYS[found.way]}: {found.names[0]}"
    chosen = f"all {found.of} choices" if len(found.names) == found.of else f"{len(found.names)} of {found.of} choices, drawn"
    return f"{found.study}, judged by {_WAYS[found.way]}: {chosen}"


def _cost(found: Judgement) -> str:
    runs = f"{found.cheap_runs:g} runs of a source instead of {found.runs}"
    return f"Cost: {runs}" + ("." if found.cost is None else f", {percent(found.cost)} of the training.")


def _cells(found: Judgement) -> RenderableType:
    """Agreement of the cells, with the range over several cheap studies."""
    several = len(found.names) > 1
    level = f"{found.confidence:.0%} interval"
    table = dense_table("", "mean" if several else "value", level, *(["range"] if several else []))

    def row(what: str, of: Estimated, each: Sequence[float]) -> None:
        table.add_row(what, number(of.value), _interval(of), *([_range(each, number)] if several else []))

    cells = [like.cells for like in found.likeness]
    row(f"rank correlation of {_range(cells, str)} cells", found.rank, [like.rank for like in found.likeness])
    if np.isfinite(found.apart.value):
        row("  with the runs left out", found.apart, [like.apart for like in found.likeness])
    signs = [like.signs for like in found.likeness]
    shares = [like.agreeing / like.signs if like.signs else float("nan") for like in found.likeness]
    if all(signs):
        what = f"same sign, of {_range(signs, str)} cells credibly not 0"
        table.add_row(what, percent(float(np.mean(shares))), MISSING, *([_range(shares, percent)] if several else []))
    return titled("Cells between tasks", table)


def _weights(choice: Choice) -> RenderableType:
    """The mixtures side by side."""
    several = len(choice.cheap) > 1
    table = dense_table("source", "full", "cheaper", *(["range"] if several else []))
    names = dict.fromkeys([*choice.full.weights, *(s for answer in choice.cheap for s in answer.weights)])
    each = {s: [answer.weights.get(s, 0.0) for answer in choice.cheap] for s in names}
    for source in sorted(names, key=lambda s: (-choice.full.weights.get(s, 0.0), -max(each[s]), s)):
        shares = [percent(choice.full.weights.get(source, 0.0)), percent(float(np.mean(each[source])))]
        table.add_row(shortened(plain(source), NAME), *shares, *([_range(each[source], percent)] if several else []))
    if not names:
        table.add_row("none: keep the base model", MISSING, MISSING)
    return titled("Mixtures" + (", cheaper ones on average" if several else ""), table)


def _choices(found: Judgement) -> RenderableType:
    """Every request in a row: what is said, how much changes hands, and what is lost."""
    several = len(found.names) > 1
    table = dense_table("for", "full", "same", "moved", "gain", "regret", f"{found.confidence:.0%} interval", left=2)
    if several:
        table.add_column("worst", justify="right", no_wrap=True)
    for choice in found.choices:
        worst = max(regret.value for regret in choice.regrets)
        table.add_row(
            shortened(_wanted(choice), NAME),
            "train" if choice.full.verdict == "train" else "base",
            f"{choice.same_verdict}/{len(choice.cheap)}",
            percent(float(np.mean(choice.moved))),
            number(choice.value),
            number(choice.regret.value),
            _interval(choice.regret),
            *([number(worst)] if several else []),
        )
    return titled("What is chosen, and what is lost by it", table)


def _wanted(choice: Choice) -> str:
    if len(choice.targets) == 1:
        return plain(choice.targets[0])
    return f"{len(choice.targets)} targets"


def _summary(found: Judgement) -> str:
    gain = float(np.mean([choice.value for choice in found.choices]))
    lost = float(np.mean([choice.regret.value for choice in found.choices]))
    same = sum(choice.same_verdict for choice in found.choices)
    asked = len(found.choices) * len(found.names)
    told = f"Regret on average: {lost:.3f}, of a gain of {gain:.3f}; the same decision {same} of {asked} times"
    worst = max(found.choices, key=lambda choice: choice.regret.value)
    if len(found.choices) < 2 or worst.regret.value < 0.0005:
        return f"{told}."
    return f"{told}; the most is lost on {_wanted(worst)} ({worst.regret.value:.3f})."


def _notes(found: Judgement) -> list[str]:
    """What limits the answers."""
    notes = list(found.notes)
    shared, runs = sum(like.shared for like in found.likeness), sum(like.runs for like in found.likeness)
    if shared:
        which = "the runs of a cheaper study are" if shared == runs else f"{shared} of {runs} runs of the cheaper study are"
        rest = "; the runs left out do not" if np.isfinite(found.apart.value) else ""
        notes.append(f"{which} runs of the full study too, which flatters it in every figure{rest}")
    if any(like.estimated for like in found.likeness):
        lacking = _range([like.estimated for like in found.likeness], str)
        notes.append(f"{lacking} cells that the cheaper study did not measure are estimated where it chooses")
    if not all(like.signs for like in found.likeness):
        notes.append("no cell of the full study is credibly not 0 (or its noise is not known), so signs cannot be compared")
    if sum(choice.same_verdict for choice in found.choices) < len(found.choices) * len(found.names):
        notes.append("where decisions differ, one of the two trains on nothing; --anyway judges the mixtures alone")
    if any(choice.full.verdict != "train" and choice.regret.value < 0 for choice in found.choices):
        notes.append(
            "a regret below 0: what the cheaper study trained on gains by the full study's figures, but not credibly so"
        )
    failed = {answer.reason for choice in found.choices for answer in choice.cheap if answer.reason}
    return notes + sorted(f"a cheaper study has no answer: {reason}" for reason in failed)


def _interval(of: Estimated) -> str:
    return f"{number(of.low)} to {number(of.high)}" if np.isfinite(of.low) else MISSING


def _range(values: Iterable[float], told: Callable[[float], str]) -> str:
    low, high = told(min(found := list(values))), told(max(found))
    return low if low == high else f"{low} to {high}"
