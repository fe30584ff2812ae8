from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from raw_sources_correspondence import make_wild6d
from tvt.data.builders.camera_motion import NoCentreError, meeting_point, off_centre, orbit, rotations
from tvt.data.builders.contract import Draft, UnfitError, Unit, find_builder
from tvt.data.builders.wild6d import BACK, TURN, Wild6D
from tvt.errors import InputError

UP = np.array([0.0, 1.0, 0.0])
ORIGIN = np.zeros(3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wild6d(tmp_path_factory.mktemp("wild6d"), n=6)


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(source, tmp_path / "own"))


def draft(source: Path, unit: Unit, answer: int, seed: int = 0) -> Draft:
    return Wild6D().draft(source, unit, answer, np.random.default_rng(seed))


def units(source: Path) -> dict[str, Unit]:
    return {unit.key: unit for unit in Wild6D().units(source)}


# Geometry


def test_from_front_to_right_is_counter_clockwise_seen_from_above() -> None:
    # On a map with x to the right and z towards the reader: from the bottom to the right.
    path = orbit(np.array([[0, 0, 2.0], [1, 0, 1.0], [2, 0, 0.0]]), ORIGIN, UP)
    assert np.diff(path.turn) == pytest.approx([45, 45])
    assert path.elevation == pytest.approx([0, 0, 0])
    assert path.distance == pytest.approx([2, math.sqrt(2), 2])


def test_elevation_is_above_the_object() -> None:
    path = orbit(np.array([[3, 4 + math.sqrt(3), 0.0], [3, 3, 0.0]]), np.array([2.0, 4.0, 0.0]), 7 * UP)
    assert path.elevation == pytest.approx([60, -45])


@given(st.floats(-170, 170), st.lists(st.floats(-60, 60), min_size=1, max_size=12), st.integers(0, 10_000))
def test_turns_are_what_the_camera_did_in_any_frame(start: float, steps: list[float], seed: int) -> None:
    turns = np.radians(np.cumsum([start, *steps]))
    places = np.stack([np.sin(turns), np.full(len(turns), 0.4), np.cos(turns)], axis=1)
    world = Rotation.random(random_state=seed).as_matrix()
    path = orbit(places @ world.T, ORIGIN, world @ UP)
    assert np.diff(path.turn) == pytest.approx(steps, abs=1e-6)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), min_size=1, max_size=5))
def test_quaternions_are_read_as_everybody_reads_them(rows: list[tuple[float, ...]]) -> None:
    found = np.array(rows)
    assert rotations(found) == pytest.approx(Rotation.from_quat(found).as_matrix(), abs=1e-9)


