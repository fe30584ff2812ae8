"""``tvt tune``: propose, train, learn and stop, on tvt's own trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.detect import detect_options, show_detection
from tvt.cli.options import NearestChoice, SectionedCommand, echo_json, json_option, note
from tvt.cli.progress import status_line
from tvt.cli.spec_options import REQUEST_SECTIONS, requested, response_options, selection_options
from tvt.cli.study import executor_options, recipe_options
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.study.session import Session
    from tvt.tuning.outcome import Tuned
    from tvt.tuning.stages import Plan

EPILOG = """\b
Examples:
  tvt tune recipes/miniature.yaml --target Jigsaw --runs 40 --set 'seeds=[0, 1, 2, 3]' -o tuned
  tvt tune study.yaml --goal Counting=0.1 --protect all --runs 60 --mixture tuned.yaml
"""
KINDS = ("uniform", "best_single", "proportional", "direct", "placebo")
SECTIONS: dict[str, tuple[str, ...]] = {
    "The campaign": (
        *("runs", "batch", "most_proposals", "against", "output", "overrides", "executor", "workers", "mixture"),
        "as_json",
    ),
    **REQUEST_SECTIONS,
    "How gain grows": ("response", "kappa"),
    "What the race can show": ("detect", "seed_sd", "differing"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS, epilog=EPILOG)
@recipe_options
@executor_options
@click.option("--runs", type=click.IntRange(min=1), required=True, help="Training runs of the folder in all, at most.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=4, show_default=True, help="Proposals trained before the next ones."
)
@click.option(
    "--proposals",
    "most_proposals",
    type=click.IntRange(min=0),
    help="Proposals at most.  [default: half of the runs that single sources leave]",
)
@click.option(
    "--against",
    multiple=True,
    type=NearestChoice(KINDS),
    help="What must be beaten. Repeatable.  [default: uniform, best_single, proportional]",
)
@click.option("--mixture", type=click.Path(path_type=Path), metavar="FILE", help="Write the tuned mixture.")
@selection_options
@response_options
@detect_options
@json_option
def command(
    *,
    recipe: Path,
    output: Path | None,
    overrides: tuple[str, ...],
    executor: str | None,
    workers: int | None,
    runs: int,
    batch: int,
    most_proposals: int | None,
    against: tuple[str, ...],
    mixture: Path | None,
    detect: float | None,
    seed_sd: float | None,
    differing: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the mixture that is best after training, within a number of runs.

    One run of each source; then proposals (tvt propose), each batch trained before the next; then a race: the selected mixture
    against uniform, best single and proportional ones, the target's own data and placebos, on seeds that no choice has seen.
    The race stops where it is decided, or where no difference is worth the runs left. What it shows is tested once more, on
    the questions that are kept for reporting.

    Interrupt it when you like; the same command goes on, and several may work on one folder. With --detect nothing is trained:
    it says beforehand what difference the race can show.
    """
    spec = requested(options)
    with status_line("reading the rows of") as doing:
        from tvt.io.names import folder_name
        from tvt.io.yaml_files import load_recipe
        from tvt.study.session import open_session
        from tvt.tuning.stages import SIMPLE, Plan

        loaded = load_recipe(recipe, overrides)
        session = open_session(loaded, output or Path("studies") / folder_name(loaded.name), doing)
    plan = Plan(
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        runs=runs,
        batch=batch,
        most_proposals=most_proposals,
        against=against or SIMPLE,
    )
    if detect is not None:
        _detect(session, plan, detect, {"seed_sd": seed_sd, "differing": differing}, as_json)
        return

    from tvt.api.loop import run_campaign
    from tvt.report.study_tables import StudyProgress

    with StudyProgress(runs, new_console(stderr=True)) as show:
        result = run_campaign(session, plan, executor=executor, workers=workers, show=show, note=note)
    if mixture is not None:
        from tvt.io.yaml_files import save_mixture

        save_mixture(result.mixture, mixture)
    if as_json:
        echo_json(result.json_value())
        return
    _show(result)
    if mixture is not None:
        echo(f"Wrote {mixture}")


def _detect(session: Session, plan: Plan, difference: float, guesses: dict[str, float | None], as_json: bool) -> None:
    """Say what the race can show."""
    from tvt.api.loop import race_chance
    from tvt.api.runs import detection

    targets = [t for t in session.study.targets if t in {*plan.request.goals, *plan.request.targets}] or None
    report = detection(session, difference, targets=targets, arms=len(plan.against) + 1, **guesses)
    chance = race_chance(session, plan, difference, report)
    if as_json:
        echo_json({"schema": 1, "detect": {**report.json_value(), "race": chance}})
        return
    show_detection(report)
    beaten = "one mixture" if len(plan.against) == 1 else f"each of {len(plan.against)} mixtures"
    echo(f"The race, with all of its looks, shows a difference of {difference:g} from {beaten} with {chance:.0%}.")


def _show(result: Tuned) -> None:

    from tvt.report.loop_tables import tuning_report

    console = new_console(highlight=False)
    for part in tuning_report(result, console.width):
        console.print(part)
