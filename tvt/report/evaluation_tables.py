"""Scores in the terminal: accuracy (or MRA) of each adapter on each task, and warnings about the answers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from tvt.core.answer_statistics import KINDS, AnswerFinding, AnswerReport, ScoredCell
from tvt.core.question import QuestionSet, question_warnings, some
from tvt.core.recipe import WarningSettings
from tvt.evaluate.results import CellResult, Macro, Members, macro
from tvt.report.style import TABLE

Rows = Sequence[tuple[str, Mapping[str, CellResult]]]
"""Each adapter's name with its cells by task."""

TIED_SHARE = 0.02


def accuracy_table(rows: Rows, *, unparsed: bool, benchmarks: Mapping[str, Members] | None = None) -> Table:
    """Accuracy in percent with Wilson's 95% interval; a row is an adapter on a task, tasks in blocks.

    Where questions are open-ended, the value is marked by its metric, e.g. MRA or ANLS; the interval of graded scores is wider
    than need be, since it takes them for right or wrong.

    Args:
        rows: adapters with their cells.
        unparsed: whether answers were read from text, so that some may name nothing; those by a number always are.
        benchmarks: the tasks of benchmarks, whose averages stand below.
    """
    every = [cell for _, cells in rows for cell in cells.values()]
    graded = sorted({cell.mark.removeprefix("partly ") for cell in every} - {""})
    unparsed = unparsed or any(cell.generated for cell in every)
    title = f"accuracy{f', or {_written_out(graded)} where marked' if graded else ''}, 95% interval"
    table = Table(title=title, **TABLE, padding=(0, 1, 0, 0))
    table.add_column("task", overflow="fold")
    table.add_column("adapter", overflow="fold")
    for name in ("accuracy", "interval", "questions", *(("unparsed",) if unparsed else ()), "letters"):
        table.add_column(name, justify="right", no_wrap=name != "letters")
    for task in rows[0][1] if rows else ():
        for place, (name, cells) in enumerate(rows):
            cell = cells[task]
            low, high = cell.interval
            table.add_row(
                Text(task if place == 0 else ""),
                Text(name),
                f"{cell.mark} {100 * cell.accuracy:.1f}".lstrip(),
                f"{100 * low:.1f} – {100 * high:.1f}",
                f"{cell.total:,}",
                *([f"{cell.unparsed / cell.total:.1%}"] if unparsed else []),
                Text(" ".join(f"{letter}:{count}" for letter, count in cell.letters.items())),
                end_section=place == len(rows) - 1,
            )
    for of in aggregates(rows, benchmarks or {}):
        for place, (name, item) in enumerate(of.items()):
            table.add_row(
                Text(item.title if place == 0 else ""),
                Text(name),
                f"{100 * item.value:.1f}",
                f"{100 * item.low:.1f} – {100 * item.high:.1f}",
                f"{item.questions:,}",
                end_section=place == len(rows) - 1,
            )
    return table


def _written_out(marks: Sequence[str]) -> str:
    return ", ".join("mean relative accuracy (MRA)" if mark == "MRA" else mark for mark in marks)


def aggregates(rows: Rows, benchmarks: Mapping[str, Members]) -> list[dict[str, Macro]]:
    """Each benchmark's average by adapter; benchmarks of which no task was scored are left out."""
    of = [
        {name: result for name, cells in rows if (result := macro(benchmark, cells, members)) is not None}
        for benchmark, members in benchmarks.items()
    ]
    return [result for result in of if result]


def answers_of(rows: Rows, sets: Sequence[QuestionSet], thresholds: WarningSettings) -> AnswerReport:
    """How all answered.

    Args:
        rows: adapters with their cells.
        sets: the questions, counted.
        thresholds: of the warnings.
    """
    cells = [
        ScoredCell(run=name, target=task, base=cell.adapter is None, statistics=cell.statistics)
        for name, item in rows
        for task, cell in item.items()
    ]
    return AnswerReport(thresholds=thresholds, cells=tuple(cells), sets=tuple(sets))


def tied_warnings(rows: Rows) -> list[str]:
    """Sentences about cells whose best letters often score exactly alike."""
    return [
        f"{name} on {task}: {cell.tied / cell.total:.0%} of the best scores are tied and went to the first letter; "
        "use --dtype float32"
        for name, cells in rows
        for task, cell in cells.items()
        if cell.tied > TIED_SHARE * cell.total
    ]


WHAT_TO_DO = "what these mean and what to do: tvt docs studies, 'Doubtful scores'"


class Warned(NamedTuple):
    """A sentence for people."""

    text: str
    loud: bool = False
    """Whether it makes all figures doubtful, since the base model's are."""


def answer_warnings(report: AnswerReport, *, hint: bool = True) -> list[Warned]:
    """A few sentences; none where nothing is doubtful.

    What the base model does comes first, for every cell is measured from there; cells are grouped and counted. With
    ``hint``, the last one says where to read on.
    """
    loud: list[Warned] = []
    lines: list[Warned] = []
    for kind in KINDS:
        result = [finding for finding in report.findings if finding.kind == kind]
        base = [finding for finding in result if finding.base]
        others = [finding for finding in result if not finding.base]
        loud += [Warned(_of_base(base, report.thresholds), loud=True)] if base else []
        lines += [Warned(_of_others(others))] if others else []
    lines = loud + lines
    lines += map(Warned, question_warnings(report.sets))
    if lines and hint:
        lines.append(Warned(WHAT_TO_DO))
    if report.unknown:
        text = (
            f"how the answers behind {len(report.unknown)} of {len(report.cells)} scores are spread over the letters is not "
            "known, so nothing is said of them: their answers are not in the folder, or damaged; tvt study run counts those "
            "that are there"
        )
        lines.append(Warned(text))
    return lines


def _of_base(findings: Sequence[AnswerFinding], thresholds: WarningSettings) -> str:
    """What the base model does, and what it does to all that is measured from it."""
    kind, limit = findings[0].kind, _percent(findings[0].threshold)
    if kind == "collapse":
        listed = some([f"{item.letter} to {_percent(item.value)} of {item.target}'s questions" for item in findings], ", ")
        points = f"{100 * thresholds.letter_excess:.3g}"
        return (
            f"the base model answers {listed}: gains and losses from there measure letter habits, not transfer (collapse: "
            f"one letter to at least {limit}, and over {points} points more than it is right)"
        )
    listed = some([f"{_percent(item.value)} on {item.target}" for item in findings], ", ")
    if kind == "letter_mass":
        return (
            f"the base model puts little of its probability on option letters: {listed} (mean below {limit}); the model would "
            "say something else, and gains from there may be the form of the answer alone"
        )
    return (
        f"the base model's answers name no letter or number and count as wrong: {listed} (more than {limit} unread); gains "
        "from there may be the form of the answer alone"
    )


def _of_others(findings: Sequence[AnswerFinding]) -> str:
    kind, limit = findings[0].kind, _percent(findings[0].threshold)
    letter = f"{findings[0].letter} " if kind == "collapse" else ""
    listed = some(
        [f"{item.run} -> {item.target} ({f'{item.letter} ' if letter else ''}{_percent(item.value)})" for item in findings]
    )
    what = {
        "collapse": f"collapsed to one letter (at least {limit})",
        "letter_mass": f"little probability on option letters (mean below {limit}); the model would say something else",
        "unread": f"answers that name no letter or number and count as wrong (more than {limit})",
    }
    return f"{what[kind]}: {listed}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
