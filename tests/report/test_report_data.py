"""What a report says, before any browser: its figures, its escaping, its commands."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pages import HOSTILE, folder, page
from tvt.cli.select import command as select_command
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.selection import SelectionSpec
from tvt.data.studies.folder import write_study
from tvt.data.studies.load import load_study
from tvt.report.html import short
from tvt.report.html.explorer_data import Explorer, explore
from tvt.report.html.orders import cluster_order, orders, start_layout, tasks_of
from tvt.report.html.page import SCRIPTS, STYLES, embedded, page_data, policy
from tvt.report.html.study_data import StudySource, study_data
from tvt.report.style import HARM, HELP
from tvt.selection.engine import select
from tvt.transfer.analysis import analyze

HTML = files("tvt.report.html")


def silent(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def seven() -> TransferMatrix:
    return load_study("qwen2.5-vl-7b")


@pytest.fixture(scope="module")
def explorer(seven: TransferMatrix) -> Explorer:
    return explore(seven, ["qwen2.5-vl-7b"], ["Jigsaw", "Semantic_Correspondence"], silent)


def test_cells_are_the_matrix_and_what_is_missing_has_its_reason() -> None:
    of = folder(["A", "B", "C"], failed=True)
    matrix = of.matrix()
    (study,) = analyze([matrix]).studies
    told = study_data(study, StudySource(reference="x", folder=of))
    pgf = told["pgf"]
    assert np.array(pgf["mean"], dtype=float) == pytest.approx(matrix.mean, abs=1e-5, nan_ok=True)
    assert np.array(pgf["runs"], dtype=float) == pytest.approx(matrix.values, abs=1e-5, nan_ok=True)
    assert np.array(pgf["after"], dtype=float) == pytest.approx(matrix.after, abs=1e-6, nan_ok=True)
    assert pgf["questions"] == [100, 100, 100]
    missing = {f"{k}|{i}|{j}" for k, i, j in np.argwhere(np.isnan(matrix.values)).tolist()}
    assert set(pgf["reasons"]) == missing
    assert pgf["reasons"]["2|1|0"] == "loss is not finite at step 12"
    assert "ceiling" in pgf["reasons"]["0|0|2"]
    run, cells = told["provenance"]["failures"]
    assert run == {"run": "seed_2", "source": "B", "cells": 3, "reason": "loss is not finite at step 12"}
    assert cells == {"target": "C", "cells": 8, "reason": "base accuracy 1 is not below the ceiling 1"}


def test_the_data_has_no_nan_and_is_the_same_twice(tmp_path: Path) -> None:
    of = [folder(HOSTILE, failed=True), folder(["A"], runs=1)]
    first, again = (page(of, tmp_path / name, compared=True).read_bytes() for name in ("a.html", "b.html"))
    assert first == again
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', first, re.DOTALL)
    assert found is not None
    told = json.loads(found[1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [task["name"] for task in told["studies"][0]["tasks"]] == list(HOSTILE)


texts = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["</script>", "<!--<script>", "]]>", "\u2028", "&lt;"]
)


@given(st.dictionaries(texts, st.lists(texts, max_size=3), max_size=4))
@settings(max_examples=200, deadline=None)
def test_embedded_data_cannot_leave_its_element(value: dict[str, list[str]]) -> None:
    text = embedded(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    text.encode("utf-8")
    if all(not re.search("[\ud800-\udfff]", word) for key, words in value.items() for word in (key, *words)):
        assert json.loads(text) == value


def test_the_policy_lets_in_this_style_and_this_script_alone(tmp_path: Path) -> None:
    text = page([folder(["A", "B"])], tmp_path / "a.html").read_text()
    style, script = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("style", "script"))
    assert style is not None
    assert script is not None
    for part, directive in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(part[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in text.replace("&#39;", "'")
    assert "default-src 'none'" in policy("", "")
    assert "connect-src 'none'" in policy("", "")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", script[1] + style[1])
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|fetch\(|XMLHttp", script[1])


def test_every_file_of_the_page_is_used_and_short() -> None:
    there = {item.name for item in HTML.iterdir() if item.name.endswith((".js", ".css"))}
    assert there == {*SCRIPTS, *STYLES}
    assert all(len(HTML.joinpath(name).read_text().splitlines()) < 300 for name in there)
    assert all(HTML.joinpath(name).read_text().startswith("/*") for name in there)


def test_no_two_scripts_define_the_same_name() -> None:
    names = [
        name
        for file in SCRIPTS
        for name in re.findall(r"^(?:function|class|const|let) (\w+)", HTML.joinpath(file).read_text(), re.M)
    ]
    assert sorted(names) == sorted(set(names))


def test_colours_are_those_of_the_other_pictures() -> None:
    tokens = HTML.joinpath("tokens.css").read_text()
    assert HELP.lower() in tokens
    assert HARM == "#D55E00"  # darker on paper, so that text in it can be read: its hue is the same
    assert "--harm: light-dark(#c24e00" in tokens


def test_short_keeps_what_is_no_number() -> None:
    assert short({"a": [1.23456789, float("nan"), 3, "x", None, True], "b": (-0.0,)}) == {
        "a": [1.23457, None, 3, "x", None, True],
        "b": [0.0],
    }


def test_orders_are_permutations_and_likeness_puts_twins_together() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (6, 6))
    values[4], values[:, 4] = values[1], values[:, 1]  # the fifth task is the second one's twin
    matrix = TransferMatrix.from_values(values, sources=list("abcdef"), targets=list("abcdef"))
    (study,) = analyze([matrix]).studies
    for order in orders(study).values():
        assert sorted(order["rows"]) == sorted(order["columns"]) == list(range(6))
    order_ = cluster_order(matrix)
    assert abs(order_.index("b") - order_.index("e")) == 1
    best = orders(study)["transferability"]["rows"][0]
    net = study.transferability.positive + study.transferability.negative
    assert net[best] == net.max()


@pytest.mark.parametrize("count", [1, 2, 3, 13, 50])
def test_the_start_layout_is_inside_apart_and_the_same_twice(count: int) -> None:
    matrix = folder([f"t{k}" for k in range(count)], runs=1).matrix()
    places = np.array(start_layout(matrix))
    assert places.shape == (count, 2)
    assert ((places >= 0) & (places <= 1)).all()
    assert places.tolist() == start_layout(matrix)
    if count > 1:
        distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + np.eye(count) * 9
        assert distance.min() > 0.4 / np.sqrt(count)


def test_a_rectangular_study_has_all_its_tasks() -> None:
    matrix = TransferMatrix.from_values(np.zeros((1, 2)), sources=["a"], targets=["b", "c"])
    assert tasks_of(matrix) == ("a", "b", "c")
    told = page_data(analyze([matrix]), [StudySource(reference="x")])
    assert told["studies"][0]["sources"] == [0]
    assert told["studies"][0]["targets"] == [1, 2]


def test_the_first_stop_is_the_plain_selection(seven: TransferMatrix, explorer: Explorer) -> None:
    answer = select(seven, SelectionSpec(targets={"Jigsaw": 1.0}, without_direct=True))
    assert isinstance(answer, Mixture)
    request = explorer.requests[1]
    assert request["target"] == "Jigsaw"
    first = request["frontiers"]["risk"]["points"][0]
    assert first["weights"] == pytest.approx({s: w for s, w in answer.weights.items() if w > 0}, abs=1e-5)
    assert first["counts"] == {s: n for s, n in answer.counts.items() if n > 0}
    assert first["predicted"]["Jigsaw"][0] == pytest.approx(answer.predicted["Jigsaw"].gain, abs=1e-4)
    assert "Semantic_Correspondence" not in explorer.requests[2]["frontiers"]["risk"]["points"][0]["weights"]


def test_care_costs_gain_along_every_frontier(explorer: Explorer) -> None:
    for request in explorer.requests:
        for kind, found in request["frontiers"].items():
            points = found["points"]
            assert len(points) > 3
            gains = [point["gain"] for point in points]
            assert all(a >= b - 2e-4 for a, b in pairwise(gains)), (request["target"], kind)
            if kind == "harm":
                assert all(min(g for g, *_ in point["predicted"].values()) >= point["setting"] - 1e-3 for point in points)


def run_select(command: str) -> dict[str, object]:
    import shlex

    arguments = shlex.split(command)
    assert arguments[:2] == ["tvt", "select"]
    done = CliRunner().invoke(select_command, [*arguments[2:], "--json", "--no-stability"])
    assert done.exit_code == 0, done.output
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("at", [0, 1, 2], ids=["all", "Jigsaw", "Semantic_Correspondence"])
@pytest.mark.parametrize("kind", ["risk", "harm"])
def test_the_command_gives_the_mixture_that_is_shown(explorer: Explorer, at: int, kind: str) -> None:
    points = explorer.requests[at]["frontiers"][kind]["points"]
    for point in (points[0], points[len(points) // 2], points[-1]):
        answer = run_select(point["command"])
        assert {s: n for s, n in answer["counts"].items() if n} == point["counts"]  # type: ignore[attr-defined]
        assert {s: w for s, w in answer["weights"].items() if w} == pytest.approx(point["weights"], abs=1e-5)  # type: ignore[attr-defined]


def test_where_nothing_helps_the_point_says_so_and_its_command_says_anyway(explorer: Explorer) -> None:
    # Nothing but its own data helps semantic correspondence in this study: README tells it too.
    points = explorer.requests[2]["frontiers"]["risk"]["points"]
    assert {point["verdict"] for point in points} == {"nothing_helps"}
    assert all("--anyway" in point["command"] for point in points)
    assert run_select(points[0]["command"].replace(" --anyway", ""))["verdict"] == "nothing_helps"


def test_commands_hold_for_odd_names_and_a_budget_of_the_study(tmp_path: Path) -> None:
    names = ["a = b's", "-x", "plain"]
    of = folder(names, runs=3)
    write_study(tmp_path / "my study", of.manifest, of.scores)
    found = explore(load_study(tmp_path / "my study"), [str(tmp_path / "my study")], names[:2], silent)
    for request in found.requests:
        point = request["frontiers"]["harm"]["points"][0]
        answer = run_select(point["command"])
        assert {s: n for s, n in answer["counts"].items() if n} == point["counts"]  # type: ignore[attr-defined]
        assert sum(point["counts"].values()) == 1000


def test_without_errors_of_cells_there_is_the_risk_of_mixing() -> None:
    values = np.array([[0.3, -0.1], [0.2, 0.4]])
    matrix = TransferMatrix.from_values(values, sources=["a", "b"], targets=["a", "b"])
    found = explore(matrix, ["x.csv"], None, silent)
    assert [request["target"] for request in found.requests] == [None, "a", "b"]
    for request in found.requests:
        free, *_, careful = request["frontiers"]["risk"]["points"]
        assert max(careful["weights"].values()) >= max(free["weights"].values())
        assert request["frontiers"]["harm"]["points"]


def test_many_targets_are_capped_and_those_left_out_are_told() -> None:
    matrix = folder([f"t{k}" for k in range(15)], runs=2).matrix()
    seen: list[tuple[int, int]] = []
    found = explore(matrix, ["x"], ["t3"], lambda done, total: seen.append((done, total)))
    assert len(found.left_out) == 14
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_specific_part_of_a_study_stands_beside_it(seven: TransferMatrix) -> None:
    sources = [StudySource(reference="qwen2.5-vl-7b")]
    plain, both = (page_data(analyze([seven], specific=specific), sources) for specific in (False, True))
    assert [(study["name"], study["of"]) for study in plain["studies"]] == [("qwen2.5-vl-7b", None)]
    assert plain["specificPersonas"] is None
    study, beyond = both["studies"]
    assert (beyond["name"], beyond["of"]) == ("qwen2.5-vl-7b, beyond any finetuning", "qwen2.5-vl-7b")
    assert beyond["sources"] == study["sources"]
    generic = study["split"]["generic"]
    for row, less in zip(study["pgf"]["mean"], beyond["pgf"]["mean"], strict=True):
        assert [value - part for value, part in zip(row, generic, strict=True)] == pytest.approx(less, abs=2e-4)
    assert set(both["specificPersonas"]) == set(both["personas"])
    assert "27% by the target alone" in " ".join(study["split"]["sentences"])
