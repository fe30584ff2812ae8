"""How a camera moved: round an object, by the places it was at, and between two images with depth of a scene that does not
move.

Direct alignment: the motion is sought that makes the second image's grey values and depths, where the first one's pixels are
seen in it, those of the first (Steinbrücker et al. 2011; with depth: Kerl et al. 2013), by Gauss-Newton from coarse to fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Vectors = NDArray[np.float64]

_PARALLEL = 1e-3
"""Axes of sight closer to parallel than this (smallest over largest eigenvalue of the normal equations) meet nowhere."""


class NoCentreError(ValueError):
    """The axes of sight do not meet in front of the cameras."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orbit:
    """Places of a camera around an object, one a frame, seen by somebody who stands upright."""

    turn: Vectors
    """Degrees round the object, counter-clockwise as seen from above, unwrapped: frames that go once round differ by 360."""
    elevation: Vectors
    """Degrees above the object's own level; 90 is straight above."""
    distance: Vectors
    """From the object, in the unit of the poses."""

    def taken(self, frames: Sequence[int]) -> Orbit:
        """The orbit at these frames only."""
        chosen = list(frames)
        return Orbit(turn=self.turn[chosen], elevation=self.elevation[chosen], distance=self.distance[chosen])


def orbit(places: Vectors, centre: Vectors, up: Vectors) -> Orbit:
    """The orbit of cameras around an object.

    Args:
        places: centres of the cameras, n x 3, in a fixed right-handed frame.
        centre: of the object, in the same frame.
        up: away from the ground, any length.
    """
    up = up / np.linalg.norm(up)
    arms = places - centre
    height = arms @ up
    flat = arms - height[:, None] * up
    east = _any_across(up)
    north = np.cross(up, east)  # east, north, up are right-handed, so that turning from east to north is counter-clockwise
    turn = np.degrees(np.unwrap(np.arctan2(flat @ north, flat @ east)))
    elevation = np.degrees(np.arctan2(height, np.linalg.norm(flat, axis=1)))
    return Orbit(turn=turn, elevation=elevation, distance=np.linalg.norm(arms, axis=1))


def meeting_point(places: Vectors, sights: Vectors) -> Vectors:
    """The point nearest to all axes of sight, by least squares: what a camera that goes round something looks at.

    It minimises the sum of squared distances to the lines ``places + t sights``: with P = I - d dT for each unit direction d,
    sum(P) x = sum(P c).

    Args:
        places: centres of the cameras, n x 3.
        sights: directions in which they look, n x 3, any length.

    Raises:
        NoCentreError: the axes are all but parallel, or their meeting point lies behind a camera.
    """
    sights = sights / np.linalg.norm(sights, axis=1, keepdims=True)
    planes = np.eye(3) - sights[:, :, None] * sights[:, None, :]
    normal = planes.sum(axis=0)
    values = np.linalg.eigvalsh(normal)
    if values[0] < _PARALLEL * values[-1]:
        raise NoCentreError("the axes of sight are parallel")
    point = np.linalg.solve(normal, np.einsum("nij,nj->i", planes, places))
    if ((point - places) * sights).sum(axis=1).min() <= 0:
        raise NoCentreError("the axes of sight meet behind a camera")
    return np.asarray(point)


def off_centre(places: Vectors, sights: Vectors, centre: Vectors) -> float:
    """How far the axes of sight pass from a point: root mean square of the distance over the camera's distance."""
    sights = sights / np.linalg.norm(sights, axis=1, keepdims=True)
    arms = centre - places
    passed = np.linalg.norm(arms - (arms * sights).sum(axis=1, keepdims=True) * sights, axis=1)
    return float(np.sqrt(np.mean((passed / np.linalg.norm(arms, axis=1)) ** 2)))


def rotations(quaternions: Vectors) -> Vectors:
    """Rotation matrices, n x 3 x 3, of quaternions x, y, z, w, n x 4, which need not have length 1."""
    x, y, z, w = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _any_across(up: Vectors) -> Vectors:
    """Some unit vector at right angles to ``up``."""
    axis = np.zeros(3)
    axis[np.argmin(np.abs(up))] = 1.0
    across = np.cross(up, axis)
    return across / np.linalg.norm(across)


Values = NDArray[np.float64]

