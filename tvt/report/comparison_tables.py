"""Comparisons in the terminal, 80 columns wide: the decision, every arm on every target, the differences, predicted against
realised; and the judgement of a cheaper study against the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tvt.compare.comparison import Comparison, Contrast, Difference
from tvt.core.objective import OBJECTIVES
from tvt.report.style import MISSING, dense_table, number, percent, plain, resting, resting_legend, shortened, titled
from tvt.study.judgement import Choice, Estimated, Judgement

WIDEST_HEAD = 9
MOST_MISSING = 6
"""Missing runs named one by one; the rest is counted, and in the JSON."""
_COLOURS = {"better": "blue", "worse": "red"}


def comparison_report(
    comparison: Comparison, width: int = 80, labels: Mapping[str, str] | None = None, *, accuracy: bool = False
) -> list[RenderableType]:
    """Everything that ``tvt compare`` shows, in order.

    Args:
        comparison: what to show.
        width: columns of the terminal.
        labels: a unique label of a few letters for each target; without one its name, cut.
        accuracy: show accuracies in percent, and their differences, instead of PGF.
    """
    heads = _heads(comparison.targets, labels or {})
    accuracy = accuracy or all(c.pgf is None for c in comparison.gains if c.estimate is not None)
    parts: list[RenderableType] = [Text(line, style="bold" if i == 0 else "") for i, line in enumerate(comparison.sentences)]
    parts += [Text(""), arms_table(comparison)]
    parts += results_tables(comparison, width, heads, accuracy=accuracy)
    legend = [f"{head} {plain(target)}" for target, head in heads.items() if head != plain(target)]
    parts += [*([Text("; ".join(legend), style="dim")] if legend else []), Text("")]
    parts += [differences_table(comparison, accuracy=accuracy), *single_targets(comparison, heads, accuracy=accuracy)]
    parts += [calibration_table(comparison), *map(Text, calibration_sentences(comparison))]
    parts += _missing(comparison)
    return [*parts, *(Text(f"Note: {note}.", style="yellow") for note in (*comparison.notes, *comparison.calibration.notes))]


def arms_table(comparison: Comparison) -> Group:
    """What was compared: the largest shares of every mixture."""
    budget = max((sum(e.counts.values()) for e in comparison.arms), default=0)
    table = _table()
    table.add_column("mixture", no_wrap=True)
    table.add_column("largest shares", overflow="fold")
    table.add_column("what it is", overflow="fold")
    for arm in comparison.arms:
        total = sum(arm.counts.values())
        top = sorted(arm.counts.items(), key=lambda item: (-item[1], item[0]))
        shares = ", ".join(f"{shortened(plain(s), 20)} {n / total:.0%}" for s, n in top[:2])
        more = f" +{len(top) - 2}" if len(top) > 2 else ""
        table.add_row(arm.label, shares + more or "none", plain(arm.about), style="bold" if arm.kind == "selected" else None)
    return _titled(f"Compared at {budget:,} examples each", table)


def results_tables(comparison: Comparison, width: int, heads: Mapping[str, str], *, accuracy: bool) -> list[RenderableType]:
    """Gain over the base model of every arm on every target, as many tables as the width asks for."""
    aim = OBJECTIVES[comparison.objective]
    scopes: list[str | None] = [None, *sorted(comparison.targets, key=lambda t: (t not in comparison.counting, t))]
    names: dict[str | None, str] = {None: aim.column} | {
        t: heads[t] + ("°" if t in comparison.counting else "") for t in comparison.targets
    }
    rows = [e.label for e in comparison.arms]
    cells = {(r, s): _gain_cell(comparison, r, s, accuracy) for r in rows for s in scopes}
    label_width = max(map(len, [*rows, "base accuracy"]))
    base = {s: "" if s is None else f"{100 * comparison.base[s]:.1f} " for s in scopes}
    blocks = _blocks(
        scopes, {s: max(len(names[s]), *(len(cells[r, s]) for r in rows), len(base[s])) for s in scopes}, width - label_width
    )
    what = "Accuracy minus the base model's, in points" if accuracy else "PGF x 100"
    title = f"{what} (± standard error; * shown to differ from the base model)"
    tables: list[RenderableType] = [Text(title, style="bold")]
    for block in blocks:
        table = _table()
        table.add_column("", no_wrap=True, min_width=label_width)
        for scope in block:
            table.add_column(names[scope], justify="right", no_wrap=True)
        for row in rows:
            colours = [_COLOURS.get(comparison.gain(row, s).outcome, "") for s in block]
            table.add_row(row, *(Text(cells[row, s], style=c) for s, c in zip(block, colours, strict=True)))
        table.add_row("base accuracy", *(base[s] for s in block), style="dim")
        tables += [table, Text("")]
    counted = f"{aim.column}: {aim.over} the targets that the selection served (°)"
    return [*tables[:-1], Text(f"{counted}; –: not measured, or no gap to the ceiling.", style="dim")]


def differences_table(comparison: Comparison, *, accuracy: bool = False) -> Group:
    """Selected minus each baseline on the mean over the counting targets, with both intervals and the corrected p."""
    measure = "accuracy" if accuracy else "PGF"
    targets = list(comparison.counting)
    where = plain(targets[0]) if len(targets) == 1 else f"{OBJECTIVES[comparison.objective].over} {len(targets)} targets"
    table = _table()
    table.add_column("baseline", no_wrap=True)
    for name in ("difference", "95% interval", "all together", "p", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name), overflow="fold")
    for c in (c for c in comparison.differences if c.target is None):
        e = c.accuracy if accuracy else c.pgf
        if e is None:
            table.add_row(str(c.against), *[MISSING] * 4, c.outcome)
        else:
            together = MISSING if e.low_all is None or e.high_all is None else f"{e.low_all:+.3f} to {e.high_all:+.3f}"
            figures = (f"{e.value:+.3f}", f"{e.low:+.3f} to {e.high:+.3f}", together, _p(c.p_corrected))
            table.add_row(str(c.against), *figures, _short(c), style=_COLOURS.get(c.outcome))
    pgf = any(c.tested == "pgf" for c in comparison.differences)
    caption = (
        f"p is two-sided and corrected (Holm) for {comparison.differences_family[0]} comparisons, and so are the intervals of "
        f"all together (Bonferroni).{' The tests are those of PGF.' if accuracy and pgf else ''}"
    )
    return _titled(f"Selected minus baseline: {measure}, {where}", table, caption)


def single_targets(comparison: Comparison, heads: Mapping[str, str], *, accuracy: bool) -> list[RenderableType]:
    """On which single targets the selected mixture is shown to differ from a baseline."""
    if len(comparison.counting) < 2:
        return []
    shown: dict[tuple[str, str], list[str]] = {}
    for c in comparison.differences:
        e = (c.accuracy if accuracy else c.pgf) or c.estimate
        if c.target is not None and c.outcome in ("better", "worse") and e is not None:
            shown.setdefault((str(c.against), c.outcome), []).append(f"{heads[c.target]} {e.value:+.3f}")
    if not shown:
        return [Text("On no single target is the selected mixture shown to differ from a baseline."), Text("")]
    table = _table()
    table.add_column("baseline", no_wrap=True)
    table.add_column("selected is", no_wrap=True)
    table.add_column("on", overflow="fold")
    for (against, verdict), where in shown.items():
        table.add_row(against, verdict, ", ".join(where), style=_COLOURS[verdict])
    title = f"Single targets where a difference is shown (p corrected for {comparison.differences_family[1]} comparisons)"
    return [_titled(title, table)]


def calibration_table(comparison: Comparison) -> Group:
    """Predicted and realised PGF of the selected mixture, counting targets first."""
    calibration = comparison.calibration
    table = _table()
    table.add_column("target", overflow="fold")
    for name in ("predicted", f"{calibration.confidence:.0%} interval", "realised"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    own = [p for p in calibration.points if p.kind == "selected"]
    for p in sorted(own, key=lambda p: (not p.counting, -p.predicted, p.target)):
        within = "" if p.inside else "below it" if p.realised < p.predicted else "above it"
        name = plain(p.target) + ("°" if p.counting else "")
        table.add_row(
            name,
            f"{resting(p.estimated)}{p.predicted:+.3f}",
            f"{p.low:+.3f} to {p.high:+.3f}",
            f"{p.realised:+.3f} ±{p.error:.3f}",
            within,
        )
    if not own:
        table.add_row("none", *[MISSING] * 3, "")
    unmeasured = {plain(p.target): tuple(map(plain, p.estimated)) for p in own if p.estimated}
    caption = resting_legend(unmeasured) if unmeasured else ""
    return _titled("Selected mixture: predicted and realised PGF (° served)", table, caption)


def calibration_sentences(comparison: Comparison) -> list[str]:
    """How well the predictions did over all arms; nothing where there are too few."""
    of = comparison.calibration
    lines = []
    if of.rank is not None:
        within = [rho for rho in of.rank_by_target.values() if rho is not None]
        by = f"; within a target {min(within):+.2f} to {max(within):+.2f}" if len(within) > 1 else ""
        mixtures = len({p.label for p in of.points})
        lines.append(
            f"Rank correlation of predicted and realised over {mixtures} mixtures and {len(of.points)} points: "
            f"{of.rank:+.2f}{by}."
        )
    if of.slope is not None and of.intercept is not None and of.covered is not None:
        lines.append(
            f"Realised is about {of.slope:.2f} x predicted {of.intercept:+.3f}; {of.covered:.0%} of the values "
            f"lie in the predicted {of.confidence:.0%} interval, widened by their own error."
        )
    if of.optimism_selected is not None:
        others = of.optimism_others
        beside = f", {others:+.3f} for the others" if others is not None else ""
        lines.append(f"Predicted minus realised (°, mean): {of.optimism_selected:+.3f} for the selected mixture{beside}.")
    return lines


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold")


def _titled(title: str, table: Table, caption: str = "") -> Group:
    """A table's own title and caption would be folded to the table's width."""
    return Group(Text(title, style="bold"), table, *([Text(caption, style="dim")] if caption else []), Text(""))


def _gain_cell(comparison: Comparison, arm: str, target: str | None, accuracy: bool) -> str:
    c = comparison.gain(arm, target)
    if c.outcome == "same mixture":
        return "base "
    e: Difference | None = c.accuracy if accuracy else c.pgf
    return f"{MISSING} " if e is None else f"{_hundredths(e.value)} ±{100 * e.error:.1f}{'*' if c.outcome in _COLOURS else ' '}"


def _hundredths(value: float) -> str:
    text = f"{100 * value:+.1f}" if abs(value) < 99.95 else f"{100 * value:+.0f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _heads(targets: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Column heads of at most nine letters; numbers tell apart what is cut to the same."""
    heads: dict[str, str] = {}
    for place, target in enumerate(targets, start=1):
        head = shortened(labels.get(target, plain(target)), WIDEST_HEAD)
        heads[target] = head if head not in heads.values() else shortened(head, WIDEST_HEAD - 2).rstrip("…") + f"…{place}"
    return heads


