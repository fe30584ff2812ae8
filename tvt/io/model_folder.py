"""A base model in a folder or in the hub's cache, by its files: whether they are all there and whole.

Headers are read, weights are not, and the hub's client is not loaded.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tvt.errors import InputError
from tvt.io import adapter_file, json_text
from tvt.io.adapter_file import is_pointer, read_header

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSOR = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
"""Any one of these says what the model's processor is."""
_IMAGES = "preprocessor_config.json"
_PARTS = ("text_config", "vision_config")
"""Of a config.json: objects, where they are there."""
_TEXTS = ("*.json", "*.jinja", "*.txt", "*.model")
_STEP = "get the model's files anew"


def names_folder(name: str) -> bool:
    """Whether a model's name is a path, and none of the hub's names."""
    return Path(name).exists() or Path(name).is_absolute() or name.startswith(("./", "../", "~"))


def model_folder_faults(folder: Path) -> list[str]:
    """What keeps a folder from being loaded as a base model, one line each; empty where all files are whole."""
    if folder.is_file():
        return [f"{folder}: is a file; name the model's folder"]
    if not folder.is_dir():
        return [f"{folder}: no such folder; check the path"]
    if not (folder / CONFIG).is_file() and (folder / adapter_file.CONFIG).is_file():
        return [f"{folder}: is an adapter, not a model; name its base model{_base_of(folder)}"]
    if not any((folder / name).exists() for name in (CONFIG, INDEX, *PROCESSOR)) and not any(folder.glob("*.safetensors")):
        return [f"{folder}: no file of a model is in it; check the path"]
    texts = sorted({path for pattern in _TEXTS for path in folder.glob(pattern)})
    faults = [
        f"{path}: is a pointer of Git LFS, not the file; fetch it with git lfs pull" for path in texts if is_pointer(path)
    ]
    faults += [] if faults else _text_faults(folder)
    return [*faults, *_weight_faults(folder)]


def numbers_in(folder: Path) -> int:
    """How many numbers the folder's safetensors files hold, by their headers; damaged files count for nothing."""
    result = 0
    for path in folder.glob("*.safetensors"):
        with suppress(InputError):
            result += sum(math.prod(entry["shape"]) for entry in read_header(path)[0].values())
    return result


def _base_of(folder: Path) -> str:
    try:
        result = adapter_file.read_config(folder).get("base_model_name_or_path")
    except InputError:
        result = None
    return f", {result}" if result else ""


def _text_faults(folder: Path) -> Iterator[str]:
    if not (folder / CONFIG).is_file():
        yield f"{folder}: no {CONFIG}; name the folder of a model"
    else:
        yield from _config_faults(folder / CONFIG)
    if not any((folder / name).is_file() for name in PROCESSOR):
        yield f"{folder}: no processor (none of {', '.join(PROCESSOR)}); copy the files of its tokenizer and image processor"
    else:
        yield from _processor_faults(folder)


def _config_faults(path: Path) -> Iterator[str]:
    try:
        config = _read(path)
    except InputError as error:
        yield from error.faults
        return
    for name in _PARTS:
        if name in config and not isinstance(config[name], dict | None):
            yield f"{path}: {name} is {json.dumps(config[name])[:40]}, which is no object; {_STEP}"


def _processor_faults(folder: Path) -> Iterator[str]:
    """What every processor of transformers needs: a chat template, and an image processor's settings."""
    settings: dict[str, dict[str, Any]] = {}
    for name in PROCESSOR:
        if (folder / name).is_file():
            try:
                settings[name] = _read(folder / name)
            except InputError as error:
                yield from error.faults
                return
    if not (folder / _IMAGES).is_file() and "image_processor" not in settings.get("processor_config.json", {}):
        yield f"{folder}: no image processor (no {_IMAGES}, and none in processor_config.json); copy the files of its processor"
    stored = any("chat_template" in entries for entries in settings.values())
    if not stored and not any(folder.glob("chat_template*")) and not (folder / "additional_chat_templates").is_dir():
        yield f"{folder}: its processor has no chat template; name an instruction-tuned model"


def _weight_faults(folder: Path) -> Iterator[str]:
    """As transformers chooses: one file of weights, else those of the index."""
    if (folder / WEIGHTS).is_file():
        files: Mapping[str, set[str]] = {WEIGHTS: set()}
    elif (folder / INDEX).is_file():
        if is_pointer(folder / INDEX):
            return
        try:
            files = _shards(folder / INDEX)
        except InputError as error:
            yield from error.faults
            return
    else:
        if any(folder.glob("*.safetensors")):
            yield f"{folder}: neither {WEIGHTS} nor {INDEX}; {_STEP}"
        else:
            yield f"{folder}: no .safetensors file; tvt reads no other weights, so convert the model first"
        return
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        yield f"{folder}: {len(missing)} of the {len(files)} files of its index are missing, e.g. {missing[0]}; {_STEP}"
    for name in files.keys() - missing:
        yield from _file_faults(folder / name, files[name])


def _file_faults(path: Path, wanted: set[str]) -> Iterator[str]:
    try:
        result = read_header(path, _STEP)[0]
    except InputError as error:
        yield from error.faults
        return
    if not result:
        yield f"{path}: holds no tensor at all; {_STEP}"
    if absent := sorted(wanted - result.keys()):
        yield f"{path}: {len(absent)} tensors of the index are not in it, e.g. {absent[0]}; {_STEP}"


def _shards(index: Path) -> dict[str, set[str]]:
    """The files of an index, each with its tensors."""
    files: dict[str, set[str]] = {}
    try:
        for tensor, name in _read(index)["weight_map"].items():
            if not isinstance(name, str) or Path(name).name != name:
                raise InputError(f"{index}: names the file {name!r}, which is none of this folder; {_STEP}")
            files.setdefault(name, set()).add(tensor)
    except (KeyError, AttributeError) as error:
        raise InputError(f"{index}: is damaged; {_STEP}") from error
    return dict(sorted(files.items()))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json_text.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON; {_STEP}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no JSON object; {_STEP}")
    return content


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched: $HF_HUB_CACHE, or ``hub`` in $HF_HOME, or in ~/.cache/huggingface."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).expanduser() / "huggingface" / "hub"


def snapshot(name: str, revision: str | None) -> Path:
    """The folder in which a model's files lie once they are downloaded, whether it is there or not."""
    folder = hub_cache() / f"models--{name.replace('/', '--')}"
    wanted = revision or "main"
    reference = folder / "refs" / wanted
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    return folder / "snapshots" / commit
