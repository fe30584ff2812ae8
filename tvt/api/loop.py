"""The loop from a script: ``tvt.propose`` for any trainer, ``tvt.tune`` on tvt's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.api.mixtures import Mixtures, mixtures_of, request_of
from tvt.api.runs import Note, do_runs, ignore
from tvt.api.studies import Study, evidence_of, load_mixture_runs
from tvt.compare.race import FIRST_LOOK, race_power
from tvt.core.mixture import FailedSelection
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import Frame
from tvt.core.proposal import Proposals
from tvt.core.selection import SelectionSpec
from tvt.evidence.evidence import Evidence, Measurements
from tvt.tuning.campaign import Campaign
from tvt.tuning.outcome import Tuned, outcome
from tvt.tuning.stages import SIMPLE, Plan, Record, Stage

if TYPE_CHECKING:
    from tvt.core.arms import Kind
    from tvt.core.events import StudyEvent
    from tvt.selection.pool import Candidates
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


def propose(
    study: Study,
    spec: SelectionSpec | None = None,
    batch: int = 4,
    *,
    runs: MixtureRuns | Frame | str | Path | None = None,
    candidates: Mixtures | None = None,
    pending: Mixtures | None = None,
    most_runs: int | None = None,
    **wanted: Any,
) -> Proposals | FailedSelection:
    """The next mixtures worth training, and whether to go on: see :func:`tvt.selection.propose.propose`.

    Args:
        study: a study's name, folder, CSV, matrix or pandas table, or a table of past mixture runs.
        spec: what is asked for; its limits hold for every proposal.
        batch: how many mixtures.
        runs: with a study: mixture runs in its metric, which join its own evidence.
        candidates: propose of these alone, each once: a CSV, or what else :func:`tvt.predict` takes for mixtures.
        pending: mixtures whose runs are not done yet, in the same forms: none of them is proposed.
        most_runs: how many runs are wanted in all.
        wanted: fields of :class:`SelectionSpec`; they go before those of ``spec``.

    Raises:
        InputError: unknown names, impossible options, a faulty file: all at once.
    """
    from tvt.selection.propose import propose as choose

    evidence = evidence_of(study)
    beside = runs if runs is None or isinstance(runs, MixtureRuns) else load_mixture_runs(runs)
    request = request_of(evidence, spec, wanted)
    return choose(
        Evidence.of(evidence).with_runs(beside),
        request,
        batch,
        candidates=None if candidates is None else _candidates(candidates, evidence),
        pending=None if pending is None else _candidates(pending, evidence),
        most_runs=most_runs,
    )


def _candidates(mixtures: Mixtures, evidence: Measurements) -> Candidates:
    from tvt.selection.pool import Candidates

    ids, weights, sources = mixtures_of(mixtures, None, evidence)
    return Candidates(ids=ids, sources=sources, weights=weights)


def save_proposals(found: Proposals, folder: Path) -> list[Path]:
    """Write every proposal as a mixture file, named by number and id, that ``tvt mix``, ``tvt compare`` and trainers take."""
    from tvt.io.yaml_files import save_mixture

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (proposal, mixture) in enumerate(zip(found.proposals, found.mixtures(), strict=True), start=1):
        named = "" if proposal.mixture is None else "-" + re.sub(r"[^\w.-]+", "_", proposal.mixture)
        paths.append(folder / f"proposal-{number}{named}.yaml")
        save_mixture(mixture, paths[-1])
    return paths
