"""A builder of the tests' own: every unit is a line of an index, every image a picture drawn of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tvt.data.builders.contract import Draft, UnfitError, Unit


def picture(name: str, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Smooth noise, another for each name."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class TinyBuilder:
    """Reads ``index.txt``: lines ``key stratum answer image...``; an answer of ``-`` may stand anywhere."""

    task: str = "Jigsaw"
    layout: str = "tiny"
    version: int = 3
    options: int = 2
    expects: tuple[str, ...] = ("index.txt", "pictures/*.txt")

    def units(self, source: Path) -> Iterable[Unit]:
        for line in (source / "index.txt").read_text().split("\n"):
            if line:
                key, stratum, answer, *images = line.split()
                yield Unit(key=key, stratum=stratum, answer=None if answer == "-" else int(answer), images=tuple(images))

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        if "unfit" in unit.key:
            raise UnfitError("too dark")
        return Draft(
            images=tuple(picture(image) for image in unit.images),
            question=f"Which one is {unit.key}?",
            options=tuple("it" if place == answer else "another" for place in range(self.options)),
            answer=answer,
            provenance={"drawn": float(rng.random()), "stratum": unit.stratum},
        )


def write_index(folder: Path, lines: Iterable[str]) -> Path:
    """A source with these units."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "pictures" / "list.txt").write_text("of no matter\n")
    (folder / "index.txt").write_text("\n".join(lines) + "\n")
    return folder
