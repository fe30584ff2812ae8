"""``tvt report``: one HTML file that explains a study to whoever opens it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.answer_options import answer_lines, study_answers, warn_option
from tvt.cli.options import Ceiling, Metric, Unit, load_matrices, note, study_arguments
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.core.matrix import TransferMatrix

LARGE = 2.0
"""Megabytes from which on a file is awkward to send around."""
EPILOG = """\b
Examples:
  tvt report qwen2.5-vl-7b
  tvt report qwen2.5-vl-3b qwen2.5-vl-7b qwen2.5-vl-32b -o report.html
"""


@click.command(epilog=EPILOG)
@study_arguments()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True,
    help="The file to write.",
)  # fmt: skip
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Select mixtures in advance for these targets, beside all together. Repeatable.  [default: the first 13]",
)
@click.option(
    "--mixtures/--no-mixtures", default=True, help="With the mixture explorer, which takes most of the time.  [default: with]"
)
@click.option("--adapters", is_flag=True, help="Also compare the adapters of the sources' runs (see tvt analyze).")
@click.option("--alpha", type=float, default=0.01, show_default=True, help="Level of the persona tests.")
@click.option("--with-self", is_flag=True, help="Count a task's transfer to itself too.")
@warn_option
def command(
    *,
    studies: tuple[str, ...],
    metric: Metric,
    unit: Unit | None,
    ceiling: Ceiling,
    output: Path,
    targets: tuple[str, ...],
    mixtures: bool,
    adapters: bool,
    alpha: float,
    with_self: bool,
    warn: tuple[str, ...],
) -> None:
    """Write one HTML file that explains one or more transfer studies.

    It holds all that it shows and loads nothing from any network: who helps whom and how sure that is, the matrix, the transfer
    graph, givers and takers, trends, mixtures to choose from, and, after tvt compare, whether a mixture kept its promise.
    STUDY is a bundled name (tvt studies lists them), a study folder or a CSV.
    """
    from tvt.cli.analyze import compare_adapters
    from tvt.cli.report_sources import study_source
    from tvt.io import atomic
    from tvt.report.evaluation_tables import answer_warnings
    from tvt.report.html.page import page_data, render
    from tvt.transfer.analysis import analyze

    if targets and not mixtures:
        raise InputError("--target says for which targets mixtures are selected; drop --no-mixtures")
    matrices = load_matrices(studies, metric, unit, ceiling)
    chosen = _targets(matrices, targets)
    alike = compare_adapters(studies) if adapters else None
    analysis = analyze(matrices, alpha=alpha, with_self=with_self, adapters=alike)
    options = _options(metric, unit, ceiling)
    answers = study_answers(studies, warn)
    sources = [
        replace(
            study_source(study, matrix, [study, *options], named if mixtures else ()),
            warnings=tuple(answer_warnings(answers[study])),
        )
        for study, matrix, named in zip(studies, matrices, chosen, strict=True)
    ]
    title = "Task transfer: " + ", ".join(study.name for study in analysis.studies)
    text = render(page_data(analysis, sources), title)
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(output, text)
    size = len(text.encode()) / 1e6
    note(f"wrote {output} ({size:.1f} MB){'; fewer --target make it smaller' if size > LARGE else ''}")
    for line in answer_lines(answers):
        note(line.text)


def _options(metric: Metric, unit: Unit | None, ceiling: Ceiling) -> list[str]:
    """How a command must read the study, where that is not the default."""
    found = [] if metric == "pgf" else ["--metric", metric]
    found += [] if unit is None else ["--unit", unit]
    return found + ([] if ceiling == "task" else ["--ceiling", ceiling])


def _targets(matrices: Sequence[TransferMatrix], asked: Sequence[str]) -> list[list[str] | None]:
    """The targets asked for by study, ``None`` where nobody asked.

    Raises:
        InputError: a target that no study has.
    """
    if not asked:
        return [None for _ in matrices]
    found: list[list[str] | None] = []
    unknown: dict[str, str] = {}
    known: set[str] = set()
    for matrix in matrices:
        names = []
        for text in asked:
            try:
                name = matrix.resolve(text)
            except KeyError as error:
                unknown.setdefault(text, f"--target: {error.args[0]}")
                continue
            if name in matrix.targets:
                names.append(name)
                known.add(text)
            else:
                unknown.setdefault(text, f"--target: {name} is a source here and no target")
        found.append(names)
    if faults := [fault for text, fault in unknown.items() if text not in known]:
        raise InputError(*faults)
    return found
