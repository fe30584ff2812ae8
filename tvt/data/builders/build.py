"""Raw data in, a file of training rows out: what all builders share.

Which units become rows and where the right answers stand is :mod:`tvt.data.builders.choose`'s; what a question looks like is
the builder's. Here drafts are asked for, compared with what must not be trained on, encoded, named and written. The same
request writes the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvt.core.question import LETTERS, Question
from tvt.data.builders.choose import (
    TRAINING,
    VALIDATION,
    Amounts,
    Chooser,
    Images,
    ShortageError,
    Stock,
    check_units,
    possible,
    shortage_error,
)
from tvt.data.builders.contract import Builder, Draft, UnfitError, Unit, check_source, prompt_of
from tvt.data.lookalikes import NEAR, Gallery, hash_image
from tvt.data.questions.files import write_parquet
from tvt.data.tasks import TrainingSource
from tvt.errors import InputError
from tvt.io import atomic, digest, json_text
from tvt.io.atomic import new_file
from tvt.io.names import file_name
from tvt.types import Progress, silent

ENCODING = "JPEG, quality 95, no chroma subsampling"
"""Of every image of every row: how an image is stored must not show whether it belongs to the right answer."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What is to be built."""

    builder: Builder
    folder: Path
    """Where the raw data is."""
    source: TrainingSource
    """What the manifest says of it."""
    amounts: Amounts
    seed: int = 0
    excluded: Gallery = field(default_factory=Gallery)
    """Images that must not be shown: those of evaluation sets."""


@dataclass(frozen=True)
class Built:
    """What was written."""

    record: Mapping[str, Any]
    """What the file ``TASK.build.json`` says; no paths of this machine."""
    paths: tuple[Path, ...]
    """The rows, those for validation where there are any, and the record."""


