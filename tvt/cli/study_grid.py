"""The grid of a study's runs, as values for its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvt.core.recipe import Recipe
    from tvt.study.jobs import Task


def run_grid(recipe: Recipe, tasks: Sequence[Task], states: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The runs by source, seed and dose.

    Args:
        recipe: of the study.
        tasks: its runs.
        states: their statuses, by run id.

    Returns:
        Statuses by row and column, and the columns in order.
    """
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for task in tasks:
        if task.run.is_base:
            rows["base"] = {f"seed {recipe.seeds[0]}": states[task.run_id]}
            continue
        (source,) = task.run.counts
        share = "" if task.run.examples == recipe.budget else f" at {task.run.examples / recipe.budget:.0%}"
        column = f"seed {task.run.seed}{share}"
        columns[column] = None
        rows.setdefault(source, {})[column] = states[task.run_id]
    return rows, list(columns)
