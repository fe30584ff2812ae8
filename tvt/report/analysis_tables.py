"""The analysis as sentences and tables that fit a terminal of 80 columns.

Wide tables use short labels, with a legend. What is missing reads "–", never 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.evidence.predict import estimated_cells
from tvt.report.adapter_tables import adapter_tables
from tvt.report.dose_tables import dose_table
from tvt.report.grid_tables import MOST_ROWS, grid_tables
from tvt.report.group_tables import group_tables
from tvt.report.labels import plain, short_labels, shortened
from tvt.report.sentences import headline, persona_sentences, trend_sentence
from tvt.report.table_style import ESTIMATE, MISSING, dense_table, interval, number, percent, titled
from tvt.transfer.aggregates import Aggregate
from tvt.transfer.analysis import Analysis, StudyAnalysis
from tvt.transfer.cliques import Cliques
from tvt.transfer.noise import Noise, sign_unstable
from tvt.transfer.personas import KINDS, Personas
from tvt.transfer.standing import Standing

MOST_CLIQUES = 12
MOST_ESTIMATES = 12
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
        for table in trend_tables(analysis):
            console.print(table)
    if analysis.notes:
        console.print()
        for note in analysis.notes:
            console.print(f"note: {note}")


def matrix_tables(matrix: TransferMatrix, width: int, *, errors: bool) -> list[RenderableType]:
    """The mean matrix, and its standard errors where these are asked for."""
    kind = "PGF" if matrix.metric == "pgf" else "gain"
    shown = [(f"Mean {kind} x 100, from row to column (~ sign flips between runs)", matrix.mean, sign_unstable(matrix.values))]
    tables: list[RenderableType] = []
    if errors:
        none = np.zeros_like(shown[0][2])
        shown += [("Standard error x 100 from runs", matrix.seed_error, none)]
        shown += [("Standard error x 100 from the number of questions", matrix.item_error, none)]
    for title, values, mark in shown:
        labels = short_labels(matrix)
        tables += grid_tables(matrix.sources, matrix.targets, values, labels=labels, width=width, title=title, mark=mark)
    return tables


def estimates_table(matrix: TransferMatrix) -> Group | None:
    """Missing cells, why they are missing, and what a selection takes them for; ``None`` where there are none to estimate."""
    found = estimated_cells(matrix)
    if not found:
        return None
    labels = short_labels(matrix)
    table = dense_table("from", "to", "estimate", f"{SelectionSpec().confidence:.0%} interval", left=2)
    table.add_column("why it is missing", overflow="fold")
    for (source, target), cell in list(found.items())[:MOST_ESTIMATES]:
        figures = (f"{ESTIMATE}{cell.gain:+.3f}", f"{cell.low:+.3f} to {cell.high:+.3f}")
        table.add_row(labels[source], labels[target], *figures, matrix.reason(source, target) or "")
    more = len(found) - MOST_ESTIMATES
    rest = [Text(f"{more} more: --json has them", style="dim")] if more > 0 else []
    title = Text("Missing cells, as tvt select takes them; all else here leaves them out", style="bold")
    return Group(title, table, *rest)


def aggregates_table(study: StudyAnalysis) -> Group:
    """Transferability and malleability of every task, with the error from runs and questions together."""
    given, taken = study.transferability, study.malleability
    order = sorted(range(len(given.names)), key=lambda i: -np.nan_to_num(given.positive[i], nan=-1.0))
    names = [given.names[i] for i in order] + [t for t in taken.names if t not in given.names]
    table = dense_table("task", "helps", "harms", "is helped", "is harmed")
    for name in names[:MOST_ROWS]:
        table.add_row(shortened(plain(name), 24), *_signed(given, name), *_signed(taken, name))
    return titled("Transferability (helps, harms others) and malleability (is helped, is harmed)", table)


def cliques_table(study: StudyAnalysis) -> Group:
    """The largest cliques of every kind, as short labels."""
    labels = short_labels(study.matrix)
    table = dense_table("sign", "edges", "size", left=2)
    table.add_column("tasks", overflow="fold")
    for word in ("positive", "negative"):
        for suffix, title in _CLIQUE_TITLES.items():
            found = study.cliques.get(word + suffix)
            if found is not None:
                table.add_row(word, title, str(found.size) if found.size else MISSING, _members(found, labels))
    return titled("Largest cliques (every task helps, or harms, every other)", table)


def noise_table(of: Noise, standing: Standing | None, matrix: TransferMatrix) -> Group:
    """How far the matrix can be trusted."""
    table = dense_table(header=False)
    table.add_column("", overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    labels = short_labels(matrix)
    worst = f"{labels[of.noisiest[0]]} to {labels[of.noisiest[1]]}" if of.noisiest else ""
    total = of.cells + of.missing
    rows = [
        ("SD of a cell between runs, median", number(of.run_sd_median), ""),
        ("SD of a cell between runs, largest", number(of.run_sd_max), worst),
        ("cells whose sign flips between runs", str(len(of.sign_flips)) if of.runs > 1 else MISSING, f"of {of.cells}"),
        ("split-half correlation", number(of.split_half), "off-diagonal cells"),
        ("reliability of the mean", number(of.reliability), "Spearman-Brown"),
        ("standard error from runs, median", number(of.seed_se_median), ""),
        ("standard error from questions, median", number(of.item_se_median), ""),
        ("share of error from questions", percent(of.item_share), "at most; rest: between runs"),
        ("missing cells", str(of.missing), f"of {total}"),
        *_standing_rows(standing),
    ]
    for row in rows:
        table.add_row(*row)
    return titled("Noise", table)


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
    table = dense_table("persona", "most", "task", "p", "margin", "values", left=3)
    for kind in KINDS:
        passing = found.passing(kind)
        tested = {t.task: t for t in found.of(kind)}
        for task, p in passing.items():
            margin, count = tested[task].median, len(tested[task].values)
            table.add_row(kind, about[kind], shortened(plain(task), 28), f"{p:.4f}", f"{margin:.3f}", str(count))
        if not passing:
            table.add_row(kind, about[kind], "none", MISSING, MISSING, MISSING)
    return titled(f"Personas: {tests} tests at alpha {found.alpha:g}, so about {tests * found.alpha:.1g} by chance", table)


def trend_tables(analysis: Analysis) -> Iterator[Group]:
    """Mean transferability, and mean malleability, by study with its interval."""
    points = {(t.study, t.sign): t for t in analysis.trend}
    for side in ("transferability", "malleability"):
        table = dense_table("study", "size", "positive", "negative")
        for point in (t for t in analysis.trend if t.sign == "positive"):
            size = f"{point.parameters:g}B" if point.parameters is not None else MISSING
            pair = (getattr(points[point.study, sign], side) for sign in ("positive", "negative"))
            table.add_row(shortened(point.study, 20), size, *map(interval, pair))
        yield titled(f"Mean {side} (95% interval from the runs)", table)


def agreement_table(analysis: Analysis) -> Group:
    """Rank correlation between the matrices of two studies."""
    table = dense_table("study", "study ", "rho", "cells", left=2)
    for (a, b), (rho, cells) in analysis.agreement.items():
        table.add_row(shortened(a, 28), shortened(b, 28), number(rho), str(cells))
    return titled("Do the studies agree? Rank correlation of their off-diagonal cells", table)


def _print_study(study: StudyAnalysis, console: Console, errors: bool) -> None:
    matrix = study.matrix
    _heading(console, study.name)
    for table in matrix_tables(matrix, console.width, errors=errors):
        console.print(table)
    if legend := _legend(matrix):
        console.print(legend, style="dim")
    estimated = estimates_table(matrix)
    for table in (
        *([estimated] if estimated else []),
        aggregates_table(study),
        cliques_table(study),
        *(table for grouping in study.groups for table in group_tables(grouping, console.width)),
        *([dose_table(study.doses)] if study.doses else []),
        *(adapter_tables(study.adapters, short_labels(matrix), console.width) if study.adapters else []),
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
    return number(value) + (f" ±{float(np.hypot.reduce(known)):.3f}" if known and value else "")


def _members(found: Cliques, labels: dict[str, str]) -> str:
    shown = [" ".join(sorted(labels[t] for t in clique)) for clique in found.members[:MOST_CLIQUES]]
    more = len(found.members) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])]) or "none"
