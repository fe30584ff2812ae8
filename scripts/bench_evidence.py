"""How well mixtures are predicted, on tables of mixture runs: tvt beside other methods, on the same splits for all.

    OMP_NUM_THREADS=1 python scripts/bench_evidence.py --tables DIR [--study FOLDER] [--protocols ABDEF] [--splits 4] [--json]

DIR holds tables (``run, w:SOURCE, score:TARGET``), ``groups_*`` beside ``pairs_*`` (``seed, source, target, pgf``) where
pairs of tasks are to foretell groups, and is no part of the project. A study's mixture runs make one more table. Scores
above 1 are losses.

A: fit on n runs, predict a held-out quarter; mean absolute error in units of each score's standard deviation. B: how much
worse than the best held-out run the best-predicted one is, same unit. D: share of held-out runs inside 90% intervals, for
runs like those fitted on and for the quarter farthest from the centre (of sqrt(weights)). E: rows with one source are the
study, the others the truth, at several scores of the unknown base model. F: pairs are the study, groups the truth; a group
is a mixture of a target's partners.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evidence_methods import METHODS, Predicted
from tvt.api.studies import load_mixture_runs, load_study
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.evidence.predict import predict
from tvt.stats.ranks import rank_correlation
from tvt.types import Floats

SIZES = (16, 32, 64, 128)
CENTRAL = 48
"""Runs of protocol D that are fitted on, at most."""
BASES = (0.0, 0.5, 1.0)
"""Where protocol E puts the base model's score: shares of the way from the worst single source to the mean of them."""
BEFORE = Path(__file__).with_name("bench_evidence_before.json")
"""What the fit before Gaussian processes scored on the same splits (written by this script at commit 5de234d), and Olmix's
law.
"""


