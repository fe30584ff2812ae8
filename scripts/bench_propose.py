"""How soon proposals find the best mixture: replays on tables of runs that are all done already.

    OMP_NUM_THREADS=1 python scripts/bench_propose.py --tables DIR [--seeds 10] [--only TEXT] [--methods tvt,random] [--json]

A replay starts with 12 runs drawn at random, and takes batches of 4 from the rest of the pool as a method proposes them, as
long as a third of the pool is left. Its regret is by how much the best run so far falls short of the best of the pool, in
standard deviations of the pool's objective: the mean of a table's scores (``tvt propose`` without further options). Scores
above 1 are losses. The bundled study miniature-swarm gives a pool of its 176 mixtures for each of its targets, and one for
their mean. DIR is no part of the project; ``groups_*`` and ``pairs_*``, which have no score for most rows, are left out.

The method was developed on the pools in DEVELOPMENT and on generated tables; the others judge it. All methods start from the
same runs. GP-UCB and GP-EI are a Gaussian process with one Matern kernel, whose batch believes its own predictions; *greedy* is
the four best predicted by tvt's posterior, *half and half* two of these and two at random.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench_evidence import tables_in
from evidence_methods import plain_gp
from tvt.api.studies import load_study
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.proposal import Proposals
from tvt.core.selection import SelectionSpec
from tvt.evidence.learning import fit_posterior
from tvt.selection.belief import expected_excess
from tvt.selection.pool import Candidates
from tvt.selection.propose import propose
from tvt.types import Floats, Positions

START, BATCH = 12, 4
STOPS = (16, 20, 24, 32, 48)
SWARM = "miniature-swarm"
DEVELOPMENT = (
    *("bo_triviaqa", "bo_gsm8k", "bo_headqa_en", "dmsl_310M", "dmsl_680M"),
    *(f"{SWARM}:{target}" for target in ("Jigsaw", "Nearest_Post", "Multi_View")),
)
"""Pools that the method was developed on."""
NORMAL = 1.96
OVER_ALL = 0
"""The number of runs of a mean over all of them."""


@dataclass(frozen=True)
class Regret:
    """By how much the best of ``n`` runs falls short, in a replay."""

    pool: str
    method: str
    seed: int
    n: int
    value: float

    @property
    def key(self) -> tuple[str, int, int]:
        """What methods are paired by."""
        return self.pool, self.seed, self.n


Method = Callable[[MixtureRuns, MixtureRuns, np.random.Generator], Sequence[int]]
"""(runs that are done, those left, a generator) -> positions of those left that are proposed."""


def objective(runs: MixtureRuns) -> Floats:
    """What is to be maximised, (n,): the mean score, losses with their sign turned."""
    mean: Floats = runs.scores.mean(axis=1)
    return -mean if runs.lower_is_better else mean


def tvt(done: MixtureRuns, left: MixtureRuns, rng: np.random.Generator) -> Sequence[int]:
    """What ``tvt propose --candidates`` answers."""
    spec = SelectionSpec(seed=int(rng.integers(2**31)))
    found = propose(done, spec, BATCH, candidates=Candidates(ids=left.ids, sources=left.sources, weights=left.weights))
    assert isinstance(found, Proposals)
    return [left.ids.index(p.mixture) for p in found.proposals if p.mixture is not None]


def at_random(_: MixtureRuns, left: MixtureRuns, rng: np.random.Generator) -> Sequence[int]:
    """Any."""
    return [int(k) for k in rng.permutation(len(left.ids))[:BATCH]]


def predicted_order(done: MixtureRuns, left: MixtureRuns) -> Positions:
    """Those left, the best predicted by tvt's posterior first."""
    return np.argsort(-fit_posterior(done).at(left.weights).mean.mean(axis=1), kind="stable")


def greedy(done: MixtureRuns, left: MixtureRuns, _: np.random.Generator) -> Sequence[int]:
    """The best predicted."""
    return [int(k) for k in predicted_order(done, left)[:BATCH]]