def _blocks(scopes: Sequence[str | None], widths: Mapping[str | None, int], room: int) -> list[list[str | None]]:
    """Columns that fit side by side, with the mean in the first block."""
    blocks: list[list[str | None]] = [[]]
    used = 1
    for scope in scopes:
        if blocks[-1] and used + widths[scope] + 1 > room:
            blocks.append([])
            used = 1
        blocks[-1].append(scope)
        used += widths[scope] + 1
    return blocks


def _p(value: float | None) -> str:
    return MISSING if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _short(c: Contrast) -> str:
    return "not shown" if c.outcome == "no difference shown" else c.outcome


def _missing(comparison: Comparison) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text(f"Missing: {m.arm}, seed {m.seed}: {m.reason}.", style="yellow") for m in comparison.missing[:MOST_MISSING]
    ]
    more = len(comparison.missing) - MOST_MISSING
    return [*lines, Text(f"Missing: {more} more runs; --json has them.", style="yellow")] if more > 0 else lines


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


def judgement_report(judgement: Judgement) -> list[RenderableType]:
    """Everything that ``tvt study judge`` shows, in order."""
    parts: list[RenderableType] = [Text(_headline(judgement), style="bold"), Text(_cost(judgement)), Text("")]
    parts += [_cells(judgement), Text("")]
    parts += [_weights(judgement.choices[0]), Text("")] if len(judgement.choices) == 1 else []
    parts += [_choices(judgement), Text(_LEGEND, style="dim"), Text(""), Text(_judgement_summary(judgement))]
    parts += [Text(f"Note: {note}.", style="yellow") for note in _notes(judgement)]
    return parts


