"""Reports of every shape in a browser: one task and fifty, what failed, names that mean harm, phones, paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import Browser, browser
from report_pages import HOSTILE, folder, matrix_page, page
from tvt.core.matrix import TransferMatrix

pytestmark = pytest.mark.slow

THIRTEEN = tuple(f"Semantic_Correspondence_{k}" for k in range(13))
FIFTY = tuple(f"Task_number_{k}" for k in range(50))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("reports")
    values = np.array([[0.3, np.nan, -0.2], [np.nan, np.nan, np.nan]])
    rectangle = TransferMatrix.from_values(values, sources=["a", "b"], targets=["a", "x", "y"])
    unknown = TransferMatrix.from_values(np.full((2, 2), np.nan), sources=["a", "b"], targets=["a", "b"])
    return {
        "one task": page([folder(["Only"], runs=1)], place / "one.html", targets=None),
        "three tasks, one seed": page([folder(["A", "B", "C"], runs=1)], place / "three.html", targets=["B"], compared=True),
        "failed": page([folder(["A", "B", "C"], failed=True)], place / "failed.html", targets=["A"]),
        "all help": page([folder(["A", "B", "C"], lift=0.6)], place / "help.html", targets=["A"]),
        "thirteen": page([folder(THIRTEEN)], place / "thirteen.html"),
        "fifty": page([folder(FIFTY)], place / "fifty.html"),
        "hostile": page([folder(HOSTILE, failed=True)], place / "hostile.html", targets=HOSTILE[:1]),
        "rectangle": matrix_page(rectangle, place / "rectangle.html"),
        "nothing measured": matrix_page(unknown, place / "nothing.html"),
    }


SHAPES = ("one task", "three tasks, one seed", "failed", "thirteen", "fifty", "hostile", "rectangle", "nothing measured")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", [360, 1280, 1920])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_report_fits_and_complains_of_nothing(window: Browser, pages: dict[str, Path], shape: str, width: int) -> None:
    window.requests()
    window.open(pages[shape], width=width, dark=width == 360)
    assert window.js("return document.documentElement.scrollWidth") == width
    assert window.complaints() == []
    assert [url for url in window.requests() if not url.startswith(("file://", "data:"))] == []
    assert "undefined" not in window.text("main")
    assert "NaN" not in window.text("main")
    assert "[object" not in window.text("main")
    assert pages[shape].stat().st_size < 2_000_000


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("shape", ["failed", "hostile", "three tasks, one seed"])
def test_no_text_runs_out_of_its_box(window: Browser, pages: dict[str, Path], shape: str, width: int) -> None:
    window.open(pages[shape], width=width)
    window.js("for (const fold of document.querySelectorAll('details')) fold.open = true")
    window.driver.execute_async_script("setTimeout(arguments[0], 60)")
    outside = window.js(
        "return [...document.querySelectorAll('main *')]"
        ".filter((n) => !n.closest('.scroll, svg, .unseen') && n.getClientRects().length)"
        ".filter((n) => n.getBoundingClientRect().right > innerWidth + 1).map((n) => n.outerHTML.slice(0, 120))"
    )
    assert outside == []


def test_names_that_mean_harm_are_shown_and_not_run(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["hostile"])
    assert window.driver.title == "A report"
    assert window.js("return document.querySelectorAll('main img, main script, main b b').length") == 0
    assert window.js("return document.scripts.length") == 2
    heads = window.js("return [...document.querySelectorAll('.heatmap tbody th')].map((n) => n.title)")
    assert sorted(heads) == sorted(HOSTILE)
    assert "<img src=x" in window.text("main")
    for head in window.all(".heatmap tbody th"):
        assert head.size["width"] < 260
    # Each name keeps its direction to itself.
    assert window.js("return [...document.querySelectorAll('.heatmap tbody th .name')].every((n) => n.tagName === 'BDI')")


def test_no_name_becomes_html_in_any_part_that_opens(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["hostile"])
    window.js("for (const fold of document.querySelectorAll('details')) fold.open = true")
    window.js("for (const cell of document.querySelectorAll('.cell')) cell.focus()")
    window.driver.execute_async_script("setTimeout(arguments[0], 60)")
    assert window.driver.title == "A report"
    assert window.js("return document.querySelectorAll('main img, main script').length") == 0
    assert window.complaints() == []


def test_what_failed_is_hatched_and_told_with_its_reason(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["failed"])
    assert len(window.all(".cell.missing")) == 3  # no base model below its ceiling: nothing to gain on C
    window.js("document.querySelector('.cell.missing').focus()")
    assert "not measured" in window.text("#cell-details")
    assert "is not below the ceiling" in window.text("#cell-details")
    assert "loss is not finite at step 12" in window.text("#provenance")
    window.choose(".order select", "as in the study")
    window.js("document.querySelectorAll('.cell')[3].focus()")
    assert "Left out: seed 2 (loss is not finite at step 12)" in window.text("#cell-details")
    assert "above 0 in" in window.text("#cell-details") or "below 0 in" in window.text("#cell-details")


def test_one_seed_says_what_it_cannot_say(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["three tasks, one seed"])
    assert not window.all(".runs select")
    assert "whether the sign would hold in another is not known" in window.text("#cell-details")
    assert "there is one run" in window.text("#provenance")


def test_one_task_has_no_graph_and_still_a_report(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["one task"])
    assert "there is no transfer between tasks to draw" in window.text("#graph")
    assert len(window.all(".cell")) == 1
    assert window.all(".command")


def test_fifty_tasks_shrink_and_the_graph_starts_readable(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["fifty"])
    assert len(window.all(".cell")) == 2500
    assert window.one(".cell").size["width"] < 20
    assert len(window.all(".edge")) <= 60
    heads = window.js("return [...document.querySelectorAll('.heatmap thead bdi')].map((n) => n.textContent)")
    assert max(map(len, heads)) <= 6
    labels = window.js(
        "return [...document.querySelectorAll('.node text')].map((n) => n.getBoundingClientRect())"
        ".map((r) => [r.x, r.y, r.width, r.height])"
    )
    overlapping = sum(
        a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
        for k, a in enumerate(labels)
        for b in labels[:k]
    )
    assert overlapping == 0


def test_where_all_help_no_promise_is_above_a_perfect_score(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["all help"])
    gains = [float(text) for text in re.findall(r"[+]\d+\.\d+", window.text("#mixtures"))]
    assert gains
    assert max(gains) < 1


@pytest.mark.parametrize("width", [360, 1280])
def test_labels_of_the_graph_stay_inside(window: Browser, pages: dict[str, Path], width: int) -> None:
    window.open(pages["thirteen"], width=width)
    window.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    outside = window.js(
        "const box = document.querySelector('.graph').getBoundingClientRect();"
        "return [...document.querySelectorAll('.node text')].map((n) => n.getBoundingClientRect())"
        ".filter((r) => r.left < box.left - 1 || r.right > box.right + 1 || r.bottom > box.bottom + 1).length"
    )
    assert outside == 0


def test_a_matrix_of_thirteen_needs_no_scrolling_on_a_desk(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["thirteen"])
    assert window.js("const s = document.querySelector('.heat-scroll'); return s.scrollWidth - s.clientWidth") <= 0


def test_on_paper_there_are_no_controls_and_everything_is_open(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["failed"], dark=True)
    window.command("Emulation.setEmulatedMedia", media="print", features=[])
    gone = window.js(
        "return ['.bar', '.controls', '.copy', '.slide-row', 'details.behind', '.panel']"
        ".filter((s) => [...document.querySelectorAll(s)].some((n) => n.getClientRects().length))"
    )
    assert gone == []
    window.js("dispatchEvent(new Event('beforeprint'))")
    assert window.js("return document.getElementById('words').open")
    assert window.js("return getComputedStyle(document.querySelector('.words dd')).color") == "rgb(86, 94, 103)"
    window.js("dispatchEvent(new Event('afterprint'))")
    assert not window.js("return document.getElementById('words').open")
    pdf = base64.b64decode(window.command("Page.printToPDF", printBackground=True)["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) in range(3, 12)


def test_reduced_motion_is_respected(window: Browser, pages: dict[str, Path]) -> None:
    window.open(pages["one task"], reduced=False)
    assert window.js("return getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
    window.open(pages["one task"], reduced=True)
    assert window.js("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"
