"""What a builder is (it lists what can become a question, units, and drafts the question of one), and who builds which task.

What all builders share (which units are taken, where the right answer stands, no image twice, ids, files) is not theirs:
:mod:`tvt.data.builders.build` does it for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tvt.core.choices import BUILDERS
from tvt.data.tasks import TaskManifest, TrainingSource
from tvt.errors import InputError, suggest
from tvt.io import digest
from tvt.types import Progress, silent


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Something in the raw data of which a question can be made."""

    key: str
    """What it is, unique within the source and the same wherever the source lies, e.g. ``v_churchill/1-4``."""
    images: tuple[str, ...]
    """Source images (paths relative to the source, or ids) that its question shows: rows do not share them."""
    answer: int | None = None
    """Index of the right option where the raw data decides it; ``None`` where the builder may place it anywhere."""
    stratum: str = ""
    """Units of different strata (an object class, say) are taken in turn, so that no one class fills the rows."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the builder wants to know again when it drafts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question before it has an id and a file."""

    images: tuple[Image.Image, ...]
    """As they are shown, marks drawn, RGB."""
    question: str
    """The bare question."""
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    provenance: Mapping[str, Any]
    """The source's items and what was decided, enough to find and recompute the question: plain values."""
    prompt: str | None = None
    """The whole text to ask; ``None``: the question, and the options as BLINK lists them (:func:`prompt_of`)."""


class UnfitError(Exception):
    """A unit of which no fair question can be made; the message says why in a few words, the same for all such units."""


class Builder(Protocol):
    """Makes the questions of one task from one layout of raw data. Stateless; everything random comes from ``rng``."""

    task: str
    """The task's name, e.g. ``Visual_Correspondence``."""
    layout: str
    """The raw data that it reads, e.g. ``hpatches``."""
    version: int
    """Raised whenever the same raw data would give other questions."""
    options: int
    """Options of a question."""
    expects: Sequence[str]
    """Files or folders that must be in the source's folder (glob patterns), the first thing that is looked for."""

    def units(self, source: Path) -> Iterable[Unit]:
        """All units of the source, in any order; reads indices and no images where it can.

        Raises:
            InputError: an index is damaged; every fault, one line each.
        """
        ...

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of a unit with its right option at ``answer`` (the unit's own answer where it has one).

        Raises:
            UnfitError: no fair question can be made of it; another unit is taken.
            InputError: a file is missing or damaged.
        """
        ...


def prompt_of(question: str, options: Sequence[str]) -> str:
    """A question and its options as BLINK writes them."""
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=False))
    return f"{question}\nSelect from the following choices.\n{listed}"


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
"""What image files are called, in lower case."""
MOST_DIGESTS = 200
"""Of more index files than these (annotations of each image, say), one digest of all their digests is recorded."""


def source_of(manifest: TaskManifest | None, layout: str) -> TrainingSource:
    """What the manifest says of a layout's raw data; where it says nothing, that its licence is not stated."""
    for source in manifest.sources if manifest is not None else ():
        if source.layout == layout:
            return source
    return TrainingSource(name=layout, url="", licence="not stated", revision="not stated", files=(), layout=layout)


def check_source(builder: Builder, folder: Path, source: TrainingSource, progress: Progress = silent) -> dict[str, str]:
    """Look for everything that a builder expects, and compare digests where the manifest has them.

    Returns:
        sha256 of the index files (what is no image), by path relative to the folder.

    Raises:
        InputError: files missing, or others than the manifest names; every fault, one line each.
    """
    if not folder.is_dir():
        raise InputError(f"--source {folder}: no such folder; {_where_from(source, builder)}")
    result = {pattern: sorted(_matches(folder, pattern)) for pattern in builder.expects}
    missing = [pattern for pattern, paths in result.items() if not paths]
    if missing:
        steps = _where_from(source, builder)
        raise InputError(*(f"{folder}: no {pattern}, which {builder.layout} needs; {steps}" for pattern in missing))
    files = sorted({path for paths in result.values() for path in paths if _is_index(path)})
    digests: dict[str, str] = {}
    for number, path in enumerate(files, 1):
        digests[path.relative_to(folder).as_posix()] = digest.of_file(path)
        progress("reading indices", number, len(files))
    _compare(digests, folder, source)
    return digests if len(digests) <= MOST_DIGESTS else {f"{len(digests)} files": digest.of_value(digests)}


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Files and folders of a pattern. Of images one is enough: there may be a million, and only indices are digested."""
    if not any(mark in pattern for mark in "*?["):
        return [folder / pattern] if (folder / pattern).exists() else []
    result = folder.glob(pattern)
    first = next(result, None)
    if first is None:
        return []
    return [first, *result] if _is_index(first) else [first]


def _is_index(path: Path) -> bool:
    return path.is_file() and not path.name.lower().endswith(IMAGE_SUFFIXES)


def _where_from(source: TrainingSource, builder: Builder) -> str:
    if source.url:
        return f"get {source.name} ({source.revision}) from {source.url} and unpack it there"
    return f"give the folder of {builder.layout}'s raw data"


def _compare(digests: dict[str, str], folder: Path, source: TrainingSource) -> None:
    """The digests of the manifest must be those of the files."""
    faults = [
        f"{folder / path}: sha256 {item[:12]}…, but the manifest has {file.sha256[:12]}…; get revision {source.revision}"
        for file in source.files
        if file.sha256 is not None
        for path, item in digests.items()
        if PurePosixPath(path).match(file.path) and item != file.sha256
    ]
    if faults:
        raise InputError(*faults)


def layouts_of(task: str) -> tuple[str, ...]:
    """The layouts of raw data from which a task's rows can be built, the one taken by default first."""
    return tuple(layout for name in BUILDERS.names for of, _, layout in [name.partition("/")] if of == task)


def find_builder(task: str, layout: str | None = None) -> Builder:
    """The builder of a task.

    Args:
        task: the task's name.
        layout: which raw data it is to read; ``None`` takes the first of the task's.

    Raises:
        InputError: no builder of this task, or none that reads this layout.
    """
    layouts = layouts_of(task)
    if not layouts:
        tasks = list(dict.fromkeys(name.partition("/")[0] for name in BUILDERS.names))
        raise InputError(f"{task}: no builder makes rows of it{suggest(task, tasks)}; there is one for {', '.join(tasks)}")
    chosen = layout or layouts[0]
    if chosen not in layouts:
        raise InputError(f"--layout {chosen}: {task} is not built from it; its layouts: {', '.join(layouts)}")
    builder: Builder = BUILDERS.find(f"{task}/{chosen}")
    return builder
