"""How a camera went round an object: turn, height and distance of each of its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
