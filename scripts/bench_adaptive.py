"""Replay the published studies run by run: regret of the mixture after half the runs, adaptive against other orders.

    OMP_NUM_THREADS=1 taskset -c 0 python scripts/bench_adaptive.py

A replay deals each source's four published runs out in random order, asks for one to three random targets without their own
data, gives every source its first run (13 of 52), and spends 13 more; where the adaptive order would stop before, that is noted
and it goes on. *Regret* is the gain of the mixture that all 52 runs select less that of the one selected so far, both as all 52
runs predict them. Every order sees the same deals. Prints the table of tvt/docs/studies.md; `--replays N` for more or fewer
than 60 of each study.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.selection.adaptive import NextRun, RunsLeft, Stop, Tolerance, next_run
from tvt.selection.audit import objective_value, tidy
from tvt.selection.engine import Prepared, prepare
from tvt.types import Floats

STUDIES = ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b")
REPLAYS = 60
RESTLESS = Tolerance(regret=0.0, moved=0.0)
"""Spends every run that may be spent."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """One replay: what is asked, and in which order each source's published runs serve, (sources, runs)."""

    spec: SelectionSpec
    order: tuple[tuple[int, ...], ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Course:
    """What came of an order: regret by runs spent, and where it would have stopped (``None``: nowhere)."""

    regret: dict[int, float]
    stopped: int | None


Pick = Callable[[TransferMatrix, Deal, RunsLeft], NextRun | Stop | None]


def deal(full: TransferMatrix, seed: int) -> Deal:
    """Random targets and a random order of the runs."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(full.targets, rng.integers(1, 4), replace=False)
    order = tuple(tuple(rng.permutation(len(full.runs)).tolist()) for _ in full.sources)
    return Deal(
        spec=SelectionSpec(targets=dict.fromkeys(targets, 1.0), without_direct=True, anyway=True), order=order, seed=seed
    )


def seen(full: TransferMatrix, done: Sequence[Sequence[int]]) -> TransferMatrix:
    """The study as far as it has come: of each source the runs in ``done``."""
    hidden = np.ones(full.values.shape[:2], dtype=bool)
    for i, runs in enumerate(done):
        hidden[list(runs), i] = False
    values, errors = full.values.copy(), full.item_errors.copy()
    values[hidden] = errors[hidden] = np.nan
    return replace(full, values=values, item_errors=errors)


def chosen(prepared: Prepared) -> Floats:
    """The mixture over the request's sources."""
    solution = prepared.solve()
    assert solution.weights is not None  # no request here has limits
    return tidy(solution.weights, prepared.request)


def adaptive(now: TransferMatrix, of: Deal, progress: RunsLeft) -> NextRun | Stop | None:
    """The policy."""
    return next_run(now, of.spec, progress)


def at_random(_: TransferMatrix, of: Deal, progress: RunsLeft) -> NextRun | Stop | None:
    """Any run that is left."""
    return drawn([s for s, left in progress.left.items() for _ in left], of, progress)


def evenly(_: TransferMatrix, of: Deal, progress: RunsLeft) -> NextRun | Stop | None:
    """A run of any source with the fewest."""
    most = max(map(len, progress.left.values()))
    return drawn([s for s, left in progress.left.items() if len(left) == most], of, progress)


def drawn(sources: Sequence[str], of: Deal, progress: RunsLeft) -> NextRun:
    """A run of one of the sources."""
    source = str(np.random.default_rng([of.seed, len(sources)]).choice(sources))
    return NextRun(source=source, seed=progress.left[source][0], why="")


PICKS: dict[str, Pick] = {"adaptive": adaptive, "at random": at_random, "equal seeds": evenly}


def replayed(full: TransferMatrix, of: Deal, pick: Pick, total: int) -> Course:
    """Spend ``total`` runs, as far as there are runs that may matter."""
    judge = prepare(full, of.spec)
    best = objective_value(chosen(judge), judge.request, judge.response)[0]
    done = [list(order[:1]) for order in of.order]
    regret: dict[int, float] = {}
    stopped: int | None = None
    while True:
        now = seen(full, done)
        spent = sum(map(len, done))
        regret[spent] = best - objective_value(chosen(prepare(now, of.spec)), judge.request, judge.response)[0]
        if spent >= total:
            return Course(regret=regret, stopped=stopped)
        left = {s: order[len(runs) :] for s, order, runs in zip(full.sources, of.order, done, strict=True)}
        progress = RunsLeft(left=left, going={})
        choice = pick(now, of, progress) if stopped is None else Stop(why="it has stopped")
        if isinstance(choice, Stop):
            stopped = stopped or spent
            choice = next_run(now, of.spec, progress, RESTLESS)
        if not isinstance(choice, NextRun):  # every run that can matter is done
            return Course(regret={**regret, **dict.fromkeys(range(spent, total + 1), regret[spent])}, stopped=stopped)
        done[full.sources.index(choice.source)].append(choice.seed)


def told(values: Floats) -> str:
    """Mean with its 95% interval (normal), in hundredths."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():.2f} ± {100 * half:.2f}"


def main() -> None:
    """Print the table, and below each row how the stop rule did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=REPLAYS)
    arguments = parser.parse_args()
    print("Regret x 100 after half the runs, and the paired difference from a random order")
    print("| study | after the first runs | adaptive | at random | equal seeds | adaptive less random | equal less random |")
    print("|---|---|---|---|---|---|---|")
    for name in STUDIES:
        full = load_study(name)
        half = len(full.sources) * len(full.runs) // 2
        courses: dict[str, list[Course]] = {pick: [] for pick in PICKS}
        for seed in range(arguments.replays):
            of = deal(full, seed)
            for pick, function in PICKS.items():
                courses[pick].append(replayed(full, of, function, half))
        ends = {pick: np.array([c.regret[half] for c in found]) for pick, found in courses.items()}
        first = np.array([c.regret[len(full.sources)] for c in courses["at random"]])
        cells = [
            told(first),
            *map(told, ends.values()),
            *(told(ends[p] - ends["at random"]) for p in ("adaptive", "equal seeds")),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        stops = np.array([c.stopped or half for c in courses["adaptive"]])
        at_stop = np.array([c.regret[s] for c, s in zip(courses["adaptive"], stops, strict=True)])
        early = np.mean([c.stopped is not None for c in courses["adaptive"]])
        print(f"  {early:.0%} stop before {half}; runs at the end {stops.mean():.1f}, regret then {told(at_stop)}", flush=True)


if __name__ == "__main__":
    main()
