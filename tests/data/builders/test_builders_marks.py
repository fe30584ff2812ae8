from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tvt.data.builders.marks import (
    RED,
    Box,
    Mark,
    circle_points,
    draw_boxes,
    far_from,
    fit_within,
    lies_inside,
    ring_radius,
    scaled,
)

GREY = (90, 120, 110)
SIZE = (640, 480)


def plain(size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new("RGB", size, GREY)


def ring(image: Image.Image, x: float, y: float, radius: float) -> list[tuple[int, ...]]:
    """Pixels on a circle, every tenth of a turn."""
    turns = [2 * math.pi * k / 10 for k in range(10)]
    places = [(round(x + radius * math.cos(turn)), round(y + radius * math.sin(turn))) for turn in turns]
    return [image.getpixel((a, b)) for a, b in places if 0 <= a < image.width and 0 <= b < image.height]  # type: ignore[misc]


def changed(image: Image.Image) -> np.ndarray:
    """Which pixels are not the ground any more; height x width."""
    return (np.asarray(image) != np.array(GREY)).any(axis=-1)


def test_a_ring_is_of_its_colour_and_leaves_its_point_free() -> None:
    marked = circle_points(plain(), [Mark(x=200.3, y=150.7, label="A")], colour=(0, 0, 255))
    radius = ring_radius(SIZE)
    assert ring(marked, 200.3, 150.7, radius) == [(0, 0, 255)] * 10
    ys, xs = np.mgrid[: SIZE[1], : SIZE[0]]
    within = np.hypot(xs - 200.3, ys - 150.7) < 0.55 * radius
    assert within.sum() > 50
    assert not changed(marked)[within].any()


def test_a_white_rim_lies_on_both_sides_of_the_ring() -> None:
    radius = ring_radius(SIZE)
    row = np.asarray(circle_points(plain(), [Mark(x=300, y=200, label="A")]))[200, : round(300 - 0.55 * radius)]
    red = np.flatnonzero((row == RED).all(axis=-1))
    darkest = row.min(axis=-1).astype(int)
    assert darkest[red.max() + 1 :].max() > 200
    assert darkest[: red.min()].max() > 200


@pytest.mark.parametrize("size", [(200, 160), (640, 480), (1024, 1024)])
@pytest.mark.parametrize("place", [(0.02, 0.02), (0.98, 0.03), (0.5, 0.99), (0.99, 0.98), (0.5, 0.5)])
def test_a_label_is_whole_wherever_its_mark_stands(size: tuple[int, int], place: tuple[float, float]) -> None:
    mark = Mark(x=place[0] * size[0], y=place[1] * size[1], label="REF")
    tag = labels_area(circle_points(plain(size), [mark]), [mark])
    middle = labels_area(
        circle_points(plain(size), [Mark(x=size[0] / 2, y=size[1] / 2, label="REF")]),
        [Mark(x=size[0] / 2, y=size[1] / 2, label="")],
    )
    assert tag.sum() == pytest.approx(middle.sum(), rel=0.02)


def labels_area(marked: Image.Image, marks: list[Mark]) -> np.ndarray:
    """Changed pixels that belong to no ring."""
    width, height = marked.size
    ys, xs = np.mgrid[:height, :width]
    found = changed(marked)
    for mark in marks:
        found &= np.hypot(xs - mark.x, ys - mark.y) > 1.42 * ring_radius(marked.size)
    return found


def test_labels_cover_no_ring_of_another_mark() -> None:
    radius = ring_radius(SIZE)
    places = [(200.0, 200.0), (200 + 3 * radius, 200.0), (200.0, 200 + 3 * radius), (200 + 3 * radius, 200 + 3 * radius)]
    marks = [Mark(x=x, y=y, label=letter) for letter, (x, y) in zip("ABCD", places, strict=True)]
    marked = circle_points(plain(), marks)
    for x, y in places:
        assert ring(marked, x, y, radius) == [RED] * 10


def test_the_order_of_marks_moves_no_ring() -> None:
    marks = [Mark(x=100, y=100, label="A"), Mark(x=300, y=200, label="B")]
    one, other = circle_points(plain(), marks), circle_points(plain(), marks[::-1])
    assert one.tobytes() == other.tobytes()


def test_the_image_itself_stays_as_it_is() -> None:
    image = plain()
    circle_points(image, [Mark(x=10, y=10, label="A")])
    draw_boxes(image, [Box(edges=(10, 10, 50, 50), label="A")])
    assert not changed(image).any()


def test_a_mark_outside_is_cut_off_and_does_no_harm() -> None:
    marked = circle_points(plain(), [Mark(x=-2000, y=-2000, label="A"), Mark(x=5000, y=100, label="B")])
    assert marked.size == SIZE


def test_a_box_runs_round_its_pixels_and_covers_none() -> None:
    marked = draw_boxes(plain(), [Box(edges=(100, 120, 300, 260), colour=(0, 0, 255))])
    pixels = changed(marked)
    assert not pixels[120:260, 100:300].any()
    around = [marked.getpixel(place) for place in ((99, 200), (300, 200), (200, 119), (200, 260))]
    assert around == [(0, 0, 255)] * 4


def test_a_box_has_its_label_beside_it() -> None:
    bare = changed(draw_boxes(plain(), [Box(edges=(100, 120, 300, 260))]))
    named = changed(draw_boxes(plain(), [Box(edges=(100, 120, 300, 260), label="B")]))
    tag = np.argwhere(named & ~bare)
    assert len(tag) > 100
    assert tag[:, 1].min() > 300
    assert not named[120:260, 100:300].any()


def test_an_image_that_fits_is_not_touched() -> None:
    image = plain()
    assert fit_within(image, 640) == (image, 1.0)
    smaller, scale = fit_within(image, 320)
    assert smaller.size == (320, 240)
    assert scale == 0.5


def test_scaling_keeps_edges_and_not_centres_of_pixels() -> None:
    assert scaled((-0.5, -0.5), 0.25) == (-0.5, -0.5)
    assert scaled((639.5, 479.5), 0.5) == (319.5, 239.5)


@given(st.floats(0, 4000), st.floats(0, 4000), st.floats(0.05, 1))
def test_scaling_back_gives_the_point_again(x: float, y: float, scale: float) -> None:
    assert scaled(scaled((x, y), scale), 1 / scale) == pytest.approx((x, y), abs=1e-6)


@settings(max_examples=50)
@given(st.floats(-5, 105), st.floats(-5, 85), st.floats(0, 20))
def test_inside_means_so_far_from_every_edge_pixel(x: float, y: float, margin: float) -> None:
    nearest = min(x - 0, 99 - x, y - 0, 79 - y)
    assert lies_inside((x, y), (100, 80), margin) == (nearest >= margin)


def test_far_from_all_and_not_from_some() -> None:
    assert far_from((0, 0), [(3, 4), (6, 8)], 5)
    assert not far_from((0, 0), [(3, 4), (6, 8)], 5.01)
    assert far_from((0, 0), [], 5)
