"""Merges that end at every sort of moment: ``merge_kills.py WHOLE WORK SEED FROM...`` prints what happened as JSON.

WHOLE is the merge of the FROM folders, made here first without interruption. Then merges into fresh folders are ended, by
SIGKILL or by Ctrl-C, at a random one of the moments at which they touch the disk, and again, and left to end. What they come to
must be WHOLE, file by file, and what they leave in between must be no half run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvt.errors import InputError
from tvt.study.merging import merge
from tvt.study.store import Store
from tvt.study.verify import verify_run

KILLS = 24
PASSING = (".claim", ".lock", ".runs", ".views")
MOMENTS = ("open", "os.", "shutil.")


class Moments:
    """Counts how often a folder is touched, and does something at one of the times."""

    def __init__(self) -> None:
        self.folder, self.count, self.last = "", 0, -1
        self.act: Callable[[], Any] = lambda: None
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder and event.startswith(MOMENTS) and any(str(part).startswith(self.folder) for part in arguments):
            self.count += 1
            if self.count == self.last:
                self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def attempt(moments: Moments, folder: Path, others: Sequence[Path], last: int, act: Callable[[], Any]) -> bool:
    """Merge in a fork that ends at a moment; says whether it came so far."""
    child = os.fork()
    if not child:
        moments.folder, moments.count, moments.last, moments.act = str(folder), 0, last, act
        code = 1
        try:
            merge(folder, others)
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert end in (0, 130, -signal.SIGKILL), end
    return end != 0


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, with its content where that says something."""
    names = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes().replace(str(folder).encode(), b"") for name, path in names.items() if path.name not in PASSING
    }


def halves(folder: Path) -> list[str]:
    """Runs that say they are done and are not: none, at any moment."""
    store, found = Store(folder), []
    for run in store.known():
        try:
            verify_run(store, run)
        except InputError as error:
            found += error.faults
    return found


def main(whole: Path, work: Path, seed: int, others: Sequence[Path]) -> None:
    dice = random.Random(seed)
    moments = Moments()
    moments.folder = str(whole)
    merge(whole, others)
    total, moments.folder = moments.count, ""
    expected = tree(whole)
    ended = {"kill": 0, "interrupt": 0}
    points = dice.sample(range(1, total + 1), KILLS)
    for number, first in enumerate(points):
        point = first
        folder, act = work / f"merge-{number}", dice.choice([kill, interrupt])
        while attempt(moments, folder, others, point, act):
            ended[act.__name__] += 1
            assert halves(folder) == [], (point, halves(folder))
            point = dice.randrange(1, total)
        assert [part.refused for part in merge(folder, others)] == [{}] * len(others)
        found = tree(folder)
        assert found.keys() == expected.keys(), (point, found.keys() ^ expected.keys())
        assert found == expected, (point, [name for name in found if found[name] != expected[name]])
    print(json.dumps({"moments": total, **ended}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), [Path(path) for path in sys.argv[4:]])
