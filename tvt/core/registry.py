"""Choices by name, such as executors, exports and readers: one table each, which packages outside can add to.

A choice is a class or function in one module. The tables name modules by text, so that names are known to recipes, options and
help without loading what only one choice needs. A package adds its own by an entry point, in its ``pyproject.toml``::

    [project.entry-points."tvt.readers"]
    strict = "my_package.strict:Strict"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from tvt.errors import InputError, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """The choices of one kind.

    Args:
        kind: what one is, for messages.
        group: the group of entry points by which packages outside add some; they cannot replace those of tvt.
        own: tvt's own, ``module:name`` by name; the first is the default.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group, self.own = kind, group, own
        self._made: dict[str, T] = {}

    @cached_property
    def _outside(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.own}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, tvt's own first."""
        return (*self.own, *sorted(self._outside))

    @property
    def default(self) -> str:
        """The name that is taken where nobody gives one."""
        return next(iter(self.own))

    def check(self, name: str) -> str:
        """``name``, where it is one.

        Raises:
            ValueError: it is none, with the names that there are.
        """
        if name not in self.names:
            raise ValueError(f"no {self.kind} '{name}'{suggest(name, self.names)}; there are {', '.join(self.names)}")
        return name

    def find(self, name: str) -> T:
        """The choice of a name; of a class, the one instance that is made without arguments.

        Raises:
            InputError: there is none, or the package that adds it cannot be loaded.
        """
        try:
            self.check(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        reference = self.own.get(name, name)
        if reference not in self._made:
            found: T | Callable[[], T] = self._load(name)
            self._made[reference] = found() if isinstance(found, type) else found  # type: ignore[assignment]
        return self._made[reference]

    def __iter__(self) -> Iterator[T]:
        """Every choice, loaded."""
        return (self.find(name) for name in self.names)

    def _load(self, name: str) -> T:
        if name in self.own:
            module, _, attribute = self.own[name].partition(":")
            found: T = getattr(import_module(module), attribute)
            return found
        point = self._outside[name]
        try:
            loaded: T = point.load()
        except (ImportError, AttributeError) as error:
            package = "a package" if point.dist is None else f"the package {point.dist.name}"
            raise InputError(
                f"{self.kind} '{name}': {package} names {point.value}, which cannot be loaded ({error}); mend or remove it"
            ) from error
        return loaded
