"""One process of several that ask questions: ``python -m tvt.evaluate.worker JOB``, started by :mod:`tvt.io.processes`."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

from tvt.evaluate.asking import Asker
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.sharing import Share, load_share
from tvt.io.processes import do, tell
from tvt.model.base import Loaded

_LOOK_SECONDS = 0.5


def main(path: Path) -> None:
    """Ask this process's share, and tell the parent of it."""
    do(lambda: _work(path))


def _work(path: Path) -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    share = load_share(path, rank, processes)
    if share.parts:
        _use_own_device()
        _ask(share, rank)
    if int(os.environ["GROUP_WORLD_SIZE"]) > 1:
        _wait_for_others(processes)


def _use_own_device() -> None:
    """Take the GPU of this process's number on its machine."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _ask(share: Share, rank: int) -> None:
    def note(text: str) -> None:
        tell("note", text)

    profile = read_profile(share.settings.prompt)
    share.check(profile)
    base = Loaded(config=share.model, note=note)
    asker = Asker(base, share.settings, profile, note, flush=share.flush, writer=rank)
    first = {task: questions[0] for part in share.parts for task, (questions, _) in part.batches}
    asker.prepare(first.values())
    tell("loaded", None)
    for part in share.parts:
        asker.ask(part, lambda count: tell("answered", count))


def _wait_for_others(processes: int) -> None:
    """Stay until all are done: torchrun's agents give up five minutes after the first of them is."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    store.add("tvt/asked", 1)
    while store.add("tvt/asked", 0) < processes:
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
