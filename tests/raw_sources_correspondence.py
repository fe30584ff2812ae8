"""Small raw sources in the layouts of HPatches, SPair-71k, FunKPoint and Wild6D, drawn with known geometry."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Matrix = NDArray[np.float64]
Pixels = NDArray[np.uint8]

CATEGORIES = ("aeroplane", "cat", "bus")
ACTIONS = ("Mix", "Pour", "Brush/Dust")
TOOLS = {"n04284002": "spoon", "n03633091": "ladle", "n04578934": "whisk"}
ORBITS = ("bottle", "laptop", "mug")


def textured(rng: np.random.Generator, size: tuple[int, int]) -> Pixels:
    """A wall of shapes in all colours: height x width x 3."""
    width, height = size
    image = Image.fromarray(rng.integers(90, 170, (height // 40, width // 40, 3), dtype=np.uint8)).resize(size)
    pen = ImageDraw.Draw(image)
    for _ in range(width * height // 1500):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 26)
        turn = rng.uniform(0, 2 * math.pi)
        sides = int(rng.integers(3, 7))
        corners = [
            (x + r * math.cos(turn + k * 2 * math.pi / sides), y + r * math.sin(turn + k * 2 * math.pi / sides))
            for k in range(sides)
        ]
        pen.polygon(corners, fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
    return np.asarray(image)


def warped(pixels: Pixels, matrix: Matrix, size: tuple[int, int]) -> Pixels:
    """The plane as seen through a homography that takes pixels of ``pixels`` to the new image's."""
    width, height = size
    ys, xs = np.mgrid[:height, :width]
    back = np.linalg.inv(matrix) @ np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
    places = (back[1] / back[2], back[0] / back[2])
    bands = [ndimage.map_coordinates(pixels[..., band], places, order=1, mode="nearest") for band in range(3)]
    return np.stack(bands, axis=-1).reshape(height, width, 3)


def tilt(rng: np.random.Generator, size: tuple[int, int]) -> Matrix:
    """A homography of a moderate change of viewpoint that leaves the middle of the image about where it is."""
    width, height = size
    angle, zoom = rng.uniform(-0.25, 0.25), rng.uniform(0.85, 1.15)
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1 / zoom]])
    lean = np.eye(3)
    lean[2, :2] = rng.uniform(-2e-4, 2e-4, 2)
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    return np.asarray(np.linalg.inv(centre) @ lean @ turn @ centre)


def make_hpatches(folder: Path, n: int = 2, size: tuple[int, int] = (480, 360)) -> Path:
    """``n`` sequences in turn of light (``i_*``, the homography the identity) and of viewpoint (``v_*``)."""
    rng = np.random.default_rng(7)
    for index in range(n):
        lit = index % 2 == 0
        place = folder / f"{'i' if lit else 'v'}_wall{index}"
        place.mkdir(parents=True)
        wall = textured(rng, size)
        for image in range(1, 7):
            matrix = np.eye(3) if lit or image == 1 else tilt(rng, size)
            seen = warped(wall, matrix, size)
            if lit:
                seen = np.clip(seen * rng.uniform(0.5, 1.2) + rng.uniform(-10, 20), 0, 255).astype(np.uint8)
            Image.fromarray(seen).save(place / f"{image}.ppm")
            if image > 1:
                np.savetxt(place / f"H_1_{image}", 3.0 * matrix)  # a homography's scale means nothing
    return folder


