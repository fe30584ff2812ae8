"""Everything that is settled before a mixed dataset is written: its rows, their order, and that none of them is forbidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.data.csv_table import MAX_FAULTS
from tvt.data.mixing.order import RowManifest, draw_rows, epochs
from tvt.data.progress import Progress, silent
from tvt.data.questions.batches import Rows
from tvt.data.questions.checks import EvaluationSet, Overlap, Scan, Shared, scan
from tvt.data.questions.files import QuestionSource, open_questions
from tvt.errors import InputError
from tvt.io import digest

LAYOUT = 1
"""Raised whenever the same request gives other bytes; part of the digest."""


@dataclass(frozen=True, kw_only=True)
class MixSource:
    """A source of the mixture with the rows it may give."""

    name: str
    weight: float
    examples: int
    questions: QuestionSource
    kept: Rows | None
    """Rows that may be used, ascending; ``None`` for all of them."""
    content: Scan | None
    """``None`` where the rows were not checked, for a preview."""

    @property
    def available(self) -> int:
        """How many rows may be used."""
        return self.questions.rows if self.kept is None else len(self.kept)

    @property
    def left_out(self) -> int:
        """How many rows an evaluation set has too."""
        return self.questions.rows - self.available

    @property
    def epochs(self) -> float:
        """How often its rows are used on average."""
        return epochs({self.name: self.examples}, {self.name: self.available})[self.name]

    def rows(self, drawn: Rows) -> Rows:
        """Rows of the file for rows drawn among those that may be used."""
        return drawn if self.kept is None else self.kept[drawn]


@dataclass(frozen=True, kw_only=True)
class MixPlan:
    """A mixed dataset to be written. ``sources`` are those with examples, by name."""

    mixture: Mixture
    seed: int
    sources: tuple[MixSource, ...]
    manifest: RowManifest
    evaluation: str | None
    """Digest of the evaluation sets whose rows are forbidden."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides every byte of the dataset, apart from the versions of tvt and Arrow."""
        return {
            "layout": LAYOUT,
            "seed": self.seed,
            "mixture": digest.of_value(self.mixture.model_dump(mode="json")),
            "sources": {
                source.name: {
                    "examples": source.examples,
                    "rows": source.questions.rows,
                    "digest": source.content.digest if source.content else None,
                    "left_out": source.left_out,
                }
                for source in self.sources
            },
            "evaluation": self.evaluation,
        }


def plan_mix(
    mixture: Mixture,
    paths: Mapping[str, Path],
    *,
    seed: int = 0,
    evaluation: Sequence[Path] = (),
    overlap: Overlap = "question",
    drop_shared: bool = False,
    check: bool = True,
    progress: Progress = silent,
) -> MixPlan:
    """Open and check the sources and draw the rows.

    Args:
        mixture: says how many examples of each source.
        paths: file or folder of questions of every source with examples.
        seed: of the draw.
        evaluation: files or folders of questions that must not be trained on.
        overlap: what must not be shared with them.
        drop_shared: leave shared rows out instead of refusing them.
        check: read and check all rows; without it (and without ``evaluation``) only the rows shown are read.
        progress: told how far the reading is.

    Raises:
        InputError: nothing to train, sources missing or faulty, rows shared with an evaluation set; all faults at once.
    """
    counts = {name: count for name, count in sorted(mixture.counts.items()) if count > 0}
    if mixture.verdict == "nothing_helps" or not counts:
        raise InputError(
            "the mixture says to train on nothing (verdict nothing_helps): the base model is the answer; nothing to mix"
        )
    opened = _open(counts, paths)
    forbidden = _forbidden(evaluation, overlap)
    scans = _scan(opened, forbidden, progress) if check or forbidden else {}
    kept = {name: _kept(found) for name, found in scans.items()}
    if not drop_shared:
        _refuse_shared(opened, scans)
    sources = tuple(
        MixSource(
            name=name,
            weight=mixture.weights.get(name, 0.0),
            examples=count,
            questions=opened[name],
            kept=kept.get(name),
            content=scans.get(name),
        )
        for name, count in counts.items()
    )
    empty = [
        f"{s.questions.path}: no row is left for {s.name}; give it others with --data {s.name}=PATH"
        for s in sources
        if not s.available
    ]
    if empty:
        raise InputError(*empty)
    manifest = draw_rows(counts, {source.name: source.available for source in sources}, seed)
    return MixPlan(
        mixture=mixture, seed=seed, sources=sources, manifest=manifest, evaluation=forbidden.digest if forbidden else None
    )


