"""The report in a browser: what a reader can do with it, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from browser import Browser, browser
from report_pages import folder, page
from tvt.report.evaluation_tables import Warned
from tvt.report.html.page import page_data, render
from tvt.report.html.study_data import StudySource
from tvt.transfer.analysis import analyze

pytestmark = pytest.mark.slow

TASKS = ("Alpha", "Beta", "Gamma", "Delta")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of four tasks, with explorers, and a comparison."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    studies = [folder(TASKS, runs=4), folder(TASKS, runs=2, seed=1)]
    return page(studies, path, targets=["Alpha", "Gamma"], compared=True)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def view(window: Browser, report: Path) -> Iterator[Browser]:
    window.requests()
    window.open(report)
    yield window
    assert window.complaints() == []
    assert [url for url in window.requests() if not url.startswith(("file://", "data:"))] == []


def row_names(view: Browser) -> list[str]:
    return [
        str(name)
        for name in view.js("return [...document.querySelectorAll('.heatmap tbody th .long')].map((n) => n.textContent)")
    ]


def key(view: Browser, *keys: str) -> None:
    ActionChains(view.driver).send_keys(*keys).perform()


def active(view: Browser) -> str:
    return str(view.js("return document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))


def test_every_section_is_there_and_the_links_lead_to_them(view: Browser) -> None:
    assert [link.text for link in view.all(".sections a")] == [
        *("Findings", "Matrix", "Graph", "Tasks", "Trends", "Mixtures", "Result", "Origin"),
    ]
    for link in view.all(".sections a"):
        assert view.all(f"#{str(link.get_attribute('href')).rpartition('#')[2]}")
    assert "4 sources × 4 targets, 4 runs." in view.text(".finding")


def test_doubtful_scores_stand_before_the_findings(window: Browser, tmp_path: Path) -> None:
    of = folder(TASKS, runs=2)
    warnings = (Warned("the base model answers <b>A</b> to 100%", loud=True), Warned("collapsed to one letter"))
    source = StudySource(reference="STUDY", folder=of, warnings=warnings)
    path = tmp_path / "doubtful.html"
    path.write_text(render(page_data(analyze([of.matrix()]), [source]), "A report"), encoding="utf-8")
    window.open(path)
    assert window.text("#headline .notice") == "the base model answers <b>A</b> to 100%"
    assert window.text("#headline .doubts li") == "collapsed to one letter"
    follows = "return document.querySelector('.doubts').compareDocumentPosition(document.querySelector('.finding'))"
    assert window.js(follows) == 4, "the finding follows"
    assert window.complaints() == []


def test_the_matrix_is_sorted_as_asked(view: Browser) -> None:
    assert set(row_names(view)) == set(TASKS)
    view.choose(".order select", "by name")
    assert row_names(view) == sorted(TASKS)
    view.choose(".order select", "as in the study")
    assert row_names(view) == list(TASKS)
    view.choose(".order select", "by level")
    assert row_names(view)[2:] == ["Beta", "Gamma"]  # Alpha and Delta are low, Beta mid, Gamma high


def test_the_diagonal_stays_the_diagonal_in_every_order(view: Browser) -> None:
    for order in ("by name", "by likeness", "by transfer"):
        view.choose(".order select", order)
        own = view.js(
            "return [...document.querySelectorAll('.cell.self')].map((c) => c.getAttribute('aria-label').split(':')[0])"
        )
        assert sorted(own) == [f"{task} on {task}" for task in sorted(TASKS)]


def test_another_run_shows_its_own_figures(view: Browser) -> None:
    view.choose(".order select", "as in the study")
    mean = [cell.text for cell in view.all(".cell")]
    view.choose(".runs select", "seed 2")
    assert [cell.text for cell in view.all(".cell")] != mean
    assert view.js(
        "return JSON.parse(document.getElementById('data').textContent).studies[0].pgf.runs[2][0][1]"
    ) == pytest.approx(int(view.all(".cell")[1].text.replace("−", "-")) / 100, abs=0.0051)


def test_arrow_keys_walk_the_matrix_and_tell_what_is_behind_a_cell(view: Browser) -> None:
    view.choose(".order select", "as in the study")
    assert view.js("return document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1
    view.js("document.querySelector('.cell').focus()")
    key(view, Keys.ARROW_RIGHT)
    assert active(view).startswith("Alpha on Beta")
    key(view, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert active(view).startswith("Gamma on Beta")
    key(view, Keys.END, Keys.ARROW_RIGHT)  # the edge holds
    assert active(view).startswith("Gamma on Delta")
    told = view.text("#cell-details")
    assert "Gamma → Delta" in told
    assert re.search(r"Accuracy went from \d+\.\d% to \d+\.\d% \([\d.]+ to [\d.]+ of 100 questions\)", told)
    assert all(f"seed {k}" in told for k in range(4))
    assert "Error from runs" in told
    assert view.js("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_pointing_at_a_cell_shows_it_too(view: Browser) -> None:
    view.choose(".order select", "as in the study")
    view.js("document.querySelectorAll('.cell')[4].dispatchEvent(new MouseEvent('mouseenter'))")
    assert view.text("#cell-details h3") == "Beta → Alpha"


def test_another_study_changes_every_section(view: Browser) -> None:
    digest = view.text(".facts.wide")
    view.choose(".study select", "made up (2)")
    assert "4 sources × 4 targets, 2 runs." in view.text(".finding")
    assert len(view.all(".runs option")) == 3
    assert view.text(".facts.wide") != digest


def edges(view: Browser) -> int:
    return len(view.all(".edge"))


def test_the_slider_and_the_filter_choose_the_edges(view: Browser) -> None:
    slider = "#graph input[type=range]"
    view.slide(slider, 0)
    every = edges(view)
    assert every == 12
    view.slide(slider, float(str(view.one(slider).get_attribute("max"))))
    assert edges(view) == 1
    view.slide(slider, 0)
    view.js("document.querySelector('#graph input[value=harm]').click()")
    harm = edges(view)
    assert harm == len(view.all(".edge.harm")) > 0
    view.js("document.querySelector('#graph input[value=help]').click()")
    assert edges(view) == len(view.all(".edge.help")) == every - harm


def test_nodes_move_by_keyboard_and_by_pointer_and_go_back(view: Browser) -> None:
    def place() -> str:
        return str(view.one(".node").get_attribute("transform"))

    start = place()
    view.js("document.querySelector('.node').focus()")
    key(view, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    moved = place()
    assert moved != start
    view.js("document.querySelector('#graph').scrollIntoView()")
    node = view.one(".node circle")
    ActionChains(view.driver).drag_and_drop_by_offset(node, 40, 30).perform()
    assert place() not in (start, moved)
    view.js("[...document.querySelectorAll('#graph button')].find((b) => b.textContent === 'Reset places').click()")
    assert place() == start


def test_a_clique_is_highlighted(view: Browser) -> None:
    options = [option.text for option in view.all(".clique option")]
    assert len(options) > 1
    view.choose(".clique select", options[1])
    size = int(options[1].split()[0])
    assert len(view.all(".node.in-help, .node.in-harm")) == size
    assert len(view.all(".edge:not(.far)")) == size * (size - 1)


def weights(view: Browser) -> list[str]:
    return [cell.text for cell in view.all("#mixtures .bar-row")]


def test_the_slider_of_the_explorer_changes_weights_gains_and_command(view: Browser) -> None:
    slider = "#mixtures input[type=range]"
    before = weights(view), view.text("#mixtures .dots"), view.text(".command")
    view.slide(slider, float(str(view.one(slider).get_attribute("max"))))
    after = weights(view), view.text("#mixtures .dots"), view.text(".command")
    assert all(a != b for a, b in zip(before, after, strict=True))
    shares = [float(re.findall(r"([\d.]+)%", row)[0]) for row in weights(view)]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    counts = [int(re.findall(r"· ([\d,]+)", row)[0].replace(",", "")) for row in weights(view)]
    assert sum(counts) == 1000


def test_the_explorer_goes_by_target_and_by_kind_of_care(view: Browser) -> None:
    assert [option.text for option in view.all(".target option")] == ["all targets, on average", "Alpha", "Gamma"]
    view.choose(".target select", "Gamma")
    assert "--target Gamma --without-direct" in view.text(".command")
    assert not any("Gamma" in row for row in weights(view))
    assert "Predicted gain of Gamma" in view.text("#mixtures .finding")
    view.js("document.querySelector('#mixtures input[value=risk]').click()")
    view.slide("#mixtures input[type=range]", 3)
    assert "--risk 1" in view.text(".command")


def test_the_command_is_copied(view: Browser) -> None:
    view.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    view.one(".copy").click()
    assert view.driver.execute_async_script(
        "const done = arguments[0]; setTimeout(() => done(document.querySelector('.copied').textContent), 150)"
    ) in ("copied", "press Ctrl+C")


def test_the_theme_follows_the_system_and_the_button(view: Browser, report: Path) -> None:
    def ground() -> float:
        rgb = re.findall(r"[\d.]+", str(view.js("return getComputedStyle(document.body).backgroundColor")))
        return sum(map(float, rgb[:3]))

    assert ground() > 600
    view.one(".theme").click()
    assert ground() < 150
    view.one(".theme").click()
    assert ground() > 600
    view.open(report, dark=True)
    assert ground() < 150


CONTRAST = """
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return Math.min(...[...document.querySelectorAll('.cell:not(.missing)')].map((cell) => {
  const style = getComputedStyle(cell);
  const pair = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
  return (pair[1] + 0.05) / (pair[0] + 0.05);
}));
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_figures_in_cells_can_be_read(view: Browser, report: Path, dark: bool) -> None:
    view.open(report, dark=dark)
    assert view.js(CONTRAST) >= 4.5


