"""Values that stay as they were made: their digest names them, so neither their mappings nor their arrays may change.

``frozen=True`` alone refuses another object in a field, not another number in the field's array. :class:`Frozen` (dataclasses)
and :class:`FrozenModel` (pydantic) freeze what their fields hold too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn, Self

import numpy as np
from pydantic import BaseModel, ConfigDict


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a frozen value cannot be changed; make a copy with dict(...) or list(...) and a new value from it")


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
        return _read_only(value)
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if type(value) is list:
        return FrozenList(map(frozen, value))
    return value


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    holder: Any = array
    while isinstance(holder, np.ndarray):  # a view of an array that can be written to can change as well
        if holder.flags.writeable:
            array = array.copy()
            array.setflags(write=False)
            return array
        holder = holder.base
    return array


class Frozen:
    """Base of frozen dataclasses with arrays or mappings: what their fields hold is frozen when they are made or unpickled."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, dict | list | np.ndarray):
                object.__setattr__(self, field.name, frozen(value))

    def to_json(self) -> Any:
        """As plain values that JSON takes: see :func:`tvt.core.encode.encode`."""
        from tvt.core.encode import encode

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
