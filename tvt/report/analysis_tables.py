"""The analysis as JSON, and as sentences and tables that fit a terminal of 80 columns.

Wide tables use short labels, with a legend. What is missing reads "–", never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.core.values import encode
from tvt.evidence.predict import estimated_cells
from tvt.report.gradient_tables import gradient_tables, gradients_json
from tvt.report.split_tables import split_tables
from tvt.report.structure_tables import adapter_tables, dose_table, group_tables
from tvt.report.style import (
    ESTIMATE,
    MISSING,
    MOST_ROWS,
    dense_table,
    grid_tables,
    interval,
    join,
    number,
    percent,
    plain,
    short_labels,
    shortened,
    titled,
)
from tvt.stats.ranks import ZERO
from tvt.transfer.aggregates import Aggregate
from tvt.transfer.analysis import Analysis, StudyAnalysis
from tvt.transfer.cliques import Cliques
from tvt.transfer.noise import Noise, Significance, sign_unstable
from tvt.transfer.personas import KINDS, Personas

MOST_CLIQUES = 12
MOST_ESTIMATES = 12
_CLIQUE_TITLES = {"": "mean", "_every_seed": "every run", "_threshold": "above threshold", "_test": "by test"}


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """The object of ``tvt analyze --json`` (schema 1): a masked cell of ``pgf`` also has ``estimated``.

    It is ``{"value", "low", "high"}`` at the level of a selection's intervals, and ``None`` where nothing at all was measured
    of its source or its target. No other figure goes by it. A study whose gradients were taken also has ``gradients``.
    """
    written: dict[str, Any] = encode(analysis)
    for study in analysis.studies:
        estimates = estimated_cells(study.matrix)
        written["studies"][study.name].update(encode(gradients_json(study.matrix)))
        for source, row in written["studies"][study.name]["pgf"].items():
            for target, cell in row.items():
                p = estimates.get((source, target))
                if cell["masked"] is not None:
                    cell["estimated"] = None if p is None else {"value": p.gain, "low": p.low, "high": p.high}
    return written


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
    if analysis.specific is not None:
        _print_specific(analysis, analysis.specific, console, errors)
    if analysis.agreement:
        console.print()
        console.print(agreement_table(analysis))
        for table in trend_tables(analysis):
            console.print(table)
    if analysis.notes:
        console.print()
        for note in analysis.notes:
            console.print(f"note: {note}")


def _print_specific(analysis: Analysis, specific: Analysis, console: Console, errors: bool) -> None:
    """The paper's figures of what the sources do beyond any finetuning."""
    for study, beyond in zip(analysis.studies, specific.studies, strict=True):
        _heading(console, f"{study.name}: beyond any finetuning")
        for table in matrix_tables(beyond.matrix, console.width, errors=errors):
            console.print(table)
        console.print()
        console.print(cliques_table(beyond))
    _heading(console, "Personas beyond any finetuning")
    console.print(personas_table(specific.personas))


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


def noise_table(of: Noise, significance: Significance | None, matrix: TransferMatrix) -> Group:
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
        *_significance_rows(significance),
    ]
    for row in rows:
        table.add_row(*row)
    return titled("Noise", table)


def _significance_rows(of: Significance | None) -> list[tuple[str, str, str]]:
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
        *gradient_tables(matrix, console.width),
        aggregates_table(study),
        cliques_table(study),
        *split_tables(study.split, matrix),
        *(table for grouping in study.groups for table in group_tables(grouping, console.width)),
        *([dose_table(study.doses)] if study.doses else []),
        *(adapter_tables(study.adapters, short_labels(matrix), console.width) if study.adapters else []),
        noise_table(study.noise, study.significance, matrix),
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


MOST_NAMED = 10


def headline(study: StudyAnalysis) -> str:
    """What the study is and what stands out in it."""
    matrix = study.matrix
    sides = f"{_count(matrix.sources, 'source')} x {_count(matrix.targets, 'target')}"
    first = f"{study.name}: {sides}, {_count(matrix.runs, 'run')}."
    parts = [first, _signs(study), *_extremes(study), *_cliques(study)]
    return " ".join(filter(None, parts))


def persona_sentences(found: Personas) -> Iterator[str]:
    """One sentence with the tasks of every persona, or why there are none."""
    if found.note:
        return
    named = {kind: [plain(task) for task in found.passing(kind)] for kind in KINDS}
    told = [f"{kind}{'s' if len(tasks) > 1 else ''} {join(tasks[:MOST_NAMED])}" for kind, tasks in named.items() if tasks]
    yield f"Personas (p <= {found.alpha:g}): {'; '.join(told)}." if told else f"Personas: none passes at {found.alpha:g}."


def trend_sentence(analysis: Analysis) -> str | None:
    """How mean transferability goes with model size, where there are several sizes."""
    points = [t for t in analysis.trend if t.sign == "positive" and np.isfinite(t.transferability.value)]
    sizes = [t.parameters for t in points if t.parameters is not None]
    if len(sizes) < len(points) or len(set(sizes)) < 2:
        return None
    told = ", ".join(f"{t.transferability.value:.3f} at {t.parameters:g}B" for t in points)
    rhos = [rho for rho, _ in analysis.agreement.values() if np.isfinite(rho)]
    agreement = f" Rank correlation between the studies' matrices: {_range(rhos)}." if rhos else ""
    return f"Mean positive transferability by model size: {told}.{agreement}"


def _count(of: Sequence[str], noun: str) -> str:
    return f"{len(of)} {noun}{'s' if len(of) != 1 else ''}"


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _signs(study: StudyAnalysis) -> str | None:
    off = study.matrix.mean[~study.matrix.self_cells]
    off = off[np.isfinite(off)]
    if not len(off):
        return "No transfer from one task to another was measured."
    return f"{int((off > ZERO).sum())} of {len(off)} transfers between tasks help, {int((off < -ZERO).sum())} harm."


def _extremes(study: StudyAnalysis) -> Iterator[str]:
    """Best and worst transfer from a task to another."""
    matrix = study.matrix
    mean = np.where(matrix.self_cells, np.nan, matrix.mean)
    if not np.isfinite(mean).any():
        return
    for word, pick, sign in (("Most help", np.nanargmax, 1), ("Most harm", np.nanargmin, -1)):
        i, j = (int(at) for at in np.unravel_index(pick(mean), mean.shape))
        if sign * mean[i, j] > 0:
            yield f"{word}: {plain(matrix.sources[i])} to {plain(matrix.targets[j])} ({mean[i, j]:+.2f})."


def _cliques(study: StudyAnalysis) -> Iterator[str]:
    for word, verb in (("positive", "helps"), ("negative", "harms")):
        found = study.cliques[word]
        if found.size > 2:
            sets = "one set" if len(found.members) == 1 else f"{len(found.members)} sets"
            yield f"In {sets} of {found.size} tasks each {verb} all others."
