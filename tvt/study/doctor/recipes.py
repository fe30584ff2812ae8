"""Whether a recipe's study can run on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.question import question_warnings
from tvt.core.recipe import Recipe
from tvt.errors import Check, TvtError
from tvt.io.machine import installed_version
from tvt.io.model_folder import names_folder, snapshot
from tvt.io.names import folder_name
from tvt.io.recipe_file import MINIATURE, load_recipe, model_path
from tvt.model.attention import WRITTEN_AGAINST, windows_at_once
from tvt.model.families import read_config
from tvt.study.doctor.devices import Gpu, memory_checks, usable
from tvt.study.doctor.machine import existing, offline, shown
from tvt.study.estimate import estimate
from tvt.study.executors import engine_of
from tvt.study.plan import Study
from tvt.study.session import open_session
from tvt.train.checks import environment_checks, lock_checks, training_checks

GROUP = "recipe"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A recipe that the doctor was asked about, or none; read once."""

    folder: Path
    """Where the study's runs would lie."""
    recipe: Recipe | None = None
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path | None, folder: Path | None) -> Asked:
        """Read a recipe; its faults are kept, not raised."""
        if path is None:
            return cls(folder=folder or Path("studies"))
        try:
            recipe = load_recipe(path)
        except TvtError as error:
            return cls(folder=folder or Path("studies"), faults=tuple(str(error).split("\n")))
        except OSError as error:
            return cls(folder=folder or Path("studies"), faults=(f"{path}: {error.strerror or error}; check the path",))
        return cls(folder=folder or Path("studies") / folder_name(recipe.name), recipe=recipe)

    def checks(self) -> Iterator[Check]:
        """The recipe itself, its model, packages and data: what needs no device."""
        for fault in self.faults:
            yield _failing("recipe", fault)
        if self.recipe is not None:
            settings = list(training_checks(self.recipe))
            if not any(check.name == "base model" for check in settings):
                yield _model(self.recipe)
            yield from _packages()
            yield from settings
            yield from _tower(self.recipe)
            yield from engine_of(self.recipe).checks(self.recipe)
            yield from _plan(self.recipe, self.folder)

    def lock_checks(self) -> Iterator[Check]:
        """Locks that DeepSpeed would wait for, whether or not the recipe asks for it."""
        asked = self.recipe is not None and self.recipe.runtime.deepspeed is not None
        yield from lock_checks("GPUs", "fail" if asked else "warn")

    def device_checks(self, gpus: Sequence[Gpu], torch: dict[str, Any] | None) -> Iterator[Check]:
        """Whether the devices can do what the recipe asks for."""
        if self.recipe is not None and engine_of(self.recipe).here:
            yield from environment_checks()
            devices = usable(gpus, torch)
            yield _precision(self.recipe, devices)
            yield from _four_bits(self.recipe, devices)
            yield from _processes(self.recipe, devices)
            yield from memory_checks(self.recipe, devices)


def _failing(name: str, line: str) -> Check:
    """A fault in the form ``what; what to do``."""
    found, _, step = line.rpartition("; ")
    return Check(group=GROUP, name=name, status="fail", found=found or line, step=step if found else "")


def _model(recipe: Recipe) -> Check:
    """Whether the base model is a folder, or in the hub's cache. The hub is not asked."""
    name = recipe.model.model_name_or_path
    if name == model_path(MINIATURE):
        return _told("base model")("ok", f"{MINIATURE}, which comes with tvt", "")
    if names_folder(name):  # its faults are told by training_checks
        return _told("base model")("ok", f"in {shown(Path(name))}", "")
    return _hub_model(name, recipe.model.revision)


def _hub_model(name: str, revision: str | None) -> Check:
    told = _told("base model")
    pinned = "" if revision else "; pin model.revision, so that the study stays what it is"
    state = cached(name, revision)
    if state == "whole":
        return told("ok", f"{name} is in the hub's cache{pinned}", "")
    here = "is only partly in the cache" if state == "partly" else "is not in the cache"
    if (variable := offline()) is not None:
        return told("fail", f"{name} {here}, and {variable} is set", f"unset {variable}, or download it: hf download {name}")
    return told("warn", f"{name} {here}; the hub will be asked{pinned}", f"to fetch it before: hf download {name}")


def cached(name: str, revision: str | None) -> str:
    """Whether a model of the hub is in its cache: *whole*, *partly* or *not*, by the files that its index names."""
    folder = snapshot(name, revision)
    if not (folder / "config.json").exists():
        return "partly" if folder.is_dir() else "not"
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return "whole" if any(path.exists() for path in folder.glob("*.safetensors")) else "partly"
    shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return "whole" if all((folder / shard).exists() for shard in shards) else "partly"


