"""``python -m tvt.train.probe torch|deepspeed``: load a package in a process of its own, and say how it went as JSON.

A broken installation can take its process down, hang, or print what it likes: whoever asks is safe from all of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MARK = "\x1etvt-probe "
"""Begins the line that holds the answer."""


def look(name: str) -> dict[str, Any]:
    """What is known of ``torch`` or ``deepspeed`` once it is loaded; ``error`` alone where it cannot be.

    Of torch: ``cuda`` (the version it was built for, or ``None``), ``available``, and of each device its ``name``, ``memory``
    (bytes) and ``bfloat16`` (whether the hardware has it).
    """
    try:
        return _torch() if name == "torch" else _deepspeed()
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"}


def _torch() -> dict[str, Any]:
    import torch

    available = torch.cuda.is_available()
    devices = []
    for number in range(torch.cuda.device_count() if available else 0):
        told = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        devices.append({"name": told.name, "memory": told.total_memory, "bfloat16": bfloat16})
    return {"cuda": torch.version.cuda, "available": available, "devices": devices}


def _deepspeed() -> dict[str, Any]:
    import deepspeed
    from torch.utils.cpp_extension import CUDA_HOME

    return {"version": deepspeed.__version__, "cuda_home": CUDA_HOME}


if __name__ == "__main__":
    print(f"\n{MARK}{json.dumps(look(sys.argv[1]))}", flush=True)
