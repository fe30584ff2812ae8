"""Visual_Correspondence from HPatches' full image sequences (Balntas et al., CVPR 2017).

Layout of ``hpatches-sequences-release``: a folder a sequence, ``i_*`` (only the light changes) or ``v_*`` (only the viewpoint),
with images ``1.ppm`` to ``6.ppm`` and homographies ``H_1_2`` to ``H_1_6``, three lines of three numbers each, which take pixels
of image 1 to image k. Seen in public loaders of the release (ScaleLSD, LaNet: ``np.loadtxt(folder / "H_1_k")``).

The prompt is BLINK's, as quoted in logs of evaluations on it and in the appendix of arXiv 2512.21218; the question is the short
form in its ``question`` column.

A question shows images a < b of a sequence; a point x of image a lies at H_1_b inverse(H_1_a) x in image b (for a = 1 exactly
the release's homography). The reference point is a corner, so that there is something to recognise it by. Beyond the rules of
all correspondence tasks: the match looks like the reference point (normalised cross-correlation of the warped surroundings at
least ``ALIKE``; what moves, hides it or lies off the plane fails), as a good share of all points do (``SHARE``; or the images
show different things); no corner elsewhere looks about as much like it (all ``CLEARLY`` less, wrong options at most
``UNLIKE``), so that repeated texture makes no second right answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.marks import APART, Point, View, far_from, load_view, pick_wrong, point_draft
from tvt.data.builders.raw_files import inside, read_text
from tvt.errors import InputError

IMAGES = range(1, 7)
ALIKE = 0.7
SHARE = 0.25
UNLIKE = 0.5
CLEARLY = 0.1
PROMPT = (
    "A point is circled on the first image, labeled with REF. We change the camera position or lighting and shoot the second "
    'image. You are given multiple red-circled points on the second image, choices of "A, B, C, D" are drawn beside each '
    "circle. Which point on the second image corresponds to the point in the first image? Select from the following options."
)

Homography = NDArray[np.floating[Any]]

_SEQUENCE = re.compile(r"[iv]_\w+")
_MOST_BYTES = 2**16
_TRIES = 40
_ZOOM = 3.0
"""How much larger or smaller the surroundings of a match may be."""


@dataclass(frozen=True)
class HPatches:
    """Builder of Visual_Correspondence from HPatches sequences."""

    task = "Visual_Correspondence"
    layout = "hpatches"
    version = 1
    options = 4
    expects = ("[iv]_*/1.ppm", "[iv]_*/H_1_2")

    def units(self, source: Path) -> Iterable[Unit]:
        """Every pair of images of a sequence; sequences are the strata.

        Raises:
            InputError: a sequence lacks an image or a homography; every one, one line each.
        """
        names = sorted(path.name for path in source.iterdir() if _SEQUENCE.fullmatch(path.name) and path.is_dir())
        needed = [f"{name}/{file}" for name in names for file in _files()]
        missing = [file for file in needed if not (source / file).is_file()]
        if missing:
            raise InputError(
                *(f"{source / file}: missing; unpack the release again, or remove its sequence" for file in missing)
            )
        for name in names:
            for one, other in combinations(IMAGES, 2):
                yield Unit(
                    key=f"{name}/{one}-{other}",
                    images=(f"{name}/{one}.ppm", f"{name}/{other}.ppm"),
                    stratum=name,
                    data={"sequence": name, "pair": [one, other]},
                )

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of two images of a sequence.

        Raises:
            UnfitError: no corner of the first is safely found again in the second, or there are too few wrong options.
            InputError: an image or a homography is missing or damaged.
        """
        sequence, (one, other) = unit.data["sequence"], unit.data["pair"]
        first, second = load_view(source, f"{sequence}/{one}.ppm"), load_view(source, f"{sequence}/{other}.ppm")
        matrix = read_homography(source, sequence, other) @ np.linalg.inv(read_homography(source, sequence, one))
        pair = _Pair(first, second, _resized(second.scale) @ matrix @ np.linalg.inv(_resized(first.scale)))
        reference, candidates = pair.points(rng)
        provenance = {"sequence": sequence, "pair": [one, other], "homography": (matrix / matrix[2, 2]).tolist()}
        return point_draft((first, second), reference, candidates, answer, prompt=PROMPT, provenance=provenance)


def read_homography(source: Path, sequence: str, image: int) -> Homography:
    """The homography from image 1 of a sequence to another; 3 x 3, the identity for image 1.

    Raises:
        InputError: no file, not nine finite numbers, or not invertible.
    """
    if image == 1:
        return np.eye(3)
    path = inside(source, f"{sequence}/H_1_{image}")
    try:
        matrix = np.array([float(number) for number in read_text(path, _MOST_BYTES).split()])
    except ValueError as error:
        raise InputError(f"{path}: {error}; a homography is nine numbers; unpack the release again") from error
    if matrix.size != 9 or not np.isfinite(matrix).all():
        raise InputError(f"{path}: {matrix.size} numbers, or some not finite; a homography has nine; unpack the release again")
    matrix = matrix.reshape(3, 3)
    if abs(np.linalg.det(matrix)) < 1e-9 * np.abs(matrix).max() ** 3 or matrix[2, 2] == 0:
        raise InputError(f"{path}: not invertible, so no homography; unpack the release again")
    return matrix


