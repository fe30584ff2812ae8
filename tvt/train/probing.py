"""A package loaded in a process of its own, while the caller does something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from types import TracebackType
from typing import IO, Any

from tvt.train.probe import MARK

SECONDS = 120.0
"""How long to wait; loading torch from a cold network disk takes a minute."""


class Probe:
    """Loads ``torch`` or ``deepspeed`` beside this process; :meth:`answer` waits for what it found.

    Args:
        name: the package.
        seconds: after so many it counts as hanging.
    """

    def __init__(self, name: str, seconds: float = SECONDS) -> None:
        self._name, self._seconds = name, seconds
        self._process: subprocess.Popen[str] | None = None
        self._output: IO[str] | None = None
        self._told: dict[str, Any] | None = None

    def __enter__(self) -> Probe:
        if _there(self._name):
            self._output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "tvt.train.probe", self._name],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._output is not None:
            self._output.close()

    def answer(self) -> dict[str, Any] | None:
        """What the probe found (see :func:`tvt.train.probe.look`); ``None`` where the package is not installed."""
        if self._process is None or self._output is None:
            return None
        if self._told is None:
            self._told = self._wait(self._process, self._output)
        return self._told

    def _wait(self, process: subprocess.Popen[str], output: IO[str]) -> dict[str, Any]:
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"loading it takes more than {self._seconds:.0f} s"}
        output.seek(0)
        for line in output:
            if line.startswith(MARK):
                told: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return told
        return {"error": f"loading it ended the process (exit code {code})"}


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
