"""An adapter on disk and its record ``adapter.json``: nothing uses an adapter before this module has looked at every tensor.

An adapter file with missing tensors loads with a warning, one without any is silently the base model, and a NaN in a weight can
give finite, wrong answers: so keys, shapes, finiteness and digests are checked, and outputs are trusted for none of it.

A LoRA adapter's updates are read module by module with numpy alone: neither torch nor the base model is needed.

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
from tvt.io import atomic, digest
from tvt.types import Floats

WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "adapter.json"
SCHEMA = 1
_PIECE = 1 << 22
_POINTER = b"version https://git-lfs"
Shapes = Mapping[str, tuple[int, ...]]

# Width in bytes, and the exponent bits of one value, which are all set in an infinity or NaN and in nothing else.
_FLOATS = {"F64": (8, 0x7FF0000000000000), "F32": (4, 0x7F800000), "BF16": (2, 0x7F80), "F16": (2, 0x7C00)}


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """What a LoRA adapter adds to one weight: ``scale * b @ a``, with ``a`` (rank, inputs) and ``b`` (outputs, rank).

    ``a`` and ``b`` alone say nothing: for every invertible M, ``b M`` and ``M^-1 a`` are the same update.
    """

    a: Floats
    b: Floats
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter whose record was checked against its files."""

    folder: Path
    digest: str
    """Of weights and configuration: the same adapter has the same digest wherever it lies."""
    tensors: dict[str, tuple[int, ...]]
    base: str
    """Base model, as the adapter's configuration names it."""


def check_weights(path: Path, expected: Shapes | None = None) -> dict[str, tuple[int, ...]]:
    """Read a safetensors file to its last byte; returns the shapes.

    Args:
        path: the file.
        expected: the very keys and shapes it must have.

    Raises:
        InputError: truncated, empty, not finite, or not what was expected; every fault, one line each.
    """
    header, start = read_header(path)
    shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in header.items()}
    faults = [] if shapes else [f"{path}: holds no tensor at all; train the adapter anew"]
    if expected is not None:
        faults += _differences(path, shapes, expected)
    with path.open("rb") as stream:
        faults += [
            f"{path}: {name}: has values that are not finite; train the adapter anew"
            for name, entry in header.items()
            if not _finite(stream, entry, start)
        ]
    if faults:
        raise InputError(*faults)
    return shapes


def write_record(folder: Path, expected: Shapes, **more: Any) -> Adapter:
    """Check a freshly saved adapter against what the model in memory has, and write its record, last and atomically.

    Raises:
        InputError: the files do not hold the very tensors that were trained.
    """
    shapes = check_weights(folder / WEIGHTS, expected)
    atomic.share(folder / WEIGHTS)  # safetensors lets nobody else read it; on a shared disk others score it
    config = read_config(folder)
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()  # PEFT writes a set; the same adapter shall have the same bytes
    atomic.write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    files = {name: file_entry(folder / name) for name in (WEIGHTS, CONFIG)}
    record = {"schema": SCHEMA, "digest": _identity(files, config), "files": files, **more}
    record["tensors"] = {name: list(shape) for name, shape in sorted(shapes.items())}
    atomic.write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    return Adapter(folder=folder, digest=record["digest"], tensors=shapes, base=str(config.get("base_model_name_or_path")))


def verify_adapter(folder: Path) -> Adapter:
    """Check an adapter before it is used: files, digests, keys, shapes, finiteness, against the record written with it.

    Raises:
        InputError: no whole adapter of tvt; what is wrong with it, one line each.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files, tensors, stated = dict(record["files"]), record["tensors"], str(record["digest"])
        expected = {name: tuple(int(size) for size in shape) for name, shape in tensors.items()}
    except OSError as error:
        raise InputError(f"{folder / RECORD}: {error.strerror or error}; this is no finished adapter of tvt train") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / RECORD}: damaged; train the adapter anew") from error
    faults = file_faults(folder, files)
    faults += [
        f"{folder / RECORD}: does not list {name}; train the adapter anew" for name in (WEIGHTS, CONFIG) if name not in files
    ]
    if faults:
        raise InputError(*faults)
    shapes = check_weights(folder / WEIGHTS, expected)
    config = read_config(folder)
    if _identity(files, config) != stated:
        raise InputError(f"{folder / RECORD}: its digest does not belong to these files; train the adapter anew")
    return Adapter(folder=folder, digest=stated, tensors=shapes, base=str(config.get("base_model_name_or_path")))


def file_entry(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file, as records list them."""
    return {"bytes": path.stat().st_size, "sha256": digest.of_file(path)}


