"""How much a cell differs from run to run, told by all cells that have several: what a cell with one run is judged by.

With ``n`` runs of a cell, ``v`` their sample variance and sums over the cells that have several, a target's pooled variance is
``s_t = sum (n - 1) v / sum (n - 1)`` over its column, and ``s`` the same over the whole matrix. Few runs tell a target's own
variance badly, so it is drawn toward that of all: ``(4 s + f s_t) / (4 + f)`` with ``f = sum (n - 1)`` of the column, the
posterior mean of a variance whose prior counts as four runs (Smyth 2004, "moderated" variances, with fixed prior degrees).
"""

from __future__ import annotations

import numpy as np

from tvt.core.pgf import Floats

PRIOR_RUNS = 4.0
"""As many degrees of freedom does the variance of all cells count beside a target's own."""


def pooled_variance(values: Floats) -> Floats:
    """Variance between the runs of a cell, by target.

    Args:
        values: (runs, sources, targets), NaN where missing.

    Returns:
        (targets,); NaN everywhere where no cell has two runs.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=(0, 1))
    freedom = np.maximum(count - 1, 0).sum(axis=0)
    if not freedom.any():
        return np.full(values.shape[2], np.nan)
    of_all = squares.sum() / freedom.sum()
    pooled: Floats = (PRIOR_RUNS * of_all + squares) / (PRIOR_RUNS + freedom)
    return pooled
