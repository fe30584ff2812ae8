"""The command: choose legs, run each in a process of its own, print a line of JSON for each and a table at the end."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from check_gpu.leg import Leg
from check_gpu.legs import LEGS, MODEL
from check_gpu.processes import Processes, environment
from check_gpu.table import show

NO_GPU = (
    "check-gpu: {}; run this on a machine with a GPU and a torch that sees it (tvt doctor says what is in the way), or run "
    "scripts/check-gpu --small, which runs on a tiny model what a CPU can run"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns 0 where every leg that ran passed, 1 where one missed, 2 where none could be run."""
    parser = argparse.ArgumentParser(prog="scripts/check-gpu", description=__doc__)
    parser.add_argument("legs", nargs="*", metavar="LEG", help="run these only; --list names them")
    parser.add_argument("--list", action="store_true", help="say what each leg checks, and end")
    parser.add_argument("--small", action="store_true", help="tiny widths, on a GPU or without one")
    parser.add_argument("--seconds", type=float, help="time limit of every leg, in the place of its own")
    parser.add_argument("--jobs", type=int, help="legs at once that neither compare times nor take all memory")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder, and leave logs and results there")
    options = parser.parse_args(arguments)
    if options.list:
        for leg in LEGS:
            print(f"{leg.name:10} {leg.what}")
        return 0
    known = {leg.name: leg for leg in LEGS}
    for name in options.legs:
        if name not in known:
            near = get_close_matches(name, known, 1)
            guess = f" (did you mean '{near[0]}'?)" if near else ""
            parser.error(f"no leg '{name}'{guess}; there are {', '.join(known)}")
    fault = no_gpu()
    if fault is not None and not options.small:
        print(NO_GPU.format(fault), file=sys.stderr)
        return 2
    chosen = [leg for leg in LEGS if not options.legs or leg.name in options.legs]
    return checked(chosen, options, gpu=fault is None)


def no_gpu() -> str | None:
    """Why there is no GPU to check; ``None`` where torch sees one."""
    command = [sys.executable, "-m", "check_gpu.device"]
    asked = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    try:
        told = json.loads(asked.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return "torch cannot be loaded here"
    if told["torch"] is None:
        return "torch is not installed here"
    return None if told["gpu"] else f"torch {told['torch']} sees no GPU here"


def checked(legs: Sequence[Leg], options: argparse.Namespace, *, gpu: bool) -> int:
    """Run legs and report on them."""
    folder = Path(options.keep or tempfile.mkdtemp(prefix="check-gpu-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"seconds": options.seconds, "jobs": options.jobs}
    processes = Processes(folder=folder, small=options.small, gpu=gpu, report=_line, **limits)
    started = time.monotonic()
    try:
        records = processes.run(MODEL, legs)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    show(records, time.monotonic() - started)
    results = {record["result"] for record in records}
    return 1 if "MISS" in results else 0 if "PASS" in results else 2


def _line(record: dict[str, Any], log: Sequence[str]) -> None:
    """One line of JSON; of a leg that ended early, the last lines of its log too."""
    print(json.dumps(record), flush=True)
    if record["result"] == "MISS" and record.get("reason"):
        for line in log:
            print(f"  {record['leg']}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the legs' processes end too
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
