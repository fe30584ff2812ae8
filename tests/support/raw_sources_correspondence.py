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
from scipy.spatial.transform import Rotation

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


FRAMES = 16
"""Frames of a drawn video; the camera turns 5 degrees from one to the next."""
SHOT = (160, 208)
FOCAL = 200.0


def make_wild6d(folder: Path, n: int = 12) -> Path:
    """``n`` videos of posts on a table; the camera goes counter-clockwise in those of even number, and clockwise in the others.

    Bottles lie at the top and have camera poses in ``metadata``; laptops and mugs lie in ``test_set``, with the object's poses
    as converted from the pickles.
    """
    rng = np.random.default_rng(17)
    for index in range(n):
        category = ORBITS[index % len(ORBITS)]
        part = "" if category == "bottle" else "test_set/"
        thing, sequence = f"{index:04d}", "1"
        place = folder / f"{part}{category}/{thing}/{sequence}"
        (place / "images").mkdir(parents=True)
        start, step = rng.uniform(0, 360), 5.0 if index % 2 == 0 else -5.0
        turned = float(rng.uniform(0, 360))
        posts = _posts(rng)
        cameras = [_camera(start + step * frame, 0.5 + 0.02 * math.sin(frame), 0.3) for frame in range(FRAMES)]
        for frame, camera in enumerate(cameras):
            photo, depth, mask = _photo(camera, posts)
            photo.save(place / f"images/{frame}.jpg", quality=90)
            depth.save(place / f"images/{frame}-depth.png")
            mask.save(place / f"images/{frame}-mask.png")
        metadata: dict[str, Any] = {
            "K": [FOCAL, 0, 0, 0, FOCAL, 0, SHOT[0] / 2, SHOT[1] / 2, 1],
            "w": SHOT[0],
            "h": SHOT[1],
            "fps": 6,
        }
        if category == "bottle":
            metadata["poses"] = [_record3d(camera) for camera in cameras]
        else:
            name = folder / f"test_set/pkl_annotations/{category}/{category}-{thing}-{sequence}.json"
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(json.dumps({"annotations": [_annotation(camera, turned) for camera in cameras]}))
        (place / "metadata").write_text(json.dumps(metadata))
    return folder


Camera = tuple[Matrix, Matrix]
"""A camera in the world (y up): its axes x right, y down, z forward as columns, and its place."""


def _camera(turn: float, reach: float, height: float) -> Camera:
    """A camera that looks at the origin from ``turn`` degrees, counter-clockwise seen from above: from +z towards +x."""
    place = np.array([reach * math.sin(math.radians(turn)), height, reach * math.cos(math.radians(turn))])
    forward = -place / np.linalg.norm(place)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], axis=1), place


def _record3d(camera: Camera) -> list[float]:
    """As Record3D writes it: axes x right, y up, z backward; quaternion x, y, z, w, then the place."""
    axes, place = camera
    return [*Rotation.from_matrix(axes @ np.diag([1.0, -1.0, -1.0])).as_quat().tolist(), *place.tolist()]


def _annotation(camera: Camera, turned: float) -> dict[str, Any]:
    """The pose, in the camera, of an object at the origin that is turned about the world's y axis."""
    axes, place = camera
    own = Rotation.from_euler("y", turned, degrees=True).as_matrix()
    return {"rotation": (axes.T @ own).tolist(), "translation": (-axes.T @ place).tolist(), "size": [0.1, 0.2, 0.1]}


Post = tuple[Matrix, Matrix, Matrix]
"""An upright box: its least and its greatest corner, and its colour."""


def _posts(rng: np.random.Generator) -> list[Post]:
    """Boxes of all colours around one at the origin, which comes first."""
    posts = []
    for k in range(8):
        turn, reach = 2 * math.pi * (k + rng.uniform(-0.3, 0.3)) / 7, 0.0 if k == 0 else rng.uniform(0.15, 0.24)
        x, z = reach * math.sin(turn), reach * math.cos(turn)
        half, tall = (0.04, 0.12) if k == 0 else (rng.uniform(0.015, 0.03), rng.uniform(0.03, 0.07))
        posts.append((np.array([x - half, 0, z - half]), np.array([x + half, tall, z + half]), rng.uniform(30, 255, 3)))
    return posts


def _photo(camera: Camera, posts: list[Post]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """What the camera sees, on a chequered table; millimetres along its axis; where the first post is.

    Drawn at half the resolution: each pixel is one of 2 x 2.
    """
    axes, place = (values.astype(np.float32) for values in camera)
    width, height = SHOT
    ys, xs = np.mgrid[:height:2, :width:2].astype(np.float32) + 0.5
    rays = np.stack([(xs - width / 2) / FOCAL, (ys - height / 2) / FOCAL, np.ones_like(xs)], axis=-1, dtype=np.float32) @ axes.T
    depth = np.where(rays[..., 1] < -0.1, place[1] / np.maximum(-rays[..., 1], 0.1), 60.0)
    ground = place + depth[..., None] * rays
    squares = (np.floor(ground[..., 0] / 0.06) + np.floor(ground[..., 2] / 0.06)) % 2
    colour = np.where((depth < 60)[..., None], np.array([150.0, 190.0])[squares.astype(int)][..., None], [200.0, 215.0, 235.0])
    seen = np.full(depth.shape, -1)
    for k, (least, greatest, paint) in enumerate(posts):
        one, other = ((edge.astype(np.float32) - place) / rays for edge in (least, greatest))
        enter, leave = np.minimum(one, other), np.maximum(one, other).min(axis=-1)
        near = enter.max(axis=-1)
        hit = (near < leave) & (near > 0) & (near < depth)
        depth, seen = np.where(hit, near, depth), np.where(hit, k, seen)
        shade = 1 - 0.2 * enter.argmax(axis=-1)[..., None] / 2
        colour = np.where(hit[..., None], paint * shade, colour)
    planes = (
        colour.astype(np.uint8),
        np.where(depth < 60, depth * 1000, 0).astype(np.uint16),
        np.where(seen == 0, 255, 0).astype(np.uint8),
    )
    photo, far, mask = (Image.fromarray(plane.repeat(2, axis=0).repeat(2, axis=1)) for plane in planes)
    return photo, far, mask
