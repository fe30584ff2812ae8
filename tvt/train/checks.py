"""Checks that a recipe can be trained on this machine: by names, files (DeepSpeed's among them) and packages alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.errors import Check, Status, install, suggest
from tvt.io import json_text
from tvt.io.processes import launch_fault
from tvt.model.families import GROUP, model_checks
from tvt.train.probe import compiler_checks, stale_locks, visible_gpus

_BITSANDBYTES = (
    *("adamw_bnb_8bit", "adamw_8bit", "ademamix", "ademamix_8bit", "lion_8bit", "lion_32bit"),
    *("paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
    *("paged_lion_32bit", "paged_lion_8bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
)
OPTIMIZER_PACKAGES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_BITSANDBYTES, ("bitsandbytes", "bitsandbytes")),
    **dict.fromkeys(("adamw_torch_4bit", "adamw_torch_8bit"), ("torchao", "torchao")),
    "adamw_anyprecision": ("torchdistx", "git+https://github.com/pytorch/torchdistx"),
    "adamw_torch_npu_fused": ("torch_npu", "torch-npu"),
    "adamw_torch_xla": ("torch_xla", "torch-xla"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "stable_adamw": ("optimi", "torch-optimi"),
}
"""Module that an optimizer of transformers is in, and what pip installs it by; the others come with torch."""
UNUSABLE_OPTIMIZERS = {
    "galore": "projects the gradients of whole layers, of which LoRA trains none",
    "apollo": "projects the gradients of whole layers, of which LoRA trains none",
    "lomo": "changes weights within the backward pass, before the gradients can be checked",
    "adalomo": "changes weights within the backward pass, before the gradients can be checked",
    "schedule_free": "trains other weights than it is to be scored with, and transformers saves those",
}
"""By the beginning of their names."""
TRACKERS = {
    "azure_ml": ("azureml", "azureml-sdk"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "dagshub": ("dagshub", "dagshub mlflow"),
    "dvclive": ("dvclive", "dvclive"),
    "flyte": ("flytekit", "flytekit"),
    "mlflow": ("mlflow", "mlflow"),
    "neptune": ("neptune", "neptune"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}
"""Module that a tracker of transformers needs, and what pip installs it by."""
_UNPACKED = ("kubeflow",)
"""It needs no package: Kubeflow gives its address in the environment."""
_ALONE = ("all", "none")


def training_checks(recipe: Recipe) -> Iterator[Check]:
    """Checks of what would end a run of this recipe here after it began, and warnings; see also :func:`machine_checks`."""
    yield from model_checks(recipe.model)
    yield from _optimizer(recipe.training.optim)
    yield from _trackers(recipe.runtime.report_to)
    if recipe.training.use_liger_kernel and find_spec("transformers") is not None and find_spec("liger_kernel") is None:
        result = "training.use_liger_kernel needs liger_kernel, which is not installed"
        yield _failing("kernels", result, "pip install liger-kernel, or leave it out", "liger_kernel")
    if recipe.runtime.deepspeed is not None:
        yield from _deepspeed(recipe, recipe.runtime.deepspeed)


def machine_checks(recipe: Recipe, *, machines: int = 1) -> Iterator[Check]:
    """Checks of what would end or stop a run that is started on this machine: a launcher's environment, no compiler, locks.

    Args:
        recipe: of the run.
        machines: how many start the command.
    """
    yield from environment_checks(machines=machines)
    yield from compiler_checks(GROUP, gpus=bool(visible_gpus()))
    if recipe.runtime.deepspeed is not None:
        yield from lock_checks(GROUP, "fail")


def environment_checks(*, machines: int = 1) -> Iterator[Check]:
    """Checks of the variables by which a launcher states that this process is one of several."""
    fault = launch_fault(os.environ, machines=machines)
    if fault is not None:
        result, _, step = fault.partition("; ")
        yield _failing("environment", result, step)


def lock_checks(group: str, status: Status) -> Iterator[Check]:
    """Checks of left-over locks of extensions, for which every start with DeepSpeed may wait."""
    for lock in stale_locks():
        result, _, step = str(lock).partition("; ")
        yield Check(group=group, name="extension lock", status=status, found=result, step=step)


def _failing(name: str, found: str, step: str, package: str = "") -> Check:
    return Check(group=GROUP, name=name, status="fail", found=found, step=step, package=package)


def _optimizer(optim: str) -> Iterator[Check]:
    if optim == "adamw_torch" or find_spec("transformers") is None:  # the names take seconds to load
        return
    from transformers.training_args import OptimizerNames

    known = [name.value for name in OptimizerNames]
    unusable = next((why for start, why in UNUSABLE_OPTIMIZERS.items() if optim.startswith(start)), None)
    module, package = OPTIMIZER_PACKAGES.get(optim, ("torch", "torch"))
    if optim not in known:
        step = "see OptimizerNames of transformers; adamw_torch is the default"
        yield _failing("optimizer", f"training.optim: no optimizer '{optim}'{suggest(optim, known)}", step)
    elif unusable is not None:
        yield _failing("optimizer", f"training.optim: {optim} {unusable}", "take adamw_torch")
    elif find_spec(module) is None:
        step = f"pip install {package}, or take adamw_torch"
        yield _failing("optimizer", f"training.optim: {optim} needs {module}, which is not installed", step, module)


def _trackers(names: Sequence[str]) -> Iterator[Check]:
    for name in names:
        if name in _ALONE:
            if len(names) > 1:
                yield _failing("trackers", f"runtime.report_to: {name} stands for itself", "drop it, or the others")
        elif name not in _UNPACKED:
            yield from _tracker(name)


def _tracker(name: str) -> Iterator[Check]:
    if name not in TRACKERS:
        step = f"name some of {', '.join(TRACKERS)}"
        yield _failing("trackers", f"runtime.report_to: no tracker '{name}'{suggest(name, list(TRACKERS))}", step)
    elif find_spec("transformers") is not None and find_spec(TRACKERS[name][0]) is None:
        module, package = TRACKERS[name]
        step = f"pip install {package}, or drop it from report_to"
        yield _failing("trackers", f"runtime.report_to: {name} needs {module}, which is not installed", step, module)


def _deepspeed(recipe: Recipe, name: str) -> Iterator[Check]:
    """Whether DeepSpeed is there and its configuration fits the recipe, and what the latter would build."""
    if find_spec("transformers") is not None and find_spec("deepspeed") is None:
        result = "runtime.deepspeed needs deepspeed, which is not installed"
        yield _failing("DeepSpeed", result, install("train"), "deepspeed")
    faults = deepspeed_faults(recipe)
    for fault in faults:
        result, _, step = fault.rpartition("; ")
        yield _failing("DeepSpeed file", result, step)
    if not faults:
        yield _built(json_text.loads(Path(name).read_text(encoding="utf-8")), recipe, name)


def _built(config: Mapping[str, Any], recipe: Recipe, name: str) -> Check:
    """What a configuration that fits makes DeepSpeed do."""

    def check(status: Status, found: str, step: str = "") -> Check:
        return Check(group=GROUP, name="DeepSpeed file", status=status, found=f"{name}: {found}", step=step)

    zero = config.get("zero_optimization")
    zero = zero if isinstance(zero, Mapping) else {}
    if zero.get("stage") == 3 and recipe.model.load_in_4bit:
        return check("warn", "ZeRO-3 does not divide a model of 4 bits", "recipes/deepspeed/zero2.json does the same sooner")
    if "optimizer" in config or any(key.startswith("offload") for key in zero):
        step = "see DeepSpeed above for what it builds with; with recipes/deepspeed it builds nothing on GPUs"
        return check("warn", "its optimizer or offloading builds kernels at the first start", step)
    return check("ok", f"stage {zero.get('stage', 0)}")


AUTO = "auto"
_TOLERANCE = 1e-12
_BETAS, _EPSILON = [0.9, 0.999], 1e-8
"""Of AdamW, as transformers sets them."""


def deepspeed_faults(recipe: Recipe) -> list[str]:
    """What is wrong with the recipe's DeepSpeed file: one line an entry, none where the file fits or none is named.

    Entries that are ``"auto"`` or missing follow the recipe. The others must be what the recipe says: transformers would stop
    at some of them once the model is loaded, and train with the others in silence.
    """
    path = recipe.runtime.deepspeed
    if path is None:
        return []
    try:
        config = json_text.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path}: cannot be read as a DeepSpeed configuration ({error}); take one of recipes/deepspeed"]
    if not isinstance(config, dict):
        return [f"{path}: is no JSON object; take one of recipes/deepspeed"]
    return [
        f'{path}: {entry} is {json.dumps(value)}, but the recipe {required}; write "auto" there, or change one of the two'
        for entry, value, required in _mismatches(config, recipe)
    ] + [f"{path}: {fault}" for fault in _foreign_parts(config, recipe)]


def _mismatches(config: Mapping[str, Any], recipe: Recipe) -> Iterator[tuple[str, Any, str]]:
    """Entries that contradict the recipe, with their value and what the recipe says."""
    training, processes = recipe.training, recipe.runtime.num_processes
    expected: dict[str, tuple[Any, str]] = {
        "train_batch_size": (training.global_batch_size, "training.global_batch_size"),
        "train_micro_batch_size_per_gpu": (
            training.per_device_train_batch_size,
            "training.per_device_train_batch_size",
        ),
        "gradient_accumulation_steps": (
            recipe.gradient_accumulation_steps,
            f"gradient accumulation (of training.global_batch_size over {processes} x per_device_train_batch_size)",
        ),
        "gradient_clipping": (training.max_grad_norm, "training.max_grad_norm"),
        "bf16.enabled": (recipe.model.dtype == "bfloat16", f"model.dtype {recipe.model.dtype}, hence bf16.enabled"),
        "fp16.enabled": (recipe.model.dtype == "float16", f"model.dtype {recipe.model.dtype}, hence fp16.enabled"),
        "optimizer.params.lr": (training.learning_rate, "training.learning_rate"),
        "optimizer.params.weight_decay": (training.weight_decay, "training.weight_decay"),
        "optimizer.params.betas": (_BETAS, "betas of AdamW"),
        "optimizer.params.eps": (_EPSILON, "epsilon of AdamW"),
    }
    for entry, (required, name) in expected.items():
        value = _entry(config, entry)
        if value not in (None, AUTO) and not _same(value, required):
            yield entry, value, f"has {name} {json.dumps(required)}"


def _foreign_parts(config: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    """Blocks that would put another optimizer or schedule in the place of the recipe's."""
    optimizer = config.get("optimizer")
    if optimizer is not None:
        kind = optimizer.get("type") if isinstance(optimizer, Mapping) else optimizer
        if kind != "AdamW" or not recipe.training.optim.startswith("adamw_torch"):
            yield (
                f"its optimizer block ({json.dumps(kind)}) would replace the recipe's training.optim "
                f"{recipe.training.optim}; remove the block"
            )
    if config.get("scheduler") is not None:
        yield (
            "its scheduler block would replace the recipe's training.lr_scheduler_type "
            f"{recipe.training.lr_scheduler_type}; remove the block"
        )


def _entry(config: Mapping[str, Any], entry: str) -> Any:
    """The value of a dotted entry; ``None`` where it is missing."""
    value: Any = config
    for name in entry.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _same(value: Any, required: Any) -> bool:
    if isinstance(required, float) and isinstance(value, int | float):
        return abs(value - required) <= _TOLERANCE
    return bool(value == required)
