"""Builders of the tasks about how images look: reflectance, depth, similarity, style and forensics.

What is right is checked against how the sources were drawn (``raw_sources_perception``), not against what a builder says.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import raw_sources_perception as raw
from tvt.data.builders import forensic
from tvt.data.builders import image_pairs as art
from tvt.data.builders import point_pairs as diw
from tvt.data.builders.build import encode
from tvt.data.builders.contract import Builder, Draft, UnfitError, Unit, find_builder
from tvt.data.builders.forensic import Forensic
from tvt.data.builders.image_pairs import Nights
from tvt.data.builders.marks import Mark, circle_points, ring_radius
from tvt.data.builders.point_pairs import MOST, Diw, Iiw
from tvt.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A drawn source, its builder and units."""

    builder: Builder
    folder: Path
    units: tuple[Unit, ...]

    def draft(self, unit: Unit, answer: int, seed: int = 0) -> Draft:
        return self.builder.draft(self.folder, unit, answer, np.random.default_rng(seed))

    def fit(self) -> list[tuple[Unit, Draft]]:
        """Every unit that makes a fair question, with the question: answers in turn where they are not fixed."""
        found = []
        for number, unit in enumerate(self.units):
            answer = number % self.builder.options if unit.answer is None else unit.answer
            try:
                found.append((unit, self.draft(unit, answer)))
            except UnfitError:
                continue
        return found


SOURCES: dict[tuple[str, str], Callable[[Path], Path]] = {
    ("Relative_Reflectance", "iiw"): lambda folder: raw.make_iiw(folder, 4),
    ("Relative_Depth", "diw"): raw.make_diw,
    ("Visual_Similarity", "nights"): raw.make_nights,
    ("Art_Style", "wikiart"): raw.make_wikiart,
    ("Art_Style", "artbench"): raw.make_artbench,
    ("Forensic_Detection", "forensic"): lambda folder: raw.make_forensic(folder, 3),
}
ALL = pytest.mark.parametrize("task_layout", SOURCES, ids=lambda pair: pair[1])


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, str]], World]:
    made: dict[tuple[str, str], World] = {}

    def world(task_layout: tuple[str, str]) -> World:
        if task_layout not in made:
            builder = find_builder(*task_layout)
            folder = SOURCES[task_layout](tmp_path_factory.mktemp(task_layout[1]))
            made[task_layout] = World(builder, folder, tuple(builder.units(folder)))
        return made[task_layout]

    return world


Worlds = Callable[[tuple[str, str]], World]


def pixels(image: Image.Image) -> Array:
    return np.asarray(image, dtype=np.float64)


def draw(builder: Builder, folder: Path, unit: Unit, answer: int = 0) -> Draft:
    """A question whose randomness does not matter."""
    return builder.draft(folder, unit, answer, np.random.default_rng(0))


def unfit(call: Callable[[], object]) -> str:
    """Why no fair question can be made."""
    with pytest.raises(UnfitError) as error:
        call()
    return str(error.value)


def faults(call: Callable[[], object]) -> tuple[str, ...]:
    """What is wrong with a source, one line each."""
    with pytest.raises(InputError) as error:
        call()
    assert all("\n" not in fault and fault for fault in error.value.faults)
    return error.value.faults


# --- What holds for all ---------------------------------------------------------------------------------------------------


