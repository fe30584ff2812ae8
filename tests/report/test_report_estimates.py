"""Cells that nobody measured, in the report: empty in the matrix, estimated when pointed at, marked where mixtures use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from browser import Browser, browser
from report_pages import folder, page
from tvt.data.studies.folder import StudyFolder
from tvt.evidence.predict import estimated_cells
from tvt.report.html.explorer_data import explore
from tvt.report.html.study_data import StudySource, study_data
from tvt.transfer.analysis import analyze

TASKS = ("Alpha", "Beta", "Gamma", "Delta", "constructor")
HIDDEN = (("Alpha", "Beta"), ("Gamma", "Delta"))


def holes(of: StudyFolder) -> StudyFolder:
    """A study without two of its cells."""
    return replace(of, scores=tuple(s for s in of.scores if (s.source, s.target) not in HIDDEN))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return page([holes(folder(TASKS, lift=0.1)), folder(TASKS, seed=1)], path, targets=["Beta", "Delta"])


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def view(window: Browser, report: Path) -> Iterator[Browser]:
    window.open(report)
    yield window
    assert window.complaints() == []


def test_the_data_has_an_estimate_for_each_missing_cell() -> None:
    of = holes(folder(TASKS))
    matrix = of.matrix()
    told = study_data(analyze([matrix]).studies[0], StudySource(reference="STUDY", folder=of))["pgf"]
    cells = estimated_cells(matrix)
    names = {f"{matrix.sources.index(s)}|{matrix.targets.index(t)}": cells[s, t] for s, t in HIDDEN}
    assert told["estimates"] == {at: pytest.approx([p.gain, p.low, p.high], abs=1e-5) for at, p in names.items()}
    assert told["mean"][matrix.sources.index("Alpha")][matrix.targets.index("Beta")] is None
    found = explore(matrix, ["STUDY"], ["Beta"], lambda done, total: None)
    points = [p for request in found.requests for kind in request["frontiers"].values() for p in kind["points"]]
    assert any(point["estimated"] for point in points)
    for point in points:
        for target, sources in point["estimated"].items():
            assert {(source, target) for source in sources} <= set(HIDDEN)
            assert all(point["weights"][source] > 0 for source in sources)


def test_a_missing_cell_is_empty_and_tells_its_estimate(view: Browser) -> None:
    cells = view.all(".cell.missing")
    assert [cell.text for cell in cells] == ["", ""]
    for cell in cells:
        view.js("arguments[0].focus()", cell)
        label = str(cell.get_attribute("aria-label"))
        assert "not measured, estimated as ≈" in label
        shown = view.text("#cell-details")
        assert shown.count("not measured") == 1
        assert "an estimate" in shown
        assert label.partition("estimated as ")[2] in shown
    assert view.js("return getComputedStyle(document.querySelector('.estimate')).borderTopStyle") == "dashed"
    view.js("document.querySelector('.cell:not(.missing)').focus()")
    assert "estimate" not in view.text("#cell-details")


def test_predictions_that_rest_on_estimates_are_marked(view: Browser) -> None:
    marked = view.js(
        "return [...document.querySelectorAll('#mixtures .dot-row:not(.dot-axis)')].map((row) =>"
        "[row.querySelector('.dot-name').textContent, row.querySelector('.dot-text').textContent.startsWith('≈'),"
        " Boolean(row.querySelector('.dot.estimated'))])"
    )
    used = view.js("return [...document.querySelectorAll('#mixtures .bar-row .dot-name')].map((n) => n.textContent)")
    resting = {target for source, target in HIDDEN if source in used}
    assert resting
    assert {name for name, mark, _ in marked if mark} == {name for name, _, hollow in marked if hollow} == resting
    assert "rests on cells that were not measured but estimated" in view.text("#mixtures")


def test_a_whole_study_has_no_mark(view: Browser) -> None:
    view.choose("header select, .study select, select", "made up (2)")
    assert view.all(".cell.missing") == []
    assert "≈" not in view.text("main")
