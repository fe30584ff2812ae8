"""What is shown of studies: ``tvt studies``; for ``tvt study`` the grid of runs, what the rest costs, cheaper ways, and runs
as they go on.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.cli.options import echo_json
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from rich.console import Console

    from tvt.core.recipe import Recipe
    from tvt.report.study_tables import Watched, Way
    from tvt.study.adaptive import Alternative
    from tvt.study.estimate import CostEstimate, Factor
    from tvt.study.jobs import RunTask
    from tvt.study.plan import Study
    from tvt.study.session import Session


def run_grid(study: Study, tasks: Sequence[RunTask], states: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The runs by source, seed and dose; a source's own runs have no dose, whatever its rows allow.

    Args:
        study: whose runs these are.
        tasks: its runs.
        states: their statuses, by run id.

    Returns:
        Statuses by row and column, and the columns in order.
    """
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    recipe = study.recipe
    for task in tasks:
        if task.run.is_base:
            rows["base"] = {f"seed {recipe.seeds[0]}": states[task.run_id]}
            continue
        source = next(iter(task.run.counts)) if task.run.placebo is None else task.run.label
        whole = task.run.placebo is not None or study.is_cell(task.run)
        share = "" if whole else f" at {task.run.examples / recipe.budget:.0%}"
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
    from rich.live import Live

    from tvt.report.study_tables import failures_table, picture

    console = new_console(highlight=False)
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            _print_changes(session, interval, console)
        else:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                for watched in _looks(session, interval):
                    live.update(picture(watched), refresh=True)
    failed = {task.run.name: session.store.failure(task.run_id) for task in session.tasks()}
    failures = {name: reason for name, reason in failed.items() if reason is not None}
    if failures:
        console.print(failures_table(failures))


def _print_changes(session: Session, interval: float, console: Console) -> None:
    from tvt.report.study_tables import changes

    before: Watched | None = None
    for watched in _looks(session, interval):
        for line in changes(before, watched):
            console.print(line, markup=False, soft_wrap=True)
            console.file.flush()
        before = watched


def _looks(session: Session, interval: float) -> Iterator[Watched]:
    """The study, again and again, until nothing is left to do."""
    from tvt.report.study_tables import Watched
    from tvt.study.executors.slurm_queue import forget_gone
    from tvt.study.watch import Watch

    recipe, store, tasks = session.study.recipe, session.store, session.tasks()
    watcher = Watch(session.study, store, tasks)
    asked_at = float("-inf")
    while True:
        if time.monotonic() - asked_at > _QUEUE_SECONDS:
            forget_gone(store.folder)
            asked_at = time.monotonic()
        look = watcher.look()
        rows, columns = run_grid(session.study, tasks, look.states)
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
"""How many a guess is for where no GPU is here."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """An estimate, how many runs are done at once, and what settings cost."""

    estimate: CostEstimate
    slots: int
    where: str
    """What the runs are done on, as a sentence goes on behind a duration."""
    factors: tuple[Factor, ...] | None
    """``None`` where they are not shown."""

    @classmethod
    def of(cls, session: Session, tasks: Sequence[RunTask], *, factors: bool) -> Costs:
        """What ``tasks`` will cost.

        Args:
            session: the study.
            tasks: runs with something to do.
            factors: whether to estimate other settings, too.
        """
        from tvt.study.estimate import RemainingWork, estimate
        from tvt.study.estimate import factors as settings

        study, store = session.study, session.store
        cost = estimate(study, store, tasks)
        slots, where = _slots(study.recipe, cost)
        result = tuple(settings(study, RemainingWork.of(study, store, tasks), cost)) if factors else None
        return cls(estimate=cost, slots=slots, where=where, factors=result)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        values = {**self.estimate.plain(), "slots": self.slots, "wall_seconds": self.estimate.wall(self.slots)}
        return values if self.factors is None else {**values, "factors": [dict(vars(factor)) for factor in self.factors]}

    def show(self, console: Console) -> None:
        """The sentence of ``tvt study status``, and with factors the tables of ``tvt study plan``."""
        from tvt.report.study_tables import cost_sentence, factors_table, phases_table

        console.print(cost_sentence(self.estimate, self.slots, self.where), markup=False)
        if self.factors is None or self.estimate.phases is None:
            return
        console.print("", phases_table(self.estimate), sep="\n")
        if self.factors:
            console.print(factors_table(self.factors, self.estimate))


def _slots(recipe: Recipe, cost: CostEstimate) -> tuple[int, str]:
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

    result = alternatives(session)
    full = result[0].estimate
    if len(result) < 2 or not full.training_runs:
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
        for way in result
    ]


def ways_json(ways: Sequence[Way]) -> list[dict[str, Any]]:
    """The ways as plain values."""
    return [dict(vars(way)) for way in ways]


def _share(cost: float | None, of: float | None) -> float | None:
    return None if cost is None or not of else cost / of


def _command(way: Alternative, recipe: Path, output: Path | None, overrides: Sequence[str]) -> str:
    """The command that does it; the caller's own values stay, but for those that it gives again."""
    again = {option.partition("=")[0] for option in way.options}
    stays = [part for item in overrides if item.partition("=")[0] not in again for part in ("--set", item)]
    folder = way.folder or output
    where = [] if folder is None else ["-o", str(folder)]
    return shlex.join(["tvt", "study", "run", str(recipe), *stays, *way.options, *where])


def list_studies(as_json: bool) -> None:
    """List the studies that come with tvt."""
    from tvt.data.studies.load import bundled_studies

    result = [_describe(name) for name in bundled_studies()]
    if as_json:
        echo_json({"schema": 1, "studies": result})
    else:
        _print(result)


def _describe(name: str) -> dict[str, Any]:
    """What the list says of one study."""
    from tvt.data.studies.folder import read_study
    from tvt.data.studies.load import bundled_folder

    study = read_study(bundled_folder(name))
    matrix, manifest = study.matrix(), study.manifest
    return {
        "name": name,
        "model": manifest.model,
        "parameters": manifest.parameters,
        "sources": list(matrix.sources),
        "targets": list(matrix.targets),
        "runs": list(matrix.runs),
        "counts": manifest.counts,
        "provenance": manifest.provenance,
    }


def _print(studies: list[dict[str, Any]]) -> None:
    """Print the table."""
    from rich.table import Table

    table = Table(title="Bundled studies", title_justify="left")
    for heading in ("name", "model", "sources x targets", "runs", "counts"):
        table.add_column(heading, overflow="fold")
    for study in studies:
        size = f"{len(study['sources'])} x {len(study['targets'])}"
        table.add_row(study["name"], study["model"] or "", size, str(len(study["runs"])), study["counts"])
    console = new_console()
    console.print(table)
    if any(study["counts"] == "inferred" for study in studies):
        console.print("inferred: counts recovered from published figures; tvt studies --json says whose.")