def test_every_picture_has_a_table(view: Browser) -> None:
    folds = view.all("details.behind")
    assert len(folds) > 15
    view.js("for (const fold of document.querySelectorAll('details.behind')) fold.open = true")
    view.driver.execute_async_script("setTimeout(arguments[0], 50)")
    rows = view.js("return [...document.querySelectorAll('details.behind')].map((f) => f.querySelectorAll('tbody tr').length)")
    assert min(rows) > 0
    matrix = "details.behind table.data"
    assert view.js(f"return document.querySelector('#matrix {matrix}').querySelectorAll('tbody tr').length") == 16


def test_the_comparison_shows_verdict_intervals_and_the_diagonal(view: Browser) -> None:
    assert "selected" in view.text(".verdict")
    assert len(view.all("#comparison .plot .diagonal")) == 1
    assert len(view.all("#comparison .plot circle")) >= 6
    whole = view.text("#comparison .dots")
    view.choose(".measured select", "task 2")
    assert view.text("#comparison .dots") != whole


def test_everything_that_can_be_used_is_reached_by_tab_and_seen(view: Browser) -> None:
    view.js("document.body.focus()")
    seen, hidden = set(), []
    for _ in range(120):
        key(view, Keys.TAB)
        what, outlined = view.js(
            "const a = document.activeElement; const near = a.matches('.switch input') ? a.nextElementSibling : a;"
            "const width = a.matches('.node') && getComputedStyle(a.querySelector('circle')).strokeWidth;"
            "const seen = width ? width === '4px' : getComputedStyle(near).outlineStyle !== 'none';"
            "return [a.tagName + '.' + (a.getAttribute('class') || a.type || ''), seen]"
        )
        seen.add(what)
        if not outlined and what != "BODY.":
            hidden.append(what)
    assert {"INPUT.range", "INPUT.radio", "BUTTON.theme", "BUTTON.copy", "SELECT.select-one", "A.skip"} <= seen
    assert any(what.startswith("TD.cell") for what in seen)
    assert any(what.startswith("g.node") for what in seen)
    assert hidden == []


def test_what_sources_do_beyond_any_finetuning_is_a_study_to_choose(window: Browser, tmp_path: Path) -> None:
    from tvt.api.reports import report as write

    window.open(write(["qwen2.5-vl-7b", "qwen2.5-vl-32b"], tmp_path / "specific.html", mixtures=False, specific=True))
    assert window.text("h1") == "Task transfer in 2 studies"
    names = [option.text for option in window.all(".tools option")]
    assert len(names) == 4
    assert names[1] == "qwen2.5-vl-7b, beyond any finetuning"
    heads = [head.text for head in window.all("#tasks h3")]
    assert "What any finetuning does to a target" in heads
    assert "Personas beyond any finetuning" in heads
    window.js("const of = document.querySelector('.tools select'); of.value = '3'; of.dispatchEvent(new Event('change'))")
    assert "In one set of 4 tasks each helps all others" in window.text("#headline")
    assert "What any finetuning does to a target" not in [head.text for head in window.all("#tasks h3")]
    assert window.complaints() == []