def _open(counts: Mapping[str, int], paths: Mapping[str, Path]) -> dict[str, QuestionSource]:
    faults: list[str] = []
    opened: dict[str, QuestionSource] = {}
    seen: dict[Path, str] = {}
    for name, count in counts.items():
        try:
            opened[name] = open_questions(paths[name])
        except InputError as error:
            faults += [f"{name}: {fault}" for fault in error.faults]
            continue
        other = seen.setdefault(paths[name].resolve(), name)
        if other != name:
            faults.append(f"{paths[name]}: stands for both {other} and {name}; give each its own with --data SOURCE=PATH")
        if opened[name].rows == 0:
            faults.append(
                f"{paths[name]}: no questions, but the mixture takes {count} of {name}; point --data {name}= to its rows"
            )
    if faults:
        raise InputError(*faults)
    return opened


def _forbidden(paths: Sequence[Path], overlap: Overlap) -> EvaluationSet | None:
    found = EvaluationSet(overlap)
    faults: list[str] = []
    for path in paths:
        try:
            found.add(path)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return found if paths else None


def _scan(opened: Mapping[str, QuestionSource], forbidden: EvaluationSet | None, progress: Progress) -> dict[str, Scan]:
    faults: list[str] = []
    scans: dict[str, Scan] = {}
    total, done = sum(source.rows for source in opened.values()), 0
    for name, source in opened.items():
        progress("checking rows", done, total)
        try:
            scans[name] = scan(source, forbidden, partial(_advance, progress, done, total))
        except InputError as error:
            faults += error.faults
        done += source.rows
    if faults:
        raise InputError(*dict.fromkeys(faults))
    progress("checking rows", total, total)
    return scans


def _advance(progress: Progress, before: int, total: int, rows: int) -> None:
    progress("checking rows", before + rows, total)


def _kept(found: Scan) -> Rows | None:
    if not found.shared:
        return None
    return np.setdiff1d(np.arange(found.rows, dtype=np.int64), [item.row for item in found.shared])


def _refuse_shared(opened: Mapping[str, QuestionSource], scans: Mapping[str, Scan]) -> None:
    shared: list[tuple[str, Shared]] = [(name, item) for name, found in scans.items() for item in found.shared]
    if not shared:
        return
    faults = [f"{opened[name].where(item.row)}: the same {item.what} as {item.where}" for name, item in shared[:MAX_FAULTS]]
    counts = ", ".join(f"{name} {len(found.shared)} of {found.rows}" for name, found in scans.items() if found.shared)
    step = "remove them, or leave them out with --drop-shared"
    raise InputError(*faults, f"{len(shared)} rows are shared with an evaluation set ({counts}); {step}")


def source_record(source: MixSource) -> dict[str, Any]:
    """What is told of a source: weight, examples, rows available and how often they are used."""
    return {
        "weight": source.weight,
        "examples": source.examples,
        "available": source.available,
        "epochs": source.epochs,
        "left_out": source.left_out,
        "digest": source.content.digest if source.content else None,
        "origins": [origin.plain() for origin in source.content.origins] if source.content else [],
    }


def first_rows(plan: MixPlan, count: int) -> list[tuple[str, int, Question]]:
    """The first rows in the order of training: source, pass (from 0) and question."""
    manifest = plan.manifest
    count = min(count, len(manifest))
    found: dict[tuple[int, int], Question] = {}
    for index, source in enumerate(plan.sources):
        mine = np.flatnonzero(manifest.source[:count] == index)
        rows = source.rows(manifest.row[mine].astype(np.int64)).tolist()
        found.update({(index, int(place)): q for place, q in zip(mine, source.questions.questions(rows), strict=True)})
    owners = manifest.source[:count].tolist()
    return [(plan.sources[k].name, int(manifest.passes[i]), found[k, i]) for i, k in enumerate(owners)]
