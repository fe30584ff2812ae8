"""``tvt study``: plan, run and look at a transfer study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.cli.completion import complete_folders, complete_recipes
from tvt.cli.detect import detect_options, show_detection
from tvt.cli.options import (
    NearestChoice,
    SectionedCommand,
    answers_json,
    echo_json,
    json_option,
    note,
    show_answers,
    thresholds_of,
    warn_option,
)
from tvt.cli.progress import status_line
from tvt.cli.study_results import (
    RUN_SECTIONS,
    adaptive_options,
    adaptive_study,
    outcome_json,
    show_outcome,
)
from tvt.cli.study_results import command as judge
from tvt.cli.study_results import merge_command as merge
from tvt.cli.study_show import cheaper_ways, run_grid, ways_json
from tvt.cli.study_verify import command as verify
from tvt.core.choices import EXECUTORS
from tvt.errors import InputError
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.core.answer_statistics import AnswerReport
    from tvt.core.events import StudyEvent
    from tvt.report.study_tables import Way
    from tvt.study.adaptive import AdaptiveStudy
    from tvt.study.jobs import RunTask
    from tvt.study.plan import Study
    from tvt.study.session import Session
    from tvt.transfer.power import DetectionReport

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
EPILOG = """\b
Examples:
  tvt study plan recipes/miniature.yaml
  tvt study run recipes/miniature.yaml -o studies/miniature --workers 2
  tvt study run recipes/miniature.yaml --adaptive --runs 12 --target Jigsaw --without-direct
  tvt study status studies/miniature --watch
"""


def recipe_options(function: F) -> F:
    """Decorator: ``RECIPE``, ``-o`` and ``--set``, passed as ``recipe``, ``output`` and ``overrides``."""
    for option in (
        click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change one value. Repeatable."),
        click.option("-o", "--output", type=PATH, metavar="DIR", help="The study's folder.  [default: studies/NAME]"),
        click.argument("recipe", type=PATH, shell_complete=complete_recipes),
    ):
        function = option(function)
    return function


def executor_options(function: F) -> F:
    """Decorator: ``--executor`` and ``--workers``."""
    for option in (
        click.option("--workers", type=click.IntRange(min=1), help="Runs at once.  [default: one per device slot]"),
        click.option("--executor", type=NearestChoice(EXECUTORS.names), help="What does the runs.  [default: the recipe's]"),
    ):
        function = option(function)
    return function


@click.group(epilog=EPILOG)
def command() -> None:
    """Run a transfer study: finetune on each source, score on every target.

    A study is a recipe and a folder of runs. Runs that are done are never done again; adding sources, targets, seeds or doses
    only adds runs. Every command of tvt reads the folder: tvt analyze, tvt select, tvt compare.
    tvt studies lists the studies that come with tvt.
    """


@command.command(epilog=EPILOG)
@recipe_options
@detect_options
@json_option
def plan(
    *,
    recipe: Path,
    output: Path | None,
    overrides: tuple[str, ...],
    detect: float | None,
    seed_sd: float | None,
    differing: float | None,
    as_json: bool,
) -> None:
    """Show the grid of runs, what is done already, and what the rest will take, in full and cheaper. Nothing is written.

    Rows that are not on this machine yet are no error here; they are listed with what brings them. With --detect, also what
    differences between mixtures its seeds and questions can show.
    """
    session = _open(recipe, output, overrides, planning=True)
    report = None
    if detect is not None:
        from tvt.api.runs import detection

        report = detection(session, detect, seed_sd=seed_sd, differing=differing)
    ways = cheaper_ways(session, recipe, output, overrides)
    _show(session, session.tasks(), as_json, ways=ways, planning=True, detect=report)


@command.command(cls=SectionedCommand, sections=RUN_SECTIONS, epilog=EPILOG)
@recipe_options
@executor_options
@click.option("--retry-failed", is_flag=True, help="Try the runs again that failed before.")
@click.option(
    "--estimate",
    type=click.Choice(["gradients"]),
    help="Train nothing: score the base model, and estimate all transfer from its gradients.",
)
@adaptive_options
@json_option
def run(
    *,
    recipe: Path,
    output: Path | None,
    overrides: tuple[str, ...],
    executor: str | None,
    workers: int | None,
    retry_failed: bool,
    estimate: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Do what is missing: the base model's scores, then a run per seed and source (and dose), each scored on every target.

    Interrupt it when you like; the same command goes on. Several may work on one folder at once. A run that fails is recorded
    with its reason and masks its cells; the rest goes on.

    With --adaptive, every source gets one run, and further ones are spent where they may change the mixture that the options
    ask for, until it is stable or --runs are spent.

    With --estimate gradients, the base model alone is scored, and what each source would do to each target is estimated from
    gradients, for a small part of a study's cost. tvt analyze shows the estimates with their errors, and they are calibrated as
    soon as there are five true runs: the same command without the option goes on in the same folder.
    """
    session = _open(recipe, output, overrides)
    tasks = session.tasks()
    chooser = adaptive_study(session, options)
    if estimate is not None:
        if chooser is not None:
            raise InputError("--estimate trains nothing and --adaptive chooses runs: drop one of them")
        tasks = [task for task in tasks if task.run.is_base]
    note_questions(session, tasks)
    do_runs(session, tasks, executor, workers, retry=retry_failed, chooser=chooser)
    outcome = None if chooser is None else chooser.outcome()
    if estimate is not None:
        _estimate(session, tasks, as_json)
        return
    if as_json:
        _show(session, tasks, as_json, adaptive=None if outcome is None else outcome_json(outcome, session.store.folder))
        return
    show_answers(answers_of(session, tasks), as_json=False)
    if chooser is not None and outcome is not None:
        show_outcome(outcome, chooser, session.store.folder)
        return
    echo(f"{session.store.folder}: {_summary(session, tasks)}; look at it with tvt analyze {session.store.folder}")


