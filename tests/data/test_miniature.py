"""The miniature world: its questions are reproducible, its splits apart, and its answers true of its pictures."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("PIL")
from PIL import Image

from tvt.core.question import LETTERS, Question
from tvt.data.miniature import MINIATURE_TASKS, Split, generate, question, scene_of
from tvt.data.miniature.scene import FOG, SIZE, Figure, Scene, render
from tvt.errors import InputError

NAMES = [task.name for task in MINIATURE_TASKS]
OPTIONS = {task.name: task.options or 0 for task in MINIATURE_TASKS}
SPLITS: tuple[Split, ...] = get_args(Split)


def digest(item: Question) -> str:
    return hashlib.sha256(b"".join(item.images) + item.prompt.encode()).hexdigest()


# ---- the right answer, worked out anew from what the scene shows


def discs(scene: Scene) -> list[Figure]:
    return [figure for figure in scene.figures if figure.shape == "disc"]


def fuller_half(scene: Scene) -> int:
    right = sum(figure.x > SIZE / 2 for figure in discs(scene))
    left = len(discs(scene)) - right
    assert left != right
    return int(right > left)


def quarter(scene: Scene) -> int:
    (disc,) = discs(scene)
    return 2 * int(disc.y > SIZE / 2) + int(disc.x > SIZE / 2)


def half(scene: Scene) -> int:
    (disc,) = discs(scene)
    return int(disc.x > SIZE / 2)


def nearest(scene: Scene) -> int:
    assert all(a.x < b.x for a, b in pairwise(scene.figures)), "options go from left to right"
    by_distance = int(np.argmin([figure.distance for figure in scene.figures]))
    # On flat ground what is nearer touches the ground lower in the picture, whatever its size.
    assert by_distance == int(np.argmax([figure.foot for figure in scene.figures]))
    return by_distance


def darker_patch(scene: Scene) -> int:
    assert scene.figures[0].x < scene.figures[1].x
    return int(np.argmin([figure.colour[0] for figure in scene.figures]))


def darkest_tile(scene: Scene) -> int:
    assert [int(tile.left > SIZE / 2) for tile in scene.tiles] == [0, 1]
    return int(np.argmin([tile.lightness for tile in scene.tiles]))


def alike(*looks: str) -> Callable[[Scene], int]:
    def answer(scene: Scene) -> int:
        reference, *_, left, right = scene.tiles
        assert left.right <= SIZE / 2 <= right.left
        assert min(left.top, right.top) > reference.bottom
        same = [all(getattr(tile, look) == getattr(reference, look) for look in looks) for tile in (left, right)]
        assert sum(same) == 1, "one candidate fits, and one only"
        return same.index(True)

    return answer


def like_above(scene: Scene) -> int:
    (above,) = (figure for figure in scene.figures if figure.y < SIZE / 2)
    below = sorted((figure for figure in scene.figures if figure.y > SIZE / 2), key=lambda figure: figure.x)
    assert [int(figure.x > SIZE / 2) for figure in below] == [0, 1]
    assert {figure.shape for figure in scene.figures} == {above.shape}, "only its colour tells"
    (place,) = (k for k, figure in enumerate(below) if figure.colour == above.colour)
    return place


def turned(scene: Scene) -> int:
    first = [figure for figure in scene.figures if figure.y < SIZE / 2]
    second = [figure for figure in scene.figures if figure.y > SIZE / 2]
    moves = {round(b.x - a.x, 6) for a in first for b in second if (a.colour, a.shape) == (b.colour, b.shape)}
    (move,) = moves
    return int(move < 0)  # to the right, when what is seen moves to the left


ANSWER: dict[str, Callable[[Scene], int]] = {
    "Counting": lambda scene: len(discs(scene)) - 1,
    "Count_Comparison": fuller_half,
    "Object_Localization": quarter,
    "Relative_Depth": nearest,
    "Nearest_Post": nearest,
    "Spatial_Relation": half,
    "Relative_Reflectance": darker_patch,
    "Forensic_Detection": darkest_tile,
    "Visual_Similarity": alike("hue"),
    "Jigsaw": alike("texture", "hue"),
    "Correspondence": like_above,
    "Multi_View": turned,
}


def test_every_task_is_checked() -> None:
    assert list(ANSWER) == NAMES
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_true_of_the_scene(name: str) -> None:
    for split in SPLITS:
        for index in range(200):
            scene = scene_of(name, index, seed=3, split=split)
            assert ANSWER[name](scene) == scene.answer
            assert question(name, index, seed=3, split=split).answer == LETTERS[scene.answer] if index < 3 else True


# ---- the picture shows the scene


def without_fog(scene: Scene) -> NDArray[np.float64]:
    """The picture with its fog taken out; what is left of the grain is as strong as on a clear day."""
    return FOG + (render(scene) / 255 - FOG) / (1 - scene.fog)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_drawn_where_the_scene_says(name: str) -> None:
    for index in range(20):
        scene = scene_of(name, index, seed=1, split="train")
        pixels = without_fog(scene)
        right, down = scene.slope
        for figure in scene.figures:
            assert figure.size < figure.x < SIZE - figure.size or figure.shape == "post"
            assert figure.size - 0.5 <= figure.y <= SIZE - figure.size + 0.5
            y, x = int(figure.y), int(figure.x)
            light = 1 + right * ((x + 0.5) / SIZE - 0.5) + down * ((y + 0.5) / SIZE - 0.5)
            shown = pixels[y - 1 : y + 2, x : x + 1].mean(axis=(0, 1))
            expected = np.clip(np.array(figure.colour) * light, 0, 1)
            assert np.abs(shown - expected).max() < 0.12, f"{name} {index} {figure}"


def test_the_edited_tile_looks_darker() -> None:
    """Measured on pixels, the light taken out, for edits that exceed what the phases of the patterns do to a mean."""
    for index in range(200):
        scene = scene_of("Forensic_Detection", index, seed=1, split="report")
        lightness = [tile.lightness for tile in scene.tiles]
        if min(lightness) > 0.92 * max(lightness):
            continue
        axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
        light = 1 + scene.slope[0] * axis[None, :] + scene.slope[1] * axis[:, None]
        pixels = without_fog(scene).max(axis=2) / light
        means = [pixels[tile.top : tile.bottom, tile.left : tile.right].mean() for tile in scene.tiles]
        assert int(np.argmin(means)) == scene.answer


def test_fog_hides_what_a_clear_day_shows() -> None:
    for name in NAMES:
        for index in range(10):
            scene = scene_of(name, index, seed=1, split="train")
            assert 0.5 <= scene.fog <= 0.65
            clear = render(replace(scene, fog=0.0))
            assert render(scene).std() < 0.55 * clear.std()
            nothing = render(replace(scene, fog=1.0))
            assert np.ptp(nothing) <= 1, "all fog, and the answer with it"


# ---- questions


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_well_formed(name: str) -> None:
    for item in generate(name, 8, seed=0, split="select"):
        (data,) = item.images
        image = Image.open(io.BytesIO(data))
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIZE, SIZE))
        assert 56 <= SIZE <= 84
        assert len(data) < 12_000
        assert np.array_equal(np.asarray(image), render(scene_of(name, int(item.id.split("-")[-1]), seed=0, split="select")))
        assert (item.task, len(item.options), item.letters) == (name, OPTIONS[name], LETTERS[: OPTIONS[name]])
        lines = item.prompt.split("\n")
        assert lines[1:-1] == [f"{letter}. {option}" for letter, option in zip(LETTERS, item.options, strict=False)]
        assert len(item.prompt) < 140


@given(name=st.sampled_from(NAMES), index=st.integers(0, 10**9), seed=st.integers(0, 2**40), split=st.sampled_from(SPLITS))
@settings(max_examples=40, deadline=None)
def test_a_question_depends_on_its_arguments_only(name: str, index: int, seed: int, split: Split) -> None:
    np.random.seed(index % 1000)  # which must not matter
    first = question(name, index, seed=seed, split=split)
    question(name, index + 1, seed=seed, split=split)
    assert question(name, index, seed=seed, split=split) == first


def test_a_longer_request_only_adds_questions() -> None:
    assert list(generate("Jigsaw", 5, seed=7, split="train")) == list(generate("JS", 9, seed=7, split="train"))[:5]


def test_scenes_stay_the_same_over_versions() -> None:
    """Stored scores and the shipped base would lose their meaning if a change redrew the questions unnoticed.

    Scenes, not pixels, and three decimals: the last bit of a sine may differ between machines.
    """
    told = hashlib.sha256()
    for name in NAMES:
        for index in range(5):
            scene = scene_of(name, index, seed=0, split="train")
            shapes = [(figure.shape, f"{figure.x:.3f} {figure.y:.3f} {figure.size:.3f}") for figure in scene.figures]
            tiles = [(tile.texture, tile.left, tile.top, f"{tile.hue:.3f} {tile.lightness:.3f}") for tile in scene.tiles]
            told.update(repr((name, scene.answer, scene.grain, f"{scene.fog:.3f}", shapes, tiles)).encode())
    assert told.hexdigest()[:16] == "7fba08435947f29b"


@pytest.mark.parametrize("name", NAMES)
def test_splits_and_seeds_share_nothing(name: str) -> None:
    seen = Counter(digest(item) for split in SPLITS for seed in (0, 1) for item in generate(name, 60, seed=seed, split=split))
    assert len(seen) == 3 * 2 * 60
    scenes = Counter(repr(scene_of(name, k, seed=seed, split=split)) for split in SPLITS for seed in (0, 1) for k in range(200))
    assert len(scenes) == 3 * 2 * 200


def test_ids_are_unique_over_splits_and_seeds() -> None:
    ids = [item.id for split in SPLITS for seed in (0, 1) for item in generate("Jigsaw", 5, seed=seed, split=split)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_answers_take_each_position_equally_often(name: str) -> None:
    options = OPTIONS[name]
    answers = [scene_of(name, index, seed=2, split="report").answer for index in range(60 * options)]
    assert set(Counter(answers).values()) == {60}
    # ... without a pattern: the next answer does not follow from the last.
    assert len(set(pairwise(answers))) == options**2


@pytest.mark.parametrize(
    ("task", "split", "message"),
    [("Jigsw", "train", "did you mean 'Jigsaw'"), ("Jigsaw", "test", "unknown split 'test': one of train, select, report")],
)
def test_unknown_names_are_refused_at_once(task: str, split: Split, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(task, 1, seed=0, split=split)
