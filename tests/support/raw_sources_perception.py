"""Small sources in the layouts of the real ones, drawn so that what is right is known by construction."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]


def cloudy(rng: np.random.Generator, size: tuple[int, int], grain: int = 6) -> Image.Image:
    """A smooth random picture in colour; a larger ``grain`` has finer structure."""
    coarse = rng.integers(0, 256, (grain, grain, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


# --- Intrinsic Images in the Wild -----------------------------------------------------------------------------------------

ALBEDOS = (0.2, 0.5, 0.9)
"""Reflectances of the patches of a drawn photograph, left to right in both rows."""


def make_iiw(folder: Path, n: int = 12) -> Path:
    """``data/ID.png`` and ``data/ID.json``: two rows of three patches each, the lower row in shadow."""
    for number in range(n):
        photo = 1000 + number
        _save(_patches(number), folder / f"data/{photo}.png")
        write_json(folder / f"data/{photo}.json", judgements(photo))
    return folder


def judgements(photo: int) -> dict[str, Any]:
    """The judgements of a drawn photograph: every pair of patches, and one of each kind that must not become a question."""
    points = [
        {"id": photo * 100 + k, "x": (k % 3 + 0.5) / 3, "y": (k // 3 + 0.5) / 2, "opaque": True, "sRGB": "808080"}
        for k in range(6)
    ]
    points += [
        {"id": photo * 100 + 6, "x": 0.5, "y": 0.5, "opaque": False, "sRGB": "808080"},
        {"id": photo * 100 + 7, "x": 0.003, "y": 0.5, "opaque": True, "sRGB": "808080"},
        {"id": photo * 100 + 8, "x": 1 / 6 + 0.02, "y": 0.25, "opaque": True, "sRGB": "808080"},
    ]
    comparisons = [comparison(photo, a, b, _darker(a, b)) for a in range(6) for b in range(a + 1, 6)]
    comparisons += [
        comparison(photo, 2, 6, "1"),
        comparison(photo, 2, 7, "2"),
        comparison(photo, 0, 8, "E"),
        {**comparison(photo, 8, 2, "1"), "darker_score": 0.2},
        {**comparison(photo, 8, 1, "1"), "darker_responses": [{"darker": answer} for answer in "11E2E"]},
        {**comparison(photo, 8, 4, "1"), "darker": None, "darker_score": None},
    ]
    return {
        "photo": photo,
        "image_filename": f"{photo}.png",
        "license": {"cc": True, "name": "Attribution 2.0 Generic", "url": "http://creativecommons.org/licenses/by/2.0/"},
        "intrinsic_points": points,
        "intrinsic_comparisons": comparisons,
    }


def comparison(photo: int, first: int, second: int, darker: str) -> dict[str, Any]:
    """A sure judgement on two points."""
    return {
        "id": (photo * 10 + first) * 10 + second,
        "point1": photo * 100 + first,
        "point2": photo * 100 + second,
        "darker": darker,
        "darker_method": "C",
        "darker_score": 1.5,
        "darker_responses": [{"darker": darker, "confidence": 2}] * 5,
    }


def _darker(first: int, second: int) -> str:
    a, b = ALBEDOS[first % 3], ALBEDOS[second % 3]
    return "E" if a == b else "1" if a < b else "2"


def _patches(seed: int) -> Image.Image:
    """512 x 384 pixels; reflectance times shading."""
    rng = np.random.default_rng(seed)
    tint = rng.uniform(0.8, 1.0, (2, 3, 3))
    reflectance = np.array(ALBEDOS)[None, :, None] * tint
    shading = np.repeat(np.linspace(1.0, 0.45, 384)[:, None], 512, axis=1)
    pixels = reflectance[np.arange(384)[:, None] // 192, np.arange(512)[None, :] * 3 // 512] * shading[..., None]
    noise = rng.normal(0, 0.01, pixels.shape)
    return Image.fromarray((np.clip(pixels + noise, 0, 1) * 255).astype(np.uint8))


# --- Depth in the Wild ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DepthPair:
    """Two points (x, y from 0) with their depths, in an image of ``size``."""

    points: tuple[tuple[int, int], tuple[int, int]]
    depths: tuple[float, float]
    size: tuple[int, int] = (480, 360)

    @property
    def row(self) -> str:
        """The annotation as the dataset writes it."""
        (x_a, y_a), (x_b, y_b) = self.points
        relation = ">" if self.depths[0] > self.depths[1] else "<" if self.depths[0] < self.depths[1] else "="
        return f"{y_a + 1},{x_a + 1},{y_b + 1},{x_b + 1},{relation},{self.size[0]},{self.size[1]}"


def depth_pairs(n: int) -> list[DepthPair]:
    """The pairs of the drawn photographs, by their numbers."""
    rng = np.random.default_rng(7)
    pairs = []
    for _ in range(n):
        left, right = int(rng.integers(60, 200)), int(rng.integers(280, 420))
        heights = rng.integers(120, 330, 2)
        points = ((left, int(heights[0])), (right, int(heights[1])))
        depths = rng.permutation([float(rng.uniform(2, 4)), float(rng.uniform(6, 12))])
        pairs.append(DepthPair(points, (float(depths[0]), float(depths[1]))))
    return pairs


def make_diw(folder: Path, n: int = 12) -> Path:
    """``DIW_Annotations/DIW_train_val.csv`` and ``DIW_train_val/NAME.thumb``: balls that shrink and fade with their depth."""
    lines = []
    for number, pair in enumerate(depth_pairs(n)):
        name = f"{number:040x}.thumb"
        _save(_balls(pair, number), folder / "DIW_train_val" / name, "JPEG")
        lines += [f"./DIW_train_val/{name}", pair.row]
    write_text(folder / "DIW_Annotations/DIW_train_val.csv", "".join(f"{line}\n" for line in lines))
    return folder


def _balls(pair: DepthPair, seed: int) -> Image.Image:
    image = cloudy(np.random.default_rng(seed), pair.size, 4)
    pen = ImageDraw.Draw(image)
    for _, (x, y), depth in sorted(zip("ab", pair.points, pair.depths, strict=True), key=lambda ball: -ball[2]):
        radius, shade = 140 / depth, int(255 - 12 * depth)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(shade, shade // 2, 40), outline="black")
    return image


# --- NIGHTS ---------------------------------------------------------------------------------------------------------------

NIGHTS_COLUMNS = (
    "id",
    "left_vote",
    "right_vote",
    "votes",
    "ref_path",
    "left_path",
    "right_path",
    "split",
    "prompt",
    "is_imagenet",
)


def make_nights(folder: Path, n: int = 12) -> Path:
    """``data.csv``, ``ref/`` and ``distort/``: the variation that was chosen is the reference with a little noise."""
    rows = []
    for number in range(n):
        rng = np.random.default_rng(number)
        reference = cloudy(rng, (192, 192))
        near = Image.blend(reference, cloudy(rng, (192, 192)), 0.1)
        far = Image.blend(reference, cloudy(rng, (192, 192)), 0.8)
        left_near = bool(rng.integers(2))
        paths = [f"ref/000/{number:03}.png", f"distort/000/{number:03}_0.png", f"distort/000/{number:03}_1.png"]
        for image, path in zip((reference, *((near, far) if left_near else (far, near))), paths, strict=True):
            _save(image, folder / path)
        rows.append(nights_row(number, left_near, paths))
    write_csv(folder / "data.csv", NIGHTS_COLUMNS, rows)
    return folder


def nights_row(number: int, left_near: bool, paths: Sequence[str]) -> dict[str, object]:
    """A line of ``data.csv`` that everybody agreed on."""
    votes = {"left_vote": int(left_near), "right_vote": int(not left_near), "votes": 6 + number % 5}
    named = dict(zip(("ref_path", "left_path", "right_path"), paths, strict=True))
    return {"id": number, **votes, **named, "split": "train", "prompt": f"thing {number % 3}", "is_imagenet": "True"}


# --- WikiArt and ArtBench-10 ----------------------------------------------------------------------------------------------

WIKIART_STYLES = ("Baroque", "Cubism", "Impressionism", "Pointillism", "Pop_Art", "Rococo", "Ukiyo_e")
ARTBENCH_STYLES = ("art_nouveau", "baroque", "expressionism", "impressionism", "surrealism", "ukiyo_e")


def make_wikiart(folder: Path, n: int = 12) -> Path:
    """``STYLE/ARTIST_TITLE.jpg``, ``n`` paintings of each of seven styles, some of them kindred."""
    return _paintings(folder, WIKIART_STYLES, n, (240, 200))


def make_artbench(folder: Path, n: int = 12) -> Path:
    """``train/STYLE/ARTIST_TITLE.jpg`` and ``test/``, ``n`` paintings of each of six styles."""
    _paintings(folder / "test", ARTBENCH_STYLES, 1, (256, 256), "tested")
    _paintings(folder / "train", ARTBENCH_STYLES, n, (256, 256))
    return folder


def _paintings(folder: Path, styles: Sequence[str], n: int, size: tuple[int, int], title: str = "painting") -> Path:
    for index, style in enumerate(styles):
        for number in range(n):
            # Four artists a style, and one who paints in all.
            artist = "everybody" if number % 5 == 4 else f"{style.lower().replace('_', '-')}-artist-{number % 4}"
            image = _painted(np.random.default_rng([index, number]), index, size)
            _save(image, folder / style / f"{artist}_{title}-{style.lower()}-{number}.jpg", "JPEG")
    return folder


def _painted(rng: np.random.Generator, style: int, size: tuple[int, int]) -> Image.Image:
    """Strokes of one kind for each style, on a ground of any colour."""
    image = cloudy(rng, size, 3)
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(rng.integers(size[0])), int(rng.integers(size[1]))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        match style % 4:
            case 0:
                pen.line((x, y, x + 40, y), fill=colour, width=3 + style)
            case 1:
                pen.ellipse((x, y, x + 10 + style, y + 10 + style), fill=colour)
            case 2:
                pen.rectangle((x, y, x + 25, y + 12 + style), outline=colour, width=3)
            case _:
                pen.polygon((x, y, x + 20, y + 5 + style, x + 4, y + 24), fill=colour)
    return image


# --- Forensic detection ---------------------------------------------------------------------------------------------------

GENERATORS = ("flux", "sdxl", "pixart")


def make_forensic(folder: Path, n: int = 12) -> Path:
    """``real/NAME.jpg`` and ``generated/GENERATOR/NAME.png``: photographs have noise, what was generated has a grid."""
    for number in range(n):
        rng = np.random.default_rng(number)
        scene = cloudy(rng, (640, 480), 8)
        noise = np.asarray(scene, np.int16) + rng.integers(-12, 13, (480, 640, 3))
        _save(Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)), folder / f"real/{number:012}.jpg", "JPEG")
        for k, generator in enumerate(GENERATORS):
            image = scene.crop((80, 0, 560, 480)).resize((400 + 40 * k, 400 + 40 * k))
            pen = ImageDraw.Draw(image)
            for at in range(0, image.width, 50 + 10 * k):
                pen.line((at, 0, at, image.height), fill="white")
            _save(image, folder / f"generated/{generator}/{number:012}.png")
    return folder


# --- Writing --------------------------------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """A file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """A JSON file and the folders above it."""
    write_text(path, json.dumps(value))


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    """A CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _save(image: Image.Image, path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind, compress_level=1)  # quickly; other formats do not mind
