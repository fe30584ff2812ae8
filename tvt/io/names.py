"""Names of files made of names of tasks."""

from __future__ import annotations

import re


def file_name(source: str) -> str:
    """A task's name with everything replaced that a shell, a glob or a trainer's syntax could read otherwise."""
    return re.sub(r"[^\w.-]+", "_", source)
