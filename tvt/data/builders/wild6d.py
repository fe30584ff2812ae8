"""Multi-view_Reasoning from Wild6D (Fu and Wang, NeurIPS 2022): videos of a camera that goes round an object on a table.

Layout: ``<category>/<object>/<sequence>/images/<frame>.jpg`` with ``<frame>-depth.png`` and ``<frame>-mask.png``, and
``<category>/<object>/<sequence>/metadata``, a JSON file without a suffix (``K`` by columns, ``w``, ``h``, ``fps``); the test
set is the same below ``test_set/``, and may be a source by itself. Seen in the authors' ``evaluate_pose_ucsd.py`` and in two
public loaders.

The camera's motion is from the first of these that there is:

1. ``metadata`` itself, key ``poses``: for each frame qx, qy, qz, qw, x, y, z, the camera in the world. Wild6D's metadata has
   the form (name, ``K`` by columns) of the capture app Record3D's, and is read here as loaders of Record3D read it: the k-th
   pose is of ``k.jpg``; the camera looks along its -z axis; the world is ARKit's, y away from the ground. Whether the released
   ``metadata`` kept the poses is not verified.
2. ``pkl_annotations/<category>/<category>-<object>-<sequence>.json`` of the test set, converted by the user from the pickle of
   that name, which tvt does not open: ``{"annotations": [{"rotation": 3 x 3, "translation": 3}, ...]}``, the object in the
   camera (x right, y down, z forward), the k-th of frame k, as in the authors' evaluation. The object's y axis is up. Those of
   objects that look the same from all sides (bottle, bowl, can) are not used: their turn about that axis is arbitrary.
3. Images, depths and masks themselves, see below.

The wording is BLINK's, as quoted in public code and records of runs on it. Its left is clockwise as seen from above, which is
also what it is for a camera that faces the object and steps to its left. The scene is static, so that a video played backwards
is as good: frames are shown in the order that gives the answer that is wanted.

Fairness: from one frame to the other the camera turns by ``TURN`` degrees without going back, at about one height and distance,
not from below nor from nearly straight above, and looks at the object all the time.

The way without poses: ``<frame>-depth.png`` holds millimetres along the optical axis (16 bits, 0 where unknown) and
``<frame>-mask.png`` the object, both in the pixels of ``<frame>.jpg``; ``metadata`` has ``K`` by columns. So the authors'
``evaluate_pose_ucsd.py`` reads them.

Frames ``A_SECOND`` times a second are aligned one to the next, from one that chance picks until the camera has turned far
enough. Up is the normal of the table, the plane around the object. The sum of all steps must explain the last image: what both
show must look alike there (``LIKENESS``), clearly more so than after the opposite motion (``CLEARLY``), and lie at the measured
depth (``SHARE``), or the sequence is not used. Tried on drawn scenes only, where the turn comes out right within a tenth (too
large, because what is seen of the object is its front).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tvt.data.builders.camera_motion import (
    LostError,
    NoCentreError,
    Orbit,
    Shot,
    Values,
    Vectors,
    agreement,
    align,
    meeting_point,
    off_centre,
    orbit,
    plane_normal,
    rotations,
)
from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.marks import load_view
from tvt.data.builders.raw_files import image_files, inside, read_depth, read_image, read_json
from tvt.errors import InputError

CATEGORIES = ("bottle", "bowl", "camera", "can", "laptop", "mug")
ROUND = ("bottle", "bowl", "can")
PARTS = ("", "test_set/")
OPTIONS = ("left", "right")
QUESTION = (
    "The images are frames from a video. The video is shooting a static scene. The camera is either moving clockwise (left) or "
    "counter-clockwise (right) around the object. The first image is from the beginning of the video and the second image is "
    "from the end. Is the camera moving left or right when shooting the video?"
)
CHOICES = "Select from the following options."
TURN = (15.0, 60.0)
"""Degrees round the object between the two frames."""
BACK = 0.1
"""Share of the turn by which the camera may go back on its way."""
ELEVATION = (-10.0, 60.0)
CLIMB = 15.0
"""Degrees of elevation between the two frames, at most; and at most half the turn."""
NEARER = 1.4
"""How many times as far from the object one frame may be taken as the other."""
ASTRAY = 0.25
"""How far off the object the camera may look, as a share of its distance (root mean square over the frames)."""

_UNSTEADY = "the camera does not turn clearly and steadily around the object"
_FRAME = re.compile(r"(\d{1,6})\.jpg")
_NAME = re.compile(r"[\w.-]+")
_FEWEST = 10
_POSE = 7
_AGAIN = "get the file again, or remove the sequence"


@dataclass(frozen=True)
class Wild6D:
    """Builder of Multi-view_Reasoning from Wild6D."""

    task = "Multi-view_Reasoning"
    layout = "wild6d"
    version = 1
    options = 2
    expects = ("*/*/*/metadata", "*/*/*/images/*.jpg")

    def units(self, source: Path) -> Iterable[Unit]:
        """Every sequence; categories are the strata. A sequence counts as one image: no two rows show the same one."""
        for part in PARTS:
            for category in CATEGORIES:
                for metadata in sorted((source / part / category).glob("*/*/metadata")):
                    sequence, thing = metadata.parent, metadata.parent.parent
                    if _NAME.fullmatch(sequence.name) and _NAME.fullmatch(thing.name) and (sequence / "images").is_dir():
                        key = f"{part}{category}/{thing.name}/{sequence.name}"
                        names = [category, thing.name, sequence.name]
                        yield Unit(key=key, images=(key,), stratum=category, data={"part": part, "names": names})

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of two frames of a sequence, shown in the order that makes ``answer`` right.

        Raises:
            UnfitError: no camera poses, or no two frames that are fair.
            InputError: poses or a frame are damaged.
        """
        frames = _frames(source, unit.key)
        motion = _motion(source, unit, frames, rng)
        frames, path = motion.frames, motion.orbit
        start, end = _pick(path, rng) if motion.ends is None else motion.ends
        turn = float(path.turn[end] - path.turn[start])
        backwards = (turn > 0) != (OPTIONS[answer] == "right")
        shown = (end, start) if backwards else (start, end)
        files = [f"{unit.key}/images/{frames[k]}.jpg" for k in shown]
        listed = "\n".join(f"({letter}) {option}" for letter, option in zip("AB", OPTIONS, strict=True))
        return Draft(
            images=tuple(load_view(source, file).image for file in files),
            question=QUESTION,
            options=OPTIONS,
            answer=answer,
            prompt=f"{QUESTION} {CHOICES}\n{listed}",
            provenance={
                "sequence": unit.key,
                "poses": motion.origin,
                "frames": [frames[k] for k in shown],
                "backwards": backwards,
                "counter_clockwise_degrees": round(-turn if backwards else turn, 3),
                "elevation_degrees": [round(float(path.elevation[k]), 3) for k in shown],
                "distance": [round(float(path.distance[k]), 5) for k in shown],
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Motion:
    """The camera's way around the object."""

    frames: list[int]
    orbit: Orbit
    """One place a frame."""
    origin: str
    """The file, or files, that it is from."""
    ends: tuple[int, int] | None = None
    """The frames to be shown (positions), where only these were checked."""


def _motion(source: Path, unit: Unit, frames: list[int], rng: np.random.Generator) -> _Motion:
    path = inside(source, f"{unit.key}/metadata")
    metadata = read_json(path)
    poses = _field(path, metadata, "poses")
    if poses is not None:
        return _posed(frames, from_camera_poses(path, poses), f"{unit.key}/metadata")
    name = f"{unit.data['part']}pkl_annotations/{unit.data['names'][0]}/{'-'.join(unit.data['names'])}.json"
    converted = inside(source, name)
    if converted.is_file() and unit.data["names"][0] not in ROUND:
        annotations = _field(converted, read_json(converted), "annotations")
        return _posed(frames, from_object_poses(converted, annotations), name)
    followed = follow(source, unit.key, metadata, frames, turn=rng.uniform(TURN[0] + 3, TURN[1] - 10), rng=rng)
    if not _fair(followed.orbit, 0)[-1]:
        raise UnfitError(_UNSTEADY)
    return _Motion(
        frames=followed.frames,
        orbit=followed.orbit,
        origin=f"{unit.key}/images/*-depth.png",
        ends=(0, len(followed.frames) - 1),
    )


def _posed(frames: list[int], path: Orbit, origin: str) -> _Motion:
    """The motion at the frames that have an image and a pose."""
    there = [frame for frame in frames if frame < len(path.turn)]
    if len(there) < _FEWEST:
        raise UnfitError("too few frames with poses")
    return _Motion(frames=there, orbit=path.taken(there), origin=origin)


def from_camera_poses(path: Path, poses: Any) -> Orbit:
    """The orbit of cameras given in the world, which looks along y upwards; the object is what they look at.

    Args:
        path: of the file, for messages.
        poses: rows qx, qy, qz, qw, x, y, z, one a frame.

    Raises:
        UnfitError: the cameras do not look at one place.
        InputError: not such rows.
    """
    rows = _numbers(path, poses, (_POSE,), "seven numbers")
    if (np.linalg.norm(rows[:, :4], axis=1) < 0.5).any():
        raise InputError(f"{path}: a pose has no rotation (its quaternion is near 0); {_AGAIN}")
    places, sights = rows[:, 4:], -rotations(rows[:, :4])[:, :, 2]
    try:
        centre = meeting_point(places, sights)
    except NoCentreError as error:
        raise UnfitError("the camera does not look at one object from several sides") from error
    if off_centre(places, sights, centre) > ASTRAY:
        raise UnfitError("the camera does not keep looking at one object")
    return orbit(places, centre, np.array([0.0, 1.0, 0.0]))


def from_object_poses(path: Path, annotations: Any) -> Orbit:
    """The orbit of cameras around an object given in the camera's frame, whose own y axis is up.

    Args:
        path: of the file, for messages.
        annotations: ``rotation`` and ``translation``, one a frame; a point p of the object lies at R p + t.

    Raises:
        InputError: not such poses.
    """
    if not isinstance(annotations, list) or not all(isinstance(row, dict) for row in annotations):
        raise InputError(f"{path}: 'annotations' is no list of poses; convert the pickle again")
    turned = _numbers(path, [row.get("rotation") for row in annotations], (3, 3), "a rotation, 3 x 3")
    moved = _numbers(path, [row.get("translation") for row in annotations], (3,), "a translation of three numbers")
    if not np.allclose(turned @ np.swapaxes(turned, 1, 2), np.eye(3), atol=0.01) or (np.linalg.det(turned) < 0).any():
        raise InputError(f"{path}: a 'rotation' is none (not orthogonal); convert the pickle again")
    places = -np.einsum("nji,nj->ni", turned, moved)  # the camera's centre in the object's frame: R p + t = 0
    return orbit(places, np.zeros(3), np.array([0.0, 1.0, 0.0]))


def _field(path: Path, data: Any, name: str) -> Any:
    if not isinstance(data, dict):
        raise InputError(f"{path}: no JSON object; {_AGAIN}")
    return data.get(name)


def _numbers(path: Path, values: Any, shape: tuple[int, ...], what: str) -> Vectors:
    """A list of arrays of one shape as one array of finite numbers."""
    try:
        result = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not every frame has {what}; {_AGAIN}") from error
    if result.ndim != 1 + len(shape) or result.shape[1:] != shape or not np.isfinite(result).all():
        raise InputError(f"{path}: not every frame has {what}; {_AGAIN}")
    return result


def _frames(source: Path, key: str) -> list[int]:
    """Numbers of the frames that have an image, in the order of the video."""
    names = image_files(inside(source, f"{key}/images"))
    result = sorted(int(match.group(1)) for name in names if (match := _FRAME.fullmatch(name)))
    if len(result) < _FEWEST:
        raise UnfitError("too few frames")
    return result


def _pick(path: Orbit, rng: np.random.Generator) -> tuple[int, int]:
    """Two frames between which the camera turns clearly and steadily: positions, the earlier first."""
    for start in rng.permutation(len(path.turn)).tolist():
        ends = np.flatnonzero(_fair(path, start))
        if len(ends):
            return start, int(rng.choice(ends))
    raise UnfitError(_UNSTEADY)


def _fair(path: Orbit, start: int) -> NDArray[np.bool_]:
    """For each frame: whether it may be shown after the frame ``start``."""
    turn = np.abs(path.turn - path.turn[start])
    climb = np.abs(path.elevation - path.elevation[start])
    nearer = np.maximum(path.distance / path.distance[start], path.distance[start] / path.distance)
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(path.turn)))])
    back = (travelled - travelled[start] - turn) / 2
    level = (path.elevation >= ELEVATION[0]) & (path.elevation <= ELEVATION[1])
    later = np.arange(len(turn)) > start
    clear = (turn >= TURN[0]) & (turn <= TURN[1]) & (back <= BACK * turn)
    return np.asarray(later & clear & level & level[start] & (climb <= np.minimum(CLIMB, turn / 2)) & (nearer <= NEARER))


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
_FEWEST_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowedOrbit:
    """Part of a video."""

    frames: list[int]
    orbit: Orbit
    """One place a frame."""


