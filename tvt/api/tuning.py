"""The loop from a script: ``tvt.tune`` does what ``tvt tune`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.api.runs import Note, do_runs, ignore
from tvt.compare.race import FIRST_LOOK, race_power
from tvt.core.selection import SelectionSpec
from tvt.tuning.campaign import Campaign
from tvt.tuning.outcome import Tuned, outcome
from tvt.tuning.stages import SIMPLE, Plan, Record, Stage

if TYPE_CHECKING:
    from tvt.core.arms import Kind
    from tvt.core.events import StudyEvent
    from tvt.study.session import Session
    from tvt.transfer.power import DetectionReport


def tune(
    recipe: str | Path,
    spec: SelectionSpec,
    *,
    runs: int,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    batch: int = 4,
    most_proposals: int | None = None,
    against: Sequence[Kind] = SIMPLE,
    executor: str | None = None,
    workers: int | None = None,
    show: Callable[[StudyEvent], None] = ignore,
    note: Note = ignore,
) -> Tuned:
    """Train single sources and proposals, race what is chosen against simple mixtures, and report once, as ``tvt tune`` does.

    Args:
        recipe: a recipe's file; its first seed is for choosing, the others are for the race.
        spec: what the mixture is for.
        runs: training runs of the folder at most, those that are there already included.
        folder: of the study; by default ``studies/NAME``.
        overrides: ``FIELD=VALUE``, each changes one value of the recipe.
        batch: proposals that are trained before the next ones are made.
        most_proposals: proposals at most; by default half of the runs that the single sources leave.
        against: kinds of mixtures that must be beaten.
        executor, workers: who does the runs, and how many at once.
        show: called with each event.
        note: called with a sentence about each decision.

    Raises:
        InputError: a faulty recipe or request, too few runs or seeds, or no mixture that keeps to the limits.
        TrainingError: every run of a stage failed.
    """
    from tvt.io.names import folder_name
    from tvt.io.yaml_files import load_recipe
    from tvt.study.session import open_session

    loaded = load_recipe(Path(recipe), overrides)
    session = open_session(loaded, Path(folder or Path("studies") / folder_name(loaded.name)), ignore)
    plan = Plan(
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        runs=runs,
        batch=batch,
        most_proposals=most_proposals,
        against=tuple(against),
    )
    return run_campaign(session, plan, executor=executor, workers=workers, show=show, note=note)


def run_campaign(
    session: Session,
    plan: Plan,
    *,
    executor: str | None = None,
    workers: int | None = None,
    show: Callable[[StudyEvent], None] = ignore,
    note: Note = ignore,
) -> Tuned:
    """Do a campaign's stages, those that are decided already first."""
    campaign = Campaign(Record(session, plan), note)
    campaign.check()
    at = 0
    while True:
        stages = campaign.record.stages()
        stage = stages[at] if at < len(stages) else campaign.decide()
        if stage is None:
            return outcome(campaign)
        at += 1
        note(_doing(campaign, stage))
        do_runs(session, campaign.tasks(stage), executor=executor, workers=workers, show=show, note=note)


def race_chance(session: Session, plan: Plan, difference: float, report: DetectionReport) -> float:
    """Probability that the race says "better than all", where the tuned mixture is by ``difference`` (PGF) better than each.

    Args:
        session: the study.
        plan: what is asked for.
        difference: PGF.
        report: of the same difference: its noise is taken.
    """
    fresh = Campaign(Record(session, plan)).fresh
    if len(fresh) < FIRST_LOOK:
        return 0.0
    against = len(plan.against)
    return race_power(difference, report.first, len(fresh), arms=against + 1, against=against)


def _doing(campaign: Campaign, stage: Stage) -> str:
    runs = "1 run" if len(stage.runs) == 1 else f"{len(stage.runs)} runs"
    used = f"{campaign.record.used()} of {campaign.record.plan.runs} training runs so far"
    best = "" if stage.best is None else f"; best measured so far {stage.best:+.3f}"
    return f"{stage.kind}: {runs}, {stage.why} ({used}{best})"