@command.command(epilog=EPILOG)
@click.argument("folder", type=PATH, metavar="DIR", shell_complete=complete_folders)
@click.option("--watch", is_flag=True, help="Show it anew until all is done, or until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    default=2,
    show_default=True,
    help="Between two looks of --watch.",
)
@warn_option
@json_option
def status(*, folder: Path, watch: bool, interval: float, warn: tuple[str, ...], as_json: bool) -> None:
    """Show how far the study in DIR is, what failed and why, what makes scores doubtful, and what the rest will take.

    With --watch also what each run at work is at; sent into a file or a pipe, it prints a line for each run that changes.
    """
    if watch and as_json:
        raise InputError("--json is one object and --watch goes on: drop one of them")
    with status_line("reading the rows of") as tell:
        from tvt.study.executors.slurm_queue import forget_gone
        from tvt.study.session import reopen

        session = reopen(folder, tell)
        forget_gone(folder)
    if watch:
        from tvt.cli.study_show import watch as show

        note_others(session)
        show(session, interval)
        show_answers(answers_of(session, session.tasks(), warn), as_json=False)
        return
    _show(session, session.tasks(), as_json, warn=warn)
    note_others(session)


def _estimate(session: Session, tasks: list[RunTask], as_json: bool) -> None:
    """Estimate transfer from gradients, and say what was done."""
    from tvt.api.runs import estimate_gradients

    with status_line("taking the gradients of") as tell:
        found = estimate_gradients(session, lambda task, done, total: tell(f"{task} ({done + 1} of {total})"), note)
    figures = {"rows": found.rows, "questions": found.questions, "computed": found.computed}
    if as_json:
        _show(session, tasks, as_json, gradients={**figures, "masked": dict(found.cells.masked)})
        return
    for target, reason in found.cells.masked.items():
        note(f"{target} has no estimate: {reason}")
    shape = f"{len(found.cells.sources)} sources on {len(found.cells.targets)} targets"
    took = f"from {found.rows:,} rows and {found.questions:,} questions"
    folder = session.store.folder
    echo(f"{folder}: transfer of {shape} estimated {took}; look at it with tvt analyze {folder}")


def note_others(session: Session) -> None:
    """Say how many finished runs the folder has that are none of its recipe's, such as those of another version."""
    from tvt.study.views import foreign_runs

    others = sum(bool(session.store.finished(run_id).cells) for run_id in foreign_runs(session.study, session.store))
    if others:
        are = "1 finished run here is" if others == 1 else f"{others:,} finished runs here are"
        note(f"{are} of other seeds, sources, settings or of another version of tvt; tvt study run does the recipe's own anew")


def answers_of(session: Session, tasks: Sequence[RunTask], warn: Sequence[str] = ()) -> dict[str, AnswerReport]:
    """What is known of the answers of some runs, as :func:`tvt.cli.options.show_answers` takes it."""
    from tvt.study.outputs import answer_report

    report = answer_report(session.study, session.store, tasks)
    return {str(session.store.folder): replace(report, thresholds=thresholds_of(report.thresholds, warn))}


def note_questions(session: Session, tasks: Sequence[RunTask]) -> None:
    """Print what is odd about the questions before any of them is asked."""
    from tvt.core.question import question_warnings

    asked = dict.fromkeys(where for task in tasks for where in task.keys)
    for text in question_warnings(session.study.sets[where] for where in asked if where in session.study.sets):
        note(text)


def do_runs(
    session: Session,
    tasks: list[RunTask],
    executor: str | None,
    workers: int | None,
    *,
    retry: bool = False,
    chooser: AdaptiveStudy | None = None,
) -> None:
    """Do what is missing of ``tasks``, or what ``chooser`` chooses and show it on stderr."""
    from tvt.api import runs
    from tvt.report.study_tables import StudyProgress

    tasks = tasks if chooser is None else chooser.tasks
    planned = len(runs.to_do(session, tasks, retry=retry)) if chooser is None else chooser.planned
    with StudyProgress(planned, new_console(stderr=True)) as progress:
        if chooser is not None:
            chooser.report = progress
        show = _with_answers(progress, session, tasks)
        runs.do_runs(session, tasks, executor=executor, workers=workers, retry=retry, chooser=chooser, show=show, note=note)


