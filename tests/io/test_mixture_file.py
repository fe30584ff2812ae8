from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvt.core.mixture import Audit, Harm, Mixture, Prediction, SolverRecord
from tvt.errors import InputError
from tvt.io.yaml_files import dump_mixture, load_mixture, save_mixture

finite = st.floats(allow_nan=False, allow_infinity=False)
name = st.one_of(
    st.text(string.ascii_letters + string.digits + "_-. ", min_size=1, max_size=12),
    st.sampled_from(
        ["no", "on", "true", "null", "~", "1e-4", "0x10", "1_000", "12:30", "2024-01-01", "<<", "=", ".inf", "a: b", "# x"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
)
plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | name | st.text("a\n\t'\"\\ ", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    sources = draw(st.lists(name, min_size=1, max_size=4, unique=True))
    prediction = st.builds(Prediction, gain=finite, low=finite, high=finite, value=st.none() | finite)
    return Mixture(
        status=draw(st.sampled_from(["optimal", "optimal_inaccurate"])),
        verdict=draw(st.sampled_from(["train", "nothing_helps"])),
        objective=draw(finite),
        weights={source: draw(finite) for source in sources},
        counts={source: draw(st.integers(0, 10**12)) for source in sources},
        budget=draw(st.integers(0, 10**12)),
        predicted=draw(st.dictionaries(name, prediction, max_size=3)),
        prices=draw(st.dictionaries(name, finite, max_size=3)),
        harmed=draw(st.lists(st.builds(Harm, target=name, limit=finite, gain=finite, shortfall=finite), max_size=2).map(tuple)),
        audit=Audit(passed=draw(st.booleans()), worst_violation=draw(finite)),
        solver=SolverRecord(
            name="CLARABEL", status="optimal", seconds=draw(finite), tried=tuple(draw(st.lists(name, max_size=2)))
        ),
        credible=draw(st.dictionaries(name, st.dictionaries(name, finite, max_size=2), max_size=2)),
        least_bad=draw(st.dictionaries(name, finite, max_size=2)),
        notes=tuple(draw(st.lists(name, max_size=2))),
        provenance=draw(st.dictionaries(name, plain, max_size=3)),
    )


@settings(max_examples=200, deadline=None)
@given(mixture=mixtures())
def test_reloads_exactly(mixture: Mixture, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mixture.yaml"
    save_mixture(mixture, path)
    again = load_mixture(path)
    assert again == mixture
    # == takes 0.0 and -0.0, or 1 and 1.0, for the same; the text does not. Order is kept too.
    assert repr(again) == repr(mixture)
    assert dump_mixture(again) == dump_mixture(mixture)


def test_odd_floats_survive(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": 5e-324, "c": 1e16, "d": -0.0, "e": 1.7976931348623157e308, "f": math.pi / 3e7}
    save_mixture(small(weights=values, counts={}), tmp_path / "m.yaml")
    assert repr(load_mixture(tmp_path / "m.yaml").weights) == repr(values)


def small(**changes: Any) -> Mixture:
    fields: dict[str, Any] = {
        "objective": 0.1,
        "weights": {"Jigsaw": 0.75, "Counting": 0.25},
        "counts": {"Jigsaw": 750, "Counting": 250},
        "budget": 1000,
        "predicted": {"Jigsaw": Prediction(gain=0.1, low=0.0, high=0.2)},
        "prices": {},
        "audit": Audit(passed=True, worst_violation=0.0),
        "solver": SolverRecord(name="CLARABEL", status="optimal", seconds=0.01),
    }
    return Mixture(**{**fields, **changes})


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = dump_mixture(small())
    assert old in text
    path = tmp_path / "m.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights:", "weihgts:", "weihgts: unknown key (did you mean 'weights'?)"),
        ("weights:", "weihgts:", "weights: missing"),
        ("worst_violation:", "worst_violatoin:", "audit.worst_violatoin: unknown key (did you mean 'worst_violation'?)"),
        ("    high: 0.2", "    hihg: 0.2", "predicted.Jigsaw.hihg: unknown key (did you mean 'high'?)"),
        ("Jigsaw: 750", "Jigsaw: seven", "counts.Jigsaw: "),
        ("Jigsaw: 750", "Jigsaw: -750", "counts.Jigsaw: -750 is negative"),
        ("Jigsaw: 750", "Jigsw: 750", "counts.Jigsw: no weight for this source"),
        ("verdict: train", "verdict: maybe", "verdict: "),
        ("schema_version: 1", "schema_version: 7", "schema_version: 7 is not 1"),
        ("budget: 1000", "budget: 1000\nbudget: 1000", "stands twice"),
        ("verdict: train", "verdict: [", ""),
    ],
)
def test_faults_are_single_clear_lines(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(InputError) as caught:
        load_mixture(path)
    assert any(message in fault for fault in caught.value.faults), caught.value.faults
    assert all(fault.startswith(str(path)) and "\n" not in fault for fault in caught.value.faults)


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = edited(tmp_path, "budget: 1000", "budget: many\nsurprise: 1")
    with pytest.raises(InputError) as caught:
        load_mixture(path)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("content", ["", "- 1\n- 2\n", "just text", "42"])
def test_no_mixture_at_all(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match="not a mixture"):
        load_mixture(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_mixture(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_mixture(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_mixture(tmp_path / "binary.yaml")
