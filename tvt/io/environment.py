"""What launchers leave in the environment: torch, accelerate and transformers would follow it, and a recipe decides instead."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
_LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE")
_LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK")
_NAMES = {*_SIZES, *_RANKS, *_LOCAL_SIZES, *_LOCAL_RANKS, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK"}
_NAMES |= {"GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"}
_NAMES -= {"SLURM_STEP_NUM_TASKS"}  # srun needs its own
_PREFIXES = ("TORCHELASTIC_", "PET_", "ACCELERATE_", "FSDP_", "OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")
"""``PET_*`` are defaults of torchrun's options; ``ACCELERATE_MIXED_PRECISION`` and its like would change what is trained."""


def launched(environment: Mapping[str, str], *, machines: int = 1) -> str | None:
    """The variables that say that this process is one of several, if any do; several that train alone would all look well.

    Args:
        environment: of this process.
        machines: how many start the command; each is then one of so many, but alone on its machine.
    """
    sizes, ranks = (_LOCAL_SIZES, _LOCAL_RANKS) if machines > 1 else (_SIZES + _LOCAL_SIZES, _RANKS + _LOCAL_RANKS)
    told = [name for name in sizes if _number(environment, name) > 1]
    told += [name for name in ranks if _number(environment, name) > 0]
    return ", ".join(f"{name}={environment[name]}" for name in told) or None


def launch_fault(environment: Mapping[str, str], *, machines: int = 1) -> str | None:
    """One line for a command that a launcher started several times, or that would believe so; ``None`` if all is well."""
    told = launched(environment, machines=machines)
    if told is None:
        return None
    names = " ".join(part.partition("=")[0] for part in told.split(", "))
    once = "once on each machine" if machines > 1 else "once"
    return (
        f"{told}: set by torchrun, accelerate, mpirun or srun for one of several processes; start tvt itself, {once}: "
        f"it starts its processes by --num-processes or runtime.num_processes. If nothing launched it, unset {names}"
    )


def left_over(environment: Mapping[str, str]) -> list[str]:
    """The variables that a launcher left and training goes without."""
    return sorted(name for name in environment if name in _NAMES or name.startswith(_PREFIXES))


@contextmanager
def without_launcher() -> Iterator[list[str]]:
    """Take what launchers left out of the environment, of this process and of those that it starts; put it back afterwards.

    Yields:
        The names.
    """
    taken = {name: os.environ.pop(name) for name in left_over(os.environ)}
    try:
        yield list(taken)
    finally:
        os.environ.update(taken)


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment.get(name, ""))
    except ValueError:
        return -1
