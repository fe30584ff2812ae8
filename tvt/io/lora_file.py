"""The updates of a LoRA adapter, read module by module with numpy alone: neither torch nor the base model is needed.

PEFT names the matrices of a module ``base_model.model.MODULE.lora_A.weight`` (rank x inputs) and ``.lora_B.weight`` (outputs x
rank), and scales their product by ``alpha / r`` (``alpha / sqrt(r)`` with rsLoRA). ``rank_pattern`` and ``alpha_pattern`` give
single modules another r or alpha, by a regular expression for the end of the module's name (looked up in PEFT 0.21).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvt.errors import InputError
from tvt.io.adapter_file import CONFIG, WEIGHTS, read_config, read_header
from tvt.types import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """What a LoRA adapter adds to one weight: ``scale * b @ a``, with ``a`` (rank, inputs) and ``b`` (outputs, rank).

    ``a`` and ``b`` alone say nothing: for every invertible M, ``b M`` and ``M^-1 a`` are the same update.
    """

    a: Floats
    b: Floats
    scale: float


_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

# Fields of an adapter's configuration that are read here, or that change where an update is but not what it is.
_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights"}
_HARMLESS = {
    *("task_type", "target_modules", "exclude_modules", "layers_pattern", "layers_to_transform", "fan_in_fan_out"),
    *("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode", "lora_dropout"),
    *("megatron_core", "qalora_group_size", "runtime_config"),
}
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin an adapter that leave the base model as it is; others (PiSSA, OLoRA, CorDA, LoftQ) change it."""
_KINDS = {"use_dora": "is a DoRA adapter", "modules_to_save": "trains whole modules beside the LoRA ones"}


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """An adapter whose updates can be read one at a time; between two reads no weight is in memory."""

    path: Path
    start: int
    """Where in the file the tensors' bytes begin."""
    entries: Mapping[str, Mapping[str, Any]]
    """The file's header: type, shape and place of every tensor."""
    scales: Mapping[str, float]
    """By module, in the order of their names."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that the adapter changes, as the base model calls them."""
        return tuple(self.scales)

    def shape(self, module: str) -> tuple[int, int]:
        """Outputs and inputs of a module."""
        a, b = (self.entries[f"{_PREFIX}{module}{end}"]["shape"] for end in (_A, _B))
        return int(b[0]), int(a[1])

    def rank(self, module: str) -> int:
        """Rank of a module's update."""
        return int(self.entries[f"{_PREFIX}{module}{_A}"]["shape"][0])

    def read(self, module: str) -> LowRank | None:
        """The update of a module; ``None`` where the adapter leaves it as it is."""
        if module not in self.scales:
            return None
        with self.path.open("rb") as stream:
            a, b = (self._tensor(stream, f"{_PREFIX}{module}{end}") for end in (_A, _B))
        return LowRank(a=a, b=b, scale=self.scales[module])

    def _tensor(self, stream: Any, name: str) -> Floats:
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        stream.seek(self.start + begin)
        values = np.frombuffer(stream.read(end - begin), _TYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":  # the upper half of a float32; numpy knows no bfloat16
            values = (values.astype("<u4") << 16).view("<f4")
        result: Floats = values.astype(np.float64).reshape(entry["shape"])
        return result


def tensor_names(module: str) -> tuple[str, str]:
    """What the matrices A and B of a module are called in the file."""
    return f"{_PREFIX}{module}{_A}", f"{_PREFIX}{module}{_B}"


def is_plain(folder: Path) -> bool:
    """Whether an adapter's configuration says that it is plain LoRA: ``scale * B A`` on some layers, and no more."""
    return next(_reasons(read_config(folder)), None) is None


def open_lora(folder: Path) -> LoraFile:
    """Look at an adapter's configuration and header. Its bytes are :func:`tvt.io.adapter_file.verify_adapter`'s to check.

    Raises:
        InputError: missing or damaged files, or an adapter that is more than ``scale * B A`` on some linear layers (DoRA,
            whole modules, biases, a start that changes the base model); every fault, one line each.
    """
    config = read_config(folder)
    entries, start = read_header(folder / WEIGHTS)
    faults = [f"{folder}: {reason}; only plain LoRA adapters can be compared or merged" for reason in _reasons(config)]
    faults = faults or [f"{folder / WEIGHTS}: {reason}" for reason in _misfits(entries)]
    if faults:
        raise InputError(*faults)
    scales: dict[str, float] = {}
    for module in sorted(_modules(entries)):
        scale = _scale(config, module, entries[f"{_PREFIX}{module}{_A}"]["shape"][0])
        if isinstance(scale, str):
            faults.append(f"{folder / CONFIG}: {scale}")
        else:
            scales[module] = scale
    if faults:
        raise InputError(*faults)
    return LoraFile(path=folder / WEIGHTS, start=start, entries=entries, scales=scales)


def _reasons(config: Mapping[str, Any]) -> Iterator[str]:
    """Why an adapter is more than scaled products on some linear layers."""
    kind = config.get("peft_type")
    if kind != "LORA":
        yield f"is a {kind} adapter"
        return
    if config.get("bias", "none") != "none":
        yield f"trains biases (bias={config['bias']})"
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        yield f"changes the base model itself (init_lora_weights={config['init_lora_weights']})"
    for name in sorted(config.keys() - _READ - _HARMLESS):
        if config[name] not in (None, False, {}, []):
            yield f"{_KINDS.get(name, 'is no plain LoRA')} ({name}={json.dumps(config[name])})"


def _modules(entries: Mapping[str, Any]) -> set[str]:
    return {name.removeprefix(_PREFIX).removesuffix(_A).removesuffix(_B) for name in entries}


def _misfits(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Tensors that are no matrix of a plain LoRA pair, or that lack the other half."""
    odd = [
        name
        for name, entry in sorted(entries.items())
        if not (name.startswith(_PREFIX) and name.endswith((_A, _B)) and len(entry["shape"]) == 2)
        or entry["dtype"] not in _TYPES
    ]
    if odd or not entries:
        what = (
            f"{len(odd)} of {len(entries)} tensors are no LoRA matrices of linear layers, e.g. {odd[0]}"
            if odd
            else "holds no tensor"
        )
        yield f"{what}; only plain LoRA adapters can be compared or merged"
        return
    for module in sorted(_modules(entries)):
        a, b = (entries.get(f"{_PREFIX}{module}{end}") for end in (_A, _B))
        if a is None or b is None:
            yield f"{module}: lora_{'A' if a is None else 'B'} is missing; train the adapter anew"
        elif a["shape"][0] != b["shape"][1]:
            yield f"{module}: lora_A has rank {a['shape'][0]} and lora_B {b['shape'][1]}; train the adapter anew"


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float | str:
    """What a module's product is multiplied by, or what is wrong."""
    try:
        said = int(_of_module(config.get("rank_pattern"), module, config["r"]))
        alpha = float(_of_module(config.get("alpha_pattern"), module, config["lora_alpha"]))
    except (KeyError, TypeError, ValueError, AttributeError, re.error):
        return "r, lora_alpha or their patterns are damaged; train the adapter anew"
    if said != rank or rank < 1:
        return f"says rank {said} of {module}, whose matrices have {rank}; train the adapter anew"
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _of_module(patterns: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """What the first pattern that fits the end of a module's name says."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module):
            return value
    return otherwise