def follow(source: Path, key: str, metadata: Any, frames: list[int], *, turn: float, rng: np.random.Generator) -> FollowedOrbit:
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
                return FollowedOrbit(frames=sampled[: len(places)], orbit=path)
    except LostError as error:
        raise UnfitError("the camera cannot be followed from image to image") from error
    raise UnfitError("the camera does not turn clearly and steadily around the object")


def _check(start: Shot, end: Shot, motion: Values) -> None:
    """Raise :class:`LostError` unless the motion explains the images, and the opposite one does not."""
    result = agreement(start, end, motion)
    try:
        opposite = agreement(start, end, np.asarray(np.linalg.inv(motion), dtype=np.float64)).likeness
    except LostError:
        opposite = -1.0
    if result.likeness < max(LIKENESS, opposite + CLEARLY) or result.share < SHARE:
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
    depth = read_depth(path, _FARTHEST)
    if depth.shape != (grey.height, grey.width):
        raise InputError(
            f"{path}: {depth.shape[1]} x {depth.shape[0]} pixels, but the image has {grey.width} x {grey.height}; {_AGAIN}"
        )
    shot = Shot(grey=np.asarray(grey, dtype=np.float64), depth=depth, camera=camera)
    while max(shot.grey.shape) > LONGEST:
        shot = shot.halved()
    return shot


def _table(source: Path, name: str, shot: Shot, rng: np.random.Generator) -> tuple[Values, Values]:
    """Which way is up, and where the object is, in the camera's frame."""
    path = inside(source, name)
    if not path.is_file():
        raise UnfitError("no mask of the object")
    height, width = shot.grey.shape
    mask = np.asarray(read_image(path).convert("L").resize((width, height), Image.Resampling.BOX)) > 127
    known = np.isfinite(shot.depth)
    points = shot.points()
    if (mask & known).sum() < _FEWEST_STEPS:
        raise UnfitError("the object is too small, or its depth unknown")
    rows, columns = np.nonzero(mask)
    down, across = (np.ptp(places) // 2 + 4 for places in (rows, columns))
    around = np.zeros_like(mask)
    around[max(0, rows.min() - down) : rows.max() + down, max(0, columns.min() - across) : columns.max() + across] = True
    return plane_normal(points[around & ~mask & known], _TABLE, rng), np.median(points[mask & known], axis=0)