_LEVELS = 3
_STEPS = 12
_MOST = 4000
"""Pixels of the first image that are looked at, at most."""
_STILL = 1e-4
"""A step smaller than this, in metres and radians, is the last."""
_FEWEST = 200
"""Pixels of the first image that must be seen in the second."""
_OCCLUDED = 0.08
"""Where depths differ by more than this share, something else is seen."""
_STEEP = 0.05
"""Depths of neighbours that differ by more than this share belong to different things."""
_TRIPLES = 200


class LostError(ValueError):
    """The motion could not be found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """An image with depth: the camera looks along z, x is right and y down."""

    grey: Values
    """0 to 255; height x width."""
    depth: Values
    """Along z in metres; not a number where it is unknown."""
    camera: tuple[float, float, float, float]
    """Focal lengths in x and y, and the principal point, in pixels."""

    def points(self) -> Values:
        """Where each pixel's surface lies; height x width x 3."""
        fx, fy, cx, cy = self.camera
        ys, xs = np.mgrid[: self.depth.shape[0], : self.depth.shape[1]]
        return np.stack([(xs - cx) / fx * self.depth, (ys - cy) / fy * self.depth, self.depth], axis=-1)

    def halved(self) -> Shot:
        """At half the resolution; depth is unknown where a pixel would see two things."""
        height, width = (side // 2 * 2 for side in self.grey.shape)
        fx, fy, cx, cy = self.camera
        grey, depth = (_blocks(plane[:height, :width]) for plane in (self.grey, self.depth))
        mean = depth.mean(axis=-1)
        clear = np.ptp(depth, axis=-1) <= _STEEP * mean
        camera = (fx / 2, fy / 2, (cx + 0.5) / 2 - 0.5, (cy + 0.5) / 2 - 0.5)
        return Shot(grey=grey.mean(axis=-1), depth=np.where(clear, mean, np.nan), camera=camera)


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionAgreement:
    """How well a motion explains the second image."""

    likeness: float
    """Correlation of grey values of the same points, -1 to 1."""
    share: float
    """Of the points of the first image that fall into the second: how many lie at the depth that is measured there."""


def align(first: Shot, second: Shot, guess: Values) -> Values:
    """The motion, 4 x 4, that takes points of the first camera's frame to the second's.

    Args:
        first: image with depth.
        second: the other one.
        guess: where to start; the identity for neighbours of a video.

    Raises:
        LostError: too little of the first image is seen in the second, or it does not decide the motion.
    """
    pairs = [(first, second)]
    for _ in range(_LEVELS - 1):
        pairs.append((pairs[-1][0].halved(), pairs[-1][1].halved()))
    motion = guess
    for one, other in reversed(pairs):
        motion = _align_level(one, other, motion)
    return motion


def agreement(first: Shot, second: Shot, motion: Values) -> MotionAgreement:
    """How well a motion explains what the second image shows of the first.

    Raises:
        LostError: too little of the first image is seen in the second.
    """
    points, grey = _known(first)
    moved = points @ motion[:3, :3].T + motion[:3, 3]
    places, ahead = _project(second, moved)
    seen, depth = (_sample(plane, places) for plane in (second.grey, second.depth))
    measured = ahead & np.isfinite(depth)
    near = measured & (np.abs(depth - moved[:, 2]) < _OCCLUDED / 2 * moved[:, 2])
    if near.sum() < _FEWEST:
        raise LostError("too little is seen in both images")
    likeness = float(np.corrcoef(grey[near], seen[near])[0, 1])
    return MotionAgreement(likeness=likeness, share=float(near.sum() / measured.sum()))


def plane_normal(points: Values, off: float, rng: np.random.Generator) -> Values:
    """The normal, turned to the camera, of the plane on which at least half of the points lie.

    Args:
        points: n x 3, in the camera's frame.
        off: how far from the plane a point may lie.
        rng: draws triples of points.

    Raises:
        LostError: there is no such plane.
    """
    if len(points) < _FEWEST:
        raise LostError("too few points for a plane")
    best = np.zeros(len(points), dtype=bool)
    for _ in range(_TRIPLES):
        one, two, three = points[rng.choice(len(points), 3, replace=False)]
        normal = np.cross(two - one, three - one)
        length = np.linalg.norm(normal)
        if length > 0:
            on = np.abs((points - one) @ (normal / length)) <= off
            best = on if on.sum() > best.sum() else best
    if best.mean() < 0.5:
        raise LostError("no plane")
    middle = points[best].mean(axis=0)
    normal = np.linalg.svd(points[best] - middle, full_matrices=False)[2][-1]
    return np.asarray(normal if normal @ middle < 0 else -normal)


def _align_level(first: Shot, second: Shot, motion: Values) -> Values:
    points, grey = _known(first)
    every = max(1, len(points) // _MOST)
    points, grey = points[::every], grey[::every]
    planes = [second.grey, *np.gradient(second.grey)[::-1], second.depth, *np.gradient(second.depth)[::-1]]
    for _ in range(_STEPS):
        moved = points @ motion[:3, :3].T + motion[:3, 3]
        places, ahead = _project(second, moved)
        seen = np.stack([_sample(plane, places) for plane in planes], axis=-1)
        used = ahead & np.isfinite(seen).all(axis=-1)
        used &= np.abs(seen[:, 3] - moved[:, 2]) < _OCCLUDED * moved[:, 2]
        if used.sum() < _FEWEST:
            raise LostError("too little is seen in both images")
        step = _step(second, moved[used], grey[used], seen[used])
        change = np.eye(4)
        change[:3, :3], change[:3, 3] = Rotation.from_rotvec(step[3:]).as_matrix(), step[:3]
        motion = change @ motion
        if np.abs(step).max() < _STILL:
            break
    return motion


def _step(second: Shot, moved: Values, grey: Values, seen: Values) -> Values:
    """One step of Gauss-Newton: three of translation, three of rotation, applied after the motion so far.

    A point q moves by v + w x q; with a the gradient of a residual with respect to q, its gradient with respect to (v, w) is
    (a, q x a).
    """
    fx, fy = second.camera[:2]
    x, y, z = moved.T
    zero = np.zeros_like(z)
    across = np.stack([fx / z, zero, -fx * x / z**2], axis=-1)
    down = np.stack([zero, fy / z, -fy * y / z**2], axis=-1)
    normal, right = np.zeros((6, 6)), np.zeros(6)
    for residual, (gx, gy), least in (
        (seen[:, 0] - grey, seen[:, 1:3].T, 1.0),
        (seen[:, 3] - z, seen[:, 4:6].T, 1e-3),
    ):
        toward = gx[:, None] * across + gy[:, None] * down
        if least < 1.0:
            toward[:, 2] -= 1
        rows = np.concatenate([toward, np.cross(moved, toward)], axis=1)
        spread = max(least, 1.4826 * float(np.median(np.abs(residual))))
        weight = np.minimum(1, 1.345 * spread / np.maximum(np.abs(residual), 1e-12)) / spread**2
        normal += (rows * weight[:, None]).T @ rows
        right -= rows.T @ (weight * residual)
    try:
        return np.asarray(np.linalg.solve(normal, right))
    except np.linalg.LinAlgError as error:
        raise LostError("the images do not decide the motion") from error


def _known(shot: Shot) -> tuple[Values, Values]:
    """Points and grey values of the pixels whose depth is known."""
    known = np.isfinite(shot.depth)
    return shot.points()[known], shot.grey[known]


def _project(shot: Shot, points: Values) -> tuple[Values, NDArray[np.bool_]]:
    """Where points are seen, n x 2, and which of them lie in the image."""
    fx, fy, cx, cy = shot.camera
    height, width = shot.grey.shape
    z = np.maximum(points[:, 2], 1e-6)
    places = np.stack([fx * points[:, 0] / z + cx, fy * points[:, 1] / z + cy], axis=-1)
    inside = (places >= 0).all(axis=-1) & (places <= np.array([width - 1, height - 1])).all(axis=-1)
    return places, inside & (points[:, 2] > 1e-3)


def _sample(plane: Values, places: Values) -> Values:
    return np.asarray(ndimage.map_coordinates(plane, places.T[::-1], order=1, mode="nearest"))


def _blocks(plane: Values) -> Values:
    """The four pixels of each block of 2 x 2, along the last axis."""
    return np.stack([plane[::2, ::2], plane[1::2, ::2], plane[::2, 1::2], plane[1::2, 1::2]], axis=-1)
