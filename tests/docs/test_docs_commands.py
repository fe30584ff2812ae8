"""Every command of README and of the pages in tvt/docs runs, and prints what is shown: in one folder, each command once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from commands import ROOT
from documents import STAND_INS, Page, as_printed, furnish, run_line
from study_world import QUICK
from warm import WarmPython

pytestmark = pytest.mark.slow

README = Page(ROOT / "README.md")
FIRST = ("selecting", "data", "studies")
"""Pages whose commands others build on, in this order behind README."""
BY_NAME = {path.stem: Page(path) for path in sorted((ROOT / "tvt" / "docs").glob("*.md"))}
PAGES = [README, *(BY_NAME[name] for name in FIRST), *(page for name, page in BY_NAME.items() if name not in FIRST)]
OUTPUTS = [output for page in PAGES for output in page.outputs()]
CODES = {line: int(code or 0) for code, line, _ in OUTPUTS}
COMMANDS = list(dict.fromkeys(line.partition(" #")[0].rstrip() for page in PAGES for line in page.commands()))
MANIFEST = re.search(r"<!-- manifest -->\n```yaml\n(.*?)```", BY_NAME["studies"].text, re.DOTALL)
LOADED = ("cvxpy", "matplotlib.pyplot", "networkx", *(f"tvt.cli.{name}" for name in ("analyze", "evaluate", "mix", "select")))

Run = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a command in the folder that has the files the pages speak of; once only."""
    folder = tmp_path_factory.mktemp("docs")
    assert MANIFEST is not None
    furnish(folder, MANIFEST.group(1))
    python = WarmPython(tmp_path_factory.mktemp("warm"), QUICK, LOADED)
    yield cache(lambda line: run_line(line, folder, STAND_INS, python.executable))
    python.close()


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(line: str, run: Run) -> None:
    done = run(line)
    assert done.returncode == CODES.get(line, 0), done.stdout + done.stderr
    assert done.stdout or done.stderr


@pytest.mark.parametrize(("code", "line", "shown"), OUTPUTS)
def test_shown_output_is_what_is_printed(code: str, line: str, shown: str, run: Run) -> None:
    done = run(line)
    assert done.returncode == int(code or 0), done.stderr
    assert as_printed(shown) == as_printed(f"{done.stdout}\n{done.stderr}")


def test_there_are_commands_and_outputs() -> None:
    assert len(README.commands()) > 10
    assert len(COMMANDS) > 60
    assert len(README.outputs()) == 1
    assert len(OUTPUTS) == 4
