"""A trainer's own environment: installed once, and its programs run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from check_trainers.trainers import Trainer

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).parent / "inside"


class ProgramError(RuntimeError):
    """A program failed; says which, where its output is, and how that ends."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with a trainer in it."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def install(self, trainer: Trainer, log: Path) -> None:
        """Install the trainer, unless it is there in the wanted release; without an NVIDIA driver with torch for CPUs.

        Raises:
            ProgramError: pip fails.
        """
        wanted = next((package.partition("==")[2] for package in trainer.packages if "==" in package), "")
        if self.python.exists() and wanted and self.version(trainer.shown) == wanted:
            return
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        limits = [] if shutil.which("nvidia-smi") else ["-c", str(ROOT / "scripts" / "constraints-cpu.txt"), "torch"]
        self.run(["python", "-m", "pip", "install", "--quiet", *limits, *trainer.packages], self.folder, log)

    def version(self, package: str) -> str:
        """The release of a package in it; empty where it is not there."""
        text = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([str(self.python), "-c", text], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def run(self, command: Sequence[str], folder: Path, log: Path, capture: Path | None = None, limit: float = 3600) -> float:
        """Run one of its programs in a folder; returns how many seconds it took.

        Args:
            command: the program's name and its arguments.
            folder: the working directory.
            log: takes what it prints.
            capture: where the batches of training steps go.
            limit: seconds after which it is stopped.

        Raises:
            ProgramError: it fails, or takes too long.
        """
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        variables |= {"PATH": f"{self.folder / 'bin'}{os.pathsep}{variables['PATH']}", "OMP_NUM_THREADS": "1"}
        if list(command[1:3]) != ["-m", "pip"]:
            variables |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
            variables |= {"PYTHONPATH": str(INSIDE), "WANDB_MODE": "disabled", "AXOLOTL_DO_NOT_TRACK": "1"}
            variables |= {} if shutil.which("nvidia-smi") else {"TVT_FORGIVE_OPERATORS": "1"}
        if capture is not None:
            capture.mkdir(parents=True)
            variables["TVT_CAPTURE"] = str(capture)
        started = time.monotonic()
        program = [str(self.folder / "bin" / command[0]), *command[1:]]
        try:
            with log.open("a") as stream:
                subprocess.run(
                    program, cwd=folder, env=variables, stdout=stream, stderr=subprocess.STDOUT, timeout=limit, check=True
                )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
            end = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:]) if log.exists() else ""
            raise ProgramError(f"{' '.join(command)} failed; {log} ends: {end[-600:]} ({type(error).__name__})") from error
        return time.monotonic() - started