@given(st.integers(0, 10_000))
def test_axes_of_sight_meet_at_what_is_looked_at(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.uniform(-1, 1, 3)
    places = target + np.array([[2, 0, 0], [0, 1, 2], [-1, 0, 2.0]]) + rng.uniform(-0.2, 0.2, (3, 3))
    sights = (target - places) * rng.uniform(0.5, 3, (3, 1))
    assert meeting_point(places, sights) == pytest.approx(target, abs=1e-6)
    assert off_centre(places, sights, target) == pytest.approx(0, abs=1e-6)


def test_an_axis_that_passes_by_is_told() -> None:
    # 3 to the side at a distance of 5: the axis along z passes at 3.
    assert off_centre(np.array([[3.0, 0, 4.0]]), np.array([[0, 0, -1.0]]), ORIGIN) == pytest.approx(0.6)


@pytest.mark.parametrize("sights", [[[0, 0, -1], [0, 0, -1]], [[-1, 0, 1], [1, 0, 1]]], ids=["parallel", "behind"])
def test_axes_that_meet_nowhere_have_no_centre(sights: list[list[int]]) -> None:
    with pytest.raises(NoCentreError):
        meeting_point(np.array([[-1.0, 0, 0], [1.0, 0, 0]]), np.array(sights, dtype=float))


# Questions


def test_every_video_is_a_unit(source: Path) -> None:
    keys = [f"{'' if k % 3 == 0 else 'test_set/'}{('bottle', 'laptop', 'mug')[k % 3]}/{k:04d}/1" for k in range(6)]
    assert sorted(units(source)) == sorted(keys)
    assert all(unit.images == (key,) and unit.answer is None for key, unit in units(source).items())


@pytest.mark.parametrize("answer", [0, 1])
@pytest.mark.parametrize("index", range(6))
def test_the_answer_is_the_way_the_camera_went(source: Path, index: int, answer: int) -> None:
    unit = next(unit for key, unit in units(source).items() if f"/{index:04d}/" in key)
    for seed in range(4):
        made = draft(source, unit, answer, seed)
        first, second = made.provenance["frames"]
        counter_clockwise = (second > first) == (index % 2 == 0)  # as it was drawn: 5 degrees a frame
        assert made.options[made.answer] == ("right" if counter_clockwise else "left")
        turned = made.provenance["counter_clockwise_degrees"]
        assert turned == pytest.approx(5 * abs(second - first) * (1 if counter_clockwise else -1), abs=0.5)
        assert TURN[0] - 0.5 <= abs(turned) <= TURN[1] + 0.5
        assert made.provenance["backwards"] == (second < first)


@pytest.mark.parametrize("answer", [0, 1])
def test_right_means_that_the_second_camera_stands_right_of_the_first(source: Path, answer: int) -> None:
    for key, unit in units(source).items():
        made = draft(source, unit, answer)
        first, second = made.provenance["frames"]
        if key.startswith("bottle"):
            poses = json.loads((source / key / "metadata").read_text())["poses"]
            axes = Rotation.from_quat(poses[first][:4]).as_matrix()
            aside = (np.array(poses[second][4:]) - poses[first][4:]) @ axes[:, 0]
        else:
            rows = json.loads((source / made.provenance["poses"]).read_text())["annotations"]
            (r1, t1), (r2, t2) = ((np.array(rows[k]["rotation"]), np.array(rows[k]["translation"])) for k in (first, second))
            aside = (r1 @ (-r2.T @ t2) + t1)[0]
        assert (aside > 0) == (made.options[made.answer] == "right")


def test_it_asks_as_blink_asks(source: Path) -> None:
    made = draft(source, next(iter(units(source).values())), 1)
    assert made.prompt is not None
    assert made.prompt.startswith("The images are frames from a video. The video is shooting a static scene.")
    assert made.prompt.endswith("Select from the following options.\n(A) left\n(B) right")
    assert made.options == ("left", "right")
    assert [image.mode for image in made.images] == ["RGB", "RGB"]
    json.dumps(made.provenance)


def test_the_same_chance_gives_the_same_question(source: Path) -> None:
    unit = units(source)["bottle/0000/1"]
    one, other = draft(source, unit, 0, 3), draft(source, unit, 0, 3)
    assert one.provenance == other.provenance
    assert [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]
    assert draft(source, unit, 0, 4).provenance != one.provenance


# What makes no fair question


def video(own: Path, poses: Any) -> Unit:
    """A video whose metadata has these poses."""
    metadata = own / "bottle/0000/1/metadata"
    data = json.loads(metadata.read_text())
    data["poses"] = poses(data["poses"]) if callable(poses) else poses
    metadata.write_text(json.dumps(data))
    return units(own)["bottle/0000/1"]


def seen_from(turns: list[float], height: float = 0.3) -> list[list[float]]:
    """Poses of a camera that looks at the origin from these turns."""
    rows = []
    for turn in turns:
        place = np.array([0.5 * math.sin(math.radians(turn)), height, 0.5 * math.cos(math.radians(turn))])
        back = place / np.linalg.norm(place)
        right = np.cross(UP, back)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(back, right), back], axis=1)
        rows.append([*Rotation.from_matrix(axes).as_quat().tolist(), *place.tolist()])
    return rows


@pytest.mark.parametrize(
    ("poses", "why"),
    [
        (seen_from([0.5 * k for k in range(16)]), "clearly and steadily"),
        (seen_from([25 * (k % 2) for k in range(16)]), None),
        (seen_from([5 * k for k in range(16)], height=-0.4), "clearly and steadily"),
        (seen_from([5 * k for k in range(16)], height=2.0), "clearly and steadily"),
        (seen_from([5 * k for k in range(6)]), "too few frames"),
        (seen_from([0] * 16), "several sides"),
        (lambda rows: [[*row[:4], row[4], row[5], row[6] + 0.3 * k] for k, row in enumerate(rows)], "keep looking"),
    ],
    ids=["hardly", "to and fro", "below", "above", "few", "parallel", "aside"],
)
def test_videos_without_a_clear_turn_make_no_question(own: Path, poses: Any, why: str | None) -> None:
    unit = video(own, poses)
    if why is None:  # neighbours turn steadily, and nothing else is taken
        assert abs(np.diff(draft(own, unit, 0).provenance["frames"])).tolist() == [1]
        return
    with pytest.raises(UnfitError, match=why):
        draft(own, unit, 0)