def _told(name: str) -> Callable[[Any, str, str], Check]:
    def tell(status: Any, found: str, step: str) -> Check:
        return Check(group=GROUP, name=name, status=status, found=found, step=step)

    return tell


def _packages() -> Iterator[Check]:
    """The train extra."""
    needed = ("torch", "transformers", "trl", "peft")
    if missing := [package for package in needed if installed_version(package) is None]:
        yield _told("packages")("fail", f"not installed: {', '.join(missing)}", "pip install 'tvt[train]'")


def _tower(recipe: Recipe) -> Iterator[Check]:
    """Which attention the vision tower uses, where the model's type is known here."""
    told, chosen = _told("vision tower"), recipe.model.attn_implementation
    model_type = (read_config(recipe.model) or {}).get("model_type")
    stacked = windows_at_once(model_type) if isinstance(model_type, str) else None
    if stacked is None or chosen == "flash_attention_2":
        if model_type is not None:
            yield told("ok", f"its attention: {chosen}, all at once", "")
    elif chosen == "sdpa" and stacked:
        yield told("ok", "its attention: sdpa, windows of equal length stacked into one call", "")
    elif chosen == "sdpa":
        found = "its attention: sdpa, window by window, which is slow: this transformers has other code than tvt expects"
        yield told("warn", found, f"pip install transformers=={WRITTEN_AGAINST}.*")
    else:
        yield told("warn", f"its attention: {chosen}, window by window, which is slow", "--set model.attn_implementation=sdpa")


def _plan(recipe: Recipe, folder: Path) -> Iterator[Check]:
    """Whether the study's data is here, and its disk large enough."""
    try:
        session = open_session(recipe, folder, planning=True)
    except TvtError as error:
        for line in str(error).split("\n"):
            yield _failing("data", line)
        return
    yield from _data(session.study)
    yield from _odd_questions(session.study)
    tasks = session.tasks()
    states = session.status(tasks)
    cost = estimate(session.study, session.store, [t for t in tasks if states[t.run_id] not in ("done", "failed")])
    if cost.disk_bytes is not None:
        free = shutil.disk_usage(existing(folder)).free
        found = (
            f"{cost.training_runs} runs leave about {cost.disk_bytes / 1e9:.1f} GB of adapters, {free / 1e9:.0f} GB are free"
        )
        enough = cost.disk_bytes < 0.9 * free
        yield _told("disk")("ok" if enough else "fail", found, "" if enough else "name another disk with -o")


def _data(study: Study) -> Iterator[Check]:
    """What is not on this machine yet; tasks that lack the same in one check."""
    variable = offline()
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for absent in study.missing:
        step = f"unset {variable}, or name a local copy under 'datasets:'" if absent.fetched and variable else absent.step
        blocked = not absent.fetched or variable is not None
        alike.setdefault((absent.what, step, blocked), []).append(absent.of)
    for (what, step, blocked), of in alike.items():
        step_of = step if len(of) > 1 else step.replace("TASK", of[0])
        yield _told("data")("fail" if blocked else "warn", f"{what}: {', '.join(of)}", step_of)
    if not study.missing:
        yield _told("data")("ok", f"rows and questions of {len({*study.sources, *study.targets})} tasks are here", "")


def _odd_questions(study: Study) -> Iterator[Check]:
    """Questions that are fewer or more than their manifest states, or that are asked twice."""
    for line in question_warnings(study.sets.values()):
        yield _told("questions")("warn", line, "get the benchmark's copy anew, or mend its manifest or rows")


def _precision(recipe: Recipe, devices: Sequence[dict[str, Any]]) -> Check:
    told, dtype = _told("precision"), recipe.model.dtype
    if dtype == "float16" and not devices:
        return told("fail", "float16 needs a GPU", "--set model.dtype=bfloat16 or float32")
    if dtype == "bfloat16" and any(not device["bfloat16"] for device in devices):
        return told("fail", "bfloat16, which a GPU here does not have", "--set model.dtype=float16 or float32")
    return told("ok", dtype + ("" if devices else " on the CPU"), "")


def _four_bits(recipe: Recipe, devices: Sequence[dict[str, Any]]) -> Iterator[Check]:
    if recipe.model.load_in_4bit and not devices:
        step = "use a machine with a GPU, or --set model.load_in_4bit=false"
        yield _told("4 bits")("warn", "4 bits without a GPU: slow, and not every CPU can", step)


def _processes(recipe: Recipe, devices: Sequence[dict[str, Any]]) -> Iterator[Check]:
    wanted = recipe.runtime.num_processes
    if devices and wanted > len(devices):
        step = f"--set runtime.num_processes={len(devices)}"
        yield _told("processes")("fail", f"{wanted} processes a run, but {len(devices)} GPUs", step)
