"""``tvt analyze``: who helps whom, in tables, JSON or plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.options import (
    answers_json,
    echo_json,
    json_option,
    note,
    show_answers,
    show_notes,
    study_answers,
    study_arguments,
    warn_option,
)
from tvt.cli.progress import progress_bar, status_line
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.core.study_reading import Reading

EPILOG = """\b
Example:
  tvt analyze qwen2.5-vl-3b qwen2.5-vl-7b qwen2.5-vl-32b --plots plots
"""


@click.command(epilog=EPILOG)
@study_arguments()
@json_option
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write heatmap, transfer graph, personas, scale trend, groups, doses and adapters as SVG and PNG.",
)
@click.option(
    "--adapters",
    is_flag=True,
    help="Also compare the weights that the sources' runs changed: needs study folders that tvt study run made.",
)
@click.option("--errors", is_flag=True, help="Also print the standard errors: from the runs, and from the questions.")
@click.option("--threshold", type=float, metavar="PGF", help="Also look for cliques whose mean PGF exceeds this magnitude.")
@click.option(
    "--alpha", type=float, default=0.01, show_default=True, help="Level of the persona tests and of the cliques by test."
)
@click.option("--with-self", is_flag=True, help="Count a task's transfer to itself too.")
@click.option(
    "--specific", is_flag=True, help="Also matrix, cliques, personas and plots of what sources do beyond any finetuning."
)
@warn_option
def command(
    *,
    studies: tuple[str, ...],
    reading: Reading,
    as_json: bool,
    plots: Path | None,
    adapters: bool,
    errors: bool,
    threshold: float | None,
    alpha: float,
    with_self: bool,
    specific: bool,
    warn: tuple[str, ...],
) -> None:
    """Say who helps whom in one or more transfer studies.

    PGF with standard errors, transferability and malleability, cliques, personas over all studies given; what any
    finetuning does to each target (by placebo runs, where the study has some) and what a source does beyond it; groups of
    tasks; and how far the figures can be trusted; how transfer grows with the dose, where a study has runs on doses. STUDY
    is a bundled name (tvt studies lists them), a study folder or a CSV. Of a study folder it is also said which scores are
    doubtful, since the model gave one letter to all questions, say.
    """
    with status_line("reading the studies"):
        from tvt.api.studies import adapter_similarities, load_studies

        matrices = load_studies(studies, **reading)
        answers = study_answers(studies, warn)
    show_notes(matrices)
    with progress_bar("modules compared") as show:
        alike = adapter_similarities(studies, show) if adapters else None
    with status_line("looking for cliques, personas and groups"):
        from tvt.api.studies import analyze

        analysis = analyze(matrices, alpha=alpha, threshold=threshold, with_self=with_self, adapters=alike, specific=specific)
    if plots is not None:
        with status_line("drawing plots"):
            from tvt.report.plots import write_plots

            written = write_plots(analysis, plots)
        for path in written:
            note(f"wrote {path}")
    if as_json:
        from tvt.report.analysis_tables import analysis_json

        echo_json({**analysis_json(analysis), "answers": answers_json(answers)})
        show_answers(answers, as_json=True)
        return

    from tvt.report.analysis_tables import print_analysis

    print_analysis(analysis, new_console(markup=False, highlight=False, emoji=False), errors=errors)
    show_answers(answers, as_json=False)