def half_and_half(done: MixtureRuns, left: MixtureRuns, rng: np.random.Generator) -> Sequence[int]:
    """Half the best predicted, half at random."""
    first = [int(k) for k in predicted_order(done, left)[: BATCH // 2]]
    return first + [int(k) for k in rng.permutation(len(left.ids)) if k not in first][: BATCH - len(first)]


def plain(acquire: Callable[[Floats, Floats, float], Floats]) -> Method:
    """A plain Gaussian process; ``acquire`` takes means, standard deviations of a new run and the best so far."""

    def method(done: MixtureRuns, left: MixtureRuns, _: np.random.Generator) -> Sequence[int]:
        weights, values = done.weights, objective(done)
        chosen: list[int] = []
        for _pick in range(BATCH):
            mean, spread = plain_gp(weights, values)(left.weights)
            worth = acquire(mean, spread, float(values.max()))
            worth[chosen] = -np.inf
            chosen.append(int(worth.argmax()))
            weights, values = np.vstack([weights, left.weights[chosen[-1]]]), np.append(values, mean[chosen[-1]])
        return chosen

    return method


METHODS: dict[str, Method] = {
    "tvt": tvt,
    "random": at_random,
    "greedy": greedy,
    "GP-UCB": plain(lambda mean, spread, _: mean + 2 * spread),
    "GP-EI": plain(expected_excess),
    "half and half": half_and_half,
}


def pools_in(folder: Path) -> dict[str, MixtureRuns]:
    """The tables that are large enough, rows with all scores, and the swarm."""
    found = {
        name: runs.take(np.flatnonzero(np.isfinite(runs.scores).all(axis=1)).tolist())
        for name, runs in tables_in(folder).items()
    }
    swarm = swarm_mixtures()
    found[SWARM] = swarm
    found |= {f"{SWARM}:{target}": swarm.reindex(targets=[target]) for target in swarm.targets}
    return {name: runs for name, runs in found.items() if stops(len(runs.ids))}


def swarm_mixtures() -> MixtureRuns:
    """Its mixtures, the mean over seeds of each."""
    runs = load_study(SWARM).evidence
    assert runs is not None
    runs = runs.take(np.flatnonzero(runs.mixtures).tolist())
    _, first, group = np.unique(np.round(runs.weights, 9), axis=0, return_index=True, return_inverse=True)
    scores = np.array([runs.scores[group.reshape(-1) == k].mean(axis=0) for k in range(len(first))])
    return MixtureRuns(
        ids=tuple(runs.ids[k] for k in first),
        sources=runs.sources,
        targets=runs.targets,
        weights=runs.weights[first],
        scores=scores,
    )


def stops(rows: int) -> list[int]:
    """The numbers of runs at which regret is taken: a third of the pool is left."""
    return [n for n in STOPS if 3 * (rows - n) >= rows]


def replay(name: str, runs: MixtureRuns, method: str, seed: int) -> Iterable[Regret]:
    """One campaign; the runs that it starts with depend on the pool and the seed alone."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    order = [int(k) for k in rng.permutation(len(runs.ids))]
    done, values = order[:START], objective(runs)
    wanted = stops(len(runs.ids))
    while len(done) < wanted[-1]:
        left = sorted(set(order) - set(done))
        done += [left[k] for k in METHODS[method](runs.take(done), runs.take(left), rng)]
        if len(done) in wanted:
            short = float(values.max() - values[done].max()) / float(values.std())
            yield Regret(name, method, seed, len(done), short)


def measure(args: argparse.Namespace) -> list[Regret]:
    """All replays that were asked for; those of a file that is given are not done again."""
    found = [Regret(**each) for each in json.loads(args.resume.read_text())] if args.resume and args.resume.exists() else []
    had = {(r.pool, r.method, r.seed) for r in found}
    for name, runs in pools_in(args.tables).items():
        if not args.only.search(name):
            continue
        began = time.process_time()
        for method in args.methods:
            for seed in range(args.seeds):
                if (name, method, seed) not in had:
                    found += replay(name, runs, method, seed)
        if args.resume:
            args.resume.write_text(json.dumps([vars(r) for r in found]))
        print(f"{name}: {time.process_time() - began:.0f} CPU seconds", file=sys.stderr, flush=True)
    return found


def mean_and_error(values: dict[str, list[float]]) -> tuple[float, float]:
    """Mean over pools of each pool's mean, and its standard error over the replays of these pools."""
    means = [float(np.mean(v)) for v in values.values()]
    variances = [float(np.var(v, ddof=1)) / len(v) if len(v) > 1 else 0.0 for v in values.values()]
    return float(np.mean(means)), float(np.sqrt(np.sum(variances)) / len(means))


def averaged(found: Sequence[Regret]) -> list[Regret]:
    """The regret of each replay, averaged over numbers of runs; as ``n`` they have ``OVER_ALL``."""
    replays: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for r in found:
        replays[r.pool, r.method, r.seed].append(r.value)
    return [Regret(*key, OVER_ALL, float(np.mean(values))) for key, values in replays.items()]


def cell(found: Sequence[Regret], method: str, n: int) -> str:
    """A method's mean regret at ``n`` runs and, for others than tvt, by how much tvt's is lower, with its 95% interval."""
    own, ours = ({r.key: r.value for r in found if r.method == m and r.n == n} for m in (method, "tvt"))
    values, apart = defaultdict(list), defaultdict(list)
    for key, value in own.items():
        values[key[0]].append(value)
        if key in ours:
            apart[key[0]].append(value - ours[key])
    if not values:
        return ""
    text = f"{mean_and_error(values)[0]:.2f}"
    if method == "tvt" or not apart:
        return text
    more, error = mean_and_error(apart)
    return f"{text} ({more:+.2f} ± {NORMAL * error:.2f})"


def table(found: Sequence[Regret]) -> str:
    """A Markdown table: a line for each group of pools and number of runs, a column for each method."""
    methods = list(dict.fromkeys(r.method for r in found))
    lines = ["| pools | runs | " + " | ".join(methods) + " |", "|---|---|" + "---|" * len(methods)]
    found = [*found, *averaged(found)]
    for label, belongs in groups(found):
        for n in (*STOPS, OVER_ALL):
            some = [r for r in found if belongs(r.pool) and r.n == n]
            if some:
                count = len({r.pool for r in some})
                lines.append(f"| {label} ({count}) | {n or 'mean'} | " + " | ".join(cell(some, m, n) for m in methods) + " |")
    return "\n".join(lines)


def groups(found: Sequence[Regret]) -> list[tuple[str, Callable[[str], bool]]]:
    """All pools that judge, those that the method was developed on, and every family."""
    families = dict.fromkeys(r.pool.split("_")[0].split(":")[0] for r in found)
    named = {"bo": "finetuning scores", "dmsl": "pretraining losses", SWARM: "miniature-swarm"}
    return [
        ("held back", lambda pool: pool not in DEVELOPMENT),
        ("developed on", lambda pool: pool in DEVELOPMENT),
        *((named.get(f, f), lambda pool, f=f: pool.startswith(f)) for f in families),
    ]


def main(show: Callable[[str], None] = print) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, help="folder of tables")
    parser.add_argument("--seeds", type=int, default=10, help="replays of each pool")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"some of: {', '.join(METHODS)}")
    parser.add_argument(
        "--only", type=re.compile, default=re.compile(""), help="pools whose names a regular expression matches"
    )
    parser.add_argument("--resume", type=Path, help="a file of replays: what it has is not done again, what is done is added")
    parser.add_argument("--json", action="store_true", help="print all regrets as JSON")
    args = parser.parse_args()
    args.methods = args.methods.split(",")
    found = [r for r in measure(args) if r.method in args.methods]
    show(json.dumps([vars(r) for r in found]) if args.json else table(found))


if __name__ == "__main__":
    main()