def _headline(judgement: Judgement) -> str:
    if judgement.way != "seeds":
        return f"{judgement.study}, judged by {_WAYS[judgement.way]}: {judgement.names[0]}"
    chosen = (
        f"all {judgement.of} choices"
        if len(judgement.names) == judgement.of
        else f"{len(judgement.names)} of {judgement.of} choices, drawn"
    )
    return f"{judgement.study}, judged by {_WAYS[judgement.way]}: {chosen}"


def _cost(judgement: Judgement) -> str:
    runs = f"{judgement.cheap_runs:g} runs of a source instead of {judgement.runs}"
    return f"Cost: {runs}" + ("." if judgement.cost is None else f", {percent(judgement.cost)} of the training.")


def _cells(judgement: Judgement) -> RenderableType:
    """Agreement of the cells, with the range over several cheap studies."""
    several = len(judgement.names) > 1
    level = f"{judgement.confidence:.0%} interval"
    table = dense_table("", "mean" if several else "value", level, *(["range"] if several else []))

    def row(what: str, of: Estimated, each: Sequence[float]) -> None:
        table.add_row(what, number(of.value), _interval(of), *([_value_range(each, number)] if several else []))

    cells = [like.cells for like in judgement.likeness]
    row(f"rank correlation of {_value_range(cells, str)} cells", judgement.rank, [like.rank for like in judgement.likeness])
    if np.isfinite(judgement.apart.value):
        row("  with the runs left out", judgement.apart, [like.apart for like in judgement.likeness])
    signs = [like.signs for like in judgement.likeness]
    shares = [like.agreeing / like.signs if like.signs else float("nan") for like in judgement.likeness]
    if all(signs):
        what = f"same sign, of {_value_range(signs, str)} cells credibly not 0"
        table.add_row(what, percent(float(np.mean(shares))), MISSING, *([_value_range(shares, percent)] if several else []))
    return titled("Cells between tasks", table)


