"""YAML without its traps."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.errors import InputError
from tvt.io import strict_yaml


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match=r"f\.yaml:3: key 'a' stands twice"):
        strict_yaml.load("a: 1\nb: 2\na: 3\n", "f.yaml")
    with pytest.raises(InputError, match="stands twice"):
        strict_yaml.load("outer: {x: 1, x: 2}", "f.yaml")


@pytest.mark.parametrize(("text", "number"), [("1e-4", 1e-4), ("5E+2", 500.0), ("-.5", -0.5), ("3", 3), ("1.", 1.0)])
def test_numbers(text: str, number: float) -> None:
    value = strict_yaml.load(f"x: {text}", "f")["x"]
    assert (value, type(value)) == (number, type(number))


@pytest.mark.parametrize("text", ["no", "on", "yes", "off", "NO", "2024-01-01", "1:30", "0x1F", "1_000", "e5"])
def test_text_stays_text(text: str) -> None:
    assert strict_yaml.load(f"x: {text}", "f")["x"] == text


def test_booleans_and_null() -> None:
    assert strict_yaml.load("{a: true, b: false, c: null, d: ~, e: }", "f") == {
        "a": True,
        "b": False,
        "c": None,
        "d": None,
        "e": None,
    }


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "? [x]\n: 1", "!!python/object:os.system x", "a: *missing"])
def test_what_is_no_plain_yaml_is_one_clear_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        strict_yaml.load(text, "f.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("f.yaml")


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="check the path"):
        strict_yaml.load_file(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="is a folder"):
        strict_yaml.load_file(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\xff")
    with pytest.raises(InputError, match="UTF-8"):
        strict_yaml.load_file(tmp_path / "latin.yaml")
    monkeypatch.setattr(strict_yaml, "MAX_BYTES", 3)
    (tmp_path / "long.yaml").write_text("a: 12345")
    with pytest.raises(InputError, match="larger"):
        strict_yaml.load_file(tmp_path / "long.yaml")


TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["1e-4", "1e5", "no", "true", "null", "~", ".5", "1.", "+1"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_what_is_dumped_loads_back_exactly(value: object) -> None:
    back = strict_yaml.load(strict_yaml.dump(value), "f")
    assert (back, repr(back)) == (value, repr(value))
