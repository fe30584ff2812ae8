"""The grid of a study's runs, as values for its table."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tvt.cli.evidence_options import response_options
from tvt.cli.spec_options import REQUEST_SECTIONS, requested, selection_options
from tvt.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from tvt.core.recipe import Recipe
    from tvt.report.study_progress import Watched
    from tvt.report.study_tables import Way
    from tvt.study.adaptive import AdaptiveStudy, Alternative, Outcome
    from tvt.study.estimate import Estimate, Factor
    from tvt.study.jobs import Task
    from tvt.study.session import Session


def run_grid(recipe: Recipe, tasks: Sequence[Task], states: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The runs by source, seed and dose.

    Args:
        recipe: of the study.
        tasks: its runs.
        states: their statuses, by run id.

    Returns:
        Statuses by row and column, and the columns in order.
    """
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for task in tasks:
        if task.run.is_base:
            rows["base"] = {f"seed {recipe.seeds[0]}": states[task.run_id]}
            continue
        (source,) = task.run.counts
        share = "" if task.run.examples == recipe.budget else f" at {task.run.examples / recipe.budget:.0%}"
        column = f"seed {task.run.seed}{share}"
        columns[column] = None
        rows.setdefault(source, {})[column] = states[task.run_id]
    return rows, list(columns)


_QUEUE_SECONDS = 30.0
"""How often a queue is asked for jobs that are gone."""


def watch(session: Session, interval: float) -> None:
    """Show how far a study is until nothing is left to do, or until Ctrl-C, which ends nothing but the watching.

    In a terminal it is a picture that is drawn anew, else a line for each run that changes.

    Args:
        session: the study.
        interval: seconds between two looks.
    """
    from rich.console import Console
    from rich.live import Live

    from tvt.report.study_progress import picture
    from tvt.report.study_tables import failures_table

    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            _tell_changes(session, interval, console)
        else:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                for watched in _looks(session, interval):
                    live.update(picture(watched), refresh=True)
    failed = {task.run.name: session.store.failure(task.run_id) for task in session.tasks()}
    failures = {name: reason for name, reason in failed.items() if reason is not None}
    if failures:
        console.print(failures_table(failures))


def _tell_changes(session: Session, interval: float, console: Console) -> None:
    from tvt.report.study_progress import changes

    before: Watched | None = None
    for watched in _looks(session, interval):
        for line in changes(before, watched):
            console.print(line, markup=False, soft_wrap=True)
            console.file.flush()
        before = watched


def _looks(session: Session, interval: float) -> Iterator[Watched]:
    """The study, again and again, until nothing is left to do."""
    from tvt.report.study_progress import Watched
    from tvt.study.executors.slurm_queue import forget_gone
    from tvt.study.watch import Watch

    recipe, store, tasks = session.study.recipe, session.store, session.tasks()
    eye = Watch(session.study, store, tasks)
    asked = float("-inf")
    while True:
        if time.monotonic() - asked > _QUEUE_SECONDS:
            forget_gone(store.folder)
            asked = time.monotonic()
        look = eye.look()
        rows, columns = run_grid(recipe, tasks, look.states)
        yield Watched(
            title=f"{recipe.name}, {len(tasks)} runs, in {store.folder}",
            rows=rows,
            columns=columns,
            states={task.run.name: look.states[task.run_id] for task in tasks},
            at_work=[(at.name, at.phase, at.done, at.total) for at in look.at_work],
            seconds_left=look.seconds_left,
        )
        if look.over:
            return
        time.sleep(interval)


GPUS = 8
"""For which time is told where a guess is for GPUs and none is here."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """An estimate, how many runs are done at once, and what settings cost."""

    estimate: Estimate
    slots: int
    where: str
    """What the runs are done on, as a sentence goes on behind a duration."""
    factors: tuple[Factor, ...] | None
    """``None``: nobody asked."""

    @classmethod
    def of(cls, session: Session, tasks: Sequence[Task], *, factors: bool) -> Costs:
        """What ``tasks`` will cost.

        Args:
            session: the study.
            tasks: runs with something to do.
            factors: whether to look at other settings, too.
        """
        from tvt.study.estimate import Work, estimate
        from tvt.study.estimate import factors as settings

        study, store = session.study, session.store
        cost = estimate(study, store, tasks)
        slots, where = _slots(study.recipe, cost)
        found = tuple(settings(study, Work.of(study, store, tasks), cost)) if factors else None
        return cls(estimate=cost, slots=slots, where=where, factors=found)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        told = {**self.estimate.plain(), "slots": self.slots, "wall_seconds": self.estimate.wall(self.slots)}
        return told if self.factors is None else {**told, "factors": [dict(vars(factor)) for factor in self.factors]}

    def show(self, console: Console) -> None:
        """The sentence of ``tvt study status``, and with factors the tables of ``tvt study plan``."""
        from tvt.report.study_tables import cost_sentence, factors_table, phases_table

        console.print(cost_sentence(self.estimate, self.slots, self.where), markup=False)
        if self.factors is None or self.estimate.phases is None:
            return
        console.print("", phases_table(self.estimate), sep="\n")
        if self.factors:
            console.print(factors_table(self.factors, self.estimate))


def _slots(recipe: Recipe, cost: Estimate) -> tuple[int, str]:
    """Runs at once, and on what."""
    from tvt.study.executors import engine_of
    from tvt.train.probe import visible_gpus

    at_most = max(cost.runs, 1)
    if recipe.runtime.executor == "local" and cost.phases is not None and not cost.measured and not visible_gpus():
        return min(max(1, GPUS // recipe.runtime.num_processes), at_most), f" on {GPUS} GPUs (none is here)"
    slots = min(engine_of(recipe).room(recipe), at_most)
    return slots, f" on {slots} workers" if slots > 1 else ""


def cheaper_ways(session: Session, recipe: Path, output: Path | None, overrides: Sequence[str]) -> list[Way]:
    """The full study and cheaper ones, with the command for each; nothing where all is done or there is but one way."""
    from tvt.report.study_tables import Way
    from tvt.study.adaptive import alternatives

    found = alternatives(session)
    full = found[0].estimate
    if len(found) < 2 or not full.training_runs:
        return []
    by_time = full.seconds is not None
    return [
        Way(
            name=way.name,
            training_runs=way.estimate.training_runs,
            examples=way.estimate.examples,
            questions=way.estimate.questions,
            device_hours=way.estimate.device_hours,
            disk_bytes=way.estimate.disk_bytes,
            share=_share(
                way.estimate.seconds if by_time else way.estimate.examples, full.seconds if by_time else full.examples
            ),
            command=_command(way, recipe, output, overrides),
        )
        for way in found
    ]


def ways_json(ways: Sequence[Way]) -> list[dict[str, Any]]:
    """The ways as plain values."""
    return [dict(vars(way)) for way in ways]


def _share(cost: float | None, of: float | None) -> float | None:
    return None if cost is None or not of else cost / of


def _command(way: Alternative, recipe: Path, output: Path | None, overrides: Sequence[str]) -> str:
    """The command that does it; the caller's own values stay, but for those that it gives again."""
    again = {option.partition("=")[0] for option in way.options}
    kept = [part for item in overrides if item.partition("=")[0] not in again for part in ("--set", item)]
    folder = way.folder or output
    where = [] if folder is None else ["-o", str(folder)]
    return shlex.join(["tvt", "study", "run", str(recipe), *kept, *way.options, *where])


