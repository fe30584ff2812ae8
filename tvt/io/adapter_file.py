"""What a run trained, on disk, and its record ``adapter.json``: an adapter, or the weights of a full finetuning as a model's
folder. Nothing uses either before this module has looked at every tensor.

An adapter file with missing tensors loads with a warning, one without any is silently the base model, and a NaN in a weight can
give finite, wrong answers: so keys, shapes, finiteness and digests are checked, and outputs are trusted for none of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvt.errors import InputError
from tvt.io import atomic, digest, json_text

WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "adapter.json"
MODEL_CONFIG, SHARDS = "config.json", "model*.safetensors"
"""Of a full finetuning: a model's folder as transformers reads it."""
FULL, DROPPED = "full", "dropped"
"""Entries of a record: it is of a full finetuning; the weights were dropped once they were scored."""
SCHEMA = 1
_PIECE = 1 << 22
_POINTER = b"version https://git-lfs"
Shapes = Mapping[str, tuple[int, ...]]

# Width in bytes, and the exponent bits of one value, which are all set in an infinity or NaN and in nothing else.
_FLOATS = {"F64": (8, 0x7FF0000000000000), "F32": (4, 0x7F800000), "BF16": (2, 0x7F80), "F16": (2, 0x7C00)}


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter whose record was checked against its files."""

    folder: Path
    digest: str
    """Of weights and configuration: the same adapter has the same digest wherever it lies."""
    tensors: dict[str, tuple[int, ...]]
    base: str
    """Base model, as the adapter's configuration names it."""
    full: bool = False
    """Whether it is a whole model."""


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


def write_full_record(folder: Path, numbers: int, **more: Any) -> Adapter:
    """Check a freshly saved model against how many numbers it has in memory, and write its record, last and atomically.

    Names are not compared: transformers saves under those of the published files, and loads under its own. It shares a matrix
    that two layers have in common, as here.

    Raises:
        InputError: the files do not hold as many numbers, or some that are not finite.
    """
    shapes = check_full_weights(folder, numbers)
    files = {path.name: file_entry(path) for path in sorted((*folder.glob(SHARDS), folder / MODEL_CONFIG))}
    for name in files:
        atomic.share(folder / name)
    record = {"schema": SCHEMA, "digest": _full_identity(folder, files), FULL: True, "files": files, **more}
    record["tensors"] = {name: list(shape) for name, shape in sorted(shapes.items())}
    atomic.write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    return Adapter(folder=folder, digest=record["digest"], tensors=shapes, base=str(more.get("base", "")), full=True)


def check_full_weights(folder: Path, numbers: int | None = None) -> dict[str, tuple[int, ...]]:
    """Read a model's safetensors files to their last byte; returns the shapes.

    Args:
        folder: of the model.
        numbers: how many numbers they must hold together.

    Raises:
        InputError: damaged, not finite, or not as many.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob(SHARDS)):
        shapes |= check_weights(path)
    held = sum(math.prod(shape) for shape in shapes.values())
    if not shapes or held != (numbers or held):
        raise InputError(f"{folder}: its weights are {held:,} numbers, not {numbers or 'any'}; train anew")
    return shapes


def drop_weights(folder: Path) -> None:
    """Remove the weights of what was trained, and leave its record, which says that they were dropped."""
    record = _read_record(folder)
    atomic.write_text(folder / RECORD, json.dumps({**record, DROPPED: True}, indent=1) + "\n")
    for path in folder.iterdir():
        if path.name not in (RECORD, CONFIG, MODEL_CONFIG, "README.md"):
            path.unlink()


def dropped_digest(folder: Path) -> str | None:
    """The digest of what was trained where its weights were dropped; ``None`` where they are to be there."""
    try:
        record = _read_record(folder)
    except InputError:
        return None
    return str(record["digest"]) if record.get(DROPPED) is True else None


def is_full(folder: Path) -> bool:
    """Whether a folder holds the weights of a full finetuning by tvt, or its record."""
    try:
        return _read_record(folder).get(FULL) is True
    except InputError:
        return False


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json_text.loads((folder / RECORD).read_text(encoding="utf-8"))
        record["files"], record["tensors"], record["digest"]
    except OSError as error:
        raise InputError(f"{folder / RECORD}: {error.strerror or error}; this is no finished adapter of tvt train") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / RECORD}: damaged; train the adapter anew") from error
    return dict(record)


def verify_adapter(folder: Path) -> Adapter:
    """Check what was trained before it is used: files, digests, keys, shapes, finiteness, against the record written with it.

    Raises:
        InputError: no whole adapter or model of tvt; what is wrong with it, one line each.
    """
    record = _read_record(folder)
    if record.get(DROPPED) is True:
        raise InputError(f"{folder}: its weights were dropped once they were scored (runtime.keep); train it anew")
    try:
        files, stated = dict(record["files"]), str(record["digest"])
        expected = {name: tuple(int(size) for size in shape) for name, shape in record["tensors"].items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / RECORD}: damaged; train the adapter anew") from error
    if record.get(FULL) is True:
        return _verified_model(folder, files, expected, stated)
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


def _verified_model(folder: Path, files: Mapping[str, Any], expected: Shapes, stated: str) -> Adapter:
    faults = file_faults(folder, files)
    unlisted = {path.name for path in (*folder.glob(SHARDS), folder / MODEL_CONFIG)} - files.keys()
    faults += [f"{folder / RECORD}: does not list {name}; train it anew" for name in sorted(unlisted)]
    if faults:
        raise InputError(*faults)
    shapes = check_full_weights(folder)
    if shapes != dict(expected) or _full_identity(folder, files) != stated:
        raise InputError(f"{folder / RECORD}: does not belong to these files; train it anew")
    return Adapter(folder=folder, digest=stated, tensors=shapes, base="", full=True)


def _full_identity(folder: Path, files: Mapping[str, Any]) -> str:
    """Digest of weights and configuration, whichever version of transformers wrote the latter."""
    config = json_text.loads((folder / MODEL_CONFIG).read_text(encoding="utf-8"))
    settings = {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}
    weights = {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}
    return digest.of_value({"weights": weights, "config": settings})


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
        config = json_text.loads((folder / CONFIG).read_text(encoding="utf-8"))
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
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file; {step}")
    if is_pointer(path):
        raise InputError(f"{path}: is a pointer of Git LFS, not the weights; fetch them with git lfs pull")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, 100 << 20):
                raise InputError(f"{path}: cut off or no safetensors file; {step}")
            header = json_text.loads(stream.read(length))
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
    if not all(type(number) is int and number >= 0 for number in (start, end, *entry["shape"])):
        return False
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
