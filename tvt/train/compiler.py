"""The C compiler that Triton calls: TRL's loss runs as Triton kernels on GPUs, and these are compiled at a run's first step.

TRL (1.16, ``trl/kernels/chunked_logprob.py``) takes Triton wherever it is installed and the model is on a GPU, and PyTorch's
own operations elsewhere. Triton (``triton/runtime/build.py``) builds a small library for its driver with ``CC``, else gcc, else
clang, against Python's headers, and keeps it in its cache. Scoring needs none of this.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tvt.errors import Check

_WHY = "TRL's loss compiles Triton kernels at the first step on a GPU"


def compiler_checks(group: str, *, gpus: bool) -> Iterator[Check]:
    """Whether what Triton compiles with is there; nothing comes of a machine where TRL does without Triton.

    Args:
        group: of the checks.
        gpus: whether training here takes place on GPUs.
    """
    if not gpus or find_spec("triton") is None:
        return
    missing, steps = [], []
    if compiler() is None:
        named = os.environ.get("CC")
        missing.append("no C compiler (gcc, clang, or CC)" if named is None else f"CC names {named}, which is no program here")
        steps.append("install gcc" if named is None else "mend CC or unset it")
    if not (headers() / "Python.h").is_file():
        missing.append(f"no Python.h in {headers()}")
        steps.append(f"install Python's headers (python{sys.version_info[0]}.{sys.version_info[1]}-dev)")
    if not missing:
        found = f"{compiler()} and Python's headers are here: {_WHY}"
        yield Check(group=group, name="C compiler", status="ok", found=found)
        return
    found = f"{' and '.join(missing)}: {_WHY}"
    if compiled_before():
        step = f"fine as long as Triton's cache has what is needed; else {' and '.join(steps)}"
        yield Check(group=group, name="C compiler", status="warn", found=found, step=step)
    else:
        yield Check(group=group, name="C compiler", status="fail", found=found, step=" and ".join(steps))


def compiler() -> str | None:
    """The compiler that Triton would call; ``CC`` counts even where it names nothing, and then there is none."""
    named = os.environ.get("CC")
    if named is not None:
        return named if shutil.which(named) else None
    return next((name for name in ("gcc", "clang") if shutil.which(name)), None)


def headers() -> Path:
    """Where Triton looks for Python's headers; Debian's scheme for local packages is not theirs."""
    scheme = sysconfig.get_default_scheme()
    return Path(sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"])


def compiled_before() -> bool:
    """Whether Triton's cache has its driver's library, compiled by an earlier run."""
    own = os.environ.get("TRITON_CACHE_DIR")
    folder = Path(own) if own else Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"
    return any(folder.glob("*/*_utils*.so"))