F = TypeVar("F", bound=Callable[..., Any])
SECTIONS: dict[str, tuple[str, ...]] = {
    "The study": ("output", "overrides", "executor", "workers", "retry_failed", "as_json"),
    "Fewer runs": ("adaptive", "runs", "tolerance"),
    **{f"{title} (with --adaptive)": names for title, names in REQUEST_SECTIONS.items()},
    "How gain grows (with --adaptive)": ("response", "kappa"),
}
_ASKED = (*(name for names in REQUEST_SECTIONS.values() for name in names), "response", "kappa")


def adaptive_options(function: F) -> F:
    """Decorator: ``--adaptive``, ``--runs``, ``--tolerance``, and the request of ``tvt select``."""
    for decorate in (
        response_options,
        selection_options,
        click.option(
            "--tolerance",
            type=click.FloatRange(min=0),
            help="Gain (PGF) that no interval may put at stake where the mixture counts as stable.  [default: 0.002]",
        ),
        click.option("--runs", type=click.IntRange(min=1), help="Training runs at most, those that are done included."),
        click.option("--adaptive", is_flag=True, help="A run per source, then those that may change the mixture asked for."),
    ):
        function = decorate(function)
    return function


def adaptive_study(session: Session, options: Mapping[str, Any]) -> AdaptiveStudy | None:
    """What chooses the runs, if ``--adaptive`` was given.

    Raises:
        InputError: an option that needs it, or a request that does not fit the study: all faults at once.
    """
    if not options["adaptive"]:
        given = [words[0] for words in _given(("runs", "tolerance", *_ASKED))]
        if given:
            raise InputError(
                *(f"{option} says what an adaptive study is for; add --adaptive" for option in dict.fromkeys(given))
            )
        return None
    from tvt.selection.adaptive import Tolerance
    from tvt.study.adaptive import AdaptiveStudy

    spec = requested(options)
    if options["budget"] is None:
        spec = spec.model_copy(update={"budget": session.study.recipe.budget})
    tolerance = None if options["tolerance"] is None else Tolerance(regret=options["tolerance"])
    return AdaptiveStudy(session, spec, options["runs"], tolerance)


def outcome_json(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """The end of an adaptive study as plain values."""
    return {"spent": outcome.spent, "of": outcome.whole, "stopped": outcome.why, "select": shlex.join(_select(folder))}


def tell_outcome(outcome: Outcome, study: AdaptiveStudy, folder: Path) -> None:
    """Say how many runs were spent, why no more, and what mixture they select."""
    click.echo(f"{folder}: {outcome.spent} of {outcome.whole} runs. {outcome.why[0].upper()}{outcome.why[1:]}.")
    click.echo(f"The mixture as it stands: {_mixture(study)}.")
    click.echo(f"  {shlex.join(_select(folder))}")


def _mixture(study: AdaptiveStudy) -> str:
    from tvt.core.mixture import FailedSelection

    answer = study.answer()
    if answer is None:
        return "none, since nothing is measured yet"
    if isinstance(answer, FailedSelection):
        return f"none, since {answer.reason}"
    if answer.verdict == "nothing_helps":
        return "train on nothing, since nothing helps credibly"
    weights = sorted(((w, s) for s, w in answer.weights.items() if w > 0), reverse=True)
    return ", ".join(f"{w:.0%} {s}" for w, s in weights)


def _select(folder: Path) -> list[str]:
    """The command that selects the mixture from what the folder holds."""
    return ["tvt", "select", str(folder), *(word for words in _given(_ASKED) for word in words)]


def _given(names: tuple[str, ...]) -> list[list[str]]:
    """Of some parameters those that the command line gave, as words for another one."""
    context = click.get_current_context()
    found: list[list[str]] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in names or context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue
        value, option = context.params[name], parameter.opts[0]
        if value is True:
            found.append([option])
        else:
            found += [[option, str(one)] for one in (value if isinstance(value, tuple) else (value,))]
    return found
