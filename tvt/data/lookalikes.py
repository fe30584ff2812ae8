"""Images that look alike: perceptual hashes, pairs that lie close together, and the images of evaluation sets to stay clear of.

A hash has 64 bits (Zauner 2010: the signs of the lowest frequencies of the cosine transform, against their median). Scaling,
recompression and small marks flip few of them; unrelated images differ in some 32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tvt.core.question import Question
from tvt.core.task import resolve_name
from tvt.data.hub.questions import shown_questions
from tvt.data.hub.rows import content_of, label
from tvt.data.questions.files import open_questions
from tvt.data.task_data import parts_of
from tvt.data.task_questions import as_stored, read
from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest, load_manifest
from tvt.errors import InputError, needs_data_extra
from tvt.io import atomic, digest, json_text
from tvt.io.digest import cache_folder
from tvt.model.picture import as_rgb, decode
from tvt.types import Progress, silent

Hashes = npt.NDArray[np.uint64]

NEAR = 8
"""Two images whose hashes differ in at most so many bits are taken for the same picture."""
FLAT = 2.0
"""Images whose grey values deviate less than this (of 255) have no frequencies to speak of: only equal ones are the same."""
_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class ImageHash:
    """What is remembered of an image."""

    exact: bytes
    """Digest of its size and its pixels: the same for PNG and a lossless copy."""
    hash: int | None
    """Perceptual hash; ``None`` where the image is flat."""


@dataclass(frozen=True, slots=True)
class Match:
    """An image that was found again."""

    name: str
    bits: int
    """In how many bits the hashes differ."""
    same: bool
    """Whether its pixels are equal."""

    @property
    def text(self) -> str:
        """What another image does, seen from it."""
        return f"shows {self.name}" if self.same else f"looks like {self.name} ({self.bits} of 64 bits differ)"


def hash_image(image: Image.Image) -> ImageHash:
    """Digest and hash of a decoded image.

    Raises:
        MissingPackageError: the data extra is not installed.
    """
    with needs_data_extra():
        import imagehash
    image = as_rgb(image)
    exact = hashlib.blake2b(image.tobytes(), digest_size=16, key=repr(image.size).encode()).digest()
    grey = image.convert("L")
    if float(np.std(np.asarray(grey.resize((32, 32), Image.Resampling.BOX)))) < FLAT:
        return ImageHash(exact, None)
    bits = imagehash.phash(grey).hash.ravel()
    return ImageHash(exact, int.from_bytes(np.packbits(bits).tobytes(), "big"))


def hash_bytes(data: bytes) -> ImageHash:
    """Digest and hash of an encoded image; see :func:`hash_image`.

    Raises:
        PictureError: no image that can be decoded.
    """
    return hash_image(decode(data))


def popcount(values: Hashes) -> npt.NDArray[np.uint8]:
    """Bits that are set in each value (Hacker's Delight, 5-1: counts of ever wider fields added in parallel)."""
    ones = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    ones = (ones & np.uint64(0x3333333333333333)) + ((ones >> np.uint64(2)) & np.uint64(0x3333333333333333))
    ones = (ones + (ones >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    counts: npt.NDArray[np.uint8] = ((ones * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return counts


def near_pairs(left: Hashes, right: Hashes, near: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """Yield (place in ``left``, place in ``right``, bits that differ) of all pairs that differ in at most ``near`` bits."""
    for top in range(0, len(left), _BLOCK):
        for start in range(0, len(right), _BLOCK):
            apart = popcount(left[top : top + _BLOCK, None] ^ right[None, start : start + _BLOCK])
            for row, column in np.argwhere(apart <= near):
                yield top + int(row), start + int(column), int(apart[row, column])


def near_pairs_within(hashes: Hashes, near: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """Yield (place, later place, bits that differ) of all pairs of one set that differ in at most ``near`` bits."""
    for top in range(0, len(hashes), _BLOCK):
        for first, second, apart in near_pairs(hashes[top : top + _BLOCK], hashes[top:], near):
            if first < second:
                yield top + first, top + second, apart


class Gallery:
    """Images to compare with, each with a name: those of evaluation sets."""

    def __init__(self) -> None:
        self._exact: dict[bytes, str] = {}
        self._hashes: list[int] = []
        self._names: list[str] = []
        self._array: Hashes = np.zeros(0, np.uint64)
        self._texts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._exact)

    def add(self, look: ImageHash, name: str) -> None:
        """Remember an image."""
        if look.exact in self._exact:
            return
        self._exact[look.exact] = name
        if look.hash is not None:
            self._hashes.append(look.hash)
            self._names.append(name)

    def add_text(self, prompt: str, name: str) -> None:
        """Remember a question that is asked without an image."""
        self._texts.setdefault(" ".join(prompt.split()), name)

    def shared_by(self, question: Question) -> str | None:
        """What of the sets a question has too: an image (the same or nearly), or without images the same text; else ``None``.

        Raises:
            PictureError: an image that cannot be decoded.
        """
        if not question.images:
            prompts = (*(turn.prompt for turn in question.turns), question.prompt)
            names = (self._texts.get(" ".join(prompt.split())) for prompt in prompts)
            return next((f"asks what {name} asks" for name in names if name is not None), None)
        if not self._exact:
            return None
        return next((match.text for image in question.images if (match := self.find(hash_bytes(image))) is not None), None)

    def find(self, look: ImageHash, near: int = NEAR) -> Match | None:
        """The image that is the same, or the one that looks most alike with at most ``near`` bits apart."""
        same = self._exact.get(look.exact)
        if same is not None:
            return Match(same, 0, same=True)
        if look.hash is None or not self._hashes:
            return None
        if len(self._array) != len(self._hashes):
            self._array = np.array(self._hashes, np.uint64)
        apart = popcount(self._array ^ np.uint64(look.hash))
        best = int(np.argmin(apart))
        return Match(self._names[best], int(apart[best]), same=False) if apart[best] <= near else None

    @property
    def digest(self) -> str:
        """sha256 of what it holds, in whatever order it was added."""
        return hashlib.sha256(b"".join(sorted(self._exact))).hexdigest()


SPLITS: Mapping[str, tuple[str, ...]] = {"blink": ("val", "test")}
"""Splits of a format that all are evaluation sets, whichever of them a manifest scores on."""


_VERSION = 2
"""Raised whenever the same images would get other digests or hashes."""


def gallery_of(references: Sequence[str], manifests: Mapping[str, TaskManifest], progress: Progress = silent) -> Gallery:
    """The images of evaluation sets.

    Args:
        references: names of benchmarks, which stand for all their tasks; names of tasks, which stand for all that the task is
            scored on; manifests, likewise; files or folders of questions. A name goes before a path; ``./NAME`` is the path.
        manifests: by task name.
        progress: called with how many images were looked at.

    Raises:
        InputError: a reference that is none of these, or a set that cannot be read; every fault, one line each.
        MissingPackageError: the data extra is not installed.
    """
    gallery, faults, seen = Gallery(), list[str](), 0
    for reference in references:
        try:
            for name, look in _hashes(reference, manifests):
                gallery.add(look, name)
                seen += 1
                progress(f"looking at {reference}", seen, 0)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return gallery


def add_texts(gallery: Gallery, references: Sequence[str], manifests: Mapping[str, TaskManifest]) -> None:
    """Add the questions of evaluation sets that show no image, which :func:`gallery_of` leaves out.

    Raises:
        InputError: a reference that is none, or a set that cannot be read; every fault, one line each.
    """
    faults: list[str] = []
    for reference in references:
        try:
            meant = _meant(reference, manifests)
            parts = (
                [QuestionData(path=str(meant))] if isinstance(meant, Path) else [p for m in meant for p in evaluation_parts(m)]
            )
            for part in parts:
                for name, prompt in _texts_of(part):
                    gallery.add_text(prompt, name)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))


def _texts_of(data: QuestionData) -> Iterator[tuple[str, str]]:
    """(where it is, what is asked) of the questions without an image."""
    if data.path is not None:
        source = open_questions(Path(str(as_stored(data).path)))
        for numbers, batch in source.batches():
            for row, prompt, images in zip(
                numbers.tolist(), *(batch.column(c).to_pylist() for c in ("prompt", "images")), strict=True
            ):
                if not images:
                    yield source.where(row), prompt
    elif data.dataset != MINIATURE:  # whose questions all have an image
        yield from ((f"{label(data)} {row.id}", row.prompt) for row in shown_questions(data) if not row.images)


def evaluation_parts(manifest: TaskManifest) -> list[QuestionData]:
    """All that a task may be scored on: what its manifest says, and the other splits of the benchmark."""
    parts = [part for name, part in parts_of(manifest).items() if name != "training"]
    return [
        part.model_copy(update={"split": split, "questions": part.questions if split == part.split else None})
        for part in parts
        for split in dict.fromkeys((part.split, *SPLITS.get(part.format, ())))
    ]


def _hashes(reference: str, manifests: Mapping[str, TaskManifest]) -> Iterator[tuple[str, ImageHash]]:
    """(where it is, how it looks) of the images of a reference."""
    meant = _meant(reference, manifests)
    if isinstance(meant, Path):
        yield from _hashed(_of_file(meant))
        return
    for manifest in meant:
        parts = evaluation_parts(manifest)
        if not parts:
            raise InputError(f"{manifest.name}: its manifest names no questions that it is scored on; name a file of them")
        for part in parts:
            yield from _of_part(part, manifest.name)


def _meant(reference: str, manifests: Mapping[str, TaskManifest]) -> list[TaskManifest] | Path:
    """The tasks of the benchmark, or the task, that a name means, that of a manifest's file, else the file or folder."""
    of_benchmark = [item for item in manifests.values() if (item.benchmark or "").casefold() == reference.casefold()]
    if of_benchmark:
        return of_benchmark
    try:
        return [manifests[resolve_name(reference, [manifest.task() for manifest in manifests.values()], list(manifests))]]
    except KeyError as error:
        if Path(reference).suffix in (".yaml", ".yml") and Path(reference).is_file():
            return [load_manifest(Path(reference))]
        if Path(reference).exists():
            return Path(reference)
        raise InputError(f"{reference}: no such file, and {error.args[0]}; name a file, a task or a benchmark") from error


def _of_file(path: Path) -> Iterator[tuple[str, bytes]]:
    source = open_questions(path)
    for numbers, batch in source.batches():
        for row, images in zip(numbers.tolist(), batch.column("images").to_pylist(), strict=True):
            for image in images or ():
                if image["bytes"] is not None:
                    yield source.where(row), image["bytes"]


def _of_part(data: QuestionData, task: str) -> Iterator[tuple[str, ImageHash]]:
    if data.path is not None:
        yield from _hashed(_of_file(Path(str(as_stored(data).path))))
    elif data.dataset == MINIATURE:
        yield from _hashed((f"{task} {question.id}", image) for question in read(data, task) for image in question.images)
    else:
        yield from _remembered(data)


def _remembered(data: QuestionData) -> list[tuple[str, ImageHash]]:
    """Of a dataset: thousands of large images are looked at once, and then remembered in tvt's cache."""
    request = data.model_dump(include={"dataset", "config", "split", "format", "where", "frames"})
    place = cache_folder() / "looks" / f"{digest.of_value({**request, **content_of(data), 'version': _VERSION})[:32]}.json"
    if place.is_file():
        return [(name, ImageHash(bytes.fromhex(exact), bits)) for name, exact, bits in json_text.loads(place.read_text())]
    images = ((f"{label(data)} {row.id}", image) for row in shown_questions(data) for image in row.images)
    result = list(_hashed(images))
    atomic.write_text(place, json.dumps([[name, look.exact.hex(), look.hash] for name, look in result]))
    return result


def _hashed(images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, ImageHash]]:
    for name, data in images:
        try:
            yield name, hash_bytes(data)
        except ValueError as error:
            raise InputError(f"{name}: {error}; get the file anew") from error