def _with_answers(
    show: Callable[[StudyEvent], None], session: Session, tasks: Sequence[RunTask]
) -> Callable[[StudyEvent], None]:
    """``show``, followed by what makes a run's scores doubtful when the run is done."""
    from tvt.core.events import Done, Note
    from tvt.report.evaluation_tables import answer_warnings
    from tvt.study.outputs import answer_report

    of = {task.run_id: task for task in tasks}

    def show_both(event: StudyEvent) -> None:
        show(event)
        if isinstance(event, Done):
            report = answer_report(session.study, session.store, [of[event.run]])
            for warning in answer_warnings(replace(report, sets=()), hint=False):
                show(Note(text=warning.text))

    return show_both


def _open(path: Path, output: Path | None, overrides: tuple[str, ...], *, planning: bool = False) -> Session:
    """The study of a recipe; says which results-relevant fields changed since its folder was last run."""
    with status_line("reading the rows of") as tell:
        from tvt.errors import refuse
        from tvt.io.names import folder_name
        from tvt.io.yaml_files import load_recipe
        from tvt.study.session import changes, open_session
        from tvt.train.checks import training_checks

        recipe = load_recipe(path, overrides)
        if planning:  # a run refuses where there is something to do
            refuse(training_checks(recipe), note)
        folder = output or Path("studies") / folder_name(recipe.name)
        session = open_session(recipe, folder, tell, planning=planning)
        changed = changes(session)
    if changed.remade:
        chosen = f"runs are made anew, and the {len(session.store.known())} in {folder}/runs stay"
        note(f"changed since the last run: {'; '.join(changed.remade)}: {chosen}")
    if changed.rescored:
        note(f"changed since the last run: {'; '.join(changed.rescored)}: adapters stay and are scored anew")
    return session


def _summary(session: Session, tasks: list[RunTask]) -> str:
    from collections import Counter

    from tvt.report.study_tables import runs

    counted = Counter(session.status(tasks).values())
    return ", ".join(f"{runs(count)} {status}" for status, count in counted.items())


def open_ended_metrics(study: Study) -> dict[str, str]:
    """The metric of each target whose questions have no options."""
    return {target: metric for target, metric in study.metrics.items() if metric != "accuracy"}


def _show(
    session: Session,
    tasks: list[RunTask],
    as_json: bool,
    *,
    ways: Sequence[Way] = (),
    adaptive: dict[str, Any] | None = None,
    gradients: dict[str, Any] | None = None,
    warn: Sequence[str] = (),
    planning: bool = False,
    detect: DetectionReport | None = None,
) -> None:
    from tvt.cli.study_show import Costs

    study, store = session.study, session.store
    states = session.status(tasks)
    todo = [task for task in tasks if states[task.run_id] not in ("done", "failed")]
    costs = Costs.of(session, todo, factors=planning)
    failures = {t.run.name: store.failure(t.run_id) or "" for t in tasks if states[t.run_id] == "failed"}
    answers = answers_of(session, tasks, warn)
    if as_json:
        show_answers(answers, as_json=True)
        runs = [{"id": t.run_id, **t.run.plain(), "status": states[t.run_id]} for t in tasks]
        echo_json(
            {
                "schema": 1,
                "folder": str(store.folder),
                "runs": runs,
                "failures": failures,
                "estimate": costs.plain(),
                "missing": [str(absent) for absent in study.missing],
                "doses": study.limited,
                **({"metrics": metrics} if (metrics := open_ended_metrics(study)) else {}),
                "answers": answers_json(answers),
                **({"alternatives": ways_json(ways)} if ways else {}),
                **({"adaptive": adaptive} if adaptive else {}),
                **({"gradients": gradients} if gradients else {}),
                **({"detect": detect} if detect else {}),
            }
        )
        return
    from rich.text import Text

    from tvt.report.study_tables import dose_lines, failures_table, grid_table, legend, metric_lines, missing_list, ways_table

    console = new_console(highlight=False)
    budget = f"{study.recipe.budget:,} examples a run, {len(study.targets)} targets"
    console.print(f"{study.recipe.name}: {len(tasks)} runs, {budget}, in {store.folder}", markup=False)
    for sentence in metric_lines(open_ended_metrics(study)):
        console.print(sentence, markup=False)
    rows, columns = run_grid(study, tasks, states)
    console.print(grid_table(rows, columns), legend(list(states.values())))
    for line in dose_lines(study.rows, study.limited, study.recipe):
        console.print(line)
    if failures:
        console.print(failures_table(failures), Text(" try them again with tvt study run --retry-failed", style="dim"))
    if todo:
        costs.show(console)
    if ways:
        console.print(ways_table(ways))
    if detect is not None:
        show_detection(detect)
    if study.missing:
        console.print(missing_list(study.missing))
    show_answers(answers, as_json=False)


command.add_command(judge)
command.add_command(merge)
command.add_command(verify)
