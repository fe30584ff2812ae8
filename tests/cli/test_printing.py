"""What is printed steers no terminal, is of bounded length, and gets through any encoding."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from rich.table import Table

from commands import ROOT, tvt
from tvt.errors import LONGEST_LINE, InputError, harmless
from tvt.report.printing import new_console

TITLE = "\x1b]0;owned\x07\x1b[31mred\x9b31m\u202etxt"
PRINTERS = {"printing.py", "plain_console.py"}


def calls(file: Path) -> set[str]:
    """Names that a module calls, such as ``click.echo``."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)}


def test_nothing_is_printed_around_the_one_place() -> None:
    around = {
        str(file.relative_to(ROOT)): found
        for file in (*(ROOT / "tvt" / "cli").glob("*.py"), *(ROOT / "tvt" / "report").rglob("*.py"))
        if file.name not in PRINTERS and (found := calls(file) & {"click.echo", "click.secho", "Console", "print"})
    }
    assert around == {}


def test_a_table_and_a_line_show_escape_sequences_written_out() -> None:
    file = io.StringIO()
    console = new_console(file=file, force_terminal=True, color_system="truecolor", width=120, highlight=False)
    table = Table("name", "value")
    table.add_row(TITLE.replace("[", "("), "1", style="red")
    console.print(table)
    console.print(TITLE, markup=False)
    text = file.getvalue()
    assert "\\x1b]0;owned" in text, "rich leaves the bell out by itself"
    assert not {"\x07", "\x9b", "\u202e"} & set(text)
    assert "\x1b[31m" in text, "rich's own colours stay"
    assert "\x1b]" not in text
    assert text.count("│") == 3, "cells keep their frame"


def test_lines_and_tabs_stay() -> None:
    assert harmless("a\tb\r\nc\n") == "a\tb\nc\n"
    assert harmless("back\rfront") == "back\\rfront"


def test_a_long_name_is_cut_in_a_message() -> None:
    (line,) = str(InputError(f"{'x' * 600_000}: no such task; see tvt tasks")).split("\n")
    assert len(line) <= LONGEST_LINE
    assert line.endswith("no such task; see tvt tasks")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A study whose tasks are named by somebody who does not mean well."""
    path = tmp_path / "odd.csv"
    names = ["Plain", "é中–\u202elive"]
    rows = [["task", *names], ["Plain", "10", "5"], ["é中–\u202elive", "3", "20"]]
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("arguments", [("analyze",), ("select",), ("analyze", "--json"), ("select", "--json")])
def test_an_encoding_that_lacks_a_character_is_no_failure(odd: Path, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    result = tvt(command, str(odd), "--metric", "pgf", *rest, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()
    if rest:
        assert "é中–" in json.dumps(json.loads(result.stdout), ensure_ascii=False), "JSON keeps every character"


def test_an_unknown_option_is_said_without_its_escape_sequences(tmp_path: Path) -> None:
    result = tvt("analyze", f"--{TITLE}", str(tmp_path))
    assert result.returncode == 2
    assert not {"\x1b", "\x07", "\x9b"} & set(result.stderr)
