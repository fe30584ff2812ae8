"""``tvt report``: one HTML file that explains a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.options import answer_lines, note, show_notes, study_answers, study_arguments, warn_option
from tvt.cli.progress import progress_bars

if TYPE_CHECKING:
    from tvt.core.study_reading import Reading

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
@click.option("--specific", is_flag=True, help="Also show what the sources do beyond any finetuning (see tvt analyze).")
@warn_option
def command(
    *,
    studies: tuple[str, ...],
    reading: Reading,
    output: Path,
    targets: tuple[str, ...],
    mixtures: bool,
    adapters: bool,
    alpha: float,
    with_self: bool,
    specific: bool,
    warn: tuple[str, ...],
) -> None:
    """Write one HTML file that explains one or more transfer studies.

    It holds all that it shows and loads nothing from any network: who helps whom and how sure that is, the matrix, the transfer
    graph, givers and takers, trends, mixtures to choose from, and, after tvt compare, whether a mixture's predicted gains came
    true. STUDY is a bundled name (tvt studies lists them), a study folder or a CSV.
    """
    from tvt.api.reports import report

    answers = study_answers(studies, warn)
    with progress_bars() as progress:
        report(
            studies,
            output,
            **reading,
            targets=targets,
            mixtures=mixtures,
            adapters=adapters,
            alpha=alpha,
            with_self=with_self,
            specific=specific,
            answers=answers,
            progress=progress,
        )
    from tvt.api.studies import load_studies

    show_notes(load_studies([study for study in studies if Path(study).is_file()], **reading))
    size = output.stat().st_size / 1e6
    note(f"wrote {output} ({size:.1f} MB){'; fewer --target make it smaller' if size > LARGE else ''}")
    for line in answer_lines(answers):
        note(line.text)
