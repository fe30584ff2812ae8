"""``tvt compare``: did the selected mixture keep its promise, and was it better than the baselines?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.answer_options import answers_json, show_answers, warn_option
from tvt.cli.completion import complete_folders
from tvt.cli.judged import judge, reported_targets
from tvt.cli.options import echo_json, json_option, note
from tvt.cli.status_line import status_line
from tvt.cli.study import answers_of, do_runs, executor_options
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.compare.comparison import Comparison
    from tvt.core.matrix import TransferMatrix
    from tvt.study.jobs import Task
    from tvt.study.session import Session
    from tvt.study.views import Kept

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
    warn: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare a selected MIXTURE with uniform, random, proportional, best single and direct mixtures, and with the base model.

    All are trained on the study's budget with the study's seeds, and reported on questions that the selection did not see where
    the tasks' manifests have some. Differences are paired by question and seed and corrected for their number; predicted gains
    are held against what came out. The runs become evidence for the next tvt select.
    """
    with status_line("reading the rows of") as tell:
        from tvt.study.session import reopen

        session = reopen(study, tell)
        matrix = _matrix(study)
    kept = _kept(session, matrix, mixture, name=name, randoms=randoms, seed=seed)

    def run(tasks: list[Task]) -> None:
        do_runs(session, tasks, executor, workers)

    comparison = _compare(session, matrix, kept, all_targets=all_targets, run=run if do else None)
    answers = answers_of(session, _tasks(session, kept, comparison.targets), warn)
    if as_json:
        echo_json({**comparison.json_value(), "study": study, "name": kept.name, "answers": answers_json(answers)})
    else:
        _show(comparison, matrix, accuracy)
    show_answers(answers, as_json=as_json)
    if plots is not None:
        from tvt.report.mixture_plots import plot_comparison

        for path in plot_comparison(comparison, plots, _labels(matrix)):
            note(f"wrote {path}")


def _matrix(study: Path) -> TransferMatrix:
    """The study's matrix without the mixture runs in it: what is judged here must not have shaped the prediction."""
    from tvt.data.studies.load import load_study

    return replace(load_study(study), evidence=None)


def _kept(session: Session, matrix: TransferMatrix, mixture: Path | None, *, name: str | None, randoms: int, seed: int) -> Kept:
    """The comparison that is meant: of a mixture file, by name, or the only one."""
    from tvt.compare.baselines import entries
    from tvt.io.mixture_file import load_mixture
    from tvt.study.views import Kept, comparison_name, comparison_names, load_comparison

    folder = session.store.folder
    names = comparison_names(folder)
    if mixture is None:
        if name is None and len(names) != 1:
            told = f"there are {', '.join(names)}; choose one with --name" if names else "name a MIXTURE of tvt select"
            raise InputError(f"{folder}: which comparison? {told}")
        return load_comparison(folder, name or names[0])
    chosen = load_mixture(mixture)
    called = name or comparison_name(chosen, mixture.stem)
    if called in names:
        return load_comparison(folder, called)
    sizes = {s: m.training.questions for s, m in session.study.sources.items() if m.training and m.training.questions}
    found = entries(matrix, chosen, budget=session.study.recipe.budget, sizes=sizes, randoms=randoms, seed=seed)
    return Kept(name=called, mixture=chosen, entries=found)


def _compare(
    session: Session, matrix: TransferMatrix, kept: Kept, *, all_targets: bool, run: Callable[[list[Task]], None] | None
) -> Comparison:
    """Do what is missing, if asked to, and compare."""
    from tvt.study.views import keep_comparison

    study = session.study
    targets = list(study.targets) if all_targets else reported_targets(session, matrix, kept)
    if run is not None:
        keep_comparison(session.store.folder, kept)
        run(_tasks(session, kept, targets))
    comparison = judge(session, matrix, kept, targets)
    if comparison.missing and run is None:
        note(f"{len(comparison.missing)} runs are missing; add --run to train and score them")
    return comparison


def _tasks(session: Session, kept: Kept, targets: Sequence[str]) -> list[Task]:
    """The runs of a comparison, on ``targets``."""
    from tvt.study.views import comparison_runs

    runs = list(comparison_runs(kept.entries, session.study.recipe.seeds).values())
    return session.comparison_tasks(runs, targets)


def _show(comparison: Comparison, matrix: TransferMatrix, accuracy: bool) -> None:
    from rich.console import Console

    from tvt.report.comparison_tables import comparison_report

    console = Console(highlight=False)
    for part in comparison_report(comparison, console.width, _labels(matrix), accuracy=accuracy):
        console.print(part)


def _labels(matrix: TransferMatrix) -> dict[str, str]:
    return {name: matrix.short(name) for name in dict.fromkeys((*matrix.sources, *matrix.targets))}
