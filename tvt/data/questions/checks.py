"""One reading of a file of questions: every fault, its digest, the size and origins of its rows, and what it shares.

The digest is of the content, not of the file: the same questions as JSON Lines or parquet, compressed or not, have the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tvt.core.question import answer_fault, conversation_fault
from tvt.data.csv_table import Faults
from tvt.data.questions.batches import Rows, flat_images, image_fault, list_lengths, value_lengths
from tvt.data.questions.files import QuestionSource, open_questions
from tvt.data.tasks import load_manifests
from tvt.errors import InputError
from tvt.io import json_text
from tvt.io.names import NOT_STATED

Overlap = Literal["question", "image"]
"""What must not be shared with an evaluation set: all images with the prompt, or also any single image."""

_TEXTS = ("id", "task", "prompt", "answer")
_NO_BYTES = "broken image: no bytes (only a path?); write the file with its images inside"


@dataclass(frozen=True)
class Shared:
    """A row that an evaluation set has too."""

    row: int
    what: str
    """``question`` or ``image``."""
    where: str
    """The evaluation file and its row."""


@dataclass(frozen=True)
class Scan:
    """What one reading found."""

    rows: int
    digest: str
    """sha256 of the content."""
    sizes: npt.NDArray[np.int64]
    """Bytes of each row."""
    shared: tuple[Shared, ...]
    origins: tuple[Origin, ...]
    """Where the rows come from, as they say."""


@dataclass
class EvaluationSet:
    """Digests of questions that must not be trained on."""

    overlap: Overlap = "question"
    questions: dict[bytes, str] = field(default_factory=dict)
    images: dict[bytes, str] = field(default_factory=dict)
    _content: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Add the questions of a file or folder.

        Raises:
            InputError: the faults of the file.
        """
        source = open_questions(path)
        self._content.append(scan(source).digest)
        for numbers, batch in source.batches():
            for row, (questions, images) in zip(numbers.tolist(), _digests(batch), strict=True):
                self.questions.setdefault(questions[0], source.where(row))
                for image in images:
                    self.images.setdefault(image, source.where(row))

    def shared(self, numbers: Rows, batch: pa.RecordBatch) -> Iterator[Shared]:
        """The rows of a batch that this set has too."""
        for row, (questions, images) in zip(numbers.tolist(), _digests(batch), strict=True):
            if (where := next((self.questions[one] for one in questions if one in self.questions), None)) is not None:
                yield Shared(row, "question", where)
            elif self.overlap == "image" and (same := next((i for i in images if i in self.images), None)) is not None:
                yield Shared(row, "image", self.images[same])

    @property
    def digest(self) -> str:
        """sha256 of what was added, whatever the order."""
        return hashlib.sha256("".join([self.overlap, *sorted(set(self._content))]).encode()).hexdigest()