@dataclass(frozen=True)
class Figure:
    """One number: of a protocol, a method, a table, a number of runs, a split."""

    protocol: str
    measure: str
    method: str
    table: str
    n: int
    split: int
    value: float

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What figures of two methods are paired by."""
        return self.protocol, self.measure, self.table, self.n, self.split

    @property
    def family(self) -> str:
        """Tables of one origin: what their names begin with."""
        return self.table.split("_")[0]


def tables_in(folder: Path) -> dict[str, MixtureRuns]:
    """The tables with both enough runs for protocol A and a direction; ``groups_*`` belong to protocol F."""
    found = {}
    for path in sorted(folder.glob("*.csv")):
        header = path.open().readline()
        if path.name.startswith("groups_") or "w:" not in header or "score:" not in header:
            continue
        runs = load_mixture_runs(path)
        if len(runs.ids) >= 2 * SIZES[0] - 10:
            found[path.stem] = replace(runs, lower_is_better=bool(np.nanmedian(runs.scores) > 1))
    return found


def order(name: str, split: int, rows: int) -> list[int]:
    """A random order of a table's rows; the first quarter is held out. It depends on the table's name and the split alone."""
    return [int(k) for k in np.random.default_rng([zlib.crc32(name.encode()), split]).permutation(rows)]


def spread_of(runs: MixtureRuns) -> Floats:
    """The standard deviation of each score over the whole table; NaN where it is constant."""
    spread = np.nanstd(runs.scores, axis=0)
    return np.where(spread > 0, spread, np.nan)


def from_runs(name: str, runs: MixtureRuns, methods: Sequence[str], splits: int, wanted: str) -> Iterable[Figure]:
    """Protocols A and B."""
    spread, sign = spread_of(runs), -1.0 if runs.lower_is_better else 1.0
    for split in range(splits):
        rows = order(name, split, len(runs.ids))
        quarter = len(rows) // 4
        held_out, pool = runs.take(rows[:quarter]), rows[quarter:]
        for n in (n for n in SIZES if n <= len(pool)):
            for method in methods:
                found = METHODS[method](runs.take(pool[:n]))(held_out.weights)
                if "A" in wanted:
                    error = np.nanmean(np.abs(found.value - held_out.scores) / spread)
                    yield Figure("A", "error", method, name, n, split, float(error))
                    yield Figure("A", "coverage", method, name, n, split, coverage(found, held_out.scores))
                if "B" in wanted:
                    yield Figure(
                        "B", "regret", method, name, n, split, regret(sign * found.value, sign * held_out.scores, spread)
                    )


def regret(predicted: Floats, truth: Floats, spread: Floats) -> float:
    """By how much the best-predicted run falls short of the best, averaged over targets."""
    losses = []
    for guess, value, unit in zip(predicted.T, truth.T, spread, strict=True):
        known = np.isfinite(value)
        if known.any():
            # Of runs predicted equal, each may be picked: their mean.
            top = guess[known] >= guess[known].max() - 1e-12
            losses.append((value[known].max() - value[known][top].mean()) / unit)
    return float(np.nanmean(losses))


def coverage(found: Predicted, truth: Floats) -> float:
    """Share of the known scores inside the intervals."""
    if not np.isfinite(found.low).any():
        return np.nan
    known = np.isfinite(truth)
    inside = (found.low <= truth + 1e-12) & (truth <= found.high + 1e-12)
    return float(inside[known].mean())


def far_away(name: str, runs: MixtureRuns, methods: Sequence[str], splits: int) -> Iterable[Figure]:
    """Protocol D."""
    roots = np.sqrt(runs.weights)
    distance = np.linalg.norm(roots - roots.mean(axis=0), axis=1)
    far = np.argsort(-distance, kind="stable")[: len(distance) // 4]
    for split in range(splits):
        central = [k for k in order(name, split, len(distance)) if k not in far]
        n = min(CENTRAL, len(central) - len(central) // 4)
        parts = {"near": runs.take(central[n:]), "far": runs.take([int(k) for k in far])}
        for method in methods:
            predictor = METHODS[method](runs.take(central[:n]))
            for where, part in parts.items():
                found = predictor(part.weights)
                yield Figure("D", f"coverage {where}", method, name, n, split, coverage(found, part.scores))
                width = np.nanmean((found.high - found.low) / spread_of(runs)) if np.isfinite(found.low).any() else np.nan
                yield Figure("D", f"width {where}", method, name, n, split, float(width))


def from_singles(name: str, runs: MixtureRuns) -> Iterable[Figure]:
    """Protocol E, by the responses that a study without mixture runs has."""
    alone = runs.weights.max(axis=1) > 1 - 1e-6
    sources = [i for i in range(len(runs.sources)) if (alone & (runs.weights[:, i] > 0.5)).any()]
    others = ~alone & (runs.weights[:, sources].sum(axis=1) > 1 - 1e-6)
    if len(sources) < 3 or others.sum() < 12 or len(runs.targets) > 1 or runs.lower_is_better:
        return
    scores = runs.scores[:, 0]
    single = np.array([scores[alone & (runs.weights[:, i] > 0.5)].mean() for i in sources])
    truth, weights = scores[others], runs.weights[others][:, sources]
    names = [runs.sources[i] for i in sources]
    for share in BASES:
        base = single.min() + share * (single.mean() - single.min())
        study = TransferMatrix.from_values(((single - base) / (1 - base))[:, None], sources=names, targets=runs.targets)
        for response in ("tvt", "linear"):
            spec = SelectionSpec() if response == "tvt" else SelectionSpec(response="linear")
            gains = predict(study, weights, names, spec)[0]
            value = base + (1 - base) * np.array([row[runs.targets[0]].gain for row in gains])
            for measure, figure in agreement(value, truth).items():
                yield Figure("E", measure, response, name, len(sources), round(10 * share), figure)


def agreement(predicted: Floats, truth: Floats) -> dict[str, float]:
    """Rank correlation, mean error, and what the best-predicted mixture was predicted above its result."""
    top = int(np.argmax(predicted))
    return {
        "rank": rank_correlation(predicted, truth),
        "bias": float((predicted - truth).mean()),
        "promise - result": float(predicted[top] - truth[top]),
    }


def unpacked(path: Path) -> Path:
    """The file, or an unpacked copy of it among temporary files."""
    if path.suffix != ".gz":
        return path
    copy = Path(tempfile.mkdtemp()) / path.stem
    copy.write_bytes(gzip.decompress(path.read_bytes()))
    return copy


def from_pairs(groups: Path) -> Iterable[Figure]:
    """Protocol F of one table of groups and its pairs."""
    name = groups.name.split(".")[0]
    study = load_study(groups.with_name(name.replace("groups_", "pairs_") + ".csv"), metric="gain")
    runs = load_mixture_runs(unpacked(groups))
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for j, target in enumerate(runs.targets):
        own = runs.sources.index(target)
        weights = np.where(np.arange(len(runs.sources)) == own, 0.0, runs.weights)
        rows = np.isfinite(runs.scores[:, j]) & ((weights > 0).sum(axis=1) > 1)
        if rows.sum() < 4:
            continue
        weights = weights[rows] / weights[rows].sum(axis=1, keepdims=True)
        for response in ("tvt", "linear"):
            spec = SelectionSpec() if response == "tvt" else SelectionSpec(response="linear")
            gains = predict(study, weights, runs.sources, spec)[0]
            for measure, figure in agreement(np.array([g[target].gain for g in gains]), runs.scores[rows, j]).items():
                found[response, measure].append(figure)
    for (response, measure), figures in found.items():
        yield Figure("F", measure, response, name, len(runs.sources), 0, float(np.nanmean(figures)))


def measure(args: argparse.Namespace) -> list[Figure]:
    """All figures that were asked for."""
    tables = {name: t for name, t in tables_in(args.tables).items() if args.only in name}
    for folder in args.study or ():
        beside = load_study(folder).evidence
        if beside is not None:
            tables[Path(folder).name] = beside.take(np.flatnonzero(beside.mixtures).tolist())
    figures: list[Figure] = []
    for name, runs in tables.items():
        if {"A", "B"} & set(args.protocols):
            figures += from_runs(name, runs, args.methods, args.splits, args.protocols)
        if "D" in args.protocols:
            figures += far_away(name, runs, args.methods, args.splits)
        if "E" in args.protocols:
            figures += from_singles(name, runs)
        print(f"{name}: done", file=sys.stderr, flush=True)
    if "F" in args.protocols:
        for path in sorted(args.tables.glob("groups_*")):
            if args.only in path.name:
                figures += from_pairs(path)
    return figures


def before(figures: Sequence[Figure]) -> list[Figure]:
    """Figures of methods that are kept in a file, of the tables, sizes and splits that were measured now."""
    if not BEFORE.exists():
        return []
    now = {figure.key for figure in figures}
    measured = {figure.method for figure in figures}
    kept = [
        Figure(protocol, name, method, table, n, split, value)
        for method, rows in json.loads(BEFORE.read_text()).items()
        if method not in measured
        for protocol, name, table, n, values in rows
        for split, value in enumerate(values)
    ]
    return [figure for figure in kept if figure.key in now]


def keep(figures: Sequence[Figure], rename: dict[str, str]) -> None:
    """Write the figures of some methods into the file beside this script, under new names."""
    rows: dict[str, dict[tuple[str, str, str, int], list[float]]] = json.loads(BEFORE.read_text()) if BEFORE.exists() else {}
    for old, new in rename.items():
        grouped: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
        for f in figures:
            if f.method == old and f.protocol not in "EF":
                grouped[f.protocol, f.measure, f.table, f.n].append(round(f.value, 5))
        rows[new] = [[*key, values] for key, values in grouped.items()]  # type: ignore[assignment]
    text = ",\n".join(f'"{m}": [\n' + ",\n".join(json.dumps(r) for r in kept) + "\n]" for m, kept in rows.items())
    BEFORE.write_text("{\n" + text + "\n}\n")


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table: a line for each protocol, measure, family and n, a column for each method."""
    methods = list(dict.fromkeys(f.method for f in figures))
    cells: dict[tuple[str, str, str, int], dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for f in figures:
        cells[f.protocol, f.measure, f.family, f.n][f.method].append(f)
    lines = ["| protocol | tables | n | " + " | ".join(methods) + " |", "|---|---|---|" + "---|" * len(methods)]
    for (protocol, name, family, n), row in sorted(cells.items()):
        shown = [summary(row.get(m, []), row.get("tvt", []), name) for m in methods]
        lines.append(f"| {protocol} {name} | {family} | {n} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def summary(own: Sequence[Figure], tvt: Sequence[Figure], name: str) -> str:
    """The median over tables of each table's mean, the range over tables, and tvt's ratio to it, paired by split."""
    by_table: dict[str, list[float]] = defaultdict(list)
    for f in own:
        by_table[f.table].append(f.value)
    means = [float(np.nanmean(v)) for v in by_table.values() if np.isfinite(v).any()]
    if not means:
        return ""
    spread = f" [{min(means):.3g}, {max(means):.3g}]" if len(means) > 1 else ""
    ratio = ""
    if name in ("error", "regret") and own and own[0].method != "tvt" and tvt:
        paired = ratios(tvt, own)
        ratio = f"; tvt x{np.median(paired):.2f} (worst {max(paired):.2f})" if paired else ""
    return f"{np.median(means):.3f}{spread}{ratio}"


def ratios(ours: Sequence[Figure], theirs: Sequence[Figure]) -> list[float]:
    """Our mean over theirs, by table, over the splits that both have."""
    own, other = ({f.key: f for f in side} for side in (ours, theirs))
    by_table: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for key in own.keys() & other.keys():
        by_table[own[key].table][0].append(own[key].value)
        by_table[own[key].table][1].append(other[key].value)
    return [float(np.mean(a) / np.mean(b)) for a, b in by_table.values() if np.mean(b) > 0]


def main(show: Callable[[str], None] = print) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, help="folder of tables")
    parser.add_argument("--study", action="append", help="a study with mixture runs (may be repeated)")
    parser.add_argument("--protocols", default="ABDEF", help="some of ABDEF")
    parser.add_argument("--splits", type=int, default=4, help="random splits of each table")
    parser.add_argument("--methods", default="tvt,mean,ridge,plain GP", help=f"some of: {', '.join(METHODS)}")
    parser.add_argument("--only", default="", help="tables whose names hold this text")
    parser.add_argument("--keep", default="", help="METHOD=NAME,...: write these figures into the file of kept ones")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    args = parser.parse_args()
    args.methods = args.methods.split(",")
    figures = measure(args)
    if args.keep:
        keep(figures, dict(pair.split("=") for pair in args.keep.split(",")))
    figures += before(figures)
    show(json.dumps([vars(f) for f in figures]) if args.json else table(figures))


if __name__ == "__main__":
    main()
