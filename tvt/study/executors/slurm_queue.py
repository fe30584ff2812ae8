"""Slurm's own commands, as far as a study needs them. None of them needs accounting, which small clusters do without."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from tvt.errors import InputError
from tvt.study.run_folders import all_marked, unmark

_SECONDS = 30
_ENDS = {
    "BOOT_FAIL": "lost its node",
    "CANCELLED": "was cancelled",
    "DEADLINE": "met its deadline",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "TIMEOUT": "met its time limit",
}


@cache
def cluster() -> str:
    """The name of the cluster whose commands are here.

    Raises:
        InputError: Slurm does not answer.
    """
    match = re.search(r"^ClusterName\s*=\s*(\S+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    return match.group(1) if match else ""


def in_queue(jobs: Collection[str]) -> dict[str, str]:
    """Those of the jobs that wait, run or end just now, each with what it waits for, ``None`` where it does not wait.

    Raises:
        InputError: Slurm does not answer.
    """
    if not jobs:
        return {}
    # Elements of arrays are listed one by one; a queue of one unknown job is an error, of several not.
    text = _ask("squeue", "--noheader", "--array", "--jobs", ",".join(sorted(jobs)), "--format", "%i|%r", unknown="")
    return dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)


def end_of(job: str) -> str:
    """How a job ended that is no longer in the queue, as half a sentence; Slurm forgets that after some minutes."""
    try:
        text = _ask("scontrol", "--oneliner", "show", "job", job)
    except InputError:
        text = ""
    facts: Mapping[str, str] = dict(re.findall(r"(\w+)=(\S+)", text))
    state = facts.get("JobState", "")
    if state in _ENDS:
        return _ENDS[state]
    code, _, signal = facts.get("ExitCode", "").partition(":")
    if signal not in ("", "0"):
        return f"was killed by signal {signal}"
    return f"ended with exit code {code}" if code else "is gone"


_LOOK_SECONDS = (1.0, 15.0)
"""Between two looks: at first, and at most."""
_SILENT_SECONDS = 90.0
"""How long the queue may give no answer."""
_USUAL = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning", "Prolog"}
"""Ordinary reasons for which a job waits, and ``None`` where it does not."""


class QueueWatch:
    """Which jobs have left the queue, and what keeps others waiting."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._answered = time.monotonic()
        self.look_soon()

    def look_soon(self) -> None:
        """Look again soon: something happened."""
        self._pause = _LOOK_SECONDS[0]
        self._due = time.monotonic() + self._pause

    def gone(self, jobs: Collection[str]) -> tuple[set[str], list[str]]:
        """Those of the jobs that have left the queue, and notes on the others; nothing between two looks.

        Raises:
            InputError: Slurm has not answered for long.
        """
        now = time.monotonic()
        if now < self._due:
            return set(), []
        self._pause = min(self._pause * 1.3, _LOOK_SECONDS[1])
        self._due = now + self._pause
        try:
            there = in_queue(jobs)
        except InputError:
            if now - self._answered > _SILENT_SECONDS:
                raise
            return set(), []
        self._answered = now
        odd = {why: job for job, why in there.items() if why not in _USUAL | self._reasons.keys()}
        self._reasons |= odd
        return set(jobs) - there.keys(), [f"Slurm lets job {job} wait: {why}" for why, job in odd.items()]


def cancel(jobs: Collection[str]) -> None:
    """Cancel jobs; those that are over are none of its business.

    Raises:
        InputError: Slurm does not answer.
    """
    if jobs:
        _ask("scancel", "--quiet", *sorted(jobs))


def forget_gone(study: Path) -> None:
    """Remove the markers of jobs that are no longer in this cluster's queue, where it can be asked.

    The command that submitted them was killed before they ended, and so were they before they could remove their markers.
    """
    ours = {folder: queued.job for folder, queued in all_marked(study).items() if queued.executor == "slurm"}
    if not ours or shutil.which("squeue") is None:
        return
    try:
        here = cluster()
        living = in_queue(set(ours.values()))
    except InputError:
        return
    for folder, queued in all_marked(study).items():
        if queued.cluster == here and ours.get(folder) == queued.job and queued.job not in living:
            unmark(folder, queued.job)


def _ask(*command: str, unknown: str | None = None) -> str:
    """What a command prints; ``unknown`` where it knows no such job."""
    try:
        # The commands are looked up on the path, as a person's shell does; arguments are job numbers.
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        reason = f"{command[0]} took longer than {_SECONDS} s"
    except OSError as error:
        reason = f"{command[0]}: {error.strerror}"
    else:
        if result.returncode == 0:
            return result.stdout
        if unknown is not None and "Invalid job id" in result.stderr:
            return unknown
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    raise InputError(
        f"Slurm does not answer ({reason}); run the same command again when it does: jobs in its queue are taken over"
    )
