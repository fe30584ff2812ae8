"""The analysis as sentences and tables that fit a terminal of 80 columns.

Wide tables use short labels, with a legend. What is missing reads "–", never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.matrix import TransferMatrix
from tvt.core.pgf import Bools, Floats
from tvt.report.labels import plain, short_labels, shortened
from tvt.report.sentences import headline, persona_sentences, trend_sentence
from tvt.transfer.aggregates import Aggregate
from tvt.transfer.analysis import Analysis, StudyAnalysis
from tvt.transfer.cliques import Cliques
from tvt.transfer.groups import Grouping
from tvt.transfer.noise import Noise, sign_unstable
from tvt.transfer.personas import KINDS, Personas
from tvt.transfer.standing import Standing

MISSING = "–"
MOST_ROWS = 40
"""Rows of a table; the rest is counted, and in the JSON."""
MOST_CLIQUES = 12
_CLIQUE_TITLES = {"": "mean", "_every_seed": "every run", "_threshold": "above threshold", "_test": "by test"}


def print_analysis(analysis: Analysis, console: Console, *, errors: bool = False) -> None:
    """Print everything, the main results first.

    Args:
        analysis: what to print.
        console: should have markup off, since task names may hold brackets.
        errors: also print the standard errors of the matrix, those from the runs and those from the questions.
    """
    for study in analysis.studies:
        console.print(headline(study))
    for sentence in (*persona_sentences(analysis.personas), trend_sentence(analysis)):
        if sentence:
            console.print(sentence)
    for study in analysis.studies:
        _print_study(study, console, errors)
    _heading(console, "Across the studies" if len(analysis.studies) > 1 else "Personas")
    console.print(personas_table(analysis.personas))
    if analysis.agreement:
        console.print()
        console.print(agreement_table(analysis))
        console.print(trend_table(analysis))
    if analysis.notes:
        console.print()
        for note in analysis.notes:
            console.print(f"note: {note}")


def matrix_tables(
    matrix: TransferMatrix, values: Floats, width: int, *, title: str, mark: Bools | None = None
) -> list[RenderableType]:
    """Values times 100 as whole numbers, as many tables side by side as the width asks for.

    Args:
        matrix: names the rows and columns.
        values: (sources, targets), NaN where missing.
        width: columns of the terminal.
        title: of the first table.
        mark: cells that get a ``~``.
    """
    labels = short_labels(matrix)
    rows = [labels[s] for s in matrix.sources[:MOST_ROWS]]
    columns = range(min(values.shape[1], MOST_ROWS))
    cells = [[_hundredths(values[i, j], mark, (i, j)) for j in columns] for i in range(len(rows))]
    own = matrix.self_cells
    blocks = _blocks([labels[t] for t in matrix.targets[:MOST_ROWS]], cells, width - max(map(len, [*rows, "to"])) - 2)
    tables: list[RenderableType] = []
    for number, block in enumerate(blocks):
        table = _table()
        table.add_column("", no_wrap=True)
        for j in block:
            table.add_column(labels[matrix.targets[j]], justify="right", no_wrap=True)
        for i, row in enumerate(rows):
            table.add_row(row, *(Text(cells[i][j], style=_style(values[i, j], bool(own[i, j]))) for j in block))
        tables.append(_titled(title, table) if number == 0 else table)
    return tables


def aggregates_table(study: StudyAnalysis) -> Group:
    """Transferability and malleability of every task, with the error from runs and questions together."""
    given, taken = study.transferability, study.malleability
    order = sorted(range(len(given.names)), key=lambda i: -np.nan_to_num(given.positive[i], nan=-1.0))
    names = [given.names[i] for i in order] + [t for t in taken.names if t not in given.names]
    table = _table()
    table.add_column("task", no_wrap=True, overflow="ellipsis", max_width=24)
    for head in ("helps", "harms", "is helped", "is harmed"):
        table.add_column(head, justify="right", no_wrap=True)
    for name in names[:MOST_ROWS]:
        table.add_row(shortened(plain(name), 24), *_signed(given, name), *_signed(taken, name))
    return _titled("Transferability (helps, harms others) and malleability (is helped, is harmed)", table)


def cliques_table(study: StudyAnalysis) -> Group:
    """The largest cliques of every kind, as short labels."""
    labels = short_labels(study.matrix)
    table = _table()
    for head in ("sign", "edges", "size"):
        table.add_column(head, no_wrap=True, justify="right" if head == "size" else "left")
    table.add_column("tasks", overflow="fold")
    for word in ("positive", "negative"):
        for suffix, title in _CLIQUE_TITLES.items():
            found = study.cliques.get(word + suffix)
            if found is not None:
                table.add_row(word, title, str(found.size) if found.size else MISSING, _members(found, labels))
    return _titled("Largest cliques (every task helps, or harms, every other)", table)


def groups_table(grouping: Grouping) -> Group:
    """Mean PGF between the groups, with the number of cells."""
    missing = f"; {len(grouping.ungrouped)} tasks without one left out" if grouping.ungrouped else ""
    table = _table()
    table.add_column("")
    for group in grouping.groups:
        table.add_column(shortened(group, 12), justify="right", no_wrap=True)
    for source in grouping.groups:
        cells = (grouping.cells.get((source, target)) for target in grouping.groups)
        table.add_row(shortened(source, 12), *(f"{c.mean:+.3f} ({c.cells})" if c else MISSING for c in cells))
    return _titled(f"Mean PGF by {grouping.by} (cells), from row to column{missing}", table)


def noise_table(of: Noise, standing: Standing | None, matrix: TransferMatrix) -> Group:
    """How far the matrix can be trusted."""
    table = _table(header=False)
    table.add_column("", overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    labels = short_labels(matrix)
    worst = f"{labels[of.noisiest[0]]} to {labels[of.noisiest[1]]}" if of.noisiest else ""
    total = of.cells + of.missing
    rows = [
        ("SD of a cell between runs, median", _number(of.run_sd_median), ""),
        ("SD of a cell between runs, largest", _number(of.run_sd_max), worst),
        ("cells whose sign flips between runs", str(len(of.sign_flips)) if of.runs > 1 else MISSING, f"of {of.cells}"),
        ("split-half correlation", _number(of.split_half), "off-diagonal cells"),
        ("reliability of the mean", _number(of.reliability), "Spearman-Brown"),
        ("standard error from runs, median", _number(of.seed_se_median), ""),
        ("standard error from questions, median", _number(of.item_se_median), ""),
        ("share of error from questions", _percent(of.item_share), "at most; rest: between runs"),
        ("missing cells", str(of.missing), f"of {total}"),
        *_standing_rows(standing),
    ]
    for row in rows:
        table.add_row(*row)
    return _titled("Noise", table)


def _standing_rows(of: Standing | None) -> list[tuple[str, str, str]]:
    """How many transfers are more than noise."""
    if of is None:
        return []
    apart = len(of.helps) + len(of.harms)
    return [
        ("transfers that stand out of it", str(apart), f"of {of.tested}: {len(of.helps)} help, {len(of.harms)} harm"),
        ("own gains that stand out of it", str(len(of.own)), f"of {of.own_tested} (t tests, Holm, 5%)"),
    ]


def personas_table(found: Personas) -> Group:
    """The tasks that pass, with p and by how much they stand out."""
    about = {"donor": "helps others", "pirate": "harms others", "sponge": "is helped", "sieve": "is harmed"}
    tests = len(found.tests)
    table = _table()
    for head in ("persona", "most", "task", "p", "margin", "values"):
        table.add_column(head, no_wrap=True, justify="right" if head in ("p", "margin", "values") else "left")
    for kind in KINDS:
        passing = found.passing(kind)
        tested = {t.task: t for t in found.of(kind)}
        for task, p in passing.items():
            margin, count = tested[task].median, len(tested[task].values)
            table.add_row(kind, about[kind], shortened(plain(task), 28), f"{p:.4f}", f"{margin:.3f}", str(count))
        if not passing:
            table.add_row(kind, about[kind], "none", MISSING, MISSING, MISSING)
    return _titled(f"Personas: {tests} tests at alpha {found.alpha:g}, so about {tests * found.alpha:.1g} by chance", table)


def trend_table(analysis: Analysis) -> Group:
    """Mean transferability by study with its interval."""
    table = _table()
    table.add_column("study", no_wrap=True)
    table.add_column("size", justify="right")
    table.add_column("positive", justify="right", no_wrap=True)
    table.add_column("negative", justify="right", no_wrap=True)
    points = {(t.study, t.sign): t for t in analysis.trend}
    for point in (t for t in analysis.trend if t.sign == "positive"):
        pair = (points[point.study, sign] for sign in ("positive", "negative"))
        size = f"{point.parameters:g}B" if point.parameters is not None else MISSING
        cells = (f"{_number(p.mean)} [{_number(p.low)}, {_number(p.high)}]" for p in pair)
        table.add_row(shortened(point.study, 20), size, *cells)
    return _titled("Mean transferability (95% interval from the runs)", table)


def agreement_table(analysis: Analysis) -> Group:
    """Rank correlation between the matrices of two studies."""
    table = _table()
    for head in ("study", "study ", "rho", "cells"):
        table.add_column(head, no_wrap=True, justify="right" if head in ("rho", "cells") else "left")
    for (a, b), (rho, cells) in analysis.agreement.items():
        table.add_row(shortened(a, 28), shortened(b, 28), _number(rho), str(cells))
    return _titled("Do the studies agree? Rank correlation of their off-diagonal cells", table)


def _print_study(study: StudyAnalysis, console: Console, errors: bool) -> None:
    matrix = study.matrix
    kind = "PGF" if matrix.metric == "pgf" else "gain"
    _heading(console, study.name)
    title = f"Mean {kind} x 100, from row to column (~ sign flips between runs)"
    tables = matrix_tables(matrix, matrix.mean, console.width, title=title, mark=sign_unstable(matrix.values))
    if errors:
        for what, values in (("runs", matrix.seed_error), ("the number of questions", matrix.item_error)):
            title = f"Standard error x 100 from {what}"
            tables += matrix_tables(matrix, values, console.width, title=title)
    for table in tables:
        console.print(table)
    if legend := _legend(matrix):
        console.print(legend, style="dim")
    for table in (
        aggregates_table(study),
        cliques_table(study),
        *map(groups_table, study.groups),
        noise_table(study.noise, study.standing, matrix),
    ):
        console.print()
        console.print(table)


def _legend(matrix: TransferMatrix) -> str:
    labels = short_labels(matrix)
    pairs = [f"{short} {plain(name)}" for name, short in labels.items() if short != name]
    more = len(matrix.sources) - MOST_ROWS
    rest = [f"{more} more sources: --json has them"] if more > 0 else []
    wide = len(matrix.targets) - MOST_ROWS
    rest += [f"{wide} more targets: --json has them"] if wide > 0 else []
    shown = pairs if len(pairs) <= MOST_ROWS else []
    return "; ".join([*shown, *rest])


def _heading(console: Console, text: str) -> None:
    console.print()
    console.rule(text, style="dim", align="left", characters="-")


def _table(*, header: bool = True) -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold", show_header=header)


def _titled(title: str, table: Table) -> Group:
    """A table's own title would be folded to the table's width."""
    return Group(Text(title, style="bold"), table)


def _blocks(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Columns that fit side by side."""
    blocks: list[list[int]] = [[]]
    used = 0
    for j, head in enumerate(heads):
        need = max(len(head), *(len(row[j]) for row in cells), 1) + 1
        if blocks[-1] and used + need > width:
            blocks.append([])
            used = 0
        blocks[-1].append(j)
        used += need
    return blocks


