"""``tvt doctor``: what this machine has, what would fail here, and how to mend it. Nothing in it raises or changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tvt.errors import Check
from tvt.study.doctor import machine
from tvt.study.doctor.recipe import StudyChecks
from tvt.train.probe import Probe, compiler_checks

_ORDER = ("packages", "GPUs", "memory", "disk", "caches", "network", "recipe")


def examine(recipe: Path | None, folder: Path | None, report: Callable[[str], object] = str) -> list[Check]:
    """Check this machine, and, with a recipe, whether its study can run here; a check that itself fails becomes a warning.

    Args:
        recipe: of the study.
        folder: the study's; default: where ``tvt study run`` would put it.
        report: called with what is checked next.
    """
    study = StudyChecks.read(recipe, folder)
    with ExitStack() as stack:  # both take seconds: they load while the rest is checked
        torch, deepspeed = (stack.enter_context(Probe(name)) for name in ("torch", "deepspeed"))
        gpus = machine.listed_gpus()
        groups: Sequence[tuple[str, Callable[[], Iterable[Check]]]] = [
            ("packages", machine.package_checks),
            ("memory", machine.memory_checks),
            ("disk", lambda: machine.disk_checks(study.folder)),
            ("caches", machine.cache_checks),
            ("network", machine.network_checks),
            ("file locks", lambda: machine.lock_checks(study.folder)),
            ("recipe", study.checks),
            ("torch and GPUs", lambda: machine.gpu_checks(gpus, torch.answer())),
            ("C compiler", lambda: compiler_checks("GPUs", gpus=bool(machine.usable(gpus, torch.answer())))),
            ("recipe", lambda: study.device_checks(gpus, torch.answer())),
            ("extension locks", study.lock_checks),
            ("DeepSpeed", lambda: machine.deepspeed_checks(gpus, deepspeed.answer())),
        ]
        checks: list[Check] = []
        for group, look in groups:
            report(group)
            checks += guarded(group, look)
    return sorted(checks, key=lambda check: _ORDER.index(check.group) if check.group in _ORDER else len(_ORDER))


def guarded(group: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of a group; an exception becomes a warning."""
    try:
        return list(look())
    except Exception as error:  # the other checks shall still be seen
        reason = (str(error) or "no reason given").splitlines()[0]
        found = f"could not be checked ({type(error).__name__}: {reason})"
        return [machine.check(group, group, found, warn="everything else was; please report this")]