def build(request: BuildRequest, output: Path, progress: Progress = silent) -> Built:
    """Write ``TASK.parquet``, ``TASK.validation.parquet`` where asked for, and ``TASK.build.json`` into a folder, all or none.

    What an earlier build wrote there is replaced; rows from elsewhere are not.

    Raises:
        InputError: raw data missing or damaged, or too little of it, or rows from elsewhere; every fault, one line each.
        MissingPackageError: images are to be excluded, and the data extra is not installed.
    """
    builder, amounts = request.builder, request.amounts
    earlier = _earlier(output, builder.task)
    indices = check_source(builder, request.folder, request.source, progress)
    progress("listing units", 0, 1)
    units = list(builder.units(request.folder))
    progress("listing units", 1, 1)
    stock = Stock(task=builder.task, units=units, options=builder.options, seed=request.seed)
    check_units(stock)
    if possible(stock, amounts) != amounts:
        raise shortage_error(stock, amounts)
    drawing = _Drawing(request, stock, progress)
    stem = file_name(builder.task)
    names = [f"{stem}.validation.parquet"] * bool(amounts.validation) + [f"{stem}.parquet"]
    parts = [(VALIDATION, amounts.validation)] * bool(amounts.validation) + [(TRAINING, amounts.rows)]
    with _new_files([output / name for name in names]) as temporary:
        for path, (part, count) in zip(temporary, parts, strict=True):
            write_parquet(drawing.rows(count, part), path)
        content = {name: digest.of_file(path) for name, path in zip(names, temporary, strict=True)}
        record = _record(request, drawing, indices, content)
    for name in earlier - set(names):
        (output / name).unlink(missing_ok=True)
    record_path = output / f"{stem}.build.json"
    atomic.write_text(record_path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return Built(record, (*(output / name for name in reversed(names)), record_path))


class _Drawing:
    """Drafts units in the order in which they are chosen, and keeps count of what became of them."""

    def __init__(self, request: BuildRequest, stock: Stock, progress: Progress) -> None:
        self.request, self.stock, self._progress = request, stock, progress
        self._images = Images(request.amounts.reuse)
        self._chooser = Chooser(stock, self._images)
        self._draft: Draft | None = None
        self.unfit: dict[str, str] = {}
        self.letters: Counter[str] = Counter()
        self.tried = 0
        self._total = request.amounts.rows + request.amounts.validation
        self._done = 0

    def rows(self, count: int, part: int) -> Iterator[Question]:
        """Yield the questions of a part."""
        try:
            for unit, position in self._chooser.rows(count, part, self._fair):
                assert self._draft is not None  # noqa: S101 - the unit was accepted with it
                yield self._question(unit, self._draft)
                if part == TRAINING:
                    self.letters[LETTERS[position]] += 1
                self._done += 1
                self._progress("drawing questions", self._done, self._total)
        except ShortageError:
            raise shortage_error(self.stock, self.request.amounts, frozenset(self.unfit)) from None
        self._images.close()

    def _fair(self, unit: Unit, position: int) -> bool:
        """Draft a unit; whether a fair question came of it that shows nothing excluded."""
        request = self.request
        self.tried += 1
        try:
            draft = request.builder.draft(request.folder, unit, position, unit_rng(request.seed, unit.key))
        except UnfitError as error:
            self.unfit[unit.key] = str(error)
            return False
        _check_draft(request.builder, unit, draft, position)
        if len(request.excluded) and any(request.excluded.find(hash_image(image)) for image in draft.images):
            self.unfit[unit.key] = "looks like an excluded image"
            return False
        self._draft = draft
        return True

    def _question(self, unit: Unit, draft: Draft) -> Question:
        builder, source = self.request.builder, self.request.source
        provenance = {
            "source": source.name,
            "licence": source.licence,
            "revision": source.revision,
            "layout": builder.layout,
            "builder_version": builder.version,
            "seed": self.request.seed,
            "unit": unit.key,
            **draft.provenance,
        }
        return Question(
            id=row_id(builder.layout, unit.key),
            task=builder.task,
            prompt=draft.prompt or prompt_of(draft.question, draft.options),
            options=draft.options,
            answer=LETTERS[draft.answer],
            images=tuple(encode(image) for image in draft.images),
            question=draft.question,
            provenance=json.dumps(provenance, ensure_ascii=False, allow_nan=False),
        )


def unit_rng(seed: int, key: str) -> np.random.Generator:
    """A unit's own source of randomness: its question does not depend on which others are drawn."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest(), "big"))


def row_id(layout: str, key: str) -> str:
    """A row's id: the same for the same unit, whatever else is built."""
    return f"{layout}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def encode(image: Image.Image) -> bytes:
    """An image as it is stored; see :data:`ENCODING`. Nothing but pixels is stored."""
    stream = io.BytesIO()
    Image.frombytes("RGB", image.size, image.convert("RGB").tobytes()).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def _check_draft(builder: Builder, unit: Unit, draft: Draft, position: int) -> None:
    """A builder that breaks its contract is a defect, reported at once."""
    if draft.answer != position or len(draft.options) != builder.options or not draft.images:
        raise ValueError(f"builder {builder.layout}: {unit.key}: not the answer, the options or the images that were asked for")


def _earlier(output: Path, task: str) -> set[str]:
    """The files of an earlier build of the task, by its record.

    Raises:
        InputError: there are rows of the task that no build wrote.
    """
    stem = file_name(task)
    ours = {f"{stem}.parquet", f"{stem}.validation.parquet"}
    try:
        text = set(json_text.loads((output / f"{stem}.build.json").read_text(encoding="utf-8"))["files"]) & ours
    except (OSError, ValueError, TypeError, KeyError):
        text = set()
    foreign = sorted(name for name in ours - text if (output / name).exists())
    if foreign:
        step = "move it, or name another folder with -o"
        raise InputError(*(f"{output / name}: rows that tvt data build did not write; {step}" for name in foreign))
    return text


@contextmanager
def _new_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Temporary paths of several files, which all become files when the block ends without an error."""
    with ExitStack() as stack:
        yield [stack.enter_context(new_file(path)) for path in paths]


def _record(request: BuildRequest, drawing: _Drawing, indices: Mapping[str, str], content: Mapping[str, str]) -> dict[str, Any]:
    builder, source, amounts = request.builder, request.source, request.amounts
    return {
        "schema": 1,
        "task": builder.task,
        "layout": builder.layout,
        "builder_version": builder.version,
        "seed": request.seed,
        "rows": amounts.rows,
        "validation": amounts.validation,
        "reuse": amounts.reuse,
        "encoding": ENCODING,
        "source": {
            **source.model_dump(include={"name", "url", "licence", "revision", "substitute"}),
            "indices": dict(sorted(indices.items())),
        },
        "units": {"listed": len(drawing.stock.units), "tried": drawing.tried, "unfit": dict(_reasons(drawing.unfit))},
        "answers": {letter: drawing.letters[letter] for letter in LETTERS[: builder.options]},
        "excluded": {"images": len(request.excluded), "digest": request.excluded.digest, "near_bits": NEAR},
        "files": dict(content),
    }


def _reasons(unfit: Mapping[str, str]) -> list[tuple[str, int]]:
    """How often each reason was given, the most frequent first."""
    return sorted(Counter(unfit.values()).items(), key=lambda pair: (-pair[1], pair[0]))
