"""Prepared inputs: made by several threads ahead of the device, and kept for the next adapter as far as memory allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any

from tvt.io import machine

KEPT_SHARE = 0.25
"""Kept inputs take at most this share of the memory that is free or holds them, so that workers leave each other some."""
THREADS = 4
"""At most so many batches are prepared at once beside a GPU: decoding and scaling pictures leaves Python's lock."""


def preparing_threads(device: Any) -> int:
    """How many batches are prepared at once; on a CPU the model has the cores."""
    return max(1, min(THREADS, machine.cores() - 1)) if device.type == "cuda" else 1


class Kept:
    """Inputs that were prepared, kept for the next adapter, which is asked the same questions in the same order.

    What came first stays, and what there is no room for is not kept: to drop the oldest for the newest would leave of a round
    of questions larger than the room just those that are asked last, and none would ever be found again. Only inputs that a
    whole turn did not ask for make room.
    """

    def __init__(self) -> None:
        self.hits = self.misses = 0
        """How often inputs were found, and how often not."""
        self.bytes = 0
        """Of the tensors that are kept."""
        self._inputs: dict[Hashable, tuple[Any, int]] = {}
        self._asked: dict[Hashable, int] = {}
        self._turn = 0
        self._lock = Lock()

    def next_turn(self) -> None:
        """Another adapter is asked all questions."""
        self._turn += 1

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The inputs of a key, made where they are not kept; the mapping is the caller's own, and its tensors are shared."""
        with self._lock:
            if key in self._inputs:
                self.hits += 1
                self._asked[key] = self._turn
                return self._inputs[key][0].copy()
            self.misses += 1
        made = make()
        with self._lock:
            self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Any) -> None:
        size = stored_bytes(made)
        if key in self._inputs:
            return
        if not self._room(size):
            self._drop_unasked()
        if self._room(size):
            self._inputs[key], self._asked[key] = (made.copy(), size), self._turn
            self.bytes += size

    def _room(self, size: int) -> bool:
        return self.bytes + size <= KEPT_SHARE * (machine.memory()[0] + self.bytes)

    def _drop_unasked(self) -> None:
        for key in [key for key, turn in self._asked.items() if turn < self._turn - 1]:
            self.bytes -= self._inputs.pop(key)[1]
            del self._asked[key]


class Copies:
    """Copies of something that serves one thread at a time, such as a tokenizer; as many as are in use at once."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: LifoQueue[Any] = LifoQueue()
        self._making = Lock()

    def use(self, act: Callable[[Any], Any]) -> Any:
        """What ``act`` makes of a copy that nobody else uses meanwhile."""
        try:
            one = self._free.get_nowait()
        except Empty:
            with self._making:
                one = copy.deepcopy(self._make())
        try:
            return act(one)
        finally:
            self._free.put(one)


def stored_bytes(inputs: Any) -> int:
    """Bytes of memory that the tensors hold: of a part of a larger one, the whole; of what two share, once."""
    tensors = [value for value in inputs.values() if hasattr(value, "untyped_storage")]
    stores = {store.data_ptr(): store.nbytes() for store in (tensor.untyped_storage() for tensor in tensors)}
    return sum(stores.values())
