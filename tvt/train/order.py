"""Which rows are trained on when, and by which process: decided by rows, epochs, seed and global batch alone.

The processes, the size of a forward pass and the length of rows only divide a global batch, so that two processes train on
what one would, each row once. The first pass follows the file, which ``tvt mix`` wrote in the order of training; later passes
are shuffled anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Order:
    """The rows of a run in the order of training, and their division."""

    rows: int
    epochs: float
    seed: int
    global_batch: int
    per_device: int
    processes: int = 1

    @property
    def total(self) -> int:
        """Examples trained on, repetitions counted."""
        return max(1, math.ceil(self.rows * self.epochs - 1e-9))

    @property
    def steps(self) -> int:
        """Optimiser steps; the last may be smaller than the others."""
        return -(-self.total // self.global_batch)

    def sequence(self) -> npt.NDArray[np.int64]:
        """All rows of the run in order."""
        passes = -(-self.total // self.rows)
        shuffled = [np.random.default_rng((self.seed, k)).permutation(self.rows) for k in range(1, passes)]
        return np.concatenate([np.arange(self.rows), *shuffled])[: self.total]

    def batches(self, process: int, lengths: Sequence[int] | None = None) -> list[list[int]]:
        """Forward passes of one process, equally many in every step: DeepSpeed counts on that. At the very end some are empty.

        Within a global batch, which no length changes, rows of like length go through the model together, so that little is
        padded; so do those that the processes take at once, and the processes take turns at the longer ones, so that none waits
        for another.

        Args:
            process: its number.
            lengths: about how many tokens each row takes; default: all alike.
        """
        sequence, width = self.sequence(), self.per_device * self.processes
        known = np.asarray(lengths if lengths is not None else np.zeros(self.rows))
        batches: list[list[int]] = []
        for start in range(0, self.total, self.global_batch):
            chunk = sequence[start : start + self.global_batch]
            chunk = chunk[np.argsort(-known[chunk], kind="stable")]  # the longest first: a lack of memory shows at once
            for turn, begin in enumerate(range(0, self.global_batch, width)):
                shares = np.array_split(chunk[begin : begin + width], self.processes)
                batches.append(shares[-1 - process if turn % 2 else process].tolist())
        return batches
