from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvt.data.mixing.plan import RowManifest, draw_rows, epochs


def picks(manifest: RowManifest, source: str) -> list[tuple[int, int]]:
    mine = manifest.source == manifest.sources.index(source)
    return list(zip(manifest.passes[mine].tolist(), manifest.row[mine].tolist(), strict=True))


some_counts = st.dictionaries(st.text(max_size=5), st.tuples(st.integers(0, 60), st.integers(1, 25)), max_size=6)


@given(some_counts, st.integers(0, 2**40))
@settings(max_examples=200, deadline=None)
def test_counts_are_exact_and_passes_whole(wanted: dict[str, tuple[int, int]], seed: int) -> None:
    counts = {name: count for name, (count, _) in wanted.items()}
    available = {name: size for name, (_, size) in wanted.items()}
    manifest = draw_rows(counts, available, seed)
    assert len(manifest) == sum(counts.values())
    assert manifest.sources == tuple(sorted(name for name, count in counts.items() if count))
    for name in manifest.sources:
        used = picks(manifest, name)
        assert len(used) == counts[name]
        times = Counter(row for _, row in used)
        whole, rest = divmod(counts[name], available[name])
        assert all(times[row] in (whole, whole + 1) for row in range(available[name]))
        assert sum(times[row] == whole + 1 for row in range(available[name])) == rest
        # In order, and none twice within a pass: no row comes back before all others were used.
        assert [number for number, _ in used] == [k // available[name] for k in range(counts[name])]
        assert len(set(used)) == len(used)


@given(some_counts, st.integers(0, 1000), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_sources_does_not_matter(wanted: dict[str, tuple[int, int]], seed: int, random: Any) -> None:
    names = list(wanted)
    random.shuffle(names)
    plain = draw_rows({n: c for n, (c, _) in wanted.items()}, {n: s for n, (_, s) in wanted.items()}, seed)
    shuffled = draw_rows({n: wanted[n][0] for n in names}, {n: wanted[n][1] for n in reversed(names)}, seed)
    assert plain.sources == shuffled.sources
    for field in ("source", "row", "passes"):
        assert np.array_equal(getattr(plain, field), getattr(shuffled, field))


def test_each_pass_has_an_order_of_its_own() -> None:
    manifest = draw_rows({"A": 350}, {"A": 100}, 0)
    orders = [[row for number, row in picks(manifest, "A") if number == k] for k in range(4)]
    assert [len(order) for order in orders] == [100, 100, 100, 50]
    for i in range(3):
        assert sorted(orders[i]) == list(range(100))
        for j in range(i):
            same = sum(a == b for a, b in zip(orders[i], orders[j], strict=True))
            assert same < 10


def test_sources_seeds_and_names_draw_differently() -> None:
    both = draw_rows({"A": 100, "B": 100}, {"A": 100, "B": 100}, 0)
    assert picks(both, "A") != picks(both, "B")
    assert picks(both, "A") != picks(draw_rows({"A": 100}, {"A": 100}, 1), "A")
    # Another source beside it changes nothing of a source's own order.
    assert picks(both, "A") == picks(draw_rows({"A": 100}, {"A": 100}, 0), "A")


def test_the_mixture_holds_in_every_stretch() -> None:
    counts = {"A": 6000, "B": 3000, "C": 1000}
    manifest = draw_rows(counts, dict.fromkeys(counts, 500), 0)
    for start in range(0, 10_000, 100):
        found = np.bincount(manifest.source[start : start + 100], minlength=3)
        assert np.abs(found - [60, 30, 10]).max() <= 4
    # And yet the order is no fixed pattern.
    blocks = manifest.source.reshape(-1, 10)
    assert len({tuple(block) for block in blocks.tolist()}) > 200


def test_every_row_is_as_likely_as_any_other() -> None:
    times = Counter(row for seed in range(400) for _, row in picks(draw_rows({"A": 5}, {"A": 20}, seed), "A"))
    expected = 400 * 5 / 20
    assert sum((times[row] - expected) ** 2 / expected for row in range(20)) < 45  # chi-square, 19 degrees, p = 0.0007


def test_the_draw_is_the_same_on_every_machine_and_version() -> None:
    manifest = draw_rows({"A": 7, "B": 3}, {"A": 5, "B": 9}, 42)
    told = "".join(manifest.sources[source] + str(row) for source, row in zip(manifest.source, manifest.row, strict=True))
    assert told == "A4A3B2A1B3A2A0A2B0A1"


def test_rows_are_needed() -> None:
    with pytest.raises(ValueError, match="3 examples of A, which has 0 rows"):
        draw_rows({"A": 3}, {"A": 0}, 0)
    assert len(draw_rows({}, {}, 0)) == 0
    assert epochs({"A": 3, "B": 0}, {"A": 2, "B": 0}) == {"A": 1.5, "B": 0.0}
