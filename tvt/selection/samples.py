"""Bootstrap samples of a transfer matrix: what the mean matrix might have been with other seeds and other questions."""

from __future__ import annotations

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.selection.completion import Completed
from tvt.types import Floats

SAMPLES = 200


def bootstrap_means(matrix: TransferMatrix, completed: Completed, seed: int, count: int = SAMPLES) -> Floats:
    """Mean matrices, (count, S, T) in the order of ``completed``.

    Runs are drawn with replacement (whole runs, as their cells share a seed), then each cell gets normal noise of its item
    error; a cell with one run gets noise of its whole error, and so does an estimated one.
    """
    rng = np.random.default_rng(seed)
    rows = [matrix.sources.index(s) for s in completed.sources]
    columns = [matrix.targets.index(t) for t in completed.targets]
    cut = np.ix_(range(len(matrix.runs)), rows, columns)
    values = matrix.values[cut]
    deviation = np.nan_to_num(values - matrix.mean[np.ix_(rows, columns)])
    draws = rng.integers(0, len(matrix.runs), size=(count, len(matrix.runs)))
    shares = np.stack([np.bincount(d, minlength=len(matrix.runs)) for d in draws]) / len(matrix.runs)
    spread = np.einsum("bk,kst->bst", shares, deviation)
    # A resample of K runs, of which a cell has n, spreads by n (n - 1) / K^2 of the variance that it stands for.
    own = matrix.run_count[np.ix_(rows, columns)]
    spread *= len(matrix.runs) / np.sqrt(np.maximum(own * (own - 1), 1))
    once = own == 1
    item = np.nan_to_num(np.where(once, matrix.error[np.ix_(rows, columns)], matrix.item_error[np.ix_(rows, columns)]))
    for source, target in completed.estimated:
        at = completed.sources.index(source), completed.targets.index(target)
        item[at] = np.nan_to_num(completed.errors[at])
    noise: Floats = rng.standard_normal(spread.shape) * item
    means: Floats = completed.mean + spread + noise
    return means
