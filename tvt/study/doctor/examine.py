"""All checks, one after the other; a check that itself fails becomes a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tvt.errors import Check
from tvt.study.doctor import devices, machine, recipes
from tvt.study.doctor import machine as packages
from tvt.train.kernels import compiler_checks
from tvt.train.probe import Probe

Looks = Sequence[tuple[str, Callable[[], Iterable[Check]]]]


def examine(recipe: Path | None, folder: Path | None, tell: Callable[[str], object] = str) -> list[Check]:
    """Look at this machine, and, with a recipe, at whether its study can run here.

    Args:
        recipe: of the study in question.
        folder: the study's; default: where ``tvt study run`` would put it.
        tell: told what is looked at.
    """
    asked = recipes.Asked.read(recipe, folder)
    with ExitStack() as stack:  # both take seconds: they load while the rest is looked at
        torch, deepspeed = (stack.enter_context(Probe(name)) for name in ("torch", "deepspeed"))
        gpus = devices.listed_gpus()
        looks: Looks = [
            ("packages", packages.checks),
            ("memory", machine.memory_checks),
            ("disk", lambda: machine.disk_checks(asked.folder)),
            ("caches", machine.cache_checks),
            ("network", machine.network_checks),
            ("file locks", lambda: machine.lock_checks(asked.folder)),
            ("recipe", asked.checks),
            ("torch and GPUs", lambda: devices.gpu_checks(gpus, torch.answer())),
            ("C compiler", lambda: compiler_checks("GPUs", gpus=bool(devices.usable(gpus, torch.answer())))),
            ("recipe", lambda: asked.device_checks(gpus, torch.answer())),
            ("extension locks", asked.lock_checks),
            ("DeepSpeed", lambda: devices.deepspeed_checks(gpus, deepspeed.answer())),
        ]
        found: list[Check] = []
        for group, look in looks:
            tell(group)
            found += guarded(group, look)
    return sorted(found, key=lambda check: _ORDER.index(check.group) if check.group in _ORDER else len(_ORDER))


_ORDER = ("packages", "GPUs", "memory", "disk", "caches", "network", "recipe")


def guarded(group: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of one look; what it raises is told as one."""
    try:
        return list(look())
    except Exception as error:  # a doctor that falls ill helps nobody
        reason = f"could not be looked at ({type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0]})"
        step = "everything else was; please report this"
        return [Check(group=group, name=group, status="warn", found=reason, step=step)]