def file_faults(folder: Path, files: Mapping[str, Any]) -> list[str]:
    """What is wrong with files that a record lists; sizes first, since they cost nothing."""
    faults = []
    for name, entry in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            faults.append(f"{folder}: the record names '{name}', which is outside; it was tampered with")
        elif not path.is_file():
            faults.append(f"{path}: missing; it was there when the record was written")
        elif path.stat().st_size != entry["bytes"]:
            faults.append(
                f"{path}: has {path.stat().st_size} bytes, not the {entry['bytes']} of the record; it was cut or changed"
            )
        elif digest.of_file(path) != entry["sha256"]:
            faults.append(f"{path}: its content changed since the record was written")
    return faults


def _identity(files: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Digest of weights and configuration, but not of the place where the base model happens to lie."""
    settings = {key: value for key, value in config.items() if key not in ("base_model_name_or_path", "revision")}
    return digest.of_value({"weights": files[WEIGHTS]["sha256"], "config": settings})


def read_config(folder: Path) -> dict[str, Any]:
    """An adapter's configuration, as PEFT wrote it.

    Raises:
        InputError: missing or damaged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG}: missing or damaged; train the adapter anew") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / CONFIG}: no adapter configuration; train the adapter anew")
    return config


def is_pointer(path: Path) -> bool:
    """Whether a file is the text that Git LFS leaves where the content was not fetched."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def read_header(path: Path, step: str = "train the adapter anew") -> tuple[dict[str, Any], int]:
    """The tensors a safetensors file claims to hold, once its size agrees, and where their bytes begin.

    Args:
        path: the file.
        step: what to do where it is damaged.

    Raises:
        InputError: unreadable, damaged, or not as long as its tensors need.
    """
    if is_pointer(path):
        raise InputError(f"{path}: is a pointer of Git LFS, not the weights; fetch them with git lfs pull")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, 100 << 20):
                raise InputError(f"{path}: cut off or no safetensors file; {step}")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        spans = sorted(tuple(entry["data_offsets"]) for entry in header.values())
        whole = all(_spans_its_shape(entry) for entry in header.values())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; {step}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its header is damaged; {step}") from error
    ends = [0, *(end for _, end in spans)]
    if not whole or [start for start, _ in spans] != ends[:-1] or 8 + length + ends[-1] != size:
        raise InputError(f"{path}: cut off: its tensors do not fill its {size} bytes; {step}")
    return header, 8 + length


def _spans_its_shape(entry: Mapping[str, Any]) -> bool:
    start, end = entry["data_offsets"]
    width = _FLOATS.get(entry["dtype"], (None,))[0]
    return width is None or end - start == math.prod(entry["shape"]) * width


def _differences(path: Path, shapes: Shapes, expected: Shapes) -> Iterator[str]:
    missing, foreign = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing:
        yield f"{path}: {len(missing)} of {len(expected)} tensors are missing, e.g. {missing[0]}; train the adapter anew"
    if foreign:
        yield f"{path}: {len(foreign)} tensors do not belong there, e.g. {foreign[0]}; train the adapter anew"
    for name in sorted(expected.keys() & shapes.keys()):
        if shapes[name] != expected[name]:
            yield f"{path}: {name}: shape {shapes[name]}, not {expected[name]}; train the adapter anew"


def _finite(stream: Any, entry: Mapping[str, Any], start: int) -> bool:
    """Whether no value of a tensor is infinite or NaN. numpy knows no bfloat16, so the bits are looked at."""
    if entry["dtype"] not in _FLOATS:
        return True
    width, exponent = _FLOATS[entry["dtype"]]
    begin, end = entry["data_offsets"]
    stream.seek(start + begin)
    left = end - begin
    while left:
        values = np.frombuffer(stream.read(min(left, _PIECE)), f"<u{width}")
        if bool(np.any((values & exponent) == exponent)):
            return False
        left -= values.nbytes
    return True


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
