"""A study that decides on the way which of its runs are done, by what they may change in a requested mixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tvt.core.events import Note, StudyEvent
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.selection import SelectionSpec
from tvt.core.task import resolve_name
from tvt.errors import InputError
from tvt.selection.adaptive import NextRun, RunsLeft, Stop, Tolerance, next_run
from tvt.selection.engine import select
from tvt.selection.request import resolve_request
from tvt.study.estimate import CostEstimate, estimate
from tvt.study.jobs import RunTask
from tvt.study.session import Session
from tvt.study.store import Status, Store
from tvt.study.views import matrix_of

_BEGUN = ("done", "failed", "running", "queued")


@dataclass(frozen=True, kw_only=True)
class AdaptiveOutcome:
    """How far an adaptive study came."""

    spent: int
    """Training runs that are done or have failed, at the full budget."""
    whole: int
    """Those of the whole study."""
    why: str
    """Why it stopped."""


class AdaptiveStudy:
    """Chooses runs for :class:`tvt.study.conductor.Conductor`: the base, a run per source, then what the policy says.

    Args:
        session: the study and its folder. Runs at a part of the budget are none of an adaptive study's.
        spec: what the mixture is for.
        runs: source runs in the folder at most, those that are there already included; default: all.
        tolerance: when the mixture counts as stable.

    Raises:
        InputError: names or limits in ``spec`` that do not fit the study, or ``runs`` fewer than its sources: all at once.
    """

    def __init__(
        self, session: Session, spec: SelectionSpec, runs: int | None = None, tolerance: Tolerance | None = None
    ) -> None:
        self._session, self._spec, self._tolerance = session, spec, tolerance
        study = session.study
        self.tasks = [task for task in session.tasks() if task.run.is_base or study.is_cell(task.run)]
        """Those it may choose."""
        self._base = next(task for task in self.tasks if task.run.is_base)
        self._by_run = {_key(task): task for task in self.tasks if not task.run.is_base}
        self._most = min(runs or len(self._by_run), len(self._by_run))
        self.report: Callable[[StudyEvent], None] = lambda _: None
        """Gets a note with the reason for each run."""
        _check(session, spec, self._most)

    @property
    def planned(self) -> int:
        """Runs that are still to do at most, the base's included."""
        states = self._session.status(self.tasks)
        begun = sum(states[task.run_id] in ("done", "failed") for task in self._by_run.values())
        return max(self._most - begun, 0) + (states[self._base.run_id] not in ("done", "failed"))

    def __call__(self, over: frozenset[str], going: frozenset[str]) -> Sequence[RunTask]:
        """The next run to do, if there is one now (:data:`tvt.study.conductor.More`)."""
        states = self._states(going)
        base = states[self._base.run_id]
        if base not in _BEGUN:
            return [self._base]
        if base == "failed" or self._begun(states) >= self._most:
            return []
        choice = self._next(states)
        if not isinstance(choice, NextRun):
            return []
        self.report(Note(text=choice.why))
        return [self._by_run[choice.source, choice.seed]]

    def outcome(self) -> AdaptiveOutcome:
        """How far it came, and why no run is to follow."""
        states = self._states(frozenset())
        spent = self._begun(states)
        if states[self._base.run_id] != "done":
            why = f"the base model has no scores: {self._session.store.failure(self._base.run_id) or 'they are not done'}"
        else:
            choice = self._next(states)
            if isinstance(choice, NextRun) and spent >= self._most < len(self._by_run):
                why = f"{spent} runs are spent; the next would be {choice.why}"
            else:
                why = choice.why if choice is not None else "first runs are still at work"
        return AdaptiveOutcome(spent=spent, whole=len(self._by_run), why=why)

    def matrix(self) -> TransferMatrix | None:
        """What is measured so far; ``None`` before the first source run is."""
        return matrix_of(self._session.study, self._session.store)

    def answer(self) -> Mixture | FailedSelection | None:
        """The mixture that is selected from what is measured so far; ``None`` before there is anything."""
        matrix = self.matrix()
        return None if matrix is None else select(matrix, self._spec)

    def _next(self, states: dict[str, Status]) -> NextRun | Stop | None:
        left: dict[str, list[int]] = {source: [] for source in self._session.study.sources}
        going = dict.fromkeys(left, 0)
        for (source, seed), task in self._by_run.items():
            if states[task.run_id] not in _BEGUN:
                left[source].append(seed)
            going[source] += states[task.run_id] in ("running", "queued")
        return next_run(self.matrix(), self._spec, RunsLeft(left=left, going=going), self._tolerance)

    def _states(self, going: frozenset[str]) -> dict[str, Status]:
        """The state of every run; one that is at work here counts as that before its process has begun it."""
        states = self._session.status(self.tasks)
        return states | {run: "running" for run in going if states.get(run) not in ("done", "failed", None)}

    def _begun(self, states: dict[str, Status]) -> int:
        return sum(states[task.run_id] in _BEGUN for task in self._by_run.values())