class Forbidden:
    """Files of questions that must not be trained on, read when somebody needs to know what is in them.

    Args:
        paths: the files; those that cannot be read are left out, for scoring on them reports their faults.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = tuple(paths)

    @cached_property
    def questions(self) -> EvaluationSet:
        """What is in them."""
        result = EvaluationSet()
        for path in self.paths:
            with suppress(InputError):
                result.add(path)
        return result


def scan(source: QuestionSource, evaluation: EvaluationSet | None = None, progress: Callable[[int], object] = bool) -> Scan:
    """Read a source once, checking every row.

    Args:
        source: what to read.
        evaluation: questions that must not be in it.
        progress: called with the number of rows read.

    Raises:
        InputError: missing or broken images, bad answer letters, empty or repeated ids, bad lines; all of them, or the first 20
            of a file and the number of the others.
    """
    faults = [Faults(part.path) for part in source.parts]
    content, origins = _Content(), Origins()
    sizes: list[npt.NDArray[np.int64]] = []
    shared: list[Shared] = []
    keys: list[pa.Array] = []
    unreadable: list[str] = []
    try:
        for numbers, batch in source.batches(faults=faults):
            for row, what in _row_faults(batch):
                _note(source, faults, int(numbers[row]), what)
            content.add(batch)
            origins.add(batch.column("provenance"))
            sizes.append(_sizes(batch))
            keys.append(pc.binary_join_element_wise(batch.column("task"), batch.column("id"), "\x1f"))
            if evaluation is not None:
                shared += evaluation.shared(numbers, batch)
            progress(int(numbers[-1]) + 1)
    except InputError as error:  # reading cannot go on, but what was found until then still counts
        unreadable += error.faults
    if not any(collected.lines for collected in faults) and not unreadable:
        _note_repeated(source, faults, pa.chunked_array(keys, pa.string()))
    _raise(faults, unreadable)
    every = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    return Scan(len(every), content.digest(), every, tuple(shared), tuple(origins.found()))


def _note(source: QuestionSource, faults: Sequence[Faults], row: int, what: str) -> None:
    """Note a fault with the file that has the row."""
    for part, collected in zip(source.parts, faults, strict=True):
        if row < part.rows:
            part.fault(collected, row, what)
            return
        row -= part.rows


def _raise(faults: Sequence[Faults], unreadable: list[str]) -> None:
    lines: list[str] = []
    for collected in faults:
        try:
            collected.check()
        except InputError as error:
            lines += error.faults
    if lines or unreadable:
        raise InputError(*dict.fromkeys([*lines, *unreadable]))


def _row_faults(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """What is wrong with rows: (row within the batch, what)."""
    for name in _TEXTS:
        empty = pc.equal(pc.binary_length(batch.column(name)).fill_null(0), 0)
        for row in np.flatnonzero(empty.to_numpy(zero_copy_only=False)):
            yield int(row), f"'{name}' is empty; fill it in"
    counts = list_lengths(batch.column("options")).tolist()
    for place, answer in enumerate(batch.column("answer").to_pylist()):
        if answer and (what := answer_fault(answer, counts[place])) is not None:
            yield place, f"answer '{answer[:20]}' is {what}"
    yield from _conversation_faults(batch)
    owners = np.repeat(np.arange(batch.num_rows), list_lengths(batch.column("images")))
    for row, image in zip(owners.tolist(), flat_images(batch.column("images")), strict=True):
        data = image.as_py()
        what = image_fault(data) if data is not None else _NO_BYTES
        if what is not None:
            yield row, what


def _conversation_faults(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """What is wrong with accepted answers and earlier turns, which most files lack."""
    names = ("answer", "options", "answers", "turns")
    if all(batch.column(name).null_count == batch.num_rows for name in names[2:]):
        return
    for place, row in enumerate(batch.select(names).to_pylist()):
        turns = [(turn["prompt"] or "", turn["answer"] or "") for turn in row["turns"] or ()]
        answers = [answer or "" for answer in row["answers"] or ()]
        what = conversation_fault(row["answer"] or "", row["options"] or (), answers, turns)
        if what is not None:
            yield place, what


def _note_repeated(source: QuestionSource, faults: Sequence[Faults], keys: pa.ChunkedArray) -> None:
    """Ids must be unique within their task."""
    counts = pc.value_counts(keys)
    if len(counts) == len(keys):
        return
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    rows = np.flatnonzero(pc.is_in(keys, value_set=repeated).to_numpy())
    first: dict[str, int] = {}
    for row, key in zip(rows.tolist(), keys.take(pa.array(rows)).to_pylist(), strict=True):
        if key in first:
            name = key.partition("\x1f")[2]
            _note(source, faults, row, f"id '{name}' stands already at {source.where(first[key])}; make ids unique")
        first.setdefault(key, row)


def _sizes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Bytes of each row's prompt and images."""
    images = batch.column("images")
    ends = np.concatenate([[0], np.cumsum(value_lengths(flat_images(images)))])
    bounds = np.concatenate([[0], np.cumsum(list_lengths(images))])
    sizes: npt.NDArray[np.int64] = np.diff(ends[bounds]) + value_lengths(batch.column("prompt"))
    return sizes


