"""Whether who shall do a recipe's runs is within reach."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from tvt.core.health import Check, Status
from tvt.core.recipe import Recipe
from tvt.study.doctor.packages import version

PACKAGE = {"slurm": "submitit", "ray": "ray"}
"""What an executor needs, which its extra installs."""


def executor_checks(recipe: Recipe) -> Iterator[Check]:
    """The executor's package, and Slurm's commands. A Ray cluster is not asked: looking would start one."""
    name = recipe.runtime.executor
    if name == "local":
        if recipe.runtime.num_machines > 1:
            yield _check("fail", f"local, but {recipe.runtime.num_machines} machines a run", "--set runtime.executor=slurm")
        return
    package = PACKAGE[name]
    installed = version(package)
    if installed is None:
        yield _check("fail", f"{name} needs {package}, which is not installed", f"pip install 'tvt[{name}]'")
    elif name == "slurm" and shutil.which("sbatch") is None:
        yield _check("fail", "slurm, but there is no sbatch here", "start the study on a machine that submits jobs")
    else:
        where = recipe.runtime.ray.address or "RAY_ADDRESS, else this machine" if name == "ray" else "sbatch is here"
        yield _check("ok", f"{name} ({package} {installed}); {where}; this machine's devices are not looked at", "")


def _check(status: Status, found: str, step: str) -> Check:
    return Check(group="recipe", name="executor", status=status, found=found, step=step)