def _key(task: RunTask) -> tuple[str, int]:
    (source,) = task.run.counts
    return source, task.run.seed


def _check(session: Session, spec: SelectionSpec, runs: int) -> None:
    """Refuse what would be found out only after the first runs."""
    study, faults = session.study, list[str]()
    sources, targets = tuple(study.sources), tuple(study.targets)
    tasks = [manifest.task() for manifest in {**study.sources, **study.targets}.values()]
    known = tuple(dict.fromkeys((*sources, *targets)))
    try:
        resolve_request(spec, sources=sources, targets=targets, resolve=lambda text: resolve_name(text, tasks, known))
    except InputError as error:
        faults += error.faults
    if runs < len(sources):
        faults.append(
            f"--runs {runs}: each of the {len(sources)} sources needs a first run; give at least --runs {len(sources)}"
        )
    if faults:
        raise InputError(*faults)


QUARTER = 0.25


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One way to do a study, and what is still to be done for it."""

    name: str
    options: tuple[str, ...]
    """Its options, behind ``tvt study run RECIPE``; a value that is given again takes the place of the earlier one."""
    folder: Path | None
    """Another folder than the study's own, where it needs one."""
    estimate: CostEstimate


def alternatives(session: Session) -> list[Alternative]:
    """The study in full, then the cheaper ways that make sense for it. Runs that are done cost nothing.

    *Adaptive* takes one run of every source and spends the rest where the choice of a mixture hangs on it, so it needs several
    seeds. *Half the seeds* is the first of them. *A quarter of the examples* is another study, in a folder of its own.
    """
    study, store = session.study, session.store
    tasks = session.tasks()
    result = [_alternative("full", (), session, tasks)]
    ways = (_adaptive(session, tasks), _half_the_seeds(session, tasks))
    result += [way for way in ways if way is not None]
    budget = round(QUARTER * study.recipe.budget)
    if budget >= study.recipe.training.global_batch_size:  # at least a step
        smaller = replace(study, recipe=study.recipe.model_copy(update={"budget": budget, "doses": (1.0,)}))
        apart = Session(study=smaller, store=Store(store.folder.with_name(f"{store.folder.name}-quarter")))
        options = (f"budget={budget}", *(("doses=[1]",) if len(study.recipe.doses) > 1 else ()))
        result.append(
            Alternative(
                name=f"{QUARTER:.0%} of the examples",
                options=tuple(part for option in options for part in ("--set", option)),
                folder=apart.store.folder,
                estimate=estimate(smaller, apart.store, apart.tasks(), speed=store),
            )
        )
    return result


def _alternative(name: str, options: Sequence[str], session: Session, tasks: Sequence[RunTask]) -> Alternative:
    states = session.status(tasks)
    todo = [task for task in tasks if states[task.run_id] not in ("done", "failed")]
    cost = estimate(session.study, session.store, todo)
    return Alternative(name=name, options=tuple(options), folder=None, estimate=cost)


def _adaptive(session: Session, tasks: Sequence[RunTask]) -> Alternative | None:
    """Half of the runs at the full budget, or, where these are no more than one for each source, half of what comes after."""
    study = session.study
    full = [task for task in tasks if study.is_cell(task.run)]
    sources, total = len(study.sources), len(full)
    count = total // 2 if total // 2 > sources else sources + (total - sources) // 2
    if sources < 2 or not sources < count < total:
        return None
    states = session.status(full)
    # Which runs it will choose is not known; what is done counts, and seeds outermost the first others cost as much as any.
    chosen = sorted(full, key=lambda task: states[task.run_id] != "done")[:count]
    base = [task for task in tasks if task.run.is_base]
    return _alternative(f"adaptive, {count} of {total} runs", ("--adaptive", "--runs", str(count)), session, [*base, *chosen])


def _half_the_seeds(session: Session, tasks: Sequence[RunTask]) -> Alternative | None:
    seeds = session.study.recipe.seeds
    if len(seeds) < 2:
        return None
    half = seeds[: len(seeds) // 2]
    chosen = [task for task in tasks if task.run.is_base or task.run.seed in half]
    name = "half the seeds" if 2 * len(half) == len(seeds) else f"{len(half)} of {len(seeds)} seeds"
    return _alternative(name, ("--set", f"seeds=[{','.join(map(str, half))}]"), session, chosen)
