"""The line that says what takes long: on a terminal only, gone afterwards, and never on stdout."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from threading import Thread

from commands import ENVIRONMENT

SLOW = """
import sys, time, click
from tvt.cli import progress as module
module.LINE_AFTER_SECONDS = 0.2
with module.status_line("reading the rows of") as tell:
    tell("Jigsaw")
    sys.stdin.readline()
    click.echo("note: in between", err=True)
    tell("Counting")
    sys.stdin.readline()
    {more}
print("answer")
"""


SEEN = (b"reading the rows of Jigsaw", b"reading the rows of Counting")


def on_terminal(code: str, awaited: Sequence[bytes] = SEEN) -> tuple[bytes, bytes]:
    """What a program writes on stdout (a pipe) and on stderr (a terminal); once a text is seen there, it is sent a line."""
    mine, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE if awaited else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        bufsize=0,
    )
    os.close(theirs)
    out: list[bytes] = []
    assert process.stdout is not None
    # A pipe that nobody empties holds 64 KB, and the program waits.
    reader = Thread(target=lambda stream: out.append(stream.read()), args=(process.stdout,))
    reader.start()
    shown, left = b"", [*awaited]
    while True:
        try:
            piece = os.read(mine, 4096)
        except OSError:  # the terminal's other end is closed
            break
        if not piece:
            break
        shown += piece
        while left and left[0] in shown:
            left.pop(0)
            assert process.stdin is not None
            process.stdin.write(b"\n")
    reader.join()
    process.wait()
    os.close(mine)
    assert process.returncode == 0, shown
    return b"".join(out), shown


def test_a_slow_command_says_what_it_does_and_cleans_up() -> None:
    out, shown = on_terminal(SLOW.format(more=""))
    assert out == b"answer\n"
    assert b"reading the rows of Jigsaw" in shown
    assert b"reading the rows of Counting" in shown
    assert b"note: in between" in shown
    assert shown.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h"))  # the line is erased, the cursor back


def test_an_empty_text_takes_the_line_away() -> None:
    _, shown = on_terminal(SLOW.format(more="tell(''); print('step 1/2', file=sys.stderr); time.sleep(0.5)"))
    assert b"reading" not in shown.partition(b"step 1/2")[2]


def test_what_is_quick_shows_nothing() -> None:
    out, shown = on_terminal(SLOW.replace("0.2", "1800").format(more=""), awaited=())
    assert (out, shown) == (b"answer\n", b"note: in between\r\n")


def test_in_a_pipe_it_shows_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW.format(more="")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("answer\n", "note: in between\n")


def test_an_error_takes_the_line_away_too() -> None:
    code = SLOW.format(more="raise SystemExit(0)")
    out, shown = on_terminal(code)
    assert out == b""
    assert shown.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h"))


def test_a_command_on_a_terminal_keeps_stdout_clean() -> None:
    code = (
        "import sys, time\nfrom tvt.cli import progress as module\nmodule.LINE_AFTER_SECONDS = 0.0\n"
        "sys.argv = ['tvt', 'analyze', 'qwen2.5-vl-7b', '--json']\nfrom tvt.cli.main import main\nmain()"
    )
    out, shown = on_terminal(code, awaited=())
    assert out.startswith(b"{")
    assert out.endswith(b"}\n")
    assert b"looking for cliques" in shown
