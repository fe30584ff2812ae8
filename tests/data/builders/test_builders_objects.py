"""Builders of jigsaw, object localization, counting and spatial relations: from raw files to fair questions."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import raw_sources_objects as raw
from tvt.data.builders import counting, jigsaw
from tvt.data.builders import object_boxes as box_choice
from tvt.data.builders.contract import Builder, Draft, UnfitError, Unit, find_builder
from tvt.data.builders.vsr import question_of
from tvt.errors import InputError

LAYOUTS: dict[tuple[str, str], Callable[[Path, int], Path]] = {
    ("Jigsaw", "tara"): raw.make_tara,
    ("Jigsaw", "coco"): raw.make_coco,
    ("Object_Localization", "lvis"): raw.make_lvis,
    ("Object_Localization", "coco"): raw.make_coco,
    ("Counting", "tallyqa"): raw.make_tallyqa,
    ("Counting", "pixmo_count"): raw.make_pixmo_count,
    ("Spatial_Relation", "vsr"): raw.make_vsr,
}
IDS = ["-".join(layout) for layout in LAYOUTS]
JIGSAWS, BOXES = ("tara", "coco"), ("lvis", "coco")
COUNTED = ("tallyqa", "pixmo_count")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    made: dict[str, Path] = {}

    def get(task: str, layout: str) -> Path:
        if layout not in made:
            made[layout] = LAYOUTS[task, layout](tmp_path_factory.mktemp(layout) / "source", 13)
        return made[layout]

    return get


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def answer_of(unit: Unit, wished: int) -> int:
    return wished if unit.answer is None else unit.answer


def drafts(builder: Builder, folder: Path) -> list[tuple[Unit, Draft]]:
    units = list(builder.units(folder))
    return [
        (unit, builder.draft(folder, unit, answer_of(unit, at % builder.options), rng(at))) for at, unit in enumerate(units)
    ]


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def faults_of(builder: Builder, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(builder.units(folder))
    return str(caught.value)


# All of them


@pytest.mark.parametrize(("task", "layout"), LAYOUTS, ids=IDS)
def test_every_position_of_the_answer_is_honoured(task: str, layout: str, source: Any) -> None:
    builder, folder = find_builder(task, layout), source(task, layout)
    units = list(builder.units(folder))
    assert len(units) == 13
    assert len({unit.key for unit in units}) == 13
    for unit in units[:5]:
        rights = set()
        for position in range(builder.options) if unit.answer is None else [unit.answer]:
            draft = builder.draft(folder, unit, position, rng(4))
            assert draft.answer == position
            assert len(draft.options) == len(set(draft.options)) == builder.options
            assert all(image.mode == "RGB" for image in draft.images)
            assert draft.question.endswith("?")
            if draft.prompt is not None:
                assert all(
                    f"({letter}) {option}\n" in draft.prompt + "\n"
                    for letter, option in zip("ABCD", draft.options, strict=False)
                )
            assert json.loads(json.dumps(draft.provenance, allow_nan=False)) == draft.provenance
            rights.add(draft.options[position] if task == "Counting" else "")
        assert len(rights) == 1  # the position changes, the right answer does not


@pytest.mark.parametrize(("task", "layout"), LAYOUTS, ids=IDS)
def test_the_same_randomness_gives_the_same_draft_wherever_the_source_lies(
    task: str, layout: str, source: Any, tmp_path: Path
) -> None:
    builder, folder = find_builder(task, layout), source(task, layout)
    elsewhere = LAYOUTS[task, layout](tmp_path / "else", 13)
    units, others = list(builder.units(folder)), list(builder.units(elsewhere))
    assert units == others
    for unit in units[:3]:
        one, two = (builder.draft(place, unit, answer_of(unit, 1), rng(7)) for place in (folder, elsewhere))
        assert one.provenance == two.provenance
        assert [image.tobytes() for image in one.images] == [image.tobytes() for image in two.images]


DOWNLOADED = {"tara": "the download is no whole image", "pixmo_count": "not the annotated one"}
"""Sources whose images everybody downloads one by one: a bad one is passed over."""


@pytest.mark.parametrize(("task", "layout"), LAYOUTS, ids=IDS)
def test_a_damaged_image_is_named_unless_it_is_a_download(task: str, layout: str, tmp_path: Path) -> None:
    builder, folder = find_builder(task, layout), LAYOUTS[task, layout](tmp_path / "source", 2)
    unit = next(iter(builder.units(folder)))
    path = folder / unit.images[0]
    path.write_bytes(path.read_bytes()[:400])
    expected = (UnfitError, DOWNLOADED[layout]) if layout in DOWNLOADED else (InputError, re.escape(str(path)))
    with pytest.raises(expected[0], match=expected[1]):
        builder.draft(folder, unit, answer_of(unit, 0), rng())


@pytest.mark.parametrize(("task", "layout"), [key for key in LAYOUTS if key != ("Jigsaw", "coco")], ids=str)
def test_images_that_are_not_there_are_passed_over_until_none_is(task: str, layout: str, tmp_path: Path) -> None:
    builder, folder = find_builder(task, layout), LAYOUTS[task, layout](tmp_path / "source", 4)
    units = list(builder.units(folder))
    for path in {folder / image for image in units[0].images}:
        path.unlink()
    assert [unit.key for unit in builder.units(folder)] == [unit.key for unit in units[1:]]
    for unit in units[1:]:
        (folder / unit.images[0]).unlink()
    assert re.search("none of", faults_of(builder, folder))


INDICES = {
    ("Jigsaw", "tara"): "input/train.jsonl",
    ("Object_Localization", "lvis"): "lvis_v1_train.json",
    ("Object_Localization", "coco"): "annotations/instances_train2017.json",
    ("Counting", "tallyqa"): "train.json",
    ("Counting", "pixmo_count"): "data/train-00000-of-00001.parquet",
    ("Spatial_Relation", "vsr"): "splits/random/train.jsonl",
}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b"null", b'{"images": 3}', b"\xff\xfe", b'{"a": "\\ud800"}'])
@pytest.mark.parametrize(("task", "layout"), INDICES, ids=str)
def test_a_damaged_index_is_named(task: str, layout: str, damage: bytes, tmp_path: Path) -> None:
    builder, folder = find_builder(task, layout), LAYOUTS[task, layout](tmp_path / "source", 1)
    path = folder / INDICES[task, layout]
    path.write_bytes(damage)
    if damage == b"" and path.suffix == ".jsonl":
        assert len(list(builder.units(folder))) <= 1  # an empty split is one without captions
        return
    assert str(path) in faults_of(builder, folder)


@pytest.mark.parametrize("escape", ["../../etc/passwd", "/etc/passwd", ".."])
def test_no_index_leads_out_of_its_source(escape: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("secret")
    folder = raw.make_tallyqa(tmp_path / "a" / "source", 1)
    records = json.loads((folder / "train.json").read_text())
    raw.write_json([{**records[0], "image": escape}], folder / "train.json")
    assert str(folder) in faults_of(find_builder("Counting", "tallyqa"), folder)
    folder = raw.make_lvis(tmp_path / "b" / "source", 1)
    index = json.loads((folder / "lvis_v1_train.json").read_text())
    index["images"][0]["coco_url"] = f"http://images.cocodataset.org/../{escape}"
    raw.write_json(index, folder / "lvis_v1_train.json")
    assert str(folder) in faults_of(find_builder("Object_Localization", "lvis"), folder)


# Jigsaw


@pytest.mark.parametrize("layout", JIGSAWS)
def test_the_right_piece_completes_the_photograph_and_the_wrong_one_is_shown_nowhere(layout: str, source: Any) -> None:
    folder = source("Jigsaw", layout)
    for _, draft in drafts(find_builder("Jigsaw", layout), folder):
        seen = draft.provenance
        canvas, pieces = draft.images[0], draft.images[1:]
        width, height = seen["piece_size"]
        assert canvas.size == (2 * width, 2 * height) == (400, 2 * height)
        assert 166 <= canvas.height <= 230
        assert not levels(canvas)[height:, width:].any()
        photograph = Image.open(folder / seen["image"]).resize(seen["scaled_size"], Image.Resampling.LANCZOS)
        whole = canvas.copy()
        whole.paste(pieces[draft.answer], (width, height))
        left, top = seen["canvas_at"]
        expected = levels(photograph.crop((left, top, left + 400, top + canvas.height)))
        assert np.array_equal(levels(whole), expected)
        shown = np.zeros(photograph.size[::-1], int)
        shown[top : top + canvas.height, left : left + 400] = 1
        x, y = seen["wrong_at"]
        assert not shown[y : y + height, x : x + width].any()
        assert np.array_equal(levels(pieces[1 - draft.answer]), levels(photograph)[y : y + height, x : x + width])


@pytest.mark.parametrize("layout", JIGSAWS)
def test_the_right_piece_is_known_by_its_edges_alone(layout: str, source: Any) -> None:
    for _, draft in drafts(find_builder("Jigsaw", layout), source("Jigsaw", layout)):
        canvas, height = levels(draft.images[0]), draft.images[1].height
        above, beside = canvas[height - 1, 200:], canvas[height:, 199]

        def step(piece: np.ndarray, above: np.ndarray = above, beside: np.ndarray = beside) -> float:
            return np.abs(np.concatenate([piece[0] - above, piece[:, 0] - beside])).mean()

        steps = [step(levels(piece)) for piece in draft.images[1:]]
        assert int(np.argmin(steps)) == draft.answer
        assert max(steps) >= max(min(steps) + jigsaw.SEAM_MARGIN, min(steps) * jigsaw.SEAM_RATIO) - 1e-6
        right, wrong = (steps[at] for at in (draft.answer, 1 - draft.answer))
        assert draft.provenance["seams"] == pytest.approx([right, wrong], abs=0.01)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (419, 400), "grey"), "too small"),
        (raw.scene(1, (640, 269)), "too small"),
        (Image.new("RGB", (640, 480), "grey"), "no two pieces"),
        (Image.fromarray(rng().integers(0, 256, (480, 640, 3), np.uint8)), "no two pieces"),
        (Image.fromarray(np.repeat(np.uint8([60, 190]), 240)[:, None].repeat(440, 1)), "no two pieces"),  # one piece is plain
        (raw.scene(2, (420, 270)), "no room|no two pieces"),
    ],
)
def test_photographs_without_a_fair_jigsaw_are_refused(image: Image.Image, reason: str, tmp_path: Path) -> None:
    image.save(tmp_path / "image.png")
    with pytest.raises(UnfitError, match=reason):
        jigsaw.jigsaw_draft(tmp_path, jigsaw.jigsaw_unit("image.png"), 0, rng(1))


# Object localization


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def covered(box: list[int]) -> np.ndarray:
    mask = np.zeros((480, 640), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@pytest.mark.parametrize("layout", BOXES)
def test_the_right_box_is_tight_and_the_wrong_one_is_not(layout: str, source: Any) -> None:
    folder = source("Object_Localization", layout)
    for unit, draft in drafts(find_builder("Object_Localization", layout), folder):
        seen = draft.provenance
        apple = extent(raw.pixels_of(Image.open(folder / seen["image"]), raw.APPLE))
        assert np.abs(np.subtract(apple, seen["right_box"])).max() <= 1
        right, wrong = covered(seen["right_box"]), covered(seen["wrong_box"])
        share = (right & wrong).sum() / (right | wrong).sum()
        assert box_choice.LEAST_IOU <= share <= box_choice.MOST_IOU
        assert seen["iou"] == pytest.approx(share, abs=1e-4)
        assert unit.stratum == "apple"
        assert draft.question == "Which bounding box more accurately localizes and encloses the apple?"


@pytest.mark.parametrize("layout", BOXES)
def test_each_box_is_drawn_around_its_place_in_the_colour_of_its_letter(layout: str, source: Any) -> None:
    folder = source("Object_Localization", layout)
    builder = find_builder("Object_Localization", layout)
    unit = next(iter(builder.units(folder)))
    for answer in (0, 1):
        draft = builder.draft(folder, unit, answer, rng(3))
        image = levels(draft.images[0])
        boxes = [draft.provenance["right_box"], draft.provenance["wrong_box"]]
        for box, colour in zip(boxes if answer == 0 else boxes[::-1], box_choice.COLOURS, strict=True):
            left, top, right, bottom = box
            edges = [
                image[top:bottom, left - 1],
                image[top:bottom, right],
                image[top - 1, left:right],
                image[bottom, left:right],
            ]
            for edge in edges:
                assert (np.abs(edge - np.asarray(colour)).max(axis=1) == 0).mean() > 0.6  # the other box or a label may cross
        plain = levels(Image.open(folder / unit.images[0]))
        left, top, right, bottom = boxes[0]
        assert (image[top:bottom, left:right] == plain[top:bottom, left:right]).all(axis=2).mean() > 0.8


def test_wrong_boxes_are_as_often_larger_as_smaller() -> None:
    right = (20.0, 150.0, 180.0, 290.0)
    area = 160 * 140
    larger = 0
    for seed in range(400):
        box = box_choice.wrong_box(right, (640, 480), rng(seed))
        assert all(edge == int(edge) for edge in box)
        assert min(box[0], box[1], 640 - box[2], 480 - box[3]) >= 5  # the lines around it are seen
        assert min(np.abs(np.subtract(box, right))) >= 5  # and no line lies on the other box's
        assert box_choice.LEAST_IOU <= box_choice.iou(right, box) <= box_choice.MOST_IOU
        larger += (box[2] - box[0]) * (box[3] - box[1]) > area
    assert 160 <= larger <= 240


def test_intersection_over_union_by_hand() -> None:
    assert box_choice.iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_choice.iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert box_choice.iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"size": (640, 199)}, "image is too small"),
        ({"box": (100, 100, 31, 200)}, "object is too small"),
        ({"box": (100, 100, 70, 80)}, "object is too small"),
        ({"box": (20, 20, 600, 440), "area": 250000}, "object is too large"),
        ({"area": 5000}, "fills too little"),
        ({"box": (2, 100, 160, 140)}, "edge"),
        ({"box": (300, 345, 160, 133)}, "edge"),
        ({"size": (640, 200), "box": (9, 9, 316, 182), "area": 50000.0}, "no wrong box"),
        ({"size": (640, 500)}, "another size"),
    ],
)
def test_objects_that_are_no_fair_question_are_refused(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    data = {"category": "apple", "box": (200, 150, 160, 140), "area": 17000.0, "size": (640, 480), "image_id": 1, **changed}
    raw.save(raw.scene(0, (640, 200) if data["size"] == (640, 200) else (640, 480)), tmp_path / "image.jpg")
    with pytest.raises(UnfitError, match=reason):
        box_choice.box_draft(tmp_path, Unit(key="1", images=("image.jpg",), data=data), 0, rng())


def test_only_lone_objects_of_exhaustively_annotated_images_are_asked_about(tmp_path: Path) -> None:
    folder = raw.make_lvis(tmp_path / "lvis", 3)
    units = list(find_builder("Object_Localization", "lvis").units(folder))
    assert {unit.stratum for unit in units} == {"apple"}  # there are two cups everywhere
    assert {unit.data["image_id"] for unit in units} == {9000, 9001, 9002}  # 9003 may show other apples
    folder = raw.make_coco(tmp_path / "coco", 3)
    path = folder / "annotations" / "instances_train2017.json"
    index = json.loads(path.read_text())
    index["annotations"][0]["iscrowd"] = 1
    index["annotations"][3]["bbox"][2] = 0.0  # COCO has a few like this
    raw.write_json(index, path)
    assert {unit.data["image_id"] for unit in find_builder("Object_Localization", "coco").units(folder)} == {9002}


def test_all_faults_of_an_index_are_told(tmp_path: Path) -> None:
    folder = raw.make_coco(tmp_path / "coco", 10)
    path = folder / "annotations" / "instances_train2017.json"
    index = json.loads(path.read_text())
    index["images"][2]["id"] = "9002"
    index["categories"][0] = 7
    for entry in index["annotations"]:
        entry["bbox"] = None
    raw.write_json(index, path)
    lines = faults_of(find_builder("Object_Localization", "coco"), folder).splitlines()
    assert "images[2]: id missing or of a wrong type" in lines[0]
    assert "annotations[0]: bbox" in lines[1]
    assert lines[-1].endswith("and 12 more")
    index["images"][2]["id"], index["categories"][0] = 9002, {"id": 1, "name": "apple"}
    for entry in index["annotations"]:
        entry["bbox"] = [1, 2, 3, float("nan")]
    raw.write_json(index, path)
    assert "annotations[0]: its image_id, category_id, bbox or area is wrong" in faults_of(
        find_builder("Object_Localization", "coco"), folder
    )


def test_lvis_names_are_written_with_spaces(tmp_path: Path) -> None:
    folder = raw.make_lvis(tmp_path / "lvis", 1)
    builder = find_builder("Object_Localization", "lvis")
    unit = next(iter(builder.units(folder)))
    named = replace(unit, data={**unit.data, "category": "tank_top_(clothing)"})
    draft = builder.draft(folder, named, 0, rng())
    assert draft.prompt is not None
    assert draft.prompt.endswith("encloses the tank top (clothing)?\nSelect from the following options.\n(A) Box A\n(B) Box B")


# Counting


@pytest.mark.parametrize("layout", COUNTED)
def test_the_right_number_is_how_many_there_are(layout: str, source: Any) -> None:
    made = drafts(find_builder("Counting", layout), source("Counting", layout))
    for _, draft in made:
        _, count = ndimage.label(raw.pixels_of(draft.images[0], raw.DISC))
        assert draft.options[draft.answer] == str(count) == str(draft.provenance["count"])
        assert draft.question == "How many yellow discs are there?"
    assert {draft.options[draft.answer] for _, draft in made} == set(map(str, range(13)))


@given(st.integers(0, counting.MOST), st.text(max_size=12), st.integers(0, 3), st.integers(0, 2**32))
def test_options_are_four_numbers_in_a_row_with_the_right_one_in_its_place(
    count: int, key: str, answer: int, seed: int
) -> None:
    lowest = counting.lowest_option(count, key)
    options = counting.number_options(count, lowest, answer, rng(seed))
    assert options[answer] == str(count)
    assert sorted(map(int, options)) == list(range(lowest, lowest + 4))
    assert 0 <= lowest <= lowest + 3 <= counting.MOST


def test_among_four_offered_numbers_each_is_right_in_one_stratum() -> None:
    strata: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for count in range(counting.MOST + 1):
        for key in range(2000):
            strata[counting.lowest_option(count, str(key))][count] += 1
    for lowest, counts in strata.items():
        assert set(counts) == set(range(lowest, lowest + 4))
    fours = [strata[lowest][5] for lowest in (2, 3, 4, 5)]  # the windows of a count share its units evenly
    assert all(430 <= number <= 570 for number in fours)


def test_the_wrong_numbers_stand_in_no_order() -> None:
    orders = {counting.number_options(2, 1, 0, rng(seed)) for seed in range(60)}
    assert orders == {("2", *rest) for rest in [("1", "3", "4"), ("1", "4", "3"), ("3", "1", "4")]} | {
        ("2", *rest) for rest in [("3", "4", "1"), ("4", "1", "3"), ("4", "3", "1")]
    }


def test_questions_answered_differently_and_large_counts_are_left_out(tmp_path: Path) -> None:
    folder = raw.make_tallyqa(tmp_path / "source", 3)
    builder = find_builder("Counting", "tallyqa")
    first, second, third = json.loads((folder / "train.json").read_text())
    again = {**first, "question": "How many  yellow discs are there?", "question_id": 5}
    raw.write_json([first, again, second, {**second, "answer": 2}, {**third, "answer": 13}], folder / "train.json")
    assert [unit.images[0] for unit in builder.units(folder)] == [first["image"]]


def test_entries_of_tallyqa_are_read_with_care(tmp_path: Path) -> None:
    folder = raw.make_tallyqa(tmp_path / "source", 2)
    builder = find_builder("Counting", "tallyqa")
    first, second = json.loads((folder / "train.json").read_text())
    raw.write_json([{**first, "answer": "0"}, {**second, "issimple": True}], folder / "train.json")
    assert [unit.data["count"] for unit in builder.units(folder)] == [0, 1]
    assert [unit.stratum.split(":")[0] for unit in builder.units(folder)] == ["written", "imported"]
    wrong = [{**first, "answer": answer} for answer in (True, -1, "two", 1.0, None)]
    raw.write_json([second, *wrong, {**second, "question": None}], folder / "train.json")
    lines = faults_of(builder, folder).splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"entry {at}" for at in range(1, 7)]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is the number of discs?", "how many"),
        ("How many discs", "how many"),
        ("How many discs\x00 are there?", "how many"),
        ("How many discs? How many squares?", "one plain"),
        ("How many " + "very " * 30 + "yellow discs are there?", "one plain"),
    ],
)
def test_other_questions_than_how_many_are_refused(question: str, reason: str, tmp_path: Path) -> None:
    folder = raw.make_tallyqa(tmp_path / "source", 1)
    builder = find_builder("Counting", "tallyqa")
    unit = next(iter(builder.units(folder)))
    with pytest.raises(UnfitError, match=reason):
        builder.draft(folder, replace(unit, data={**unit.data, "question": question}), 0, rng())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"count": 4}, "disagree"),
        ({"label": "discs 2"}, "plain word"),
        ({"label": "d" * 60}, "plain word"),
        ({"points": {"x": [60.0, 60.5, 200.0], "y": [60.0, 61.0, 200.0]}}, "one thing"),
        ({"points": {"x": [60.0, 481.0, 200.0], "y": [60.0, 61.0, 200.0]}}, "outside"),
        ({"points": {"x": [60.0, None, 200.0], "y": [60.0, 61.0, 200.0]}}, "disagree"),
        ({"points": None}, "disagree"),
    ],
)
def test_doubtful_counts_of_pixmo_are_refused(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = raw.make_pixmo_count(tmp_path / "source", 4)
    rows = pq.read_table(folder / "data" / "train-00000-of-00001.parquet").to_pylist()
    raw.write_pixmo([{**rows[3], **changed}], folder)
    builder = find_builder("Counting", "pixmo_count")
    (unit,) = builder.units(folder)
    with pytest.raises(UnfitError, match=reason):
        builder.draft(folder, unit, 0, rng())


def test_points_may_be_a_list_of_pairs(tmp_path: Path) -> None:
    folder = raw.make_pixmo_count(tmp_path / "source", 4)
    builder = find_builder("Counting", "pixmo_count")
    before = list(builder.units(folder))
    rows = pq.read_table(folder / "data" / "train-00000-of-00001.parquet").to_pylist()
    pairs = [[{"x": x, "y": y} for x, y in zip(row["points"]["x"], row["points"]["y"], strict=True)] for row in rows]
    pair = pa.struct([("x", pa.float64()), ("y", pa.float64())])
    raw.write_pixmo([{**row, "points": points} for row, points in zip(rows, pairs, strict=True)], folder, pa.list_(pair))
    assert list(builder.units(folder)) == before


def test_an_image_that_changed_on_the_web_is_passed_over(tmp_path: Path) -> None:
    folder = raw.make_pixmo_count(tmp_path / "source", 1)
    builder = find_builder("Counting", "pixmo_count")
    (unit,) = builder.units(folder)
    raw.save(raw.scene(77), folder / unit.images[0])
    with pytest.raises(UnfitError, match="not the annotated one"):
        builder.draft(folder, unit, 0, rng())


def test_a_label_counted_differently_is_left_out(tmp_path: Path) -> None:
    folder = raw.make_pixmo_count(tmp_path / "source", 2)
    rows = pq.read_table(folder / "data" / "train-00000-of-00001.parquet").to_pylist()
    raw.write_pixmo([*rows, {**rows[0], "count": 3, "label": "Yellow Discs"}], folder)
    assert [unit.data["sha256"] for unit in find_builder("Counting", "pixmo_count").units(folder)] == [rows[1]["image_sha256"]]


# Spatial relations

RELATIONS = """
adjacent to, alongside, at the side of, at the right side of, at the left side of, attached to, at the back of, ahead
of, against, at the edge of, off, past, toward, down, deep down, up, away from, along, around, from, into, to, across,
across from, through, down from, facing, facing away from, parallel to, perpendicular to, on top of, beneath, beside,
behind, left of, right of, under, in front of, below, above, over, in the middle of, by, close to, near, far from, far
away from, connected to, detached from, part of, within, at, on, in, with, surrounding, among, out of, between, inside,
outside, touching, beyond, next to, opposite to, after, enclosed by
"""
"""Every relation of VSR that stands after "is" (its ``rel_meta_category_dict.txt``); three stand without."""


def test_every_relation_becomes_a_question() -> None:
    relations = [" ".join(relation.split()) for relation in RELATIONS.split(",")]
    assert len(set(relations)) == 67
    for relation in relations:
        caption = f"The dining table is {relation} the hot dog."
        assert question_of(caption, relation) == f"Is the dining table {relation} the hot dog?"
    assert question_of("The cake consists of the truck.", "consists of") == "Does the cake consist of the truck?"
    assert question_of("The train contains the laptop.", "contains") == "Does the train contain the laptop?"
    assert question_of("The person has as a part the tie.", "has as a part") == "Does the person have the tie as a part?"


def test_captions_are_read_with_care() -> None:
    assert question_of("The skis are beneath the person.", "beneath") == "Are the skis beneath the person?"
    assert question_of(" The tv is on the bed .", "on") == "Is the tv on the bed?"
    for caption, relation in [
        ("The tv is in front of the bed.", "in"),  # another relation than the entry says
        ("A tv is on a bed.", "on"),
        ("The tv is on the bed. The cat is on the bed.", "on"),
        ("The tv is on the bed?", "on"),
        ("The tv contains.", "contains"),
    ]:
        with pytest.raises(UnfitError, match="another form"):
            question_of(caption, relation)


def test_the_answer_is_what_the_picture_shows(source: Any) -> None:
    made = drafts(find_builder("Spatial_Relation", "vsr"), source("Spatial_Relation", "vsr"))
    for unit, draft in made:
        square, disc = (ndimage.center_of_mass(raw.pixels_of(draft.images[0], colour))[1] for colour in (raw.SQUARE, raw.CUP))
        left = "left of" in draft.question
        assert draft.options[draft.answer] == ("yes" if (square < disc) == left else "no")
        assert unit.stratum == f"{'left of' if left else 'right of'}: {draft.options[draft.answer]}"
    assert {draft.answer for _, draft in made} == {0, 1}


def edited(folder: Path, **changes: Any) -> list[Unit]:
    """The units after the first caption of the training split was changed."""
    path = folder / "splits" / "random" / "train.jsonl"
    first, *rest = map(json.loads, path.read_text().splitlines())
    raw.write_lines([{**first, **changes}, *rest], path)
    return [unit for unit in find_builder("Spatial_Relation", "vsr").units(folder) if unit.images[0].endswith(first["image"])]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": 1, "vote_true_validator_id": "[2]", "vote_false_validator_id": "[]"}, "fewer than 2"),
        ({"label": 1, "vote_true_validator_id": "[2, 3]", "vote_false_validator_id": "[5]"}, "do not agree"),
        ({"label": 0, "vote_true_validator_id": [2, 3], "vote_false_validator_id": []}, "do not agree"),
        ({"caption": "Square, disc.", "vote_true_validator_id": [], "vote_false_validator_id": [1, 2], "label": 0}, "form"),
    ],
)
def test_captions_that_people_did_not_agree_on_are_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = raw.make_vsr(tmp_path / "source", 4)
    (unit,) = edited(folder, **changes)
    with pytest.raises(UnfitError, match=reason):
        find_builder("Spatial_Relation", "vsr").draft(folder, unit, answer_of(unit, 0), rng())


def test_a_caption_labelled_both_true_and_false_is_left_out(tmp_path: Path) -> None:
    folder = raw.make_vsr(tmp_path / "source", 4)
    path = folder / "splits" / "random" / "dev.jsonl"
    record = json.loads(path.read_text().splitlines()[0])
    raw.write_lines([record, record, {**record, "label": 1 - record["label"]}], path)
    units = list(find_builder("Spatial_Relation", "vsr").units(folder))
    assert len(units) == 3
    raw.write_lines([record, record], path)
    assert len(list(find_builder("Spatial_Relation", "vsr").units(folder))) == 4


@pytest.mark.parametrize(
    "changes", [{"label": True}, {"label": 2}, {"image": ""}, {"vote_true_validator_id": "[2"}, {"caption": 3}]
)
def test_a_wrong_field_is_told_with_its_line(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = raw.make_vsr(tmp_path / "source", 4)
    with pytest.raises(InputError, match=r"train\.jsonl:1: image, caption, label"):
        edited(folder, **changes)
