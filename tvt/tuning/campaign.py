"""What a tuning campaign does next: decided from its stages and from what their runs say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tvt.compare.answers import Answered
from tvt.compare.baselines import arms_of, placebo_arms
from tvt.compare.comparison import Comparison, Contrast
from tvt.compare.engine import compare, contrast, served_by
from tvt.compare.race import FIRST_LOOK, Look, look, shown
from tvt.core.arms import Arm, Kind, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.proposal import Proposals
from tvt.core.scores import Part
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.selection.engine import select
from tvt.selection.propose import propose
from tvt.study.jobs import RunTask
from tvt.study.views import matrix_of, measured
from tvt.tuning.stages import SHARE_OF_RACE, PlannedRun, Record, Stage, missing, race_runs

TUNED = "tuned"
MIXED: tuple[Kind, ...] = ("uniform", "proportional")
"""Arms that are trained with the first seed, too."""
MADE = 3
"""Times the batch that is asked for, since mixtures that cannot be repeated are left out of it."""
LITTLE = 0.05
"""Share of a run's noise below which what proposals are expected to bring is not worth a batch."""


@dataclass
class Campaign:
    """Decides stage after stage.

    Args:
        record: the campaign in its folder.
        say: called with a sentence for people about each decision.
    """

    record: Record
    say: Callable[[str], None] = field(default=lambda _: None)

    def check(self) -> None:
        """Refuse what would be found out only after the first runs.

        Raises:
            InputError: too few seeds for a race, or too few runs.
        """
        plan, seen = self.record.plan, self.seen
        faults = []
        if len(self.fresh) < FIRST_LOOK:
            faults.append(
                f"of the recipe's {len(self.fresh) + len(seen)} seeds {len(seen)} are for choosing, and a race takes "
                f"{FIRST_LOOK} others at least; give more, e.g. --set 'seeds=[0, 1, 2, 3, 4]'"
            )
        singles = len(list(missing(self.record, self._singles())))
        arms = 1 + len(plan.against)
        least = self.record.used() + singles + len(MIXED) + FIRST_LOOK * arms
        if not self.record.stages() and plan.runs < least:
            faults.append(
                f"--runs {plan.runs}: {self.record.used()} training runs are there, {singles} single sources are missing, "
                f"{len(MIXED)} simple mixtures follow, and a race of {arms} mixtures takes {FIRST_LOOK * arms}; "
                f"give at least --runs {least}"
            )
        if faults:
            raise InputError(*faults)

    def tasks(self, stage: Stage) -> list[RunTask]:
        """The runs of a stage, as the study does them; those of a report are scored on what is reported on, too."""
        session = self.record.session
        runs = [planned.run for planned in stage.runs]
        return session.comparison_tasks(runs, list(self.targets) if stage.kind == "report" else [])

    def decide(self) -> Stage | None:
        """The next stage, all runs of the earlier ones being over; ``None`` after the report.

        Raises:
            InputError: no mixture keeps to the limits.
        """
        stages = self.record.stages()
        if stages and stages[-1].kind == "report":
            return None
        if not stages:
            decided = self._first()
        elif len(stages) == 1:
            decided = self._simple()
        elif stages[-1].kind == "race":
            decided = self._after_look(stages[-1])
        else:
            decided = self._proposals(stages) or self._race()
        return self.record.add(len(stages), decided)

    # --- single sources

    def _singles(self) -> tuple[PlannedRun, ...]:
        """One run of every source that the request may use."""
        study, spec = self.record.session.study, self.spec
        barred = {*spec.exclude, *(s for s in study.sources if spec.caps.get(s, spec.caps.get("all", 1.0)) == 0)}
        runs = [study.source_run(source, self.seen[0]) for source in study.sources if source not in barred]
        return tuple(PlannedRun(label=run.label, counts=dict(run.counts), seed=run.seed, why="single source") for run in runs)

    def _first(self) -> Stage:
        runs = tuple(missing(self.record, self._singles()))
        why = f"one run of each of {len(self._singles())} sources"
        return Stage(kind="single sources", runs=runs, why=why, seeds=self.seen)

    def _simple(self) -> Stage:
        """The arms of the race that are mixtures, once: what mixing does shows in them first."""
        arms = [arm for arm in self.arms(self.selected()) if arm.kind in MIXED]
        runs = tuple(missing(self.record, race_runs(arms, self.seen[:1])))
        return Stage(kind="simple mixtures", runs=runs, why="what mixing does shows in them first")

    # --- proposals

    def _proposals(self, stages: Sequence[Stage]) -> Stage | None:
        """The next batch; ``None`` where a race is due."""
        plan = self.record.plan
        done = sum(len(stage.runs) for stage in stages if stage.kind == "proposals")
        room = self._room(done)
        if room < 1:
            return None
        result = propose(self.matrix, self.spec, MADE * plan.batch)
        if isinstance(result, FailedSelection):
            raise InputError(result.reason)
        if done and (result.expected < LITTLE * result.noise or (result.stop is not None and result.stop.reason == "decided")):
            noise = f"a run's noise is {result.noise:.3f}"
            self.say(f"no more proposals: they are expected to bring {result.expected:+.3f} ({noise})")
            return None
        runs = tuple(missing(self.record, self._planned(result)))[: min(plan.batch, room)]
        if not runs:
            self.say("no more proposals: those that are left were trained before")
            return None
        best = None if result.best_measured is None else result.best_measured.objective
        why = f"the best of them is expected to bring {result.expected:+.3f} beyond the best measured mixture"
        return Stage(kind="proposals", runs=runs, why=why, best=best)

    def _planned(self, result: Proposals) -> list[PlannedRun]:
        """As runs; one that is repeated takes the next seed that is for choosing, if there is one."""
        planned = []
        for proposal in result.proposals:
            counts = {s: n for s, n in proposal.counts.items() if n}
            runs = [PlannedRun(label="proposal", counts=counts, seed=seed, why=proposal.why) for seed in self.seen]
            planned += [run for run in runs if not self.record.has(run.run)][:1]
        return planned

    def _room(self, done: int) -> int:
        """Proposals that may still be trained: a race is paid for first."""
        plan = self.record.plan
        left = plan.runs - self.record.used()
        race = FIRST_LOOK * (len(self.arms(self.selected())))
        share = int(SHARE_OF_RACE * (left + done)) - done
        most = share if plan.most_proposals is None else plan.most_proposals - done
        return min(left - race, most)

    # --- the race

    def selected(self) -> Mixture:
        """The mixture that is selected from all that is known.

        Raises:
            InputError: none keeps to the limits.
        """
        result = select(self.matrix, self.spec)
        if isinstance(result, FailedSelection):
            raise InputError(result.reason)
        return result

    def arms(self, mixture: Mixture) -> tuple[Arm, ...]:
        """The tuned mixture and those that it races against, each mixture once."""
        study = self.record.session.study
        arms = arms_of(self.matrix, mixture, budget=study.recipe.budget, sizes=dict(study.rows), randoms=0)
        arms += placebo_arms(study.runs())
        return tuple(arm.model_copy(update={"label": TUNED}) if arm.kind == "selected" else arm for arm in arms)

    def _race(self) -> Stage:
        mixture = self.selected()
        arms = self.arms(mixture)
        if mixture.decision != "train":
            return self._report((), arms, (), most=0, end="nothing helps: the base model is kept", level=None)
        seeds = self.fresh
        most = max((k for k in range(FIRST_LOOK, len(seeds) + 1) if self._affordable(arms, seeds[:k])), default=0)
        if not most:
            return self._report((), arms, (), most=0, end="runs spent", level=None)
        first = seeds[:FIRST_LOOK]
        why = f"{len(arms)} mixtures, {most} seeds at most, which no choice has seen"
        return Stage(kind="race", runs=race_runs(arms, first), why=why, arms=arms, seeds=first, most=most)

    def _affordable(self, arms: Sequence[Arm], seeds: Sequence[int]) -> bool:
        cost = len(list(missing(self.record, race_runs(arms, seeds))))
        return self.record.used() + cost <= self.record.plan.runs

    def _after_look(self, race: Stage) -> Stage:
        """Another seed, or the report."""
        result = self.look(race)
        better = f"better than {', '.join(result.better)}" if result.better else "better than none so far"
        self.say(f"after {result.seeds} seeds, at level {result.level:.3g}: {better}")
        if result.end is not None:
            return self._report(race.runs, race.arms, race.seeds, most=race.most, end=result.end, level=result.level)
        seeds = self.fresh[: 1 + len(race.seeds)]
        why = f"open: {', '.join(result.open)}; the seeds left decide it with {result.chance:.0%} if it is as good as it may be"
        return Stage(kind="race", runs=race_runs(race.arms, seeds), why=why, arms=race.arms, seeds=seeds, most=race.most)

    def _report(
        self,
        runs: tuple[PlannedRun, ...],
        arms: tuple[Arm, ...],
        seeds: tuple[int, ...],
        *,
        most: int,
        end: str,
        level: float | None,
    ) -> Stage:
        why = f"{end}; reported once, on questions that no choice has seen"
        return Stage(kind="report", runs=runs, why=why, arms=arms, seeds=seeds, most=most, end=end, level=level)

    def look(self, race: Stage) -> Look:
        """What a race says after its seeds."""
        contrasts = self.contrasts(race, "evaluation")
        asked = [c for c in contrasts if self._kind(race, c) in self.record.plan.against]
        seeds = self.fresh
        affordable = max(k for k in range(len(race.seeds), race.most + 1) if self._affordable(race.arms, seeds[:k]))
        return look(asked, len(race.seeds), race.most, affordable)

    def _kind(self, race: Stage, of: Contrast) -> str:
        return next(arm.kind for arm in race.arms if arm.label == of.against)

    def answers(self, race: Stage, part: Part | None = None) -> Measured:
        """The answers of a race's runs to one part of the questions, by default to what is reported on."""
        session = self.record.session
        return measured(session.study, session.store, race.arms, self.targets, seeds=race.seeds, part=part)

    def contrasts(self, race: Stage, part: Part | None = None) -> list[Contrast]:
        """The tuned mixture against every other arm, on what the request asks for."""
        answered = Answered(self.answers(race, part), race.arms)
        served = served_by(self.unaided, self.spec)
        return [contrast(answered, TUNED, arm.label, served) for arm in race.arms if arm.label != TUNED]

    def better(self, report: Stage) -> tuple[str, ...]:
        """The arms that the tuned mixture is shown to beat on the report's questions, at the level of the last look."""
        if report.level is None:
            return ()
        return shown([c for c in self.contrasts(report) if self._kind(report, c) in self.record.plan.against], report.level)

    def comparison(self, report: Stage) -> Comparison:
        """Gains and differences of all arms on what is reported on."""
        study = self.record.session.study
        shared = any(study.part(target) == "evaluation" for target in self.targets)
        return compare(self.answers(report), report.arms, self.unaided, self.spec, questions_shared=shared)

    # --- what everything rests on

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """The seeds that choices rest on: those with a run of every source when the campaign began, or the first."""
        stages = self.record.stages()
        if stages:
            return stages[0].seeds
        study = self.record.session.study
        whole = [k for k in study.recipe.seeds if all(self.record.has(study.source_run(s, k)) for s in study.sources)]
        return tuple(whole) or study.recipe.seeds[:1]

    @property
    def fresh(self) -> tuple[int, ...]:
        """The other seeds, for the race."""
        return tuple(seed for seed in self.record.session.study.recipe.seeds if seed not in self.seen)

    @cached_property
    def spec(self) -> SelectionSpec:
        """The request, for the study's budget and within the rows that its sources have."""
        study, spec = self.record.session.study, self.record.plan.request
        return spec.model_copy(update={"budget": study.recipe.budget, "sizes": {**study.rows, **spec.sizes}})

    @property
    def matrix(self) -> TransferMatrix:
        """What the runs with the seeds for choosing say by now.

        Raises:
            InputError: every single source failed.
        """
        session = self.record.session
        found = matrix_of(session.study, session.store, self.seen)
        if found is None:
            raise InputError(f"{session.store.folder}: no single source has scores; tvt study status says why")
        return found

    @property
    def unaided(self) -> TransferMatrix:
        """The single sources alone."""
        return replace(self.matrix, evidence=None)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The targets that count."""
        counting = served_by(self.unaided, self.spec).weights
        return tuple(t for t in self.record.session.study.targets if t in counting)