def _digests(batch: pa.RecordBatch) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Of each row the digests of what it asks of its images, and those of the images. White space in a prompt does not count.

    The first digest is of the whole question, earlier turns included; of a conversation there are further ones, of each turn
    with those before it, and alone, so that a question is found wherever it is asked.
    """
    for row in batch.select(["prompt", "images", "turns"]).to_pylist():
        each = [
            hashlib.blake2b(image["bytes"], digest_size=16).digest()
            for image in row["images"] or ()
            if image["bytes"] is not None
        ]
        prompts = [*(turn["prompt"] or "" for turn in row["turns"] or ()), row["prompt"] or ""]
        parts = dict.fromkeys(tuple(prompts[start:end]) for end in range(len(prompts), 0, -1) for start in sorted({0, end - 1}))
        texts = ("\0".join(" ".join(prompt.split()) for prompt in part).encode() for part in parts)
        yield [hashlib.blake2b(b"".join(each) + b"\0" + text, digest_size=16).digest() for text in texts], each


class _Content:
    """sha256 of columns, which does not depend on how the rows were cut into batches."""

    def __init__(self) -> None:
        self._hashes: dict[str, hashlib._Hash] = {}
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        for name in _TEXTS:
            self._values(name, batch.column(name))
        if batch.column("question").null_count < batch.num_rows:  # templates may show it
            self._values("question", batch.column("question").fill_null(""))
        for name, flat in (
            ("options", pc.list_flatten(batch.column("options"))),
            ("images", flat_images(batch.column("images"))),
        ):
            self._update(f"{name}.counts", list_lengths(batch.column(name)).data)
            self._values(name, flat)
        for name in ("answers", "turns"):
            self._further(name, batch.column(name))
        self._rows += batch.num_rows

    def _further(self, name: str, lists: pa.Array) -> None:
        """A column that came later and most rows leave empty: only rows that fill it count, so that older digests stay."""
        lengths = list_lengths(lists)
        filled = np.flatnonzero(lengths)
        if not len(filled):
            return
        self._update(f"{name}.rows", (filled + self._rows).astype(np.int64).data)
        self._update(f"{name}.counts", lengths[filled].data)
        flat = pc.list_flatten(lists)
        if not pa.types.is_struct(flat.type):
            self._values(name, flat)
            return
        for part in flat.type:
            self._values(f"{name}.{part.name}", pc.struct_field(flat, part.name))

    def _values(self, name: str, values: pa.Array) -> None:
        if not len(values):
            return
        self._update(f"{name}.lengths", value_lengths(values).data)
        _, offsets, data = values.buffers()
        at = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        if data is not None:
            self._update(name, memoryview(data)[at[0] : at[-1]])

    def _update(self, name: str, data: memoryview) -> None:
        self._hashes.setdefault(name, hashlib.sha256()).update(data)

    def digest(self) -> str:
        parts = (f"{name} {self._hashes[name].hexdigest()}\n" for name in sorted(self._hashes))
        return hashlib.sha256("".join(parts).encode()).hexdigest()


_KEYS = ("source", "licence")


@dataclass(frozen=True, order=True, kw_only=True)
class Origin:
    """A source that rows come from."""

    source: str
    """``not stated`` where rows do not say."""
    licence: str
    rows: int

    def plain(self) -> dict[str, Any]:
        """As plain values, with the source's address where a bundled manifest has it."""
        return {**asdict(self), "url": _addresses().get(self.source)}


@cache
def _addresses() -> dict[str, str]:
    """Addresses of the raw data that tvt data build knows, by name."""
    return {source.name: source.url for manifest in load_manifests() for source in manifest.sources}


@dataclass
class Origins:
    """Counts the origins of rows, a batch at a time.

    A million rows say a million different things, of which two matter: these are cut out of the JSON text by Arrow, and only
    the few different ones are decoded.
    """

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, texts: pa.Array) -> None:
        """Count the rows of a column of ``provenance``."""
        parts = [pc.struct_field(pc.extract_regex(texts, _pattern(key)), key) for key in _KEYS]
        pairs = pc.binary_join_element_wise(*(pc.fill_null(part, "") for part in parts), "\x1f")
        for entry in pc.value_counts(pairs).to_pylist():
            source, licence = (_text(part) for part in entry["values"].split("\x1f", 1))
            self._counts[source, licence] += entry["counts"]

    def found(self) -> Iterator[Origin]:
        """The origins, by name."""
        for (source, licence), rows in sorted(self._counts.items()):
            yield Origin(source=source, licence=licence, rows=rows)


def _pattern(key: str) -> str:
    """The raw JSON text that stands behind a key, where it stands first."""
    return rf'"{key}"\s*:\s*"(?P<{key}>(?:[^"\\]|\\.)*)"'


def _text(raw: str) -> str:
    try:
        return str(json_text.loads(f'"{raw}"')).strip() or NOT_STATED
    except ValueError:
        return NOT_STATED
