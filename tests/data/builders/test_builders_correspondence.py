from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from raw_sources_correspondence import ACTIONS, PARTS, make_funkpoint, make_hpatches, make_spair, textured
from tvt.data.builders.contract import Builder, Draft, UnfitError, Unit, find_builder
from tvt.data.builders.hpatches import HPatches
from tvt.data.builders.keypoints import FunKPoint, Spair
from tvt.data.builders.marks import APART, DISTINCT, LONGEST, MARGIN
from tvt.errors import InputError

LETTERS = "ABCD"
BUILDERS: dict[str, Builder] = {"hpatches": HPatches(), "spair": Spair(), "funkpoint": FunKPoint()}
TASKS = dict(zip(BUILDERS, ("Visual_Correspondence", "Semantic_Correspondence", "Functional_Correspondence"), strict=True))
MAKERS: dict[str, Callable[[Path], Path]] = {"hpatches": make_hpatches, "spair": make_spair, "funkpoint": make_funkpoint}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {layout: make(tmp_path_factory.mktemp(layout)) for layout, make in MAKERS.items()}


@pytest.fixture
def own(sources: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda layout: Path(shutil.copytree(sources[layout], tmp_path / layout))


def draft(layout: str, source: Path, unit: Unit, answer: int = 0, seed: int = 0) -> Draft:
    return BUILDERS[layout].draft(source, unit, answer, np.random.default_rng(seed))


def first(layout: str, source: Path) -> Unit:
    return next(iter(BUILDERS[layout].units(source)))


def each(layout: str, source: Path, most: int = 12) -> list[tuple[Unit, Draft]]:
    """Drafts of units from all over the source, answers in turn."""
    units = list(BUILDERS[layout].units(source))
    picked = units[:: max(1, len(units) // most)][:most]
    return [(unit, draft(layout, source, unit, k % 4, k)) for k, unit in enumerate(picked)]


# What all of them do


@pytest.mark.parametrize("layout", BUILDERS)
def test_the_registry_knows_it_and_its_source_is_found(layout: str, sources: dict[str, Path]) -> None:
    builder = find_builder(TASKS[layout], layout)
    assert (builder.task, builder.layout, builder.options) == (TASKS[layout], layout, 4)
    assert all(any(sources[layout].glob(pattern)) for pattern in builder.expects)


@pytest.mark.parametrize("layout", BUILDERS)
def test_units_are_told_apart_and_are_the_same_elsewhere(layout: str, sources: dict[str, Path], own: Any) -> None:
    units = list(BUILDERS[layout].units(sources[layout]))
    assert len({unit.key for unit in units}) == len(units) > 0
    assert list(BUILDERS[layout].units(own(layout))) == units
    for unit in units:
        assert len(unit.images) == 2
        assert all((sources[layout] / image).is_file() for image in unit.images)


@pytest.mark.parametrize("layout", BUILDERS)
@pytest.mark.parametrize("answer", range(4))
def test_the_right_answer_stands_where_it_is_wanted(layout: str, answer: int, sources: dict[str, Path]) -> None:
    unit = first(layout, sources[layout])
    made = [draft(layout, sources[layout], unit, at, 5) for at in (0, answer)]
    places = [question.provenance["target"]["drawn"] for question in made]
    assert made[1].answer == answer
    assert places[1][LETTERS[answer]] == places[0]["A"]  # the same point, however the others stand
    assert sorted(map(tuple, places[1].values())) == sorted(map(tuple, places[0].values()))


@pytest.mark.parametrize("layout", BUILDERS)
def test_it_asks_as_blink_asks(layout: str, sources: dict[str, Path]) -> None:
    for unit, made in each(layout, sources[layout], 3):
        assert made.question == "Which point is corresponding to the reference point?"
        assert made.options == ("Point A", "Point B", "Point C", "Point D")
        assert made.prompt is not None
        assert made.prompt.endswith("\n(A) Point A\n(B) Point B\n(C) Point C\n(D) Point D")
        assert "labeled with REF" in made.prompt
        assert ("action" not in unit.data) or f'the action: "{unit.data["action"]}"' in made.prompt
        assert [image.mode for image in made.images] == ["RGB", "RGB"]
        assert json.loads(json.dumps(made.provenance)) == made.provenance


@pytest.mark.parametrize("layout", BUILDERS)
def test_the_same_chance_gives_the_same_question(layout: str, sources: dict[str, Path]) -> None:
    unit = first(layout, sources[layout])
    one, other = (draft(layout, sources[layout], unit, 1, 9) for _ in range(2))
    assert one.provenance == other.provenance
    assert [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]
    assert any(draft(layout, sources[layout], unit, 1, seed).provenance != one.provenance for seed in range(5))


def on_ring(image: Image.Image, point: list[float], radius: float) -> int:
    """How many of 12 pixels on a circle are red."""
    turns = [math.pi * k / 6 for k in range(12)]
    places = [(round(point[0] + radius * math.cos(turn)), round(point[1] + radius * math.sin(turn))) for turn in turns]
    return sum(image.getpixel(place) == (255, 0, 0) for place in places)


@pytest.mark.parametrize("layout", BUILDERS)
def test_every_point_is_ringed_and_keeps_its_distances(layout: str, sources: dict[str, Path]) -> None:
    for _, made in each(layout, sources[layout]):
        reference, target = made.provenance["reference"], made.provenance["target"]
        sides = [(made.images[0], [reference["drawn"]]), (made.images[1], list(target["drawn"].values()))]
        for (image, points), radius in zip(sides, made.provenance["ring_radius"], strict=True):
            for x, y in points:
                assert on_ring(image, [x, y], radius) == 12
                assert min(x, y, image.width - 1 - x, image.height - 1 - y) >= MARGIN * radius - 0.01
            assert all(math.dist(p, q) >= APART * radius - 0.01 for p, q in combinations(points, 2))


@pytest.mark.parametrize("layout", BUILDERS)
def test_small_images_make_no_question(layout: str, own: Any) -> None:
    source = own(layout)
    unit = first(layout, source)
    Image.open(source / unit.images[1]).resize((300, 150)).save(source / unit.images[1])
    with pytest.raises(UnfitError, match="image too small"):
        draft(layout, source, unit)


@pytest.mark.parametrize("layout", BUILDERS)
@pytest.mark.parametrize("damage", [b"", b"not an image"])
def test_a_damaged_image_is_named(layout: str, damage: bytes, own: Any) -> None:
    source = own(layout)
    unit = first(layout, source)
    (source / unit.images[0]).write_bytes(damage)
    with pytest.raises(InputError, match="no image, or a damaged one") as caught:
        draft(layout, source, unit)
    assert str(source / unit.images[0]) in str(caught.value)
    (source / unit.images[0]).unlink()
    with pytest.raises(InputError, match="no such file"):
        draft(layout, source, unit)


# HPatches


def truth(source: Path, sequence: str, image: int) -> np.ndarray:
    return np.eye(3) if image == 1 else np.loadtxt(source / sequence / f"H_1_{image}")


def through(matrix: np.ndarray, point: list[float]) -> np.ndarray:
    x, y, w = matrix @ np.array([*point, 1.0])
    return np.array([x / w, y / w])


def test_all_pairs_of_a_sequence_are_units(sources: dict[str, Path]) -> None:
    units = list(HPatches().units(sources["hpatches"]))
    assert [unit.key for unit in units[:3]] == ["i_wall0/1-2", "i_wall0/1-3", "i_wall0/1-4"]
    assert len(units) == 30
    assert {unit.stratum for unit in units} == {"i_wall0", "v_wall1"}


def test_the_match_is_where_the_homographies_take_the_point(sources: dict[str, Path]) -> None:
    for _, made in each("hpatches", sources["hpatches"], 15):
        sequence, (one, other) = made.provenance["sequence"], made.provenance["pair"]
        wall = through(np.linalg.inv(truth(sources["hpatches"], sequence, one)), made.provenance["reference"]["raw"])
        match = through(truth(sources["hpatches"], sequence, other), wall)
        assert made.provenance["target"]["raw"][LETTERS[made.answer]] == pytest.approx(match, abs=0.01)


def test_the_match_looks_like_the_point_and_the_others_do_not(sources: dict[str, Path]) -> None:
    for unit, made in each("hpatches", sources["hpatches"], 15):
        if not unit.key.startswith("v_"):
            continue  # the light differs
        images = [np.asarray(Image.open(sources["hpatches"] / name)).astype(float) for name in unit.images]
        matrix = np.array(made.provenance["homography"])
        ys, xs = np.mgrid[-10:11:2, -10:11:2]
        x, y = made.provenance["reference"]["raw"]
        around = [[x + a, y + b] for a, b in zip(xs.ravel(), ys.ravel(), strict=True)]
        here = colours(images[0], np.array(around))
        moved = np.array([through(matrix, place) for place in around])
        match = made.provenance["target"]["raw"][LETTERS[made.answer]]
        for letter, point in made.provenance["target"]["raw"].items():
            there = colours(images[1], moved + (np.array(point) - match))
            assert (np.abs(here - there).mean() < 12) == (letter == LETTERS[made.answer])


def colours(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.map_coordinates(image[..., k], [places[:, 1], places[:, 0]], order=1) for k in range(3)])


def test_large_images_are_shown_smaller_and_the_match_moves_with_them(tmp_path: Path) -> None:
    source = make_hpatches(tmp_path, n=2, size=(1120, 420))
    units = [unit for unit in HPatches().units(source) if unit.stratum.startswith("v_")]
    for unit in units[2:5]:
        made = draft("hpatches", source, unit, 2)
        assert max(made.images[1].size) == LONGEST
        scale = LONGEST / 1120
        wall = through(np.linalg.inv(truth(source, unit.stratum, unit.data["pair"][0])), made.provenance["reference"]["raw"])
        match = through(truth(source, unit.stratum, unit.data["pair"][1]), wall)
        assert made.provenance["target"]["raw"]["C"] == pytest.approx(match, abs=0.02)
        assert made.provenance["target"]["drawn"]["C"] == pytest.approx((match + 0.5) * scale - 0.5, abs=0.02)
        assert on_ring(made.images[1], made.provenance["target"]["drawn"]["C"], made.provenance["ring_radius"][1]) == 12


def test_walls_on_which_nothing_can_be_recognised_make_no_question(own: Any) -> None:
    source = own("hpatches")
    ys, xs = np.mgrid[:360, :480]
    chequered = np.where((xs // 24 + ys // 24) % 2, 220, 40).astype(np.uint8)
    for look in (np.full((360, 480), 128, dtype=np.uint8), chequered):
        for image in range(1, 7):
            Image.fromarray(np.repeat(look[..., None], 3, axis=2)).save(source / f"i_wall0/{image}.ppm")
        with pytest.raises(UnfitError):
            draft("hpatches", source, first("hpatches", source))


def test_a_wall_hidden_in_the_second_image_makes_no_question(own: Any) -> None:
    source = own("hpatches")
    Image.fromarray(textured(np.random.default_rng(99), (480, 360))).save(source / "i_wall0/2.ppm")
    with pytest.raises(UnfitError, match="look alike where they should"):
        draft("hpatches", source, first("hpatches", source))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1 0 0\n0 1 0\n0 0", "8 numbers"),
        ("1 0 0\n0 1 0\n0 0 nan", "not finite"),
        ("1 0 0\n0 1 0\n0 0 x", "could not convert"),
        ("1 2 3\n2 4 6\n0 0 1", "not invertible"),
    ],
)
def test_a_damaged_homography_is_named(text: str, what: str, own: Any) -> None:
    source = own("hpatches")
    (source / "i_wall0/H_1_2").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        draft("hpatches", source, first("hpatches", source))
    assert str(source / "i_wall0/H_1_2") in str(caught.value)


def test_everything_that_sequences_lack_is_told(own: Any) -> None:
    source = own("hpatches")
    (source / "i_wall0/H_1_3").unlink()
    (source / "v_wall1/6.ppm").unlink()
    with pytest.raises(InputError) as caught:
        list(HPatches().units(source))
    named = [fault.split(":")[0] for fault in caught.value.faults]
    assert named == [str(source / "i_wall0/H_1_3"), str(source / "v_wall1/6.ppm")]


# SPair-71k and FunKPoint: keypoints


def part(image: Image.Image, point: list[float]) -> int:
    """Which of the drawn parts a point lies on, by its colour."""
    pixel = np.array(image.getpixel((round(point[0]), round(point[1]))), dtype=float)
    return int(np.argmin([np.abs(pixel - paint).sum() for paint in np.array(PARTS, dtype=float)]))


@pytest.mark.parametrize("layout", ["spair", "funkpoint"])
def test_the_right_point_lies_on_the_part_of_the_reference(layout: str, sources: dict[str, Path]) -> None:
    for _, made in each(layout, sources[layout]):
        points = made.provenance["target"]["drawn"]
        wanted = part(made.images[0], made.provenance["reference"]["drawn"])
        assert [part(made.images[1], point) == wanted for point in points.values()] == [k == made.answer for k in range(4)]
        named = [int(str(name).removeprefix("p")) - (layout == "funkpoint") for name in made.provenance["keypoints"]]
        assert named[0] == wanted
        others = [part(made.images[1], points[letter]) for k, letter in enumerate(LETTERS) if k != made.answer]
        assert named[1:] == others


def edit_pair(source: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change the first pair, or give it another text."""
    path = next((source / "PairAnnotation/trn").glob("000000-*.json"))
    data = json.loads(path.read_text())
    text = change(data)
    path.write_text(text if isinstance(text, str) else json.dumps(data))
    return path


@pytest.mark.parametrize("side", ["src_kps", "trg_kps"])
def test_keypoints_too_close_make_no_question(side: str, own: Any) -> None:
    source = own("spair")
    radius = 9.0  # of an image 500 pixels wide
    step = (DISTINCT if side == "src_kps" else APART) * radius / 4
    edit_pair(source, lambda data: data.update({side: [[200 + step * k, 150] for k in range(5)]}))
    with pytest.raises(UnfitError, match="too close"):
        draft("spair", source, first("spair", source))


def test_three_keypoints_are_too_few(own: Any) -> None:
    source = own("spair")
    edit_pair(source, lambda data: data.update({key: data[key][:3] for key in ("src_kps", "trg_kps", "kps_ids")}))
    with pytest.raises(UnfitError):
        draft("spair", source, first("spair", source))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: data.pop("src_kps"), "KeyError: 'src_kps'"),
        (lambda data: data.update(trg_kps=[[1, 2, 3]]), "ValueError"),
        (lambda data: data.update(trg_kps=[[math.inf, 2]] * 5), "not finite"),
        (lambda data: data.update(kps_ids=["0"]), "1 ids of 5"),
        (lambda data: data.update(trg_imname="../../x.jpg"), "not of the images"),
        (lambda data: data.update(src_imsize=[10, 10, 3]), "10 x 10 pixels"),
        (lambda data: data.update(src_imsize=[]), "IndexError"),
        (lambda data: data.clear(), "KeyError"),
        (lambda _: "{", "damaged JSON"),
        (lambda _: "[]", "TypeError"),
    ],
)
def test_a_damaged_pair_is_named(change: Callable[[dict[str, Any]], Any], what: str, own: Any) -> None:
    source = own("spair")
    path = edit_pair(source, change)
    with pytest.raises(InputError, match=what) as caught:
        draft("spair", source, first("spair", source))
    assert str(path) in str(caught.value)


def test_lists_of_pairs_are_read_by_line(own: Any) -> None:
    source = own("spair")
    (source / "Layout/large/val.txt").write_text("\n000000-a-b:cat\n000001-../x-b:cat\n")
    (source / "Layout/large/trn.txt").unlink()
    with pytest.raises(InputError) as caught:
        list(Spair().units(source))
    missing, line = caught.value.faults
    assert str(source / "Layout/large/trn.txt") in missing
    assert f"{source / 'Layout/large/val.txt'}:3:" in line


def test_images_are_paired_within_an_action_and_no_pair_twice(sources: dict[str, Path]) -> None:
    units = list(FunKPoint().units(sources["funkpoint"]))
    assert {unit.stratum for unit in units} == set(ACTIONS)
    pairs = [(unit.stratum, frozenset(unit.images)) for unit in units]
    assert all(len(images) == 2 for _, images in pairs)
    assert len(set(pairs)) == len(pairs) == 3 * 12 * 11 // 2  # of 12 images everyone meets everyone


def rewrite(source: Path, change: Callable[[list[dict[str, str]]], Any]) -> None:
    with (source / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    change(rows)
    with (source / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_faulty_rows_are_told_by_line(own: Any) -> None:
    source = own("funkpoint")

    def damage(rows: list[dict[str, str]]) -> None:
        rows[0]["p2_y"] = "1.5"
        rows[2]["image_path"] = "../../secret.png"
        rows[3]["action"] = " "
        rows[5]["p5_x"] = "left"

    rewrite(source, damage)
    with pytest.raises(InputError) as caught:
        list(FunKPoint().units(source))
    lines = [
        int(fault.split("labels.csv:")[1].split(":")[0]) if "labels.csv:" in fault else None for fault in caught.value.faults
    ]
    assert lines == [2, 4, 5, 7]
    assert "leads out of this folder" in caught.value.faults[1]


def test_many_faulty_rows_are_counted(own: Any) -> None:
    source = own("funkpoint")
    rewrite(source, lambda rows: [row.update(p1_x="-1") for row in rows])
    with pytest.raises(InputError) as caught:
        list(FunKPoint().units(source))
    assert len(caught.value.faults) == 21
    assert caught.value.faults[-1].endswith("16 more such rows")


@pytest.mark.parametrize("text", ["", "action,image_path\nMix,images/a/b.png\n", "a;b\n"])
def test_a_table_without_the_columns_is_told(text: str, own: Any) -> None:
    source = own("funkpoint")
    (source / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"no column .*p1_x"):
        list(FunKPoint().units(source))


def test_the_category_is_the_folder_where_the_table_does_not_name_it(own: Any) -> None:
    source = own("funkpoint")
    rewrite(source, lambda rows: [row.pop("object_category") for row in rows])
    unit = first("funkpoint", source)
    named = draft("funkpoint", source, unit).provenance["categories"]
    assert named == [image.split("/")[1] for image in unit.images]
