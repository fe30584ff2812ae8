"""Rows are split over processes without repeats, and the same global batches come out however they are divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvt.train.batches import Order


@given(
    rows=st.integers(1, 60),
    epochs=st.sampled_from([0.5, 1.0, 2.0, 2.5]),
    per_device=st.integers(1, 4),
    processes=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    seed=st.integers(0, 3),
    lengths=st.none() | st.lists(st.integers(0, 5), min_size=60, max_size=60),
)
def test_neither_division_nor_lengths_change_a_global_batch(
    rows: int, epochs: float, per_device: int, processes: int, accumulation: int, seed: int, lengths: list[int] | None
) -> None:
    batch = per_device * processes * accumulation
    order = Order(rows=rows, epochs=epochs, seed=seed, global_batch=batch, per_device=per_device, processes=processes)
    known = lengths and lengths[:rows]
    shares = [order.batches(process, known) for process in range(processes)]
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


def test_rows_of_like_length_go_together_and_processes_take_turns_at_the_longer_ones() -> None:
    order = Order(rows=16, epochs=1, seed=0, global_batch=16, per_device=2, processes=2)
    lengths = [1, 8, 2, 7, 3, 6, 4, 5, 16, 9, 15, 10, 14, 11, 13, 12]
    taken = [[[lengths[row] for row in batch] for batch in order.batches(process, lengths)] for process in (0, 1)]
    assert taken == [[[16, 15], [10, 9], [8, 7], [2, 1]], [[14, 13], [12, 11], [6, 5], [4, 3]]]


def test_the_last_step_is_shared_evenly() -> None:
    order = Order(rows=11, epochs=1, seed=0, global_batch=8, per_device=2, processes=2)
    assert [order.batches(process)[2:] for process in (0, 1)] == [[[8, 9], []], [[10], []]]
