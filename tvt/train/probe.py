"""Which packages work here and which accelerators there are, without loading torch into this process.

``python -m tvt.train.probe torch|deepspeed`` loads a package in a process of its own and reports the outcome as JSON. A broken
installation can end its process, hang, or print anything: the process that asks is safe from all of it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, assert_never, cast

_LOG = logging.getLogger(__name__)

Package = Literal["torch", "deepspeed"]
"""What can be probed."""

MARK = "\x1etvt-probe "
"""Begins the line that holds the answer."""


def look(name: Package) -> dict[str, Any]:
    """Facts about ``torch`` or ``deepspeed`` once it is loaded; ``error`` alone where it cannot be loaded.

    Of torch: ``cuda`` (the version it was built for, or ``None``), ``available``, and of each device its ``name``, ``memory``
    (bytes) and ``bfloat16`` (whether the hardware has it).
    """
    try:
        match name:
            case "torch":
                return _torch()
            case "deepspeed":
                return _deepspeed()
            case unknown:
                assert_never(unknown)
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"}


def _torch() -> dict[str, Any]:
    import torch

    available = torch.cuda.is_available()
    devices = []
    for number in range(torch.cuda.device_count() if available else 0):
        properties = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        devices.append({"name": properties.name, "memory": properties.total_memory, "bfloat16": bfloat16})
    return {"cuda": torch.version.cuda, "available": available, "devices": devices}


def _deepspeed() -> dict[str, Any]:
    import deepspeed
    from torch.utils.cpp_extension import CUDA_HOME

    return {"version": deepspeed.__version__, "cuda_home": CUDA_HOME}


if __name__ == "__main__":
    print(f"\n{MARK}{json.dumps(look(cast(Package, sys.argv[1])))}", flush=True)


SECONDS = 120.0
"""How long to wait; loading torch from a cold network disk takes a minute."""


class Probe:
    """Loads ``torch`` or ``deepspeed`` beside this process; :meth:`answer` waits for its result.

    Args:
        name: the package.
        seconds: after so many it counts as hanging.
    """

    def __init__(self, name: Package, seconds: float = SECONDS) -> None:
        self._name, self._seconds = name, seconds
        self._process: subprocess.Popen[str] | None = None
        self._output: IO[str] | None = None
        self._answer: dict[str, Any] | None = None

    def __enter__(self) -> Probe:
        if _is_installed(self._name):
            self._output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "tvt.train.probe", self._name],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._output is not None:
            self._output.close()

    def answer(self) -> dict[str, Any] | None:
        """The probe's result (see :func:`tvt.train.probe.look`); ``None`` where the package is not installed."""
        if self._process is None or self._output is None:
            return None
        if self._answer is None:
            self._answer = self._wait(self._process, self._output)
            _LOG.debug("%s: %s", self._name, self._answer)
        return self._answer

    def _wait(self, process: subprocess.Popen[str], output: IO[str]) -> dict[str, Any]:
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"loading it takes more than {self._seconds:.0f} s"}
        output.seek(0)
        for line in output:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return answer
        return {"error": f"loading it ended the process (exit code {code})"}


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


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
    """How many GPUs torch sees; loading it takes seconds, so a build for CPUs is recognised by its files."""
    if not _built_for_gpus():
        return 0
    with Probe("torch") as probe:
        answer = probe.answer()
    return len((answer or {}).get("devices", []))


def _built_for_gpus() -> bool:
    """Whether the installed torch was built for CUDA or ROCm, as its ``version.py`` says."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"""^(?:cuda|hip)\b[^=\n]*=\s*['"]""", text, re.MULTILINE) is not None


def gpus_lacking(processes: int, machines: int, gpus: int) -> str:
    """The message for a run that has more processes than there are GPUs for."""
    here = f"{processes // machines} processes on this machine" if machines > 1 else f"{processes} processes"
    return f"{here} need as many GPUs, but there are {gpus}; lower runtime.num_processes to {gpus * machines}"
