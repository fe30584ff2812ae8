"""pydantic's validation errors as lines a person can act on."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tvt.errors import InputError, suggest


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
    found = _model_of(kind)
    return list(found.model_fields) if found else []


def _model_of(kind: Any) -> type[BaseModel] | None:
    """The model that an annotation names, looking through unions such as ``X | None``."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return next((found for part in get_args(kind) if (found := _model_of(part))), None)
    return None


def _element_of(kind: Any) -> Any:
    """What a container annotation holds: the value of a mapping, the item of a sequence."""
    arguments = [part for part in get_args(kind) if part is not Ellipsis]
    return arguments[-1] if arguments else kind
