"""The one encoder of results as JSON: what a value's fields are named, what is left out, and that what is not known is null.

A dataclass is the object of its fields. ``field(metadata={"json": "se"})`` gives a field another key, ``{"json": None}`` leaves
it out; an object whose keys are not its fields says what it is written as in ``json_value()``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel


def encode(value: object, digits: int | None = None) -> Any:
    """The value as JSON takes it: objects, lists, text, numbers, true and false; a number that is not finite is ``None``.

    Args:
        value: dataclasses, pydantic models, named tuples, mappings, arrays, numbers, paths and all that are made of these.
        digits: decimals that numbers are rounded to; by default they are written in full.

    Raises:
        TypeError: something else.
    """
    value = _plain(value)
    if isinstance(value, float):
        exact = float(value) if math.isfinite(value) else None
        return exact if exact is None or digits is None else round(exact, digits) + 0.0
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {_name(key): encode(item, digits) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [encode(item, digits) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON; give it json_value()")


def by_fields(value: Any) -> dict[str, Any]:
    """A dataclass as the mapping of its fields' keys to their values, which are not encoded yet."""
    named = ((_key(field), getattr(value, field.name)) for field in fields(value))
    return {key: item for key, item in named if key is not None}


def _key(field: Field[Any]) -> str | None:
    key: str | None = field.metadata.get("json", field.name)
    return key


def _plain(value: Any) -> Any:
    """Arrays, objects and names as what JSON has for them, one level deep."""
    if hasattr(value, "json_value"):
        return value.json_value()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    return _object(value)


def _object(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value):
        return by_fields(value)
    return value._asdict() if isinstance(value, tuple) and hasattr(value, "_asdict") else value


def _name(key: object) -> str:
    return "null" if key is None else str(key)
