"""What all values share: they stay as they were made, are written as JSON by one encoder, and align by the names of their axes.

A digest names them, so neither their mappings nor their arrays may change. ``frozen=True`` alone refuses another object in a
field, not another number in the field's array; :class:`Frozen` (dataclasses) and :class:`FrozenModel` (pydantic) freeze what
their fields hold too.

In JSON a dataclass is the object of its fields. ``field(metadata={"json": "se"})`` gives a field another key,
``{"json": None}`` leaves it out; an object whose keys are not its fields says what it is written as in ``json_value()``. An
unknown value is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from tvt.types import Floats


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a frozen value cannot be changed; make a copy with dict(...) or list(...) and a new value from it")


MOST_EXAMPLES = 2**53
"""The largest count: beyond it a float, in which shares of a budget are computed, no longer tells integers apart."""


class FrozenDict(dict[Any, Any]):
    """A dict that refuses changes; equal to, written and validated as the dict that it is. ``copy()`` gives a plain dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses changes, for plain values inside of a frozen mapping. ``copy()`` gives a plain list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


def frozen(value: Any) -> Any:
    """The value with its mappings, lists and arrays frozen. An array that somebody could still write to is copied."""
    if isinstance(value, FrozenDict | FrozenList):
        return value
    if isinstance(value, np.ndarray):
        return read_only(value)
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if type(value) is list:
        return FrozenList(map(frozen, value))
    return value


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array over memory that nobody can write to: numpy refuses ``flags.writeable = True`` on it and on its views."""
    holder: Any = array
    while isinstance(holder, np.ndarray) and not holder.flags.writeable:  # those out of a pickle are, though bytes hold them
        holder = holder.base
    if isinstance(holder, bytes):
        return array
    if array.dtype.hasobject:  # bytes cannot hold references
        array = array.copy()
        array.setflags(write=False)
        return array
    return np.ndarray(array.shape, array.dtype, buffer=array.tobytes())


class Frozen:
    """Base of frozen dataclasses with arrays or mappings: what their fields hold is frozen when they are made or unpickled."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, dict | list | np.ndarray):
                object.__setattr__(self, field.name, frozen(value))

    def to_json(self) -> Any:
        """As plain values that JSON takes: see :func:`tvt.core.values.encode`."""
        return encode(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # numpy's arrays come writable out of pickle and deepcopy.
        for name, value in state.items():
            object.__setattr__(self, name, frozen(value))


class FrozenModel(BaseModel):
    """Base of frozen pydantic values: strict about names, and their mappings and lists are frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_post_init(self, context: Any, /) -> None:
        self._freeze()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with some fields changed: pydantic does not check those, but they are frozen."""
        copy = super().model_copy(update=update, deep=deep)
        copy._freeze()
        return copy

    def _freeze(self) -> None:
        for name, value in self.__dict__.items():
            if isinstance(value, dict | list):
                self.__dict__[name] = frozen(value)


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


Names = Sequence[str]


def positions(names: Names, wanted: Names) -> list[int]:
    """Where each of the ``wanted`` names stands.

    Raises:
        KeyError: a name is not there.
    """
    at = {name: k for k, name in enumerate(names)}
    return [at[name] for name in wanted]


def aligned(values: Floats, *axes: tuple[Names, Names] | None, missing: float = np.nan) -> Floats:
    """The values in the order of other names.

    Args:
        values: an array with as many axes as are given.
        axes: for each axis the names that it has and those that are wanted; ``None`` leaves an axis as it is.
        missing: the value where a wanted name is not there.
    """
    for axis, names in enumerate(axes):
        if names is None or tuple(names[0]) == tuple(names[1]):
            continue
        at = {name: k for k, name in enumerate(names[0])}
        places = np.array([at.get(name, -1) for name in names[1]], dtype=int)
        shape = (*values.shape[:axis], len(places), *values.shape[axis + 1 :])
        result = np.full(shape, missing)
        there = (slice(None),) * axis + (places >= 0,)
        result[there] = np.take(values, places[places >= 0], axis=axis)
        values = result
    return values