def _weights(choice: Choice) -> RenderableType:
    """The mixtures side by side."""
    several = len(choice.cheap) > 1
    table = dense_table("source", "full", "cheaper", *(["range"] if several else []))
    names = dict.fromkeys([*choice.full.weights, *(s for answer in choice.cheap for s in answer.weights)])
    each = {s: [answer.weights.get(s, 0.0) for answer in choice.cheap] for s in names}
    for source in sorted(names, key=lambda s: (-choice.full.weights.get(s, 0.0), -max(each[s]), s)):
        shares = [percent(choice.full.weights.get(source, 0.0)), percent(float(np.mean(each[source])))]
        table.add_row(shortened(plain(source), NAME), *shares, *([_value_range(each[source], percent)] if several else []))
    if not names:
        table.add_row("none: keep the base model", MISSING, MISSING)
    return titled("Mixtures" + (", cheaper ones on average" if several else ""), table)


def _choices(judgement: Judgement) -> RenderableType:
    """Every request in a row: what is said, how much changes hands, and what is lost."""
    several = len(judgement.names) > 1
    table = dense_table("for", "full", "same", "moved", "gain", "regret", f"{judgement.confidence:.0%} interval", left=2)
    if several:
        table.add_column("worst", justify="right", no_wrap=True)
    for choice in judgement.choices:
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


def _judgement_summary(judgement: Judgement) -> str:
    gain = float(np.mean([choice.value for choice in judgement.choices]))
    lost = float(np.mean([choice.regret.value for choice in judgement.choices]))
    same = sum(choice.same_verdict for choice in judgement.choices)
    asked = len(judgement.choices) * len(judgement.names)
    sentence = f"Regret on average: {lost:.3f}, of a gain of {gain:.3f}; the same decision {same} of {asked} times"
    worst = max(judgement.choices, key=lambda choice: choice.regret.value)
    if len(judgement.choices) < 2 or worst.regret.value < 0.0005:
        return f"{sentence}."
    return f"{sentence}; the most is lost on {_wanted(worst)} ({worst.regret.value:.3f})."


def _notes(judgement: Judgement) -> list[str]:
    """What limits the answers."""
    notes = list(judgement.notes)
    shared, runs = sum(like.shared for like in judgement.likeness), sum(like.runs for like in judgement.likeness)
    if shared:
        which = "the runs of a cheaper study are" if shared == runs else f"{shared} of {runs} runs of the cheaper study are"
        rest = "; the runs left out do not" if np.isfinite(judgement.apart.value) else ""
        notes.append(f"{which} runs of the full study too, which flatters it in every figure{rest}")
    if any(like.estimated for like in judgement.likeness):
        lacking = _value_range([like.estimated for like in judgement.likeness], str)
        notes.append(f"{lacking} cells that the cheaper study did not measure are estimated where it chooses")
    if not all(like.signs for like in judgement.likeness):
        notes.append("no cell of the full study is credibly not 0 (or its noise is not known), so signs cannot be compared")
    if sum(choice.same_verdict for choice in judgement.choices) < len(judgement.choices) * len(judgement.names):
        notes.append("where decisions differ, one of the two trains on nothing; --anyway judges the mixtures alone")
    if any(choice.full.verdict != "train" and choice.regret.value < 0 for choice in judgement.choices):
        notes.append(
            "a regret below 0: what the cheaper study trained on gains by the full study's figures, but not credibly so"
        )
    failed = {answer.reason for choice in judgement.choices for answer in choice.cheap if answer.reason}
    return notes + sorted(f"a cheaper study has no answer: {reason}" for reason in failed)


def _interval(of: Estimated) -> str:
    return f"{number(of.low)} to {number(of.high)}" if np.isfinite(of.low) else MISSING


def _value_range(values: Iterable[float], shown: Callable[[float], str]) -> str:
    low, high = shown(min(result := list(values))), shown(max(result))
    return low if low == high else f"{low} to {high}"