@ALL
def test_units_are_sound(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    assert (world.builder.task, world.builder.layout) == task_layout
    assert len({unit.key for unit in world.units}) == len(world.units) >= 3
    for unit in world.units:
        assert unit.images
        assert all((world.folder / image).is_file() for image in unit.images)
        assert unit.answer is None or 0 <= unit.answer < world.builder.options
    assert all(list(world.folder.glob(pattern)) for pattern in world.builder.expects)


@ALL
def test_units_do_not_depend_on_where_the_source_lies(worlds: Worlds, task_layout: tuple[str, str], tmp_path: Path) -> None:
    world = worlds(task_layout)
    shutil.copytree(world.folder, tmp_path / "elsewhere")
    assert tuple(world.builder.units(tmp_path / "elsewhere")) == world.units


@ALL
def test_every_position_asked_for_is_honoured(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    seen = set()
    for unit, first in world.fit()[:24]:
        for answer in range(world.builder.options) if unit.answer is None else [unit.answer]:
            draft = world.draft(unit, answer)
            assert draft.answer == answer
            assert len(draft.options) == world.builder.options
            assert all(image.mode == "RGB" for image in draft.images)
            assert len(draft.images) == len(first.images)
            assert draft.prompt is not None
            assert draft.prompt.endswith("\n".join(f"({'ABCD'[k]}) {option}" for k, option in enumerate(draft.options)))
            json.dumps(dict(draft.provenance), allow_nan=False)
            seen.add(answer)
    assert seen == set(range(world.builder.options))


@ALL
def test_the_same_randomness_makes_the_same_question(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    for unit, _ in world.fit()[:4]:
        answer = unit.answer or 0
        one, other = world.draft(unit, answer, 5), world.draft(unit, answer, 5)
        assert [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]
        assert (one.prompt, one.provenance) == (other.prompt, other.provenance)


@pytest.mark.parametrize(
    ("task_layout", "characters"),
    [
        (("Relative_Reflectance", "iiw"), 498),
        (("Relative_Depth", "diw"), 359),
        (("Visual_Similarity", "nights"), 414),
        (("Art_Style", "wikiart"), 553 - 1),  # BLINK's own ends in a line break
        (("Art_Style", "artbench"), 553 - 1),
        (("Forensic_Detection", "forensic"), 480 - 1),
    ],
)
def test_prompts_are_as_long_as_blinks_own(worlds: Worlds, task_layout: tuple[str, str], characters: int) -> None:
    """EvalScope's documentation of BLINK gives the length of each task's prompt, after this template."""
    world = worlds(task_layout)
    _, draft = world.fit()[0]
    letters = ",".join("ABCD"[: len(draft.options)])
    template = (
        "Answer the following multiple choice question. The last line of your response should be of the following format:\n"
        f"'ANSWER: [LETTER]' (without quotes) where [LETTER] is one of {letters}.\n\n"
    )
    assert draft.prompt is not None
    assert len(template + draft.prompt) == characters


@ALL
def test_a_missing_or_damaged_image_is_named(worlds: Worlds, task_layout: tuple[str, str], tmp_path: Path) -> None:
    world = worlds(task_layout)
    unit, draft = world.fit()[0]
    copy = tmp_path / "copy"
    shutil.copytree(world.folder, copy)
    broken = World(world.builder, copy, world.units)
    path = copy / unit.images[-1]
    path.write_bytes(path.read_bytes()[:100])
    (fault,) = faults(lambda: broken.draft(unit, draft.answer))
    assert str(path) in fault
    assert "damaged" in fault
    path.unlink()
    (fault,) = faults(lambda: broken.draft(unit, draft.answer))
    assert str(path) in fault
    assert "no such file" in fault


# --- Marks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_layout", [("Relative_Reflectance", "iiw"), ("Relative_Depth", "diw")], ids=["iiw", "diw"])
def test_rings_stand_where_the_provenance_says_and_leave_the_points_free(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    for unit, draft in world.fit()[:24]:
        shown, before = pixels(draft.images[0]), pixels(Image.open(world.folder / unit.images[0]).convert("RGB"))
        radius = ring_radius(draft.images[0].size)
        for letter in "AB":
            x, y = draft.provenance[letter]
            turns = np.linspace(0, 2 * math.pi, 16, endpoint=False)
            ring = np.array([shown[round(y + radius * math.sin(a)), round(x + radius * math.cos(a))] for a in turns])
            assert np.abs(ring - (255, 0, 0)).mean() < 30, (unit.key, letter)
            near = np.s_[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
            assert np.array_equal(shown[near], before[near])


def test_the_label_of_a_point_is_not_put_beside_the_other_one() -> None:
    """Two points as near each other as they may be: what lies between the rings stays free."""
    ground = Image.new("RGB", (512, 384), (90, 120, 110))
    radius = ring_radius(ground.size)
    marks = [Mark(x=250, y=190, label="A"), Mark(x=250 + 4 * radius, y=190, label="B")]
    between = np.s_[185:196, round(250 + 1.5 * radius) : round(250 + 2.5 * radius)]
    assert np.array_equal(pixels(circle_points(ground, marks))[between], pixels(ground)[between])


# --- Relative reflectance -------------------------------------------------------------------------------------------------


def albedo_at(place: list[int], size: list[int]) -> float:
    """The reflectance that was drawn there."""
    return raw.ALBEDOS[place[0] * 3 // size[0]]


def test_the_darker_point_is_of_darker_surface(worlds: Worlds) -> None:
    world = worlds(("Relative_Reflectance", "iiw"))
    shaded = 0
    for _, draft in world.fit():
        size = draft.provenance["size"]
        a, b = (albedo_at(draft.provenance[letter], size) for letter in "AB")
        assert draft.answer == (2 if a == b else 0 if a < b else 1)
        looks = [pixels(draft.images[0])[draft.provenance[letter][1], draft.provenance[letter][0]].mean() for letter in "AB"]
        shaded += (looks[0] < looks[1]) != (a < b)
    assert shaded, "some surfaces look darker than others that they are not darker than: the label is of reflectance"


def test_only_sure_judgements_of_opaque_surfaces_are_listed(worlds: Worlds) -> None:
    world = worlds(("Relative_Reflectance", "iiw"))
    listed = {unit.data["comparison"] for unit in world.units}
    for number in range(4):
        photo = 1000 + number
        pairs = {
            frozenset(divmod(unit.data["comparison"] - photo * 100, 10)) for unit in world.units if f"{photo}/" in unit.key
        }
        assert not pairs & {frozenset(pair) for pair in ((2, 6), (8, 2), (8, 1), (8, 4))}
        assert not listed & {photo * 100 + 26}
    for photo, answer in product({unit.images[0] for unit in world.units}, range(3)):
        assert 1 <= sum(unit.images[0] == photo and unit.answer == answer for unit in world.units) <= MOST


def test_which_point_is_a_tells_nothing(worlds: Worlds) -> None:
    world = worlds(("Relative_Reflectance", "iiw"))
    first = Counter(unit.data["points"][0] < unit.data["points"][1] for unit in world.units)
    assert min(first.values()) > 0.3 * sum(first.values())
    darker = Counter(unit.answer for unit in world.units if unit.answer != 2)
    assert min(darker.values()) > 0.3 * sum(darker.values())


def test_points_too_near_the_edge_or_each_other_are_unfit(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds(("Relative_Reflectance", "iiw"))
    unit = world.units[0]
    image = Image.open(world.folder / unit.images[0])

    def at(places: tuple[tuple[float, float], tuple[float, float]], size: tuple[int, int] = image.size) -> str:
        moved = Unit(key="x", images=("data/x.png",), answer=0, data={**unit.data, "places": places})
        (tmp_path / "data").mkdir(exist_ok=True)
        image.resize(size).save(tmp_path / "data/x.png")
        return unfit(lambda: draw(Iiw(), tmp_path, moved))

    assert at(((0.01, 0.5), (0.5, 0.5))) == "a point is too near the edge"
    assert at(((0.5, 0.5), (0.5, 0.999))) == "a point is too near the edge"
    assert at(((0.5, 0.5), (0.55, 0.5))) == "the points are too near each other"
    assert at(((0.2, 0.5), (0.8, 0.5)), (300, 150)) == "the image is too small"


def change(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The judgements with one field replaced."""
    *above, last = path.split(".")
    target: Any = data
    for step in above:
        target = target[int(step)] if step.isdigit() else target[step]
    target[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("intrinsic_points", None),
        ("intrinsic_points", [1, 2]),
        ("intrinsic_points", [{"x": 0.5}]),
        ("intrinsic_comparisons", "many"),
        ("intrinsic_comparisons.0.point1", 5),
        ("intrinsic_comparisons.0.darker_score", "high"),
        ("intrinsic_comparisons.0.darker_responses", [1, 2, 3, 4]),
        ("intrinsic_comparisons.0.id", "many"),
        ("intrinsic_comparisons.1.id", 10_000_01),
        ("intrinsic_points.0.x", 1.5),
        ("intrinsic_points.0.y", float("nan")),
        ("intrinsic_points.0.id", []),
        ("license", "free"),
    ],
)
def test_damaged_judgements_are_named(tmp_path: Path, path: str, value: object) -> None:
    raw.make_iiw(tmp_path, 1)
    raw.write_json(tmp_path / "data/1000.json", change(raw.judgements(10_000), path, value))
    raw.write_json(tmp_path / "data/1001.json", [])
    told = faults(lambda: list(Iiw().units(tmp_path)))
    assert [fault.partition(": ")[0] for fault in told] == [str(tmp_path / f"data/{photo}.json") for photo in (1000, 1001)]
    assert all("get it again" in fault for fault in told)


# --- Relative depth -------------------------------------------------------------------------------------------------------


def test_the_nearer_point_is_nearer(worlds: Worlds) -> None:
    world = worlds(("Relative_Depth", "diw"))
    pairs = raw.depth_pairs(12)
    for unit in world.units:
        pair = pairs[int(unit.key.partition(".")[0], 16)]
        depth = {(float(x), float(y)): z for (x, y), z in zip(pair.points, pair.depths, strict=True)}
        for answer in (0, 1):
            provenance = world.draft(unit, answer).provenance
            a, b = (depth[tuple(provenance[letter])] for letter in "AB")
            assert (a < b) == (answer == 0), (
                "points are found where they were drawn, and the nearer one has the answer's letter"
            )


def test_an_image_of_another_size_is_marked_at_the_same_place(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds(("Relative_Depth", "diw"))
    unit = world.units[0]
    image = Image.open(world.folder / unit.images[0])
    (tmp_path / "DIW_train_val").mkdir()
    image.resize((960, 720)).save(tmp_path / unit.images[0], "JPEG")
    double = draw(Diw(), tmp_path, unit).provenance
    single = world.draft(unit, 0).provenance
    for letter in "AB":
        assert double[letter] == pytest.approx([2 * value + 0.5 for value in single[letter]], abs=0.01)
    image.resize((480, 300)).save(tmp_path / unit.images[0], "JPEG")
    assert "shape" in unfit(lambda: draw(Diw(), tmp_path, unit))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("100,100,200,200,=,480,360", "the points are of like depth"),
        ("3,100,200,200,>,480,360", "a point is too near the edge"),
        ("100,100,200,480,>,480,360", "a point is too near the edge"),
        ("100,100,200,600,>,480,360", "a point is too near the edge"),
        ("100,100,110,110,<,480,360", "the points are too near each other"),
    ],
)
def test_unclear_pairs_are_unfit(worlds: Worlds, row: str, why: str) -> None:
    world = worlds(("Relative_Depth", "diw"))
    unit = Unit(key="x", images=world.units[0].images, data={"row": row})
    assert unfit(lambda: world.draft(unit, 0)) == why


def test_small_photographs_are_unfit(worlds: Worlds, tmp_path: Path) -> None:
    unit = worlds(("Relative_Depth", "diw")).units[0]
    (tmp_path / "DIW_train_val").mkdir()
    Image.new("RGB", (240, 180)).save(tmp_path / unit.images[0], "JPEG")
    assert unfit(lambda: draw(Diw(), tmp_path, unit)) == "the image is too small"


@given(
    points=st.tuples(*[st.tuples(st.integers(0, 479), st.integers(0, 359))] * 2),
    depths=st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 2),
)
def test_annotations_are_read_as_they_are_written(
    points: tuple[tuple[int, int], tuple[int, int]], depths: tuple[float, float]
) -> None:
    pair = raw.DepthPair(points, depths)
    read = diw.parse(pair.row)
    assert diw.row_fault(pair.row) is None
    assert (read.points, read.size) == (points, pair.size)
    assert read.nearer == (None if depths[0] == depths[1] else int(np.argmin(depths)))


def write_index(folder: Path, *lines: str, name: str = "DIW_train_val.csv") -> None:
    raw.write_text(folder / "DIW_Annotations" / name, "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("1,2,3,4,>,5", "no annotation"),
        ("1,2,3,4,?,5,6", "no annotation"),
        ("1,2,3,4,>,5,6,7", "no annotation"),
        ("1,2,x,4,>,5,6", "no pixels"),
        ("1,2,-3,4,>,5,6", "no pixels"),
        ("1,2,3,4,>,0,6", "without size"),
        ("1,2,3,4,>,99999999999,6", "no pixels"),
    ],
)
def test_damaged_annotations_are_named_with_their_lines(tmp_path: Path, row: str, what: str) -> None:
    good = raw.depth_pairs(1)[0].row
    write_index(tmp_path, "./a.thumb", good, "", "./b.thumb", row, "1,2,3", good)
    told = faults(lambda: list(Diw().units(tmp_path)))
    assert len(told) == 2
    assert told[0].startswith(f"{tmp_path / 'DIW_Annotations/DIW_train_val.csv'}:4: ")
    assert what in told[0]
    assert ":6: no image's path" in told[1]
    write_index(tmp_path, "./a.thumb", good, "./b.thumb")
    (fault,) = faults(lambda: list(Diw().units(tmp_path)))
    assert ":3: an image's path without its" in fault


def test_images_are_looked_for_in_the_sources_folder_only(tmp_path: Path) -> None:
    good = raw.depth_pairs(1)[0].row
    write_index(
        tmp_path, "/home/you/a.thumb", good, "../../b.thumb", good, "./DIW_train_val/a.thumb", good, name="DIW_train.csv"
    )
    units = list(Diw().units(tmp_path))
    assert [unit.images for unit in units] == [("DIW_train_val/a.thumb",), ("DIW_train_val/b.thumb",)]


# --- Visual similarity ----------------------------------------------------------------------------------------------------


def test_the_variation_that_people_chose_is_the_answer(worlds: Worlds) -> None:
    world = worlds(("Visual_Similarity", "nights"))
    for unit, answer in product(world.units, (0, 1)):
        reference, *variations = map(pixels, world.draft(unit, answer).images)
        distances = [np.abs(variation - reference).mean() for variation in variations]
        assert int(np.argmin(distances)) == answer


def nights(folder: Path, **changed: object) -> list[Unit]:
    """The units of a small source with one line changed."""
    raw.make_nights(folder, 3)
    paths = [f"ref/000/{1:03}.png", f"distort/000/{1:03}_0.png", f"distort/000/{1:03}_1.png"]
    rows = [raw.nights_row(1, True, paths) | changed, raw.nights_row(2, True, paths) | {"split": "val"}]
    raw.write_csv(folder / "data.csv", raw.NIGHTS_COLUMNS, rows)
    return list(Nights().units(folder))


def test_only_the_training_split_is_listed_by_category(tmp_path: Path) -> None:
    (unit,) = nights(tmp_path, prompt="a cat")
    assert (unit.key, unit.stratum) == ("1", "a cat")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"votes": 5}, "fewer than 6 votes"),
        ({"left_vote": 0.8, "right_vote": 0.2}, "people did not agree"),
        ({"left_vote": 1, "right_vote": 1}, "people did not agree"),
        ({"right_path": "distort/000/001_0.png"}, "two of the images are the same"),
    ],
)
def test_unclear_triplets_are_unfit(tmp_path: Path, changed: dict[str, object], why: str) -> None:
    (unit,) = nights(tmp_path, **changed)
    assert unfit(lambda: draw(Nights(), tmp_path, unit)) == why


def test_small_triplets_are_unfit(tmp_path: Path) -> None:
    (unit,) = nights(tmp_path)
    Image.new("RGB", (127, 300)).save(tmp_path / unit.images[1])
    assert unfit(lambda: draw(Nights(), tmp_path, unit)) == "an image is too small"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"votes": "many"}, ":2: id, votes, left_vote or right_vote is missing or no number"),
        ({"left_vote": ""}, ":2: id, votes, left_vote or right_vote is missing or no number"),
        ({"id": ""}, ":2: id, votes, left_vote or right_vote is missing or no number"),
        ({"ref_path": ""}, ":2: ref_path, left_path or right_path is missing"),
    ],
)
def test_damaged_triplets_are_named(tmp_path: Path, changed: dict[str, object], what: str) -> None:
    (fault,) = faults(lambda: nights(tmp_path, **changed))
    assert f"{tmp_path / 'data.csv'}{what}" in fault


def test_triplets_need_their_columns_and_ids_of_their_own(tmp_path: Path) -> None:
    raw.make_nights(tmp_path, 2)
    table = (tmp_path / "data.csv").read_text()
    (tmp_path / "data.csv").write_text(table.replace("left_vote", "left").replace("split", "part"))
    told = faults(lambda: list(Nights().units(tmp_path)))
    assert ["no column 'split'" in told[0], "no column 'left_vote'" in told[1]] == [True, True]
    (tmp_path / "data.csv").write_text(table + table.splitlines()[1] + "\n")
    (fault,) = faults(lambda: list(Nights().units(tmp_path)))
    assert "id 0 stands 2 times" in fault


def test_a_triplet_cannot_lead_out_of_the_source(tmp_path: Path) -> None:
    (unit,) = nights(tmp_path / "nights", ref_path="../ref.png")
    Image.new("RGB", (200, 200)).save(tmp_path / "ref.png")
    (fault,) = faults(lambda: draw(Nights(), tmp_path / "nights", unit))
    assert "'../ref.png' leads out of this folder" in fault


# --- Art style ------------------------------------------------------------------------------------------------------------

ART = pytest.mark.parametrize("task_layout", [("Art_Style", "wikiart"), ("Art_Style", "artbench")], ids=["wikiart", "artbench"])


def style_of(path: str) -> str:
    return Path(path).parent.name


@ART
def test_one_painting_shares_the_style_and_none_the_artist(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    for unit, answer in product(world.units, (0, 1)):
        draft = world.draft(unit, answer)
        reference, *pair = draft.provenance["shown"]
        right, wrong = pair[answer], pair[1 - answer]
        assert style_of(reference) == style_of(right) == unit.stratum
        assert not art.kindred(style_of(reference), style_of(wrong))
        assert len({Path(path).name.partition("_")[0] for path in (reference, right, wrong)}) == 3
        opened = [Image.open(world.folder / path).convert("RGB") for path in (reference, *pair)]
        assert [image.tobytes() for image in opened] == [image.tobytes() for image in draft.images]


@ART
def test_paintings_are_either_right_or_wrong_and_shown_once(worlds: Worlds, task_layout: tuple[str, str]) -> None:
    world = worlds(task_layout)
    pairs = [path for unit in world.units for path in unit.images[:2]]
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & {unit.images[2] for unit in world.units}


def test_paintings_for_testing_are_not_shown(worlds: Worlds) -> None:
    world = worlds(("Art_Style", "artbench"))
    assert all(image.startswith("train/") for unit in world.units for image in unit.images)


def names(folder: Path, counts: dict[str, int], artists: int = 40) -> None:
    """Empty files in the layout of WikiArt."""
    for style, count in counts.items():
        (folder / style).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / style / f"artist-{style.replace('_', '-')}-{number % artists}_{number}.jpg").touch()


def test_no_style_is_wrong_more_often_than_right(tmp_path: Path) -> None:
    """However many paintings of it there are, and whoever its kin are: units are taken from the styles in turn."""
    counts = {
        "Baroque": 900,
        "Rococo": 150,
        "Cubism": 180,
        "Pop_Art": 240,
        "Fauvism": 120,
        "Expressionism": 600,
        "Ukiyo_e": 150,
    }
    names(tmp_path, counts)
    units = list(art.WikiArt().units(tmp_path))
    turns = {style: [unit for unit in units if unit.stratum == style] for style in counts}
    taken = [unit for style in turns for unit in turns[style][-36:]]
    right = Counter(unit.stratum for unit in taken)
    wrong = Counter(style_of(unit.images[2]) for unit in taken)
    assert right == dict.fromkeys(counts, 36)
    assert all(abs(wrong[style] - 36) <= 4 for style in counts), wrong
    for style, paintings in counts.items():
        times = Counter(unit.images[2] for unit in units if style_of(unit.images[2]) == style)
        assert max(times.values()) - min(times.values()) <= 2
        assert len(times) == min(paintings // 3, sum(times.values())), "none is taken again before all are"


def test_shares_of_rivals_are_balanced() -> None:
    styles = [style.title() for style in sorted(set().union(*art.KINDRED))]
    shares = art.rival_shares(styles)
    for style in styles:
        assert sum(shares[style].values()) == pytest.approx(1)
        assert sum(shares[other].get(style, 0) for other in styles) == pytest.approx(1)
        assert set(shares[style]) == {other for other in styles if not art.kindred(style, other)}
    assert art.rival_shares(["Cubism", "Analytical_Cubism"]) == {"Cubism": {}, "Analytical_Cubism": {}}


def test_kin_are_never_set_against_each_other(tmp_path: Path) -> None:
    names(tmp_path, {"Cubism": 30, "Synthetic_Cubism": 30, "Analytical_Cubism": 30, "Rococo": 30})
    pairs = {(unit.stratum, style_of(unit.images[2])) for unit in art.WikiArt().units(tmp_path)}
    cubism = {"Cubism", "Synthetic_Cubism", "Analytical_Cubism"}
    assert pairs == {pair for style in cubism for pair in ((style, "Rococo"), ("Rococo", style))}


@given(st.sampled_from(sorted(set().union(*art.KINDRED))), st.sampled_from(sorted(set().union(*art.KINDRED))))
def test_kinship_is_mutual_whatever_the_case(one: str, other: str) -> None:
    assert art.kindred(one, other) == art.kindred(other.upper(), one.title()) == (one == other or kin(one, other))


def kin(one: str, other: str) -> bool:
    return any(one in group and other in group for group in art.KINDRED)


def test_styles_of_blinks_prompt_are_set_against_each_other() -> None:
    styles = ("Realism", "Impressionism", "Expressionism", "Pop_Art", "Cubism")
    assert not any(art.kindred(one, other) for one, other in product(styles, styles) if one != other)


def test_what_cannot_be_judged_is_left_out(tmp_path: Path) -> None:
    names(tmp_path, {"Baroque": 30, "Cubism": 30})
    for style in ("Baroque", "Cubism"):
        (tmp_path / style / "somebody_in-two-styles.jpg").touch()
        (tmp_path / style / "without-artist.jpg").touch()
        Path(os.fsdecode(os.fsencode(tmp_path / style) + b"/caf\xe9_x.jpg")).touch()
    names(tmp_path, {"Pop_Art": 2, ".hidden": 30})
    shown = {Path(image).name for unit in art.WikiArt().units(tmp_path) for image in unit.images}
    styles = {style_of(image) for unit in art.WikiArt().units(tmp_path) for image in unit.images}
    assert shown
    assert all(name.startswith("artist-") for name in shown)
    assert styles == {"Baroque", "Cubism"}


def test_one_artist_a_style_makes_no_pair(tmp_path: Path) -> None:
    names(tmp_path, {"Baroque": 30, "Cubism": 30}, artists=1)
    assert list(art.WikiArt().units(tmp_path)) == []


def test_art_needs_styles_that_can_be_told_apart(tmp_path: Path) -> None:
    (fault,) = faults(lambda: list(art.ArtBench().units(tmp_path)))
    assert str(tmp_path / "train") in fault
    names(tmp_path, {"Cubism": 30, "Synthetic_Cubism": 30})
    (fault,) = faults(lambda: list(art.WikiArt().units(tmp_path)))
    assert "no two styles to set against each other" in fault


def test_small_or_equal_paintings_are_unfit(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds(("Art_Style", "wikiart"))
    unit = world.units[0]
    shutil.copytree(world.folder, tmp_path / "copy")
    shutil.copy(tmp_path / "copy" / unit.images[0], tmp_path / "copy" / unit.images[1])
    copy = World(world.builder, tmp_path / "copy", world.units)
    assert unfit(lambda: copy.draft(unit, 0)) == "two of the paintings are the same"
    Image.new("RGB", (127, 300)).save(tmp_path / "copy" / unit.images[2])
    assert unfit(lambda: copy.draft(unit, 0)) == "a painting is too small"


# --- Forensic detection ---------------------------------------------------------------------------------------------------


def has_grid(image: Image.Image) -> bool:
    """Whether a column is brighter than those beside it, as all that was drawn as generated has some."""
    columns = pixels(image).mean(axis=(0, 2))
    return float((columns[3:-3] - (columns[:-6] + columns[6:]) / 2).max()) > 10


def test_the_photograph_is_the_answer(worlds: Worlds) -> None:
    world = worlds(("Forensic_Detection", "forensic"))
    for unit, answer in product(world.units, range(4)):
        draft = world.draft(unit, answer)
        assert [has_grid(image) for image in draft.images] == [k != answer for k in range(4)]
        assert draft.provenance["shown"][answer].startswith("real/")


def test_the_others_stand_in_any_order(worlds: Worlds) -> None:
    world = worlds(("Forensic_Detection", "forensic"))
    orders = {tuple(world.draft(world.units[0], 1, seed).provenance["shown"]) for seed in range(12)}
    assert len(orders) > 2


def blockiness(image: Image.Image) -> float:
    """How much larger steps between columns are at the borders of JPEG's blocks than elsewhere."""
    steps = np.abs(np.diff(pixels(image).mean(axis=2), axis=1)).mean(axis=0)
    border = np.arange(len(steps)) % 8 == 7
    return float(steps[border].mean() / steps[~border].mean())


def test_the_kind_of_file_does_not_tell_the_photograph(tmp_path: Path) -> None:
    """One picture as a camera's compressed JPEG, as PNG, and as a larger PNG: nothing tells them apart once made alike."""
    rng = np.random.default_rng(0)
    scene = raw.cloudy(rng, (960, 720), 90)
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    scene.resize((640, 480)).save(tmp_path / "photo.jpg", quality=60, exif=exif, dpi=(72, 72), comment=b"by a camera")
    scene.resize((640, 480)).save(tmp_path / "same.png")
    scene.save(tmp_path / "larger.png")
    scene.resize((640, 480)).save(tmp_path / "same.webp", quality=80)
    files = [Image.open(tmp_path / name).convert("RGB") for name in ("photo.jpg", "same.png", "larger.png", "same.webp")]
    side = forensic.common_side([image.size for image in files])
    alike = [forensic.made_alike(image, side) for image in files]

    assert {image.size for image in alike} == {(384, 384)}
    assert all(not image.info and not image.getexif() for image in alike)
    before = [blockiness(image.crop((80, 0, 560, 480))) for image in files[:2]]
    after = [blockiness(image) for image in alike]
    assert before[0] - before[1] > 0.05, "the JPEG's blocks show in the file"
    assert max(after) - min(after) < 0.2 * (before[0] - before[1]), "and no more in the question"
    assert all(np.abs(pixels(image) - pixels(alike[1])).mean() < 8 for image in alike)

    stored = [Image.open(io.BytesIO(encode(image))) for image in alike]
    tables = [{key: list(table) for key, table in getattr(image, "quantization").items()} for image in stored]  # noqa: B009
    assert all(table == tables[0] for table in tables)
    assert len({tuple(sorted(image.info)) for image in stored}) == 1


def test_orientation_is_applied(tmp_path: Path) -> None:
    source = raw.make_forensic(tmp_path, 1)
    (unit,) = Forensic().units(source)
    upright = draw(Forensic(), source, unit).images[0]
    exif = Image.Exif()
    exif[0x0112] = 3
    path = source / unit.images[0]
    Image.open(path).rotate(180).save(path, exif=exif, quality=95)
    turned = draw(Forensic(), source, unit).images[0]
    assert np.abs(pixels(turned) - pixels(upright)).mean() < 5


@given(st.lists(st.tuples(st.integers(100, 4000), st.integers(100, 4000)), min_size=4, max_size=4))
def test_all_are_scaled_down_to_one_side_or_none(sizes: list[tuple[int, int]]) -> None:
    fits = all(max(size) <= 2 * min(size) and min(size) * 0.8 >= 256 for size in sizes)
    if not fits:
        assert unfit(lambda: forensic.common_side(sizes)).startswith("an image is too ")
    else:
        side = forensic.common_side(sizes)
        assert 256 <= side <= 512
        assert all(side <= 0.8 * min(size) for size in sizes)


def forensic_unit(folder: Path, **images: Image.Image) -> Unit:
    """The unit of a source with one photograph, some of whose images are replaced."""
    source = raw.make_forensic(folder, 1)
    for name, image in images.items():
        path = next(source.glob(f"{'real' if name == 'real' else 'generated/' + name}/*"))
        image.save(path, "JPEG" if name == "real" else "PNG")
    (unit,) = Forensic().units(source)
    return unit


def test_unfair_sets_are_unfit(tmp_path: Path) -> None:
    scene = raw.cloudy(np.random.default_rng(1), (500, 500))
    cases: dict[str, dict[str, Image.Image]] = {
        "an image is too small": {"flux": scene.resize((310, 310))},
        "an image is too long for a square": {"real": scene.resize((1100, 500))},
        "two of the images are the same": {"flux": scene, "sdxl": scene},
        "some of the images are in colour, and some are not": {"real": scene.convert("L")},
    }
    for number, (why, images) in enumerate(cases.items()):
        unit = forensic_unit(tmp_path / str(number), **images)
        assert unfit(partial(draw, Forensic(), tmp_path / str(number), unit)) == why


def test_other_generators_go_before_second_images_of_one(tmp_path: Path) -> None:
    source = raw.make_forensic(tmp_path, 2)
    rows = []
    for name in ("000000000000", "000000000001"):
        for generator in ("flux", "flux", "flux", "sdxl", "pixart"):
            path = f"generated/{generator}/{name}-{len(rows)}.png"
            shutil.copy(source / f"generated/{generator}/{name}.png", source / path)
            rows.append({"real": f"real/{name}.jpg", "generated": path, "generator": generator, "licence": "CC0"})
    raw.write_csv(source / "pairs.csv", ("real", "generated", "generator", "licence"), rows[:-1])
    one, two = Forensic().units(source)
    assert sorted(fake["generator"] for fake in one.data["fakes"]) == ["flux", "pixart", "sdxl"]
    assert sorted(fake["generator"] for fake in two.data["fakes"]) == ["flux", "flux", "sdxl"]
    assert {fake["licence"] for fake in one.data["fakes"]} == {"CC0"}
    told = draw(Forensic(), source, one, 2).provenance
    assert told["generated"] == list(one.data["fakes"])


def test_faults_of_pairs_are_told_with_their_lines(tmp_path: Path) -> None:
    source = raw.make_forensic(tmp_path, 1)
    columns = ("real", "generated", "generator", "licence")
    good = {"real": "real/000000000000.jpg", "generated": "generated/flux/000000000000.png", "generator": "flux", "licence": ""}
    rows = [
        good,
        good,
        {**good, "real": "generated/flux/000000000000.png"},
        {**good, "generated": "generated/flux/none.png"},
        {**good, "generated": "generated/../../x.png"},
        {**good, "generated": "generated/sdxl/000000000000.png", "generator": ""},
    ]
    raw.write_csv(source / "pairs.csv", columns, rows)
    told = faults(lambda: list(Forensic().units(source)))
    wanted = [
        (3, "stands twice"),
        (4, "is not in real/"),
        (4, "stands twice"),
        (5, "no file"),
        (6, "leads out"),
        (7, "no generator"),
    ]
    assert [(f"pairs.csv:{line}: " in fault, what in fault) for (line, what), fault in zip(wanted, told, strict=True)] == [
        (True, True)
    ] * len(wanted)
    raw.write_csv(source / "pairs.csv", columns[:3], [])
    (fault,) = faults(lambda: list(Forensic().units(source)))
    assert "no column 'licence'" in fault


def test_photographs_need_three_generated_images(tmp_path: Path) -> None:
    source = raw.make_forensic(tmp_path, 2)
    (source / "generated/sdxl/000000000001.png").unlink()
    assert [unit.key for unit in Forensic().units(source)] == ["real/000000000000.jpg"]
    shutil.rmtree(source / "generated/flux")
    (fault,) = faults(lambda: list(Forensic().units(source)))
    assert "no photograph has 3 generated images" in fault
    shutil.rmtree(source / "generated")
    (fault,) = faults(lambda: list(Forensic().units(source)))
    assert str(source / "generated") in fault
