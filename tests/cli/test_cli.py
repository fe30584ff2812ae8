"""What holds for every command, whatever it does."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ENVIRONMENT, assert_refused, processor_seconds, tvt
from tvt import __version__
from tvt.cli.main import COMMANDS

commands = pytest.mark.parametrize("name", COMMANDS)


@commands
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = tvt(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"Usage: tvt {name}" in result.stdout
    _, _, example = result.stdout.partition("Example")
    assert f"tvt {name}" in example, "the help needs an Example that calls the command"


@commands
def test_help_says_something_of_every_option(name: str) -> None:
    import click

    command = COMMANDS[name].load()
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    silent = [p.name for p in options if not (p.get_help_record(click.Context(command)) or ("", ""))[1]]
    assert not silent


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=["overview", *COMMANDS])
def test_help_is_at_most_100_wide(arguments: list[str]) -> None:
    result = tvt(*arguments, "-h")
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if len(line) > 100] == []


@commands
def test_unknown_option_exits_2_without_traceback(name: str) -> None:
    assert_refused(tvt(name, "--no-such-option"))


def test_overview_lists_every_command() -> None:
    text = tvt("--help").stdout
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {re.escape(name)} +{re.escape(entry.summary[:30])}", text, re.MULTILINE)
    assert "Example" in text


def test_version() -> None:
    result = tvt("--version")
    assert result.returncode == 0
    assert __version__ in result.stdout


def test_unknown_command_gets_a_suggestion() -> None:
    result = tvt("slect")
    assert_refused(result)
    assert "did you mean 'select'?" in result.stderr


def test_unknown_option_of_the_group() -> None:
    assert_refused(tvt("--no-such-option"))


def test_bad_input_is_one_line_and_debug_shows_the_traceback(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    result = tvt("export", missing, "--to", "json")
    assert_refused(result)
    assert len(result.stderr.strip().splitlines()) == 1
    debugged = tvt("--debug", "export", missing, "--to", "json")
    assert debugged.returncode != 0
    assert "Traceback" in debugged.stderr
    assert "InputError" in debugged.stderr


def test_debug_shows_what_modules_log() -> None:
    code = (
        "import logging, sys, tvt.cli.main as m\n"
        "m.cli.main = lambda *a, **k: logging.getLogger('tvt.model.base').debug('loaded in %.1f s', 2)\n"
        "sys.argv = ['tvt', *sys.argv[1:], 'studies']\nm.main()"
    )
    for options, shown in (([], ""), (["--debug"], "tvt.model.base: loaded in 2.0 s\n")):
        command = [sys.executable, "-c", code, *options]
        assert subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stderr == shown


def test_defect_exits_1_without_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, tvt.cli.main as m\n"
        "def broken(*a, **k): raise RuntimeError('boom')\n"
        "m.cli.main = broken\nsys.argv = ['tvt', 'studies']\nm.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert result.returncode == 1
    assert "defect in tvt: RuntimeError: boom" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_script(shell: str) -> None:
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("click asks bash for its version")
    result = run_entry_point({"_TVT_COMPLETE": f"{shell}_source"})
    assert result.returncode == 0, result.stderr
    assert "_TVT_COMPLETE" in result.stdout


def test_shell_completion_offers_commands() -> None:
    result = run_entry_point({"_TVT_COMPLETE": "bash_complete", "COMP_WORDS": "tvt s", "COMP_CWORD": "1"})
    assert {"plain,studies", "plain,select"} <= set(result.stdout.split())


def run_entry_point(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What the console script does, whether or not tvt is installed here."""
    code = "import sys; sys.argv = ['tvt']; from tvt.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**ENVIRONMENT, **environment}, check=False
    )


def test_help_is_fast() -> None:
    """At most 3 times as long as importing click; medians of runs taken in turn."""
    contenders = {"click": ["-c", "import click"], "help": ["-m", "tvt", "--help"]}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(9):
        for name, arguments in contenders.items():
            times[name].append(processor_seconds(*arguments))
    ratio = statistics.median(times["help"]) / statistics.median(times["click"])
    assert ratio <= 3, f"tvt --help takes {ratio:.1f} times as long as importing click"


def test_a_choice_names_the_nearest_one() -> None:
    assert "(did you mean 'risk'?)" in tvt("select", "7b", "--frontier", "rist").stderr


def test_an_option_of_a_request_is_described_at_its_field() -> None:
    from tvt.core.selection import SelectionSpec

    text = " ".join(tvt("select", "--help").stdout.split())
    for name in ("protect_z", "harm_penalty", "without_direct", "caps"):
        assert str(SelectionSpec.model_fields[name].description) in text
    assert "--exclude-target-data" in text
