"""One leg, in this process: ``python -m check_gpu.child LEG FOLDER MODEL [small] [gpu]`` writes FOLDER/result.json."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from check_gpu.leg import Bench, Leg, NotRunError, load, package
from check_gpu.legs import LEGS, MODEL

RESULT = "result.json"


def main() -> None:
    """Run the leg; however it ends, what it found so far is written."""
    name, folder, model, *options = sys.argv[1:]
    leg = next(leg for leg in (MODEL, *LEGS) if leg.name == name)
    bench = Bench(folder=Path(folder), model=Path(model), small="small" in options, gpu="gpu" in options)
    started = time.monotonic()
    record = {**outcome(leg, bench), "seconds": round(time.monotonic() - started, 1)}
    unfinished = bench.folder / f"{RESULT}.unfinished"
    unfinished.write_text(json.dumps(record), encoding="utf-8")
    unfinished.replace(bench.folder / RESULT)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries may keep the process, and the GPU's memory


def outcome(leg: Leg, bench: Bench) -> dict[str, Any]:
    """What a leg comes to. A missing package is no miss, any other exception is one."""
    try:
        load(*leg.needs)
        leg.run(bench)
    except NotRunError as error:
        return {**bench.record(), "result": "not run", "reason": str(error)}
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, ModuleNotFoundError) and not _ours(error.name):
            return {**bench.record(), "result": "not run", "reason": f"{package(error.name)} missing"}
        lines = str(error).strip().splitlines() or ["no reason given"]
        return {**bench.record(), "result": "MISS", "reason": f"{type(error).__name__}: {lines[0]}"}
    return bench.record()


def _ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("", "tvt", "check_gpu")


if __name__ == "__main__":
    main()