def project(matrix: Homography, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Points (n x 2) taken through a homography; not a number where they go to infinity or behind the camera."""
    lifted = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    depth = np.where(lifted[:, 2] * np.sign(matrix[2, 2]) > 1e-9, lifted[:, 2], np.nan)
    return np.asarray(lifted[:, :2] / depth[:, None])


class _Pair:
    """Two views and the homography between them, both as shown."""

    def __init__(self, first: View, second: View, matrix: Homography) -> None:
        self.first, self.second, self.matrix = first, second, matrix
        self.planes: tuple[Plane, Plane] = (grey(first.image), grey(second.image))
        reach = np.linspace(-2.5, 2.5, 31) * second.radius
        self.around = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)

    def points(self, rng: np.random.Generator) -> tuple[Point, list[Point]]:
        """The reference point, and the match with three wrong points."""
        result, pool = (_corners(view, plane, rng) for view, plane in zip((self.first, self.second), self.planes, strict=True))
        pairs = [
            (here, (float(x), float(y))) for here, (x, y) in zip(result, self._matches(result), strict=True) if np.isfinite(x)
        ]
        inner = [(here, there) for here, there in pairs if self.second.holds(there)]
        tried = [inner[k] for k in rng.permutation(len(inner))[:_TRIES]]
        if not tried or not pool:
            raise UnfitError("no textured point seen in both images")
        looks = patches(self.planes[0], self._seen([there for _, there in tried]))
        likeness = (looks * self._target([there for _, there in tried])).sum(axis=1)
        if np.mean(likeness >= ALIKE) < SHARE:
            raise UnfitError("the images do not look alike where they should")
        elsewhere = looks @ self._target(pool).T
        for k in np.flatnonzero(likeness >= ALIKE).tolist():
            here, right = tried[k]
            far = [j for j, point in enumerate(pool) if far_from(point, [right], APART * self.second.radius)]
            unlike = [pool[j] for j in far if elsewhere[k, j] <= UNLIKE]
            if any(elsewhere[k, j] > likeness[k] - CLEARLY for j in far):
                continue
            wrong = pick_wrong(self.second, right, unlike, rng)
            if wrong is not None:
                return here, [right, *(unlike[j] for j in wrong)]
        raise UnfitError("no point that differs enough from three others")

    def _matches(self, points: list[Point]) -> NDArray[np.float64]:
        return project(self.matrix, np.array(points, dtype=np.float64).reshape(-1, 2))

    def _target(self, centres: list[Point]) -> NDArray[np.float64]:
        """What surrounds points of the second image; n x places."""
        return patches(self.planes[1], np.array(centres)[:, None] + self.around)

    def _seen(self, matches: list[Point]) -> NDArray[np.float64]:
        """Where the surroundings of matches are seen in the first image; n x places x 2.

        Surroundings that are zoomed too much, or reach behind the camera, are put far outside, where there is no texture.
        """
        places = np.array(matches)[:, None] + self.around
        back = project(np.linalg.inv(self.matrix), places.reshape(-1, 2)).reshape(places.shape)
        zoom = np.ptp(back, axis=1) / np.ptp(self.around, axis=0)
        unfit = ~((zoom >= 1 / _ZOOM) & (zoom <= _ZOOM)).all(axis=1)
        back[unfit] = -1.0
        return back


def _corners(view: View, plane: Plane, rng: np.random.Generator) -> list[Point]:
    """Corners of a view that keep the margin; off by parts of a pixel as a match is, or whole numbers would tell them apart."""
    result = corners(plane, APART * view.radius / 2)
    moved = [(x + rng.uniform(-0.5, 0.5), y + rng.uniform(-0.5, 0.5)) for x, y in result]
    return [point for point in moved if view.holds(point)]


def _files() -> list[str]:
    return [f"{image}.ppm" for image in IMAGES] + [f"H_1_{image}" for image in IMAGES if image > 1]


def _resized(scale: float) -> Homography:
    """From pixels of the raw image to pixels of the shown one (see :func:`tvt.data.builders.marks.scaled`)."""
    shift = 0.5 * scale - 0.5
    return np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1.0]])


Plane = NDArray[np.float32]

_QUALITY = 0.01
"""Corners weaker than this share of the image's strongest are none."""
_FLAT = 2.0
"""Standard deviation of grey values (0 to 255) under which a place has no texture."""


def grey(image: Image.Image) -> Plane:
    """Grey values from 0 to 255; array of height x width."""
    return np.asarray(image.convert("L"), dtype=np.float32)


def corners(plane: Plane, spacing: float, most: int = 200) -> list[Point]:
    """Corner points at least about ``spacing`` pixels apart, the strongest first.

    The strength of a corner is the smaller eigenvalue of the structure tensor (Shi and Tomasi, "Good features to track", 1994).
    """
    smooth = ndimage.gaussian_filter(plane, 1.5)
    down, across = np.gradient(smooth)
    xx, yy, xy = (ndimage.gaussian_filter(product, 3.0) for product in (across**2, down**2, across * down))
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    peaks = strength >= ndimage.maximum_filter(strength, size=2 * round(spacing / 2) + 1)
    rows, columns = np.nonzero(peaks & (strength > _QUALITY * strength.max()))
    order = np.argsort(-strength[rows, columns], kind="stable")[:most]
    return [(float(columns[k]), float(rows[k])) for k in order]


def patches(plane: Plane, places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """What is seen at each of some sets of places, made so that the dot product of two is their normalised cross-correlation.

    That is how alike they look whatever the light, from -1 to 1; a patch without texture is all zeros.

    Args:
        plane: grey values.
        places: n sets of s places x, y, between pixels too; n x s x 2. Outside the image, the nearest pixel counts.

    Returns:
        n x s values.
    """
    seen = ndimage.map_coordinates(plane, [places[..., 1], places[..., 0]], order=1, mode="nearest").astype(np.float64)
    seen -= seen.mean(axis=1, keepdims=True)
    length = np.linalg.norm(seen, axis=1, keepdims=True)
    flat = length < _FLAT * np.sqrt(seen.shape[1])
    return np.asarray(np.where(flat, 0.0, seen / np.where(flat, 1.0, length)))
