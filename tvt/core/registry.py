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
from typing import Any, Generic, TypeVar

from tvt.errors import InputError, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """The choices of one kind.

    Args:
        kind: what one is, for messages.
        group: the group of entry points by which packages outside add some; they cannot replace those of tvt.
        own: tvt's own, ``module:name`` by name; the first is the default.
        contract: ``module:name`` of the class that every choice is an instance of; ``None`` where it is a protocol.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], contract: str | None = None) -> None:
        self.kind, self.group, self.own, self.contract = kind, group, own, contract
        self._made: dict[str, T] = {}

    @cached_property
    def _outside(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point.name not in self.own and point not in found.get(point.name, []):
                found.setdefault(point.name, []).append(point)
        return found

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
            self._made[reference] = self._make(name)
        return self._made[reference]

    def __iter__(self) -> Iterator[T]:
        """Every choice, loaded."""
        return (self.find(name) for name in self.names)

    def _make(self, name: str) -> T:
        if name in self.own:
            own: T = _instance(_attribute(self.own[name]))
            return own
        point, *others = self._outside[name]
        if others:  # which one were taken would depend on the machine
            packages = " and ".join(_package(each) for each in (point, *others))
            raise InputError(f"{self.kind} '{name}': {packages} both add it; remove one of them")
        try:
            made: T = _instance(point.load())
        except Exception as error:  # whatever code of others raises, as it is loaded or made
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            names = f"{_package(point)} names {point.value}"
            raise InputError(f"{self.kind} '{name}': {names}, which cannot be loaded ({reason}); mend or remove it") from error
        self._check_made(name, point, made)
        return made

    def _check_made(self, name: str, point: EntryPoint, made: T) -> None:
        """Refuse what is no such choice, or calls itself by another name than the one by which it was found."""
        if self.contract is not None and not isinstance(made, _attribute(self.contract)):
            wanted = self.contract.replace(":", ".")
            raise InputError(
                f"{self.kind} '{name}': {_package(point)} names {point.value}, which is no {wanted}; mend or remove it"
            )
        own = getattr(made, "name", name)
        if own != name:
            raise InputError(
                f"{self.kind} '{name}': {point.value} of {_package(point)} calls itself '{own}'; give both one name"
            )


def _attribute(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _package(point: EntryPoint) -> str:
    return "a package" if point.dist is None else f"the package {point.dist.name}"


def _instance(found: T | Callable[[], T]) -> T:
    return found() if isinstance(found, type) else found  # type: ignore[return-value]
