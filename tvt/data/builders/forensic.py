"""Forensic detection from photographs and images generated after them: which of four images is the photograph?

BLINK's own images are not published apart from it, so training rows need images that are generated after photographs (after
captions of COCO, say) and lays them out so; the layout is ours:

* ``real/``: the photographs, e.g. ``real/000000000139.jpg``;
* ``generated/GENERATOR/``: what a generator made, each file named like its photograph: ``generated/sdxl/000000000139.png``;
* or, with other names, ``pairs.csv`` with the columns ``real``, ``generated`` (both paths relative to the folder),
  ``generator`` and ``licence`` (of the generated image), one line a generated image. Where it is there, it alone counts.

A photograph needs three generated images; those of different generators are taken first.

What makes it fair: all four images are treated alike, so that nothing but their content tells them apart. Each is cropped to
its middle square, scaled *down* to one size (a photograph's traces of compression and of its camera's size go with that),
compressed and decompressed by JPEG with one quality; orientation is applied, metadata dropped. Sets of which some are in
colour and some are not are left out. What remains is what a generator does to content and texture, and how sharp a file was
beyond that size.

Question and prompt are BLINK's own (seen in files that quote its ``prompt`` column; its length agrees with the 480 characters
that EvalScope's page of BLINK gives, its template and a line break at the end included).
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tvt.data.builders.contract import Draft, UnfitError, Unit, prompt_of
from tvt.data.builders.raw_files import image_files, inside, read_image
from tvt.data.csv_table import Faults, read_table
from tvt.data.csv_text import Row
from tvt.errors import InputError

FAKES = 3
MOST_SIDE = 512
LEAST_SIDE = 256
"""Sides of the square that all are scaled to: the larger, the larger the smallest of the four is."""
SHRINK = 0.8
"""The smallest of the four is scaled by this, the others by more: none keeps its pixels."""
LONGEST_SHAPE = 2.0
"""Longer shapes than these lose too much to a square."""
QUALITY = 90
GREY = 3.0
"""Images whose channels differ by less on average, of 255, count as without colour."""

QUESTION = "Which image is most likely to be a real photograph?"
TASK = (
    "You are a judge in a photography competition, and now you are given the four images. "
    "Please examine the details and tell which one of them is most likely to be a real photograph."
)
OPTIONS = ("the first image", "the second image", "the third image", "the fourth image")

_COLUMNS = ("real", "generated", "generator", "licence")
_NEXT = "give each photograph three generated images, as the documentation of the layout says"


@dataclass(frozen=True)
class Fake:
    """A generated image."""

    path: str
    """Relative to the source."""
    generator: str
    licence: str = "not stated"


class Forensic:
    """One photograph and three images generated after it."""

    task = "Forensic_Detection"
    layout = "forensic"
    version = 1
    options = 4
    expects: Sequence[str] = ("real", "generated")

    def units(self, source: Path) -> Iterator[Unit]:
        """The photographs with three generated images or more, of which three are chosen by their names alone.

        Raises:
            InputError: ``pairs.csv`` is damaged or names what is not there; or no photograph has three generated images.
        """
        table = source / "pairs.csv"
        fakes = _listed(source, table) if table.exists() else _alike(source)
        units = [_unit(real, chosen) for real, item in sorted(fakes.items()) if len(chosen := _chosen(item)) == FAKES]
        if not units:
            raise InputError(f"{source}: no photograph has {FAKES} generated images; {_NEXT}")
        yield from units

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The four images, made alike, the photograph at ``answer`` and the others in any order.

        Raises:
            UnfitError: an image is too small or long, two are the same, or not all are in colour.
            InputError: an image is missing or damaged.
        """
        images = [read_image(inside(source, name)) for name in unit.images]
        side = common_side([image.size for image in images])
        if len({image.tobytes() for image in images}) < len(images):
            raise UnfitError("two of the images are the same")
        if len({_grey(image) for image in images}) > 1:
            raise UnfitError("some of the images are in colour, and some are not")
        order = [1 + int(k) for k in rng.permutation(FAKES)]
        order.insert(answer, 0)
        return Draft(
            images=tuple(made_alike(images[k], side) for k in order),
            question=QUESTION,
            options=OPTIONS,
            answer=answer,
            provenance={
                "real": unit.images[0],
                "generated": list(unit.data["fakes"]),
                "shown": [unit.images[k] for k in order],
                "side": side,
                "quality": QUALITY,
            },
            prompt=prompt_of(TASK, OPTIONS),
        )


