"""How alike are the changes that finetuning on two tasks makes to the weights?

The update of a weight is ``dW = s B A``. The matrices by themselves are not identifiable: ``B M`` and ``M^-1 A`` make the same
update for every invertible M, so only updates can be compared. The similarity of two adapters is the cosine of their updates
over all modules, computed exactly and without ever forming one:

    <dW1, dW2> = s1 s2 sum((B1' B2) * (A1 A2'))        (elementwise product), summed over the modules

Adapters of the *same seed* start from the same A, and with B = 0. Their updates hence share most of their row space, and are
more alike than the tasks alone would make them; adapters of different seeds lie in nearly orthogonal random subspaces, and are
less alike (what one and the same gradient makes of two random starts has a cosine of about rank / inputs). Both are reported:
the similarity within a seed, and that between seeds, where a task's similarity with itself is the yardstick for that of two.

Source of the question: Sachdeva, Uppal, Java, Balasubramanian, CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen, aligned
from tvt.io.lora_file import LowRank
from tvt.stats.ranks import Mantel, mantel
from tvt.transfer.aggregates import run_mean
from tvt.types import Bools, Floats

MOST_BANDS = 4
"""Parts into which the depth of the model is divided."""
_LAYER = re.compile(r"\.(?:layers|layer|blocks|h)\.(\d+)\.")
_KINDS = (("vision", r"vision|visual"), ("attention", r"attn|attention"), ("MLP", r"mlp|feed_forward|ffn|fc\d"))

Updates = Sequence[LowRank | None]
"""What each adapter adds to one weight; ``None`` where it adds nothing."""
AdapterKey = tuple[str, str]
"""(source, run)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModulePart:
    """The same for some of the modules."""

    name: str = field(metadata={"json": None})
    """``attention``, ``MLP``, ``vision``, ``other``, or ``layers 0-6``."""
    modules: int
    share: float
    """Of the squared norm of all updates."""
    same_run: float
    """Mean over pairs of sources, each in the same run."""
    own: float
    """Mean similarity of a source's adapters between runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterSimilarity(Frozen):
    """Cosines of the sources' updates, in [-1, 1]; NaN where an adapter is missing or adds nothing."""

    sources: tuple[str, ...]
    runs: tuple[str, ...]
    per_run: Floats
    """Within each run, (runs, sources, sources); 1 on the diagonal."""
    between: Floats
    """Mean over all pairs of different runs, (sources, sources), symmetric; NaN with one run."""
    norms: Floats
    """Frobenius norms of the updates, (runs, sources)."""
    modules: int
    parts: tuple[ModulePart, ...]
    missing: tuple[str, ...] = ()
    """Runs without an adapter, with the reason."""
    pgf: Mantel | None = None
    """The same-run similarity against the symmetrised PGF, over tasks that are sources and targets."""
    pgf_between: Mantel | None = None
    """The similarity between runs, which no shared start flatters, against the same."""

    @property
    def mean(self) -> Floats:
        """Mean over the runs, (sources, sources)."""
        return run_mean(self.per_run)

    @property
    def spread(self) -> Floats:
        """Standard deviation over the runs (n - 1), (sources, sources); NaN with fewer than two."""
        count = np.isfinite(self.per_run).sum(axis=0)
        squares = np.nansum((self.per_run - self.mean) ** 2, axis=0)
        return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)

    @property
    def apart(self) -> Bools:
        """True off the diagonal, (sources, sources)."""
        return ~np.eye(len(self.sources), dtype=bool)

    @property
    def own(self) -> Floats:
        """Similarity of each source's adapters between runs, (sources,): the noise yardstick."""
        found: Floats = np.diagonal(self.between).copy()
        return found

    def json_value(self) -> dict[str, Any]:
        """The study's ``adapters`` in ``tvt analyze --json``."""

        def by_source(values: Floats) -> dict[str, Any]:
            return dict(zip(self.sources, values, strict=True))

        def table(values: Floats) -> dict[str, dict[str, Any]]:
            return {source: by_source(row) for source, row in by_source(values).items()}

        return {
            "sources": self.sources,
            "runs": self.runs,
            "modules": self.modules,
            "similarity": table(self.mean),
            "similarity_sd": table(self.spread),
            "between_runs": table(self.between),
            "own_between_runs": by_source(self.own),
            "norm": by_source(run_mean(self.norms)),
            "parts": {part.name: part for part in self.parts},
            "pgf": self.pgf,
            "pgf_between_runs": self.pgf_between,
            "missing": self.missing,
        }


def inner_products(updates: Updates) -> Floats:
    """Frobenius inner products of all pairs of updates of one weight, (adapters, adapters).

    The ranks may differ. What is in memory is of the size of the A and B of all adapters for this one weight.

    Raises:
        ValueError: updates of different shapes.
    """
    there = [k for k, update in enumerate(updates) if update is not None]
    kept = [update for update in updates if update is not None]
    found = np.zeros((len(updates), len(updates)))
    if not kept:
        return found
    shapes = {(u.b.shape[0], u.a.shape[1]) for u in kept}
    if len(shapes) > 1:
        raise ValueError(f"updates of one weight have shapes {', '.join(map(str, sorted(shapes)))}")
    below, beside = np.concatenate([u.a for u in kept]), np.concatenate([u.b for u in kept], axis=1)
    whole = (beside.T @ beside) * (below @ below.T)
    starts = np.cumsum([0, *(len(u.a) for u in kept[:-1])])
    scales = np.array([u.scale for u in kept])
    summed = np.add.reduceat(np.add.reduceat(whole, starts, axis=0), starts, axis=1)
    found[np.ix_(there, there)] = scales[:, None] * scales * summed
    return found


