"""Processes of several that do something of their own, to see what becomes of the others and of their work."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import tvt.io.processes as processes


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, code: str) -> None:
    """Have every process run some code before it begins.

    Args:
        monkeypatch: of the test.
        folder: an empty one for the module that holds it.
        module: what the processes run, e.g. ``tvt.train.worker``; it has a ``main`` that takes the job's file.
        code: Python.
    """
    package = folder / "tvt_fault"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    ending = f"import sys\nfrom pathlib import Path\nfrom {module} import main\nmain(Path(sys.argv[1]))\n"
    (package / "worker.py").write_text(textwrap.dedent(code) + "\n" + ending)
    original = processes.command
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(
        processes, "command", lambda *asked: ["tvt_fault.worker" if part == module else part for part in original(*asked)]
    )
