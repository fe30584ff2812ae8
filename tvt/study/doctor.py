"""``tvt doctor``: what this machine has, what would fail here, and how to mend it. Nothing in it raises or changes anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvt.core.question import question_warnings
from tvt.core.recipe import Recipe
from tvt.errors import Check, TvtError, install
from tvt.io import json_text
from tvt.io.machine import installed_version
from tvt.io.model_folder import names_folder, snapshot
from tvt.io.names import folder_name
from tvt.io.yaml_files import BUNDLED_MODELS, load_recipe, public_model_name
from tvt.model.attention import WRITTEN_AGAINST, windows_at_once
from tvt.model.families import read_config
from tvt.model.needs import ORDINARY_PIXELS, PHOTOGRAPH_PIXELS, PICTURES, USABLE, pass_needs, shape_of
from tvt.study import this_machine
from tvt.study.estimate import estimate
from tvt.study.executors import engine_of
from tvt.study.plan import Study
from tvt.study.session import open_session
from tvt.study.this_machine import Gpu, Probed, existing, offline, shown, usable
from tvt.study.views import parameters
from tvt.train.checks import environment_checks, lock_checks, training_checks
from tvt.train.probe import Probe, compiler_checks

Devices = Sequence[dict[str, Any]]
_TIGHT = 0.85
"""The share of a GPU's memory from which on an estimate that fits may be too small."""
check = partial(this_machine.check, "recipe")


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
        gpus = this_machine.listed_gpus()
        groups: Sequence[tuple[str, Callable[[], Iterable[Check]]]] = [
            ("packages", this_machine.package_checks),
            ("memory", this_machine.memory_checks),
            ("disk", lambda: this_machine.disk_checks(study.folder)),
            ("caches", this_machine.cache_checks),
            ("network", this_machine.network_checks),
            ("file locks", lambda: this_machine.lock_checks(study.folder)),
            ("recipe", study.checks),
            ("torch and GPUs", lambda: this_machine.gpu_checks(gpus, torch.answer())),
            ("C compiler", lambda: compiler_checks("GPUs", gpus=bool(this_machine.usable(gpus, torch.answer())))),
            ("recipe", lambda: study.device_checks(gpus, torch.answer())),
            ("extension locks", study.lock_checks),
            ("DeepSpeed", lambda: this_machine.deepspeed_checks(gpus, deepspeed.answer())),
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
        text = f"could not be checked ({type(error).__name__}: {reason})"
        return [this_machine.check(group, group, text, warn="everything else was; please report this")]


@dataclass(frozen=True, kw_only=True)
class StudyChecks:
    """The checks of a recipe, which is read once, or those of no recipe."""

    folder: Path
    """Of the study's runs."""
    recipe: Recipe | None = None
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path | None, folder: Path | None) -> StudyChecks:
        """Read a recipe; its faults are stored, not raised."""
        faults: tuple[str, ...] = ()
        try:
            recipe = None if path is None else load_recipe(path)
        except TvtError as error:
            recipe, faults = None, tuple(str(error).split("\n"))
        except OSError as error:
            recipe, faults = None, (f"{path}: {error.strerror or error}; check the path",)
        default = Path("studies") if recipe is None else Path("studies") / folder_name(recipe.name)
        return cls(folder=folder or default, recipe=recipe, faults=faults)

    def checks(self) -> Iterator[Check]:
        """The recipe itself, its model, packages and data: what needs no device."""
        yield from (_failing("recipe", fault) for fault in self.faults)
        if self.recipe is None:
            return
        settings = list(training_checks(self.recipe))
        if not any(each.name == "base model" for each in settings):
            yield _base_model(self.recipe)
        missing = [package for package in ("torch", "transformers", "trl", "peft") if installed_version(package) is None]
        if missing:
            yield check("packages", f"not installed: {', '.join(missing)}", fail=install("train"))
        yield from settings
        yield from tower_checks(self.recipe)
        yield from engine_of(self.recipe).checks(self.recipe)
        yield from _plan_checks(self.recipe, self.folder)

    def lock_checks(self) -> Iterator[Check]:
        """Locks that DeepSpeed would wait for, whether or not the recipe uses it."""
        used = self.recipe is not None and self.recipe.runtime.deepspeed is not None
        yield from lock_checks("GPUs", "fail" if used else "warn")

    def device_checks(self, gpus: Sequence[Gpu], torch: Probed) -> Iterator[Check]:
        """Whether the devices can do what the recipe asks for."""
        if self.recipe is None or not engine_of(self.recipe).here:
            return
        yield from environment_checks()
        devices, processes = usable(gpus, torch), self.recipe.runtime.num_processes
        yield _precision(self.recipe, devices)
        if self.recipe.model.load_in_4bit and not devices:
            step = "use a machine with a GPU, or --set model.load_in_4bit=false"
            yield check("4 bits", "4 bits without a GPU: slow, and not every CPU can", warn=step)
        if devices and processes > len(devices):
            step = f"--set runtime.num_processes={len(devices)}"
            yield check("processes", f"{processes} processes a run, but {len(devices)} GPUs", fail=step)
        yield from _memory_checks(self.recipe, devices)