def adapter_similarity(
    adapters: Sequence[AdapterKey], modules: Iterable[tuple[str, Updates]], missing: Sequence[str] = ()
) -> AdapterSimilarity:
    """Compare adapters, streaming over the modules: only one module's updates need be in memory at a time.

    Args:
        adapters: source and run of each.
        modules: name of each module, and the adapters' updates of it in the same order.
        missing: what to say of runs without an adapter.
    """
    count = len(adapters)
    grams: dict[tuple[str, int | None], Floats] = {}
    sizes: dict[tuple[str, int | None], int] = {}
    for name, updates in modules:
        place = module_kind(name), module_layer(name)
        grams[place] = grams.get(place, np.zeros((count, count))) + inner_products(updates)
        sizes[place] = sizes.get(place, 0) + 1
    whole = sum(grams.values(), np.zeros((count, count)))
    sources, runs = (tuple(dict.fromkeys(names)) for names in zip(*adapters, strict=True))
    per_run, between = _tables(whole, adapters, sources, runs)
    norms = np.full((len(runs), len(sources)), np.nan)
    for (source, run), square in zip(adapters, np.diagonal(whole), strict=True):
        norms[runs.index(run), sources.index(source)] = np.sqrt(square)
    return AdapterSimilarity(
        sources=sources,
        runs=runs,
        per_run=per_run,
        between=between,
        norms=norms,
        modules=sum(sizes.values()),
        parts=tuple(
            _part(name, sum(sizes[p] for p in places), np.sum([grams[p] for p in places], axis=0), whole, adapters)
            for name, places in _grouped(list(grams)).items()
        ),
        missing=tuple(missing),
    )


def beside_pgf(similarity: AdapterSimilarity, matrix: TransferMatrix, *, seed: int = 0) -> AdapterSimilarity:
    """The same with its rank correlations with the symmetrised PGF of the study (see :func:`symmetrised`)."""
    tasks = [task for task in similarity.sources if task in matrix.sources and task in matrix.targets]
    side, pairs = (similarity.sources, tasks), symmetrised(matrix, tasks)
    mean, between = (aligned(table, side, side) for table in (similarity.mean, similarity.between))
    return replace(
        similarity,
        pgf=mantel(mean, pairs, seed=seed),
        pgf_between=mantel(between, pairs, seed=seed) if len(similarity.runs) > 1 else None,
    )


def symmetrised(matrix: TransferMatrix, tasks: Sequence[str]) -> Floats:
    """``(P + P') / 2`` of the mean PGF over tasks that are both sources and targets, (tasks, tasks); NaN where either is."""
    mean = matrix.reindex(sources=tasks, targets=tasks).mean
    pairs: Floats = (mean + mean.T) / 2
    return pairs


def module_kind(name: str) -> str:
    """``vision`` for modules of the vision tower, else ``attention``, ``MLP`` or ``other``, by the module's name."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name)), "other")


def module_layer(name: str) -> int | None:
    """The layer of the language model that a module belongs to; ``None`` where its name does not say, and for vision."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found and module_kind(name) != "vision" else None


def _tables(gram: Floats, adapters: Sequence[AdapterKey], sources: Sequence[str], runs: Sequence[str]) -> tuple[Floats, Floats]:
    """Cosines within each run, and their mean between runs."""
    cosines = _cosines(gram)
    whole = np.full((len(runs), len(runs), len(sources), len(sources)), np.nan)
    places = [(runs.index(run), sources.index(source)) for source, run in adapters]
    for m, (k, i) in enumerate(places):
        for n, (other, j) in enumerate(places):
            whole[k, other, i, j] = cosines[m, n]
    same = np.eye(len(runs), dtype=bool)
    return whole[same], run_mean(whole[~same]) if len(runs) > 1 else np.full((len(sources),) * 2, np.nan)


def _cosines(gram: Floats) -> Floats:
    """Cosines from inner products, NaN where an update is 0; exactly symmetric, and 1 on the diagonal."""
    norm = np.sqrt(np.diagonal(gram))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(norm[:, None] * norm > 0, gram / (norm[:, None] * norm), np.nan)
    found = np.clip((found + found.T) / 2, -1.0, 1.0)
    np.fill_diagonal(found, np.where(norm > 0, 1.0, np.nan))
    return found


def _grouped(places: Sequence[tuple[str, int | None]]) -> Mapping[str, list[tuple[str, int | None]]]:
    """The modules by kind, and by bands of layers, each where there is more than one."""
    kinds = [kind for kind, _ in (*_KINDS, ("other", "")) if any(place[0] == kind for place in places)]
    found = {kind: [p for p in places if p[0] == kind] for kind in kinds} if len(kinds) > 1 else {}
    layers = sorted({layer for _, layer in places if layer is not None})
    if len(layers) > 1:
        for band in np.array_split(layers, min(MOST_BANDS, len(layers))):
            first, last = int(band[0]), int(band[-1])
            name = f"layer {first}" if first == last else f"layers {first}-{last}"
            found[name] = [p for p in places if p[1] is not None and first <= p[1] <= last]
    return found


def _part(name: str, modules: int, gram: Floats, whole: Floats, adapters: Sequence[AdapterKey]) -> ModulePart:
    cosines = _cosines(gram)
    sources, runs = (np.array(names) for names in zip(*adapters, strict=True))
    same_source, same_run = sources[:, None] == sources, runs[:, None] == runs
    total = float(np.trace(whole))
    return ModulePart(
        name=name,
        modules=modules,
        share=float(np.trace(gram)) / total if total > 0 else float("nan"),
        same_run=_mean(cosines[same_run & ~same_source]),
        own=_mean(cosines[same_source & ~same_run]),
    )


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
