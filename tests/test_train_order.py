"""Rows are split over processes without repeats, and the same global batches come out however they are divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvt.train.order import Order


@given(
    rows=st.integers(1, 60),
    epochs=st.sampled_from([0.5, 1.0, 2.0, 2.5]),
    per_device=st.integers(1, 4),
    processes=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_division_changes_no_global_batch(
    rows: int, epochs: float, per_device: int, processes: int, accumulation: int, seed: int
) -> None:
    batch = per_device * processes * accumulation
    order = Order(rows=rows, epochs=epochs, seed=seed, global_batch=batch, per_device=per_device, processes=processes)
    shares = [order.batches(process) for process in range(processes)]
    assert {len(share) for share in shares} == {order.steps * accumulation}
    assert all(len(forward) <= per_device for share in shares for forward in share)
    sequence = order.sequence().tolist()
    for step in range(order.steps):
        here = slice(step * accumulation, (step + 1) * accumulation)
        trained = sorted(row for share in shares for forward in share[here] for row in forward)
        assert trained == sorted(sequence[step * batch : (step + 1) * batch])


def test_passes() -> None:
    order = Order(rows=50, epochs=3, seed=1, global_batch=10, per_device=10)
    first, second, third = order.sequence().reshape(3, 50).tolist()
    assert first == list(range(50))  # as tvt mix wrote it
    assert sorted(second) == sorted(third) == first
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    other = Order(rows=50, epochs=3, seed=2, global_batch=10, per_device=10).sequence().reshape(3, 50).tolist()
    assert other[0] == first
    assert other[1] != second
