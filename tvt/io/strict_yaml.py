"""Reading YAML without its traps, and pydantic's validation errors as lines a person can act on.

Duplicate keys are refused, ``1e-4`` is a number, ``no`` and ``on`` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tvt.errors import InputError, suggest

MAX_BYTES = 16 * 2**20


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars and unique keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# A copy of the resolvers without YAML 1.1's yes/no/on/off, dates and sexagesimals; then YAML 1.2's floats.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN))$"),
    list("-+0123456789."),
)


def load(text: str, origin: str) -> Any:
    """Parse one YAML document; ``origin`` names it in errors.

    Raises:
        InputError: not YAML, or a key that stands twice, with the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except RecursionError as error:
        raise InputError(f"{origin}: nested too deeply; mend the file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}:{mark.line + 1}" if mark else origin
        raise InputError(f"{where}: {getattr(error, 'problem', None) or 'not YAML'}; mend the file") from error
    except ValueError as error:
        raise InputError(f"{origin}: {error}; mend the file") from error


def load_file(path: Path) -> Any:
    """Parse a YAML file of at most 16 MiB.

    Raises:
        InputError: unreadable, too large, not UTF-8, or not strict YAML.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'is no regular file'}; name a file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; this is no configuration file")
        return load(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from error


class _Dumper(yaml.SafeDumper):
    """SafeDumper whose floats read back as floats and exactly."""


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = {float("inf"): ".inf", float("-inf"): "-.inf"}.get(value, ".nan" if math.isnan(value) else repr(value))
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_str(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # What this module's loader would read as a number must be quoted, also where YAML 1.1 would not.
    ambiguous = value != "" and not isinstance(yaml.load(_plain(value), Loader=_Loader), str)  # noqa: S506
    # PyYAML folds these rarer line breaks unless they are escaped, which only double quotes do.
    escaped = any(mark in value for mark in "\r\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if escaped else "'" if ambiguous else None)


def _plain(value: str) -> str:
    """``value`` when it could stand as a plain scalar, else a harmless word."""
    return value if re.fullmatch(r"[\w.+-]+", value) else "text"


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_str)


def dump(value: Any) -> str:
    """Write plain values (mappings, lists, text, numbers) as YAML that :func:`load` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def input_error(error: ValidationError, model: type[BaseModel], origin: str) -> InputError:
    """Return every fault of ``error`` as one line ``origin: field: message``; an unknown key comes with the nearest known one.

    Args:
        error: what pydantic raised.
        model: the model that was validated.
        origin: the file, or whatever names the input.
    """
    return InputError(*dict.fromkeys(line for fault in error.errors() for line in _lines(fault, model, origin)))


def _lines(fault: Any, model: type[BaseModel], origin: str) -> list[str]:
    """One fault as lines; a validator of ours may have joined several with line breaks."""
    where = ".".join(str(part) for part in fault["loc"])
    prefix = f"{origin}: {where}: " if where else f"{origin}: "
    if fault["type"] == "extra_forbidden":
        known = _fields(model, fault["loc"][:-1])
        hint = suggest(str(fault["loc"][-1]), known) or f"; known keys: {', '.join(known)}"
        return [f"{prefix}unknown key{hint}"]
    if fault["type"] == "missing":
        return [f"{prefix}missing; add it"]
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message[1:2].islower() else message
    shown = "" if fault["type"] == "value_error" else _shown(fault["input"])
    return [f"{prefix}{line}{shown}" for line in message.split("\n")]


def _shown(value: Any) -> str:
    """What was found, when it is short enough to help."""
    text = repr(value)
    return f", not {text}" if len(text) <= 60 else f", not a {type(value).__name__}"


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model that stands at ``path`` inside ``model``."""
    kind: Any = model
    for part in path:
        inner = _model_of(kind)
        kind = inner.model_fields[part].annotation if inner and part in inner.model_fields else _element_of(kind)
    result = _model_of(kind)
    return list(result.model_fields) if result else []


def _model_of(kind: Any) -> type[BaseModel] | None:
    """The model that an annotation names, looking through unions such as ``X | None``."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return next((result for part in get_args(kind) if (result := _model_of(part))), None)
    return None


def _element_of(kind: Any) -> Any:
    """What a container annotation holds: the value of a mapping, the item of a sequence."""
    arguments = [part for part in get_args(kind) if part is not Ellipsis]
    return arguments[-1] if arguments else kind
