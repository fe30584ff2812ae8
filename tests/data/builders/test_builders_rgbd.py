from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.spatial.transform import Rotation

from raw_sources_correspondence import FRAMES, make_wild6d
from tvt.data.builders.camera_motion import LostError, Shot, agreement, align, plane_normal
from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.wild6d import CLEARLY, LIKENESS, SHARE, TURN, Wild6D
from tvt.errors import InputError


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wild6d(tmp_path_factory.mktemp("wild6d"), n=4)


@pytest.fixture(scope="module")
def source(posed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same videos without poses."""
    copy = Path(shutil.copytree(posed, tmp_path_factory.mktemp("bare") / "wild6d"))
    shutil.rmtree(copy / "test_set/pkl_annotations")
    for path in copy.glob("bottle/*/*/metadata"):
        data = json.loads(path.read_text())
        del data["poses"]
        path.write_text(json.dumps(data))
    return copy


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Path:
    """A copy of one video, to be damaged."""
    shutil.copytree(source / "bottle/0000", tmp_path / "bottle/0000")
    return tmp_path


def draft(source: Path, unit: Unit, answer: int = 0, seed: int = 0) -> Draft:
    return Wild6D().draft(source, unit, answer, np.random.default_rng(seed))


def only(source: Path) -> Unit:
    (unit,) = Wild6D().units(source)
    return unit


def shot(source: Path, frame: int) -> Shot:
    """A frame of the first video, read plainly."""
    stem = source / f"bottle/0000/1/images/{frame}"
    k = json.loads((source / "bottle/0000/1/metadata").read_text())["K"]
    depth = np.asarray(Image.open(f"{stem}-depth.png")) / 1000.0
    grey = np.asarray(Image.open(f"{stem}.jpg").convert("L"), dtype=float)
    return Shot(grey=grey, depth=np.where((depth > 0) & (depth < 4), depth, np.nan), camera=(k[0], k[4], k[6], k[7]))


def true_motion(posed: Path, one: int, other: int) -> np.ndarray:
    """From the recorded poses: what takes points of one camera's frame (z forward) to the other's."""
    rows = json.loads((posed / "bottle/0000/1/metadata").read_text())["poses"]
    cameras = []
    for row in (rows[one], rows[other]):
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(row[:4]).as_matrix() @ np.diag([1, -1, -1])
        matrix[:3, 3] = row[4:]
        cameras.append(matrix)
    return np.asarray(np.linalg.inv(cameras[1]) @ cameras[0])


# Alignment


@pytest.mark.parametrize("frames", [(0, 1), (5, 6), (9, 8), (3, 4)])
def test_the_motion_between_frames_is_found(posed: Path, frames: tuple[int, int]) -> None:
    truth = true_motion(posed, *frames)
    found = align(shot(posed, frames[0]), shot(posed, frames[1]), np.eye(4))
    turned = Rotation.from_matrix(found[:3, :3] @ truth[:3, :3].T).magnitude()
    assert np.degrees(turned) < 0.3
    assert np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.004  # metres, of about 0.05


def test_the_true_motion_agrees_and_another_does_not(posed: Path) -> None:
    first, second, truth = shot(posed, 0), shot(posed, 6), true_motion(posed, 0, 6)
    good = agreement(first, second, truth)
    assert good.likeness > LIKENESS + 0.1
    assert good.share > SHARE + 0.1
    for wrong in (np.eye(4), true_motion(posed, 6, 0)):
        bad = agreement(first, second, wrong)
        assert bad.likeness < good.likeness - 2 * CLEARLY
        assert bad.likeness < LIKENESS


def test_an_image_that_shows_something_else_is_lost(posed: Path) -> None:
    away = np.eye(4)
    away[:3, :3] = Rotation.from_euler("y", 170, degrees=True).as_matrix()
    for lost in (lambda: align(shot(posed, 0), shot(posed, 1), away), lambda: agreement(shot(posed, 0), shot(posed, 1), away)):
        with pytest.raises(LostError):
            lost()


def test_half_the_resolution_shows_the_same_plane() -> None:
    ys, xs = np.mgrid[:40, :60]
    camera = (50.0, 55.0, 28.0, 21.0)
    # The plane z = 1 + 0.2 x + 0.1 y in the camera's frame: z (1 - 0.2 u - 0.1 v) = 1 along the ray (u, v, 1).
    depth = 1 / (1 - 0.2 * (xs - 28) / 50 - 0.1 * (ys - 21) / 55)
    half = Shot(grey=np.zeros((40, 60)), depth=depth, camera=camera).halved()
    points = half.points()
    assert half.grey.shape == (20, 30)
    assert points[..., 2] == pytest.approx(1 + 0.2 * points[..., 0] + 0.1 * points[..., 1], abs=2e-4)


def test_depth_is_unknown_where_two_things_are_seen_or_one_is_not_measured() -> None:
    depth = np.ones((4, 8))
    depth[:, 3:] = 2.0
    depth[0, 7] = np.nan
    half = Shot(grey=np.arange(32.0).reshape(4, 8), depth=depth, camera=(1, 1, 0, 0)).halved()
    assert np.isnan(half.depth).tolist() == [[False, True, False, True], [False, True, False, False]]
    assert half.grey[0, 0] == np.mean([0, 1, 8, 9])


def test_the_table_is_found_under_what_stands_on_it() -> None:
    rng = np.random.default_rng(0)
    normal = np.array([0.1, -0.8, -0.59])
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, [1, 0, 0])
    flat = rng.uniform(-0.3, 0.3, (900, 1)) * across + rng.uniform(-0.3, 0.3, (900, 1)) * np.cross(normal, across)
    points = np.concatenate([flat, rng.uniform(-0.3, 0.3, (400, 3))]) + np.array([0, 0, 0.6])
    found = plane_normal(points + rng.normal(0, 0.002, points.shape), 0.01, rng)
    assert found @ normal > 0.999  # towards the camera, not away from it


@pytest.mark.parametrize("points", [np.random.default_rng(1).uniform(-1, 1, (600, 3)), np.zeros((10, 3)), np.zeros((500, 3))])
def test_no_table_is_told(points: np.ndarray) -> None:
    with pytest.raises(LostError):
        plane_normal(points, 0.01, np.random.default_rng(0))


# Questions of videos without poses


@pytest.mark.parametrize("index", range(4))
def test_the_answer_is_the_way_the_camera_went(source: Path, index: int) -> None:
    unit = next(unit for unit in Wild6D().units(source) if f"/{index:04d}/" in unit.key)
    made = draft(source, unit, index // 2, seed=index)
    first, second = made.provenance["frames"]
    assert made.provenance["poses"] == f"{unit.key}/images/*-depth.png"
    counter_clockwise = (second > first) == (index % 2 == 0)  # as it was drawn: 5 degrees a frame
    assert made.options[made.answer] == ("right" if counter_clockwise else "left")
    turned = abs(made.provenance["counter_clockwise_degrees"])
    assert turned == pytest.approx(5 * abs(second - first), rel=0.12)
    assert TURN[0] <= turned <= TURN[1]
    assert made.provenance["elevation_degrees"] == pytest.approx([30, 30], abs=8)  # of the object's front


def test_seen_in_a_mirror_the_camera_goes_the_other_way(own: Path) -> None:
    before = draft(own, only(own), 0)
    for path in (own / "bottle/0000/1/images").iterdir():
        ImageOps.mirror(Image.open(path)).save(path)
    metadata = own / "bottle/0000/1/metadata"
    data = json.loads(metadata.read_text())
    data["K"][6] = 159 - data["K"][6]
    metadata.write_text(json.dumps(data))
    after = draft(own, only(own), 0)
    assert after.provenance["frames"] == before.provenance["frames"][::-1]
    assert after.provenance["backwards"] != before.provenance["backwards"]


def test_the_same_chance_gives_the_same_question(source: Path) -> None:
    unit = next(iter(Wild6D().units(source)))
    assert draft(source, unit, 1, 3).provenance != draft(source, unit, 0, 1).provenance
    assert draft(source, unit, 0, 3).provenance == draft(source, unit, 0, 3).provenance


def each_frame(own: Path, change: Callable[[Path, int], Any]) -> None:
    for frame in range(FRAMES):
        change(own / "bottle/0000/1/images", frame)


def still(images: Path, frame: int) -> None:
    for suffix in (".jpg", "-depth.png", "-mask.png"):
        if frame:
            shutil.copy(images / f"0{suffix}", images / f"{frame}{suffix}")


def noise(images: Path, frame: int) -> None:
    pixels = np.random.default_rng(frame).integers(0, 256, (208, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / f"{frame}.jpg")


def no_object(images: Path, frame: int) -> None:
    Image.new("L", (160, 208)).save(images / f"{frame}-mask.png")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (still, "does not turn clearly"),
        (noise, "cannot be followed"),
        (no_object, "too small"),
        (lambda images, frame: (images / f"{frame}-mask.png").unlink(), "no mask"),
        (lambda images, frame: (images / f"{frame}-depth.png").unlink(), "no depth to find them from"),
    ],
    ids=["still", "noise", "no object", "no mask", "no depth"],
)
def test_videos_that_cannot_be_followed_make_no_question(own: Path, change: Callable[[Path, int], Any], why: str) -> None:
    each_frame(own, change)
    with pytest.raises(UnfitError, match=why):
        draft(own, only(own))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda images, frame: (images / f"{frame}-depth.png").write_bytes(b"junk"), "no image, or a damaged one"),
        (
            lambda images, frame: Image.new("RGB", (160, 208)).save(images / f"{frame}-depth.png"),
            "one band of whole millimetres",
        ),
        (lambda images, frame: Image.new("I;16", (16, 20)).save(images / f"{frame}-depth.png"), "16 x 20 pixels"),
        (lambda images, frame: (images / f"{frame}.jpg").write_bytes(b""), "no image, or a damaged one"),
    ],
)
def test_damaged_frames_are_named(own: Path, change: Callable[[Path, int], Any], what: str) -> None:
    each_frame(own, change)
    with pytest.raises(InputError, match=what) as caught:
        draft(own, only(own))
    assert str(own / "bottle/0000/1/images") in str(caught.value)


@pytest.mark.parametrize("value", [{}, {"K": "wide"}, {"K": [1, 2]}, {"K": [0] * 9}, {"K": [1] * 9, "fps": "fast"}])
def test_metadata_without_a_camera_is_named(own: Path, value: Any) -> None:
    (own / "bottle/0000/1/metadata").write_text(json.dumps(value))
    with pytest.raises(InputError, match="'K'") as caught:
        draft(own, only(own))
    assert str(own / "bottle/0000/1/metadata") in str(caught.value)