def make_spair(folder: Path, n: int = 12) -> Path:
    """``n`` pairs of the split ``trn`` and one of ``val``: an object of six coloured parts on each image, a part a keypoint."""
    rng = np.random.default_rng(11)
    for split, count in (("trn", n), ("val", 1)):
        names = []
        (folder / "PairAnnotation" / split).mkdir(parents=True)
        for index in range(count):
            category = CATEGORIES[index % len(CATEGORIES)]
            first, second = (f"2008_{split == 'val':03d}{2 * index + side:03d}" for side in (0, 1))
            name = f"{index:06d}-{first}-{second}:{category}"
            sides = [_object(rng, folder / "JPEGImages" / category / f"{stem}.jpg") for stem in (first, second)]
            (kps, size), (other, other_size) = sides
            shared = sorted(rng.permutation(6)[: 5 + index % 2].tolist())
            pair: dict[str, Any] = {
                "pair_id": index,
                "filename": name,
                "src_imname": f"{first}.jpg",
                "trg_imname": f"{second}.jpg",
                "src_imsize": [*size, 3],
                "trg_imsize": [*other_size, 3],
                "src_bndbox": _bounds(kps),
                "trg_bndbox": _bounds(other),
                "category": category,
                "src_kps": [kps[k] for k in shared],
                "trg_kps": [other[k] for k in shared],
                "kps_ids": [str(k) for k in shared],
                "mirror": 0,
                "viewpoint_variation": 1,
                "scale_variation": 0,
                "truncation": 0,
                "occlusion": 0,
            }
            (folder / "PairAnnotation" / split / f"{name}.json").write_text(json.dumps(pair))
            names.append(name)
        listed = folder / "Layout" / "large" / f"{split}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(names))
    return folder


PARTS = ((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180))
"""Colours of an object's parts, by keypoint."""


def _object(rng: np.random.Generator, path: Path) -> tuple[list[list[int]], tuple[int, int]]:
    """Draw a turned ring of six coloured discs; where they are, and how large the image is."""
    size = (500, int(rng.integers(333, 420)))
    image = Image.fromarray(rng.integers(100, 220, (6, 8, 3), dtype=np.uint8)).resize(size)
    pen = ImageDraw.Draw(image)
    turn, reach = rng.uniform(0, 2 * math.pi), rng.uniform(85, 115)
    x, y = rng.uniform(170, 330), rng.uniform(140, size[1] - 140)
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(90, 90, 90))
    kps = [
        [round(x + reach * math.cos(turn + k * math.pi / 3)), round(y + reach * math.sin(turn + k * math.pi / 3))]
        for k in range(6)
    ]
    for (left, top), paint in zip(kps, PARTS, strict=True):
        pen.ellipse((left - 16, top - 16, left + 16, top + 16), fill=paint, outline="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)
    return kps, size


def _bounds(kps: list[list[int]]) -> list[int]:
    xs, ys = zip(*kps, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


def make_funkpoint(folder: Path, n: int = 12) -> Path:
    """``labels.csv`` and images of ``n`` tools, each labelled for every action: five coloured parts along a handle."""
    rng = np.random.default_rng(13)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    for index in range(n):
        wnid = sorted(TOOLS)[index % len(TOOLS)]
        name = f"images/{wnid}/{index:04d}.png"
        shares = _tool(rng, folder / name)
        for action in ACTIONS:
            row = {"action": action, "object_category": TOOLS[wnid], "wnid": wnid, "image_path": name}
            for k, (x, y) in enumerate(shares, 1):
                row |= {f"p{k}_x": str(x), f"p{k}_y": str(y)}
            rows.append(row)
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


def _tool(rng: np.random.Generator, path: Path) -> list[tuple[float, float]]:
    """Draw five coloured discs along a turned handle on white; where they are, as shares of width and height."""
    size = (480, 400)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    turn = rng.uniform(0, 2 * math.pi)
    along = np.array([math.cos(turn), math.sin(turn)])
    across = np.array([-along[1], along[0]])
    middle = np.array([size[0] / 2, size[1] / 2])
    offsets = [(-150, -25), (-130, 35), (-80, 0), (20, 0), (140, 0)]
    places = [middle + a * along + b * across for a, b in offsets]
    pen.line([tuple(places[2]), tuple(places[4])], fill=(120, 120, 120), width=26)
    for place, paint in zip(places, PARTS, strict=False):
        pen.ellipse((place[0] - 14, place[1] - 14, place[0] + 14, place[1] + 14), fill=paint, outline="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return [((float(x) + 0.5) / size[0], (float(y) + 0.5) / size[1]) for x, y in places]