def test_the_camera_goes_back_by_a_small_share_only(own: Path) -> None:
    turns = [0, 4, 8, 12, 10, 14, 18, 22, 20, 24, 28, 32, 30, 34, 38, 42]
    unit = video(own, seen_from(turns))
    for seed in range(30):
        first, second = sorted(draft(own, unit, 0, seed).provenance["frames"])
        steps = np.diff(turns[first : second + 1])
        assert -steps[steps < 0].sum() <= BACK * (turns[second] - turns[first]) + 1e-6


def test_frames_without_a_pose_or_an_image_are_left_out(own: Path) -> None:
    unit = video(own, lambda rows: rows[:12])
    (own / "bottle/0000/1/images/3.jpg").unlink()
    used = {frame for seed in range(40) for frame in draft(own, unit, 0, seed).provenance["frames"]}
    assert used <= set(range(12)) - {3}
    assert len(used) > 6


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: [row[:6] for row in rows], "seven numbers"),
        (lambda rows: [*rows[:-1], rows[-1][:6]], "seven numbers"),
        (lambda rows: [[math.nan] * 7 for _ in rows], "seven numbers"),
        (lambda rows: "poses", "seven numbers"),
        (lambda rows: [[0, 0, 0, 0, *row[4:]] for row in rows], "no rotation"),
    ],
)
def test_damaged_camera_poses_are_told(own: Path, change: Callable[[Any], Any], what: str) -> None:
    unit = video(own, change)
    with pytest.raises(InputError, match=what) as caught:
        draft(own, unit, 0)
    assert str(own / "bottle/0000/1/metadata") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "[" * 3000])
def test_damaged_metadata_is_told(own: Path, text: str) -> None:
    (own / "bottle/0000/1/metadata").write_text(text)
    with pytest.raises(InputError, match="metadata"):
        draft(own, units(own)["bottle/0000/1"], 0)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("rotation", [[2, 0, 0], [0, 1, 0], [0, 0, 1]], "not orthogonal"),
        ("rotation", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "not orthogonal"),
        ("rotation", None, "3 x 3"),
        ("translation", [1, 2], "three numbers"),
        ("translation", ["a", 0, 0], "three numbers"),
    ],
)
def test_damaged_object_poses_are_told(own: Path, field: str, value: Any, what: str) -> None:
    path = own / "test_set/pkl_annotations/laptop/laptop-0001-1.json"
    data = json.loads(path.read_text())
    data["annotations"][3][field] = value
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=what) as caught:
        draft(own, units(own)["test_set/laptop/0001/1"], 0)
    assert str(path) in str(caught.value)


def test_no_list_of_poses_is_told(own: Path) -> None:
    (own / "test_set/pkl_annotations/laptop/laptop-0001-1.json").write_text('{"annotations": {"a": 1}}')
    with pytest.raises(InputError, match="no list of poses"):
        draft(own, units(own)["test_set/laptop/0001/1"], 0)


def test_the_registry_knows_it_and_its_source_is_found(source: Path) -> None:
    builder = find_builder("Multi-view_Reasoning")
    assert (builder.task, builder.layout, builder.options) == ("Multi-view_Reasoning", "wild6d", 2)
    for place in (source, source / "test_set"):
        assert all(any(place.glob(pattern)) for pattern in builder.expects)


def test_the_test_set_is_a_source_by_itself(source: Path) -> None:
    within = {unit.key: unit for unit in Wild6D().units(source / "test_set")}
    assert sorted(within) == sorted(key.removeprefix("test_set/") for key in units(source) if key.startswith("test_set/"))
    one = draft(source / "test_set", within["mug/0002/1"], 0)
    other = draft(source, units(source)["test_set/mug/0002/1"], 0)
    assert one.provenance["frames"] == other.provenance["frames"]
