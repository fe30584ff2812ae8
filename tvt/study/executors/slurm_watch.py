"""Looks at Slurm's queue for a study's jobs: often when something happened just now, else seldom, as many do so at once."""

from __future__ import annotations

import time
from collections.abc import Collection

from tvt.errors import InputError
from tvt.study.executors import slurm_queue

_SECONDS = (1.0, 15.0)
"""Between two looks: at first, and at most."""
_SILENT_SECONDS = 90.0
"""How long the queue may give no answer."""
_USUAL = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning", "Prolog"}
"""Reasons for which a job waits, or ``None`` where it does not, that nobody need be told."""


class Watch:
    """Which jobs have left the queue, and what keeps others waiting."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._answered = time.monotonic()
        self.look_soon()

    def look_soon(self) -> None:
        """Something happened."""
        self._pause = _SECONDS[0]
        self._due = time.monotonic() + self._pause

    def gone(self, jobs: Collection[str]) -> tuple[set[str], list[str]]:
        """Those of the jobs that have left the queue, and what is worth telling of the others; nothing between two looks.

        Raises:
            InputError: Slurm has not answered for long.
        """
        now = time.monotonic()
        if now < self._due:
            return set(), []
        self._pause = min(self._pause * 1.3, _SECONDS[1])
        self._due = now + self._pause
        try:
            there = slurm_queue.in_queue(jobs)
        except InputError:
            if now - self._answered > _SILENT_SECONDS:
                raise
            return set(), []
        self._answered = now
        odd = {why: job for job, why in there.items() if why not in _USUAL | self._reasons.keys()}
        self._reasons |= odd
        return set(jobs) - there.keys(), [f"Slurm lets job {job} wait: {why}" for why, job in odd.items()]