def _failing(name: str, line: str) -> Check:
    """A fault in the form ``what; what to do``."""
    result, _, step = line.rpartition("; ")
    return Check(group="recipe", name=name, status="fail", found=result or line, step=step if result else "")


def _base_model(recipe: Recipe) -> Check:
    """Whether the base model is a folder, or in the hub's cache. The hub is not asked."""
    name, revision = recipe.model.model_name_or_path, recipe.model.revision
    bundled = public_model_name(name)
    if bundled in BUNDLED_MODELS:
        return check("base model", f"{bundled}, which comes with tvt")
    if names_folder(name):  # training_checks has its faults
        return check("base model", f"in {shown(Path(name))}")
    pinned = "" if revision else "; pin model.revision, so that the study stays what it is"
    state = cached(name, revision)
    if state == "whole":
        return check("base model", f"{name} is in the hub's cache{pinned}")
    here = "is only partly in the cache" if state == "partly" else "is not in the cache"
    if variable := offline():
        step = f"unset {variable}, or download it: hf download {name}"
        return check("base model", f"{name} {here}, and {variable} is set", fail=step)
    return check("base model", f"{name} {here}; the hub will be asked{pinned}", warn=f"to fetch it before: hf download {name}")


def cached(name: str, revision: str | None) -> str:
    """Whether a model of the hub is in its cache: *whole*, *partly* or *not*, by the files that its index names."""
    folder = snapshot(name, revision)
    if not (folder / "config.json").exists():
        return "partly" if folder.is_dir() else "not"
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return "whole" if any(path.exists() for path in folder.glob("*.safetensors")) else "partly"
    shards = set(json_text.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return "whole" if all((folder / shard).exists() for shard in shards) else "partly"


def tower_checks(recipe: Recipe) -> Iterator[Check]:
    """Which attention the vision tower uses, where the model's type is known here."""
    chosen, model_type = recipe.model.attn_implementation, (read_config(recipe.model) or {}).get("model_type")
    stacked = windows_at_once(model_type) if isinstance(model_type, str) else None
    if model_type is None:
        return
    if stacked is None or chosen == "flash_attention_2":
        yield check("vision tower", f"its attention: {chosen}, all at once")
    elif chosen == "sdpa" and stacked:
        yield check("vision tower", "its attention: sdpa, windows of equal length stacked into one call")
    elif chosen == "sdpa":
        text = "its attention: sdpa, window by window, which is slow: this transformers has other code than tvt expects"
        yield check("vision tower", text, warn=f"pip install transformers=={WRITTEN_AGAINST}.*")
    else:
        text = f"its attention: {chosen}, window by window, which is slow"
        yield check("vision tower", text, warn="--set model.attn_implementation=sdpa")


def _plan_checks(recipe: Recipe, folder: Path) -> Iterator[Check]:
    """Whether the study's data is here, and its disk large enough."""
    try:
        session = open_session(recipe, folder, planning=True)
    except TvtError as error:
        yield from (_failing("data", line) for line in str(error).split("\n"))
        return
    yield from _data_checks(session.study)
    for line in question_warnings(session.study.sets.values()):
        yield check("questions", line, warn="get the benchmark's copy anew, or mend its manifest or rows")
    tasks = session.tasks()
    states = session.status(tasks)
    cost = estimate(session.study, session.store, [t for t in tasks if states[t.run_id] not in ("done", "failed")])
    if cost.disk_bytes is not None:
        free = shutil.disk_usage(existing(folder)).free
        used = f"{cost.training_runs} runs leave about {cost.disk_bytes / 1e9:.1f} GB of adapters"
        step = "" if cost.disk_bytes < 0.9 * free else "name another disk with -o"
        yield check("disk", f"{used}, {free / 1e9:.0f} GB are free", fail=step)


def _data_checks(study: Study) -> Iterator[Check]:
    """What is not on this machine yet; tasks that lack the same in one check."""
    variable = offline()
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for absent in study.missing:
        step = f"unset {variable}, or name a local copy under 'datasets:'" if absent.fetched and variable else absent.step
        blocked = not absent.fetched or variable is not None
        alike.setdefault((absent.what, step, blocked), []).append(absent.of)
    for (what, step, blocked), of in alike.items():
        advice = step if len(of) > 1 else step.replace("TASK", of[0])
        yield check("data", f"{what}: {', '.join(of)}", **{"fail" if blocked else "warn": advice})
    if not study.missing:
        yield check("data", f"rows and questions of {len({*study.sources, *study.targets})} tasks are here")


def _precision(recipe: Recipe, devices: Devices) -> Check:
    dtype = recipe.model.dtype
    if dtype == "float16" and not devices:
        return check("precision", "float16 needs a GPU", fail="--set model.dtype=bfloat16 or float32")
    if dtype == "bfloat16" and any(not device["bfloat16"] for device in devices):
        step = "--set model.dtype=float16 or float32"
        return check("precision", "bfloat16, which a GPU here does not have", fail=step)
    return check("precision", dtype + ("" if devices else " on the CPU"))


def _memory_checks(recipe: Recipe, devices: Devices) -> Iterator[Check]:
    """The estimate of :mod:`tvt.model.needs` against the smallest GPU, for ordinary pictures and for photographs."""
    shape = shape_of(recipe.model, parameters(recipe.model.model_name_or_path))
    if shape is None or not devices:
        return
    memory = min(float(device["memory"]) for device in devices)
    needs, large = (pass_needs(recipe, shape, pixels) for pixels in (ORDINARY_PIXELS, PHOTOGRAPH_PIXELS))
    tokens = shape.picture_tokens(recipe.model.shown_pixels(ORDINARY_PIXELS), recipe.model.max_pixels)
    text = (
        f"weights of about {needs.weights / 1e9:.0f} GB on GPUs of {memory / 1e9:.0f} GB, some {needs.total / 1e9:.0f} GB with "
        f"passes of {recipe.training.per_device_train_batch_size} rows of {PICTURES} pictures of {tokens:,} tokens"
    )
    if needs.weights > USABLE * memory:
        step = "--set model.load_in_4bit=true, or ZeRO-3 over several GPUs (recipes/deepspeed/zero3.json)"
        yield check("memory", text, fail=step)
        return
    chosen = recipe.training.gradient_checkpointing is False
    less = "set training.gradient_checkpointing=true" if chosen else "lower training.per_device_train_batch_size"
    warn = f"if memory runs out, {less}; the result stays the same" if needs.total > _TIGHT * memory else ""
    yield check("memory", text, warn=warn)
    if large.total > USABLE * memory >= needs.total:
        taken = shape.picture_tokens(PHOTOGRAPH_PIXELS)
        text = f"photographs of 12 megapixels would take {taken:,} tokens each, some {large.total / 1e9:.0f} GB in all"
        yield check("pictures", text, warn=f"where yours are large: --set model.max_pixels={ORDINARY_PIXELS}")
