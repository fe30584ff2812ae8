"""``NAME=VALUE`` options and the selection request that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.core.selection import SelectionSpec

ALL = "all"


def parse_pairs(
    option: str, items: Sequence[str], *, bare_number: bool = False, bare_name: float | None = None
) -> dict[str, float]:
    """``NAME=VALUE`` items as a mapping; a value may be a percentage (``15%``).

    Args:
        option: the option's name, for errors.
        items: what was given.
        bare_number: whether ``VALUE`` alone means all names.
        bare_name: the value that ``NAME`` alone means, where it may stand alone.

    Raises:
        InputError: every item that cannot be read.
    """
    found: dict[str, float] = {}
    faults = []
    for item in items:
        name, separator, text = item.rpartition("=")
        value: float | None
        if not separator and bare_number:
            name, value = ALL, _number(item)
        elif not separator and bare_name is not None:
            name, value = item, bare_name
        else:
            value = _number(text) if separator else None
        if value is None or not name:
            form = "a number or NAME=NUMBER" if bare_number else "NAME=NUMBER"
            faults.append(f"{option} {item}: expected {form}, e.g. {option} Jigsaw=0.15")
        elif name in found:
            faults.append(f"{option} {name}: given twice; keep one")
        else:
            found[name] = value
    if faults:
        raise InputError(*faults)
    return found


def parse_targets(items: Sequence[str]) -> dict[str, float]:
    """``--target NAME`` (weight 1) or ``NAME=WEIGHT``."""
    return parse_pairs("--target", items, bare_name=1.0)


def read_sizes(path: Path | None) -> dict[str, float]:
    """A YAML mapping of source to number of examples."""
    if path is None:
        return {}
    from tvt.io.strict_yaml import load_file

    data = load_file(path)
    if not isinstance(data, dict) or not all(isinstance(v, int) and not isinstance(v, bool) for v in data.values()):
        raise InputError(f"{path}: expected a mapping of source to whole number of examples, e.g. 'Jigsaw: 1200'")
    return {str(k): v for k, v in data.items()}


def read_prior(items: Sequence[str]) -> dict[str, float]:
    """``--prior NAME=SHARE`` items, or one mixture file whose weights are the prior."""
    if len(items) == 1 and Path(items[0]).is_file():
        from tvt.io.mixture_file import load_mixture

        return dict(load_mixture(Path(items[0])).weights)
    return parse_pairs("--prior", items)


def build_spec(**fields: Any) -> SelectionSpec:
    """A validated request from its fields; those that are ``None`` keep their default.

    Raises:
        InputError: every fault, one line each.
    """
    from pydantic import ValidationError

    from tvt.core.selection import SelectionSpec
    from tvt.io.faults import input_error

    try:
        return SelectionSpec(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise input_error(error, SelectionSpec, "request") from error


def gather(*parsers: Any) -> list[Any]:
    """Call every parser and raise the faults of all together."""
    faults: list[str] = []
    values = []
    for parse in parsers:
        try:
            values.append(parse())
        except InputError as error:
            faults += error.faults
            values.append(None)
    if faults:
        raise InputError(*faults)
    return values


def _number(text: str) -> float | None:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
