"""``tvt compare``: did a selected mixture's predicted gains come true, and was it better than the baselines?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.completion import complete_folders
from tvt.cli.detect import detect_options, show_detection
from tvt.cli.options import answers_json, echo_json, json_option, note, show_answers, warn_option
from tvt.cli.progress import status_line
from tvt.cli.study import answers_of, do_runs, executor_options
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.compare.comparison import Comparison
    from tvt.core.matrix import TransferMatrix

PATH = click.Path(path_type=Path)
EPILOG = """\b
Examples:
  tvt select studies/mine --goal Jigsaw=0.1 --without-direct -o mixture.yaml
  tvt compare studies/mine mixture.yaml --run
  tvt compare studies/mine --plots plots
"""


@click.command(epilog=EPILOG)
@click.argument("study", type=PATH, metavar="STUDY", shell_complete=complete_folders)
@click.argument("mixture", type=PATH, required=False)
@click.option("--run", "do", is_flag=True, help="Train and score the runs that are missing.")
@executor_options
@click.option("--randoms", type=click.IntRange(min=0), default=3, show_default=True, help="Random mixtures to compare with.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random mixtures.")
@click.option("--all-targets", is_flag=True, help="Report on all targets, not only on those that the selection served.")
@click.option("--name", help="A comparison of this study, where there are several and no MIXTURE is named.")
@click.option("--accuracy", is_flag=True, help="Show accuracies instead of PGF.")
@click.option("--plots", type=PATH, metavar="DIR", help="Folder for plots (SVG and PNG).")
@detect_options
@warn_option
@json_option
def command(
    *,
    study: Path,
    mixture: Path | None,
    do: bool,
    executor: str | None,
    workers: int | None,
    randoms: int,
    seed: int,
    all_targets: bool,
    name: str | None,
    accuracy: bool,
    plots: Path | None,
    detect: float | None,
    seed_sd: float | None,
    differing: float | None,
    warn: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare a selected MIXTURE with uniform, random, proportional, best single and direct mixtures, and with the base model.

    All are trained on the study's budget with the study's seeds, and reported on questions that the selection did not see where
    the tasks' manifests have some. Differences are paired by question and seed and corrected for their number; predicted gains
    are held against what came out. The runs become evidence for the next tvt select. With --detect nothing is compared: it says
    beforehand what difference the comparison can show.
    """
    with status_line("reading the rows of") as doing:
        from tvt.api.runs import open_comparison

        of = open_comparison(study, mixture, name=name, randoms=randoms, seed=seed, all_targets=all_targets, doing=doing)
    if detect is not None:
        report = of.detection(detect, seed_sd=seed_sd, differing=differing)
        echo_json({"schema": 1, "detect": report}) if as_json else show_detection(report)
        return
    if do:
        of.keep()
        do_runs(of.session, of.tasks, executor, workers)
    comparison, matrix = of.judge(), of.matrix
    if comparison.missing and not do:
        note(f"{len(comparison.missing)} runs are missing; add --run to train and score them")
    answers = answers_of(of.session, of.tasks, warn)
    if as_json:
        echo_json({**comparison.json_value(), "study": study, "name": of.stored.name, "answers": answers_json(answers)})
    else:
        _show(comparison, matrix, accuracy)
    show_answers(answers, as_json=as_json)
    if plots is not None:
        from tvt.report.mixture_plots import plot_comparison

        for path in plot_comparison(comparison, plots, _labels(matrix)):
            note(f"wrote {path}")


def _show(comparison: Comparison, matrix: TransferMatrix, accuracy: bool) -> None:

    from tvt.report.comparison_tables import comparison_report

    console = new_console(highlight=False)
    for part in comparison_report(comparison, console.width, _labels(matrix), accuracy=accuracy):
        console.print(part)


def _labels(matrix: TransferMatrix) -> dict[str, str]:
    return {name: matrix.short(name) for name in dict.fromkeys((*matrix.sources, *matrix.targets))}
