"""Which accelerators this machine has, without loading torch."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tvt.train.probing import Probe

_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    The driver's program lists them; where it is missing (ROCm, some containers), torch does, in a process of its own.
    """
    for name in _HIDING:
        value = os.environ.get(name)
        if value is not None:
            return _named(value)
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return tuple(map(str, range(_count_by_torch())))
    return tuple(str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU "))


def _named(value: str) -> tuple[str, ...]:
    """The devices of a list; as for CUDA, the first invalid one hides all that follow."""
    names: list[str] = []
    for name in (part.strip() for part in value.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return tuple(names)


@cache
def _count_by_torch() -> int:
    """How many GPUs torch sees; loading it takes seconds, so a build for CPUs is told by its files."""
    if not _built_for_gpus():
        return 0
    with Probe("torch") as probe:
        answer = probe.answer()
    return len((answer or {}).get("devices", []))


def _built_for_gpus() -> bool:
    """Whether the installed torch was built for CUDA or ROCm, as its ``version.py`` says."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"""^(?:cuda|hip)\b[^=\n]*=\s*['"]""", text, re.MULTILINE) is not None


def gpus_lacking(processes: int, machines: int, gpus: int) -> str:
    """What to do when a run has more processes than there are GPUs for."""
    here = f"{processes // machines} processes on this machine" if machines > 1 else f"{processes} processes"
    return f"{here} need as many GPUs, but there are {gpus}; lower runtime.num_processes to {gpus * machines}"
