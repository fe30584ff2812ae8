"""The builders of a task's training rows, one for each layout of raw data."""

from __future__ import annotations

from tvt.core.choices import BUILDERS
from tvt.data.builders.contract import Builder
from tvt.errors import InputError, suggest


def layouts_of(task: str) -> tuple[str, ...]:
    """The layouts of raw data from which a task's rows can be built, the one taken by default first."""
    return tuple(layout for name in BUILDERS.names for of, _, layout in [name.partition("/")] if of == task)


def find_builder(task: str, layout: str | None = None) -> Builder:
    """The builder of a task.

    Args:
        task: the task's name.
        layout: which raw data it is to read; ``None`` takes the first of the task's.

    Raises:
        InputError: no builder of this task, or none that reads this layout.
    """
    layouts = layouts_of(task)
    if not layouts:
        tasks = list(dict.fromkeys(name.partition("/")[0] for name in BUILDERS.names))
        raise InputError(f"{task}: no builder makes rows of it{suggest(task, tasks)}; there is one for {', '.join(tasks)}")
    chosen = layout or layouts[0]
    if chosen not in layouts:
        raise InputError(f"--layout {chosen}: {task} is not built from it; its layouts: {', '.join(layouts)}")
    builder: Builder = BUILDERS.find(f"{task}/{chosen}")
    return builder
