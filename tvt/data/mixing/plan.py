"""Everything that is settled before a mixed dataset is written: its rows, their shuffled order, and that none is forbidden."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.data.controls import CONTROL_VERSION, Control
from tvt.data.csv_table import MAX_FAULTS
from tvt.data.questions.batches import Rows
from tvt.data.questions.checks import EvaluationSet, Overlap, Scan, Shared, scan
from tvt.data.questions.files import QuestionSource, open_questions
from tvt.errors import InputError
from tvt.io import digest
from tvt.types import Progress, silent

LAYOUT = 1
"""Raised whenever the same request gives other bytes; part of the digest."""


@dataclass(frozen=True, kw_only=True)
class MixSource:
    """A source of the mixture with the rows it may give."""

    name: str
    weight: float
    examples: int
    questions: QuestionSource
    allowed: Rows | None
    """Rows that may be used, ascending; ``None`` for all of them."""
    content: Scan | None
    """``None`` where the rows were not checked, for a preview."""

    @property
    def available(self) -> int:
        """How many rows may be used."""
        return self.questions.rows if self.allowed is None else len(self.allowed)

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
        return drawn if self.allowed is None else self.allowed[drawn]


@dataclass(frozen=True, kw_only=True)
class MixPlan:
    """A mixed dataset to be written. ``sources`` are those with examples, by name."""

    mixture: Mixture
    seed: int
    sources: tuple[MixSource, ...]
    manifest: RowManifest
    evaluation: str | None
    """Digest of the evaluation sets whose rows are forbidden."""
    control: Control | None = None
    """What is done to prompts and answers, where the rows shall teach nothing."""

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
            **({} if self.control is None else {"placebo": self.control.kind, "version": CONTROL_VERSION}),
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
    control: Control | None = None,
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
        control: what is done to the rows, so that they teach nothing of their tasks.
        check: read and check all rows; without it (and without ``evaluation``) only the rows shown are read.
        progress: called with how far the reading is.

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
    allowed = {name: _allowed(item) for name, item in scans.items()}
    if not drop_shared:
        _refuse_shared(opened, scans)
    sources = tuple(
        MixSource(
            name=name,
            weight=mixture.weights.get(name, 0.0),
            examples=count,
            questions=opened[name],
            allowed=allowed.get(name),
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
        mixture=mixture,
        seed=seed,
        sources=sources,
        manifest=manifest,
        evaluation=forbidden.digest if forbidden else None,
        control=control,
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
    result = EvaluationSet(overlap)
    faults: list[str] = []
    for path in paths:
        try:
            result.add(path)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return result if paths else None


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


def _allowed(scan: Scan) -> Rows | None:
    if not scan.shared:
        return None
    return np.setdiff1d(np.arange(scan.rows, dtype=np.int64), [item.row for item in scan.shared])


def _refuse_shared(opened: Mapping[str, QuestionSource], scans: Mapping[str, Scan]) -> None:
    shared: list[tuple[str, Shared]] = [(name, item) for name, each in scans.items() for item in each.shared]
    if not shared:
        return
    faults = [f"{opened[name].where(item.row)}: the same {item.what} as {item.where}" for name, item in shared[:MAX_FAULTS]]
    counts = ", ".join(f"{name} {len(each.shared)} of {each.rows}" for name, each in scans.items() if each.shared)
    step = "remove them, or leave them out with --drop-shared"
    raise InputError(*faults, f"{len(shared)} rows are shared with an evaluation set ({counts}); {step}")


def source_record(source: MixSource) -> dict[str, Any]:
    """What the record says of a source: weight, examples, rows available and how often they are used."""
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
    result: dict[tuple[int, int], Question] = {}
    for index, source in enumerate(plan.sources):
        mine = np.flatnonzero(manifest.source[:count] == index)
        rows = source.rows(manifest.row[mine].astype(np.int64)).tolist()
        result.update({(index, int(place)): q for place, q in zip(mine, source.questions.questions(rows), strict=True)})
    owners = manifest.source[:count].tolist()
    return [(plan.sources[k].name, int(manifest.passes[i]), result[k, i]) for i, k in enumerate(owners)]


Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class RowManifest:
    """The rows in the order of training. ``source`` indexes ``sources``, ``row`` counts within its source, both from 0."""

    sources: tuple[str, ...]
    """Names, sorted; those without examples left out."""
    source: Ints
    row: Ints
    passes: Ints
    """In which pass over its source a row is used, from 0."""

    def __len__(self) -> int:
        return len(self.source)


def draw_rows(counts: Mapping[str, int], available: Mapping[str, int], seed: int) -> RowManifest:
    """Draw the row manifest.

    Args:
        counts: examples requested of each source.
        available: rows that each source has.
        seed: of all randomness.

    Raises:
        ValueError: examples requested of a source without rows, or a negative count.
    """
    sources = tuple(sorted(source for source, count in counts.items() if count))
    for name in sources:
        if counts[name] < 0 or available.get(name, 0) <= 0:
            raise ValueError(f"{counts[name]} examples of {name}, which has {available.get(name, 0)} rows")
    rows: list[Ints] = []
    passes: list[Ints] = []
    places: list[npt.NDArray[np.float64]] = []
    for name in sources:
        row, number = _passes(counts[name], available[name], seed, name)
        rows.append(row)
        passes.append(number)
        places.append(_places(counts[name], seed, name))
    owner = np.repeat(np.arange(len(sources), dtype=np.int32), [len(row) for row in rows])
    # Stable, so that equal places, however unlikely, fall in the order of the names.
    order = np.argsort(_joined(places, np.float64), kind="stable")
    return RowManifest(
        sources=sources,
        source=owner[order],
        row=_joined(rows, np.int32)[order],
        passes=_joined(passes, np.int32)[order],
    )


def epochs(counts: Mapping[str, int], available: Mapping[str, int]) -> dict[str, float]:
    """How often each source is used on average; 0 where nothing of it is."""
    return {name: count / available[name] if count else 0.0 for name, count in counts.items()}


def _passes(count: int, available: int, seed: int, name: str) -> tuple[Ints, Ints]:
    """Rows of a source in the order of use, and the pass of each."""
    rows = np.empty(count, np.int32)
    for number, start in enumerate(range(0, count, available)):
        order = np.argsort(_bits(available, seed, name, f"pass {number}"), kind="stable")
        rows[start : start + available] = order[: count - start]
    return rows, (np.arange(count) // available).astype(np.int32)


def _places(count: int, seed: int, name: str) -> npt.NDArray[np.float64]:
    """Where in the whole, in [0, 1), each example of a source lies; ascending."""
    within = (_bits(count, seed, name, "places") >> np.uint64(11)) * 2.0**-53
    places: npt.NDArray[np.float64] = (np.arange(count) + within) / count
    return places


def _bits(count: int, seed: int, name: str, purpose: str) -> npt.NDArray[np.uint64]:
    """Raw random bits that belong to the seed, the source's name and a purpose."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
    generator = np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big")))
    bits: npt.NDArray[np.uint64] = generator.random_raw(count)
    return bits


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