def _hundredths(value: float, mark: Bools | None, at: tuple[int, int]) -> str:
    if not np.isfinite(value):
        return MISSING
    text = f"{100 * value:.0f}" if abs(value) < 1e4 else f"{100 * value:.0e}"
    return ("0" if text == "-0" else text) + ("~" if mark is not None and mark[at] else "")


def _style(value: float, own: bool) -> str:
    colour = "dim" if not np.isfinite(value) else "blue" if value > 0 else "red" if value < 0 else ""
    return f"{colour} italic".strip() if own else colour


def _signed(of: Aggregate, name: str) -> tuple[str, str]:
    """Positive and negative aggregate of a task with their errors."""
    if name not in of.names:
        return MISSING, MISSING
    at = of.names.index(name)
    return (
        _with_error(of.positive[at], of.positive_error[at], of.positive_item_error[at]),
        _with_error(of.negative[at], of.negative_error[at], of.negative_item_error[at]),
    )


def _with_error(value: float, *errors: float) -> str:
    known = [e for e in errors if np.isfinite(e)] if np.isfinite(value) else []
    return _number(value) + (f" ±{float(np.hypot.reduce(known)):.3f}" if known and value else "")


def _members(found: Cliques, labels: dict[str, str]) -> str:
    shown = [" ".join(sorted(labels[t] for t in clique)) for clique in found.members[:MOST_CLIQUES]]
    more = len(found.members) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])]) or "none"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else MISSING


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%" if np.isfinite(value) else MISSING
