"""The way of a camera round an object, worked out from Wild6D's images, depths and masks, for sequences without poses.

``<frame>-depth.png`` holds millimetres along the optical axis (16 bits, 0 where unknown) and ``<frame>-mask.png`` the object,
both in the pixels of ``<frame>.jpg``; ``metadata`` has ``K`` by columns. So the authors' ``evaluate_pose_ucsd.py`` reads them.

Frames ``A_SECOND`` times a second are aligned one to the next, from one that chance picks until the camera has turned far
enough. Up is the normal of the table, the plane around the object. The sum of all steps must explain the last image: what both
show must look alike there (``LIKENESS``), clearly more so than after the opposite motion (``CLEARLY``), and lie at the measured
depth (``SHARE``), or the sequence is not used. Tried on drawn scenes only, where the turn comes out right within a tenth (too
large, because what is seen of the object is its front).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvt.data.builders.contract import UnfitError
from tvt.data.builders.orbit import Orbit, orbit
from tvt.data.builders.raw_files import MAX_PIXELS, inside, read_bytes, read_image
from tvt.data.builders.rgbd import LostError, Shot, Values, agreement, align, plane_normal
from tvt.errors import InputError

A_SECOND = 6
MOST = 20
"""Frames that are aligned."""
LONGEST = 240
"""Longer side of the images that are aligned, in pixels."""
LIKENESS = 0.65
CLEARLY = 0.1
SHARE = 0.65

_FPS = 30.0
_FARTHEST = 4.0
_TABLE = 0.01
"""How far from the table's plane its points may be measured, in metres."""
_FEWEST = 50
_AGAIN = "get the file again, or remove the sequence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """Part of a video."""

    frames: list[int]
    orbit: Orbit
    """One place a frame."""


def watch(source: Path, key: str, metadata: Any, frames: list[int], *, turn: float, rng: np.random.Generator) -> Watched:
    """Follow the camera of a sequence until it has turned by ``turn`` degrees, from a frame that ``rng`` picks.

    Args:
        source: folder of the source.
        key: folder of the sequence in it.
        metadata: what its ``metadata`` says.
        frames: numbers of its frames, in order.
        turn: degrees round the object.
        rng: picks the first frame.

    Raises:
        UnfitError: the camera cannot be followed, or its way does not explain the images.
        InputError: a file is damaged.
    """
    camera, stride = _camera(inside(source, f"{key}/metadata"), metadata)
    first = int(rng.integers(max(1, len(frames) - (MOST - 1) * stride)))
    sampled = frames[first::stride][:MOST]
    try:
        start = _shot(source, key, sampled[0], camera)
        up, centre = _table(source, f"{key}/images/{sampled[0]}-mask.png", start, rng)
        shot, step, motion, places = start, np.eye(4), np.eye(4), [np.zeros(3)]
        for frame in sampled[1:]:
            before, shot = shot, _shot(source, key, frame, camera)
            step = align(before, shot, step)
            motion = step @ motion
            places.append(-motion[:3, :3].T @ motion[:3, 3])
            path = orbit(np.array(places), centre, up)
            if abs(path.turn[-1] - path.turn[0]) >= turn:
                _check(start, shot, motion)
                return Watched(frames=sampled[: len(places)], orbit=path)
    except LostError as error:
        raise UnfitError("the camera cannot be followed from image to image") from error
    raise UnfitError("the camera does not turn clearly and steadily around the object")


def _check(start: Shot, end: Shot, motion: Values) -> None:
    """Raise :class:`LostError` unless the motion explains the images, and the opposite one does not."""
    found = agreement(start, end, motion)
    try:
        opposite = agreement(start, end, np.asarray(np.linalg.inv(motion), dtype=np.float64)).likeness
    except LostError:
        opposite = -1.0
    if found.likeness < max(LIKENESS, opposite + CLEARLY) or found.share < SHARE:
        raise LostError("the motion does not explain the images")


def _camera(path: Path, metadata: Any) -> tuple[tuple[float, float, float, float], int]:
    """Focal lengths and principal point, and how many frames lie between two that are aligned."""
    try:
        values = [float(value) for value in metadata["K"]]
        fps = float(metadata.get("fps", _FPS))
        camera = (values[0], values[4], values[6], values[7])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: 'K' is not nine numbers, or 'fps' none; {_AGAIN}") from error
    if not np.isfinite([*camera, fps]).all() or min(*camera, fps) <= 0:
        raise InputError(f"{path}: 'K' or 'fps' is not above 0; {_AGAIN}")
    return camera, max(1, round(fps / A_SECOND))


def _shot(source: Path, key: str, frame: int, camera: tuple[float, float, float, float]) -> Shot:
    """A frame with its depth, small enough to be aligned."""
    path = inside(source, f"{key}/images/{frame}-depth.png")
    if not path.is_file():
        raise UnfitError("no camera poses, and no depth to find them from")
    grey = read_image(inside(source, f"{key}/images/{frame}.jpg")).convert("L")
    depth = _depth(path)
    if depth.shape != (grey.height, grey.width):
        raise InputError(
            f"{path}: {depth.shape[1]} x {depth.shape[0]} pixels, but the image has {grey.width} x {grey.height}; {_AGAIN}"
        )
    shot = Shot(grey=np.asarray(grey, dtype=np.float64), depth=depth, camera=camera)
    while max(shot.grey.shape) > LONGEST:
        shot = shot.halved()
    return shot


def _depth(path: Path) -> Values:
    """Metres; not a number where unknown.

    Raises:
        InputError: no image of one band of whole numbers.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path}: {image.width} x {image.height} pixels, more than {MAX_PIXELS}; {_AGAIN}")
            millimetres = np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
        raise InputError(f"{path}: no image, or a damaged one; {_AGAIN}") from error
    if millimetres.ndim != 2 or millimetres.dtype.kind not in "iu":
        raise InputError(f"{path}: depth is one band of whole millimetres, and this is not; {_AGAIN}")
    metres = millimetres / 1000
    return np.where((metres > 0) & (metres < _FARTHEST), metres, np.nan)


def _table(source: Path, name: str, shot: Shot, rng: np.random.Generator) -> tuple[Values, Values]:
    """Which way is up, and where the object is, in the camera's frame."""
    path = inside(source, name)
    if not path.is_file():
        raise UnfitError("no mask of the object")
    height, width = shot.grey.shape
    mask = np.asarray(read_image(path).convert("L").resize((width, height), Image.Resampling.BOX)) > 127
    known = np.isfinite(shot.depth)
    points = shot.points()
    if (mask & known).sum() < _FEWEST:
        raise UnfitError("the object is too small, or its depth unknown")
    rows, columns = np.nonzero(mask)
    down, across = (np.ptp(places) // 2 + 4 for places in (rows, columns))
    around = np.zeros_like(mask)
    around[max(0, rows.min() - down) : rows.max() + down, max(0, columns.min() - across) : columns.max() + across] = True
    return plane_normal(points[around & ~mask & known], _TABLE, rng), np.median(points[mask & known], axis=0)