def common_side(sizes: Sequence[tuple[int, int]]) -> int:
    """The side in pixels of the square to which images of these sizes are scaled down, each by ``SHRINK`` at least.

    Raises:
        UnfitError: one is too small for that, or too long.
    """
    if any(max(size) > LONGEST_SHAPE * min(size) for size in sizes):
        raise UnfitError("an image is too long for a square")
    side = min(MOST_SIDE, int(SHRINK * min(min(size) for size in sizes)))
    if side < LEAST_SIDE:
        raise UnfitError("an image is too small")
    return side


def made_alike(image: Image.Image, side: int) -> Image.Image:
    """The middle square of an RGB image, scaled to ``side`` pixels, after compression by JPEG."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    _bare(square).save(stream, "JPEG", quality=QUALITY)
    with Image.open(stream) as compressed:
        return _bare(compressed)


def _bare(image: Image.Image) -> Image.Image:
    """The pixels alone, without what a file says beside them."""
    return Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())


def _grey(image: Image.Image) -> bool:
    pixels = np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.int16)
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean()) < GREY


def _unit(real: str, fakes: Sequence[Fake]) -> Unit:
    listed = tuple({"image": fake.path, "generator": fake.generator, "licence": fake.licence} for fake in fakes)
    return Unit(key=real, images=(real, *(fake.path for fake in fakes)), data={"fakes": listed})


def _chosen(fakes: Sequence[Fake]) -> list[Fake]:
    """Three of the generated images: first one of each generator, then second ones; which, depends on their names alone."""
    turn: Counter[str] = Counter()
    ranked = []
    for fake in sorted(fakes, key=lambda fake: hashlib.sha256(fake.path.encode()).digest()):
        ranked.append((turn[fake.generator], fake))
        turn[fake.generator] += 1
    return [fake for _, fake in sorted(ranked, key=lambda pair: pair[0])[:FAKES]]


def _alike(source: Path) -> dict[str, list[Fake]]:
    """Generated images by photograph, matched by the files' names."""
    photos = {Path(name).stem: f"real/{name}" for name in image_files(source / "real")}
    folder = source / "generated"
    try:
        generators = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; {_NEXT}") from error
    fakes: dict[str, list[Fake]] = {}
    for generator in generators:
        for name in image_files(folder / generator):
            photo = photos.get(Path(name).stem)
            if photo is not None:
                fakes.setdefault(photo, []).append(Fake(f"generated/{generator}/{name}", generator))
    return fakes


def _listed(source: Path, path: Path) -> dict[str, list[Fake]]:
    """Generated images by photograph, as ``pairs.csv`` lists them."""
    table = read_table(path)
    faults = Faults(path)
    at = {name: table.at(name) for name in _COLUMNS}
    for name, position in at.items():
        if position is None:
            faults.add(1, f"no column '{name}'; it needs {', '.join(_COLUMNS)}")
    faults.check()
    fakes: dict[str, list[Fake]] = {}
    seen: set[str] = set()
    for row in table.rows:
        cells = {name: row.cells[position] for name, position in at.items() if position is not None}
        if _sound(source, row, cells, seen, faults):
            seen.add(cells["generated"])
            fake = Fake(cells["generated"], cells["generator"], cells["licence"] or "not stated")
            fakes.setdefault(cells["real"], []).append(fake)
    faults.check()
    return fakes


def _sound(source: Path, row: Row, cells: Mapping[str, str], seen: set[str], faults: Faults) -> bool:
    """Whether a line of ``pairs.csv`` names a photograph and an image generated after it; what is wrong is noted."""
    wrong = []
    for name, folder in (("real", "real/"), ("generated", "generated/")):
        try:
            if not cells[name].startswith(folder):
                wrong.append(f"{name} '{cells[name]}' is not in {folder}; move it there")
            elif not inside(source, cells[name]).is_file():
                wrong.append(f"no file '{cells[name]}'; add it, or remove the line")
        except InputError:
            wrong.append(f"{name} '{cells[name]}' leads out of the folder; move it there")
    if not cells["generator"]:
        wrong.append("no generator; name what made the image")
    if cells["generated"] in seen:
        wrong.append(f"'{cells['generated']}' stands twice; remove one line")
    for what in wrong:
        faults.add(row.line, what)
    return not wrong
