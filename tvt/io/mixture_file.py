"""``mixture.yaml``: a mixture on disk, written atomically, which reloads exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tvt.core.mixture import Mixture
from tvt.errors import InputError
from tvt.io import atomic, strict_yaml
from tvt.io.strict_yaml import input_error

SCHEMA = 1
_HEADER = """\
# A data mixture, written by tvt {version}. Weights are shares of the budget; counts are the examples to train on.
# Reuse it: tvt export FILE --to trl|llamafactory|ms-swift|axolotl|json, tvt predict STUDY --mixture FILE
"""


def save_mixture(mixture: Mixture, path: Path) -> None:
    """Write ``mixture`` to ``path``, wholly or not at all; :func:`load_mixture` gives an equal mixture back.

    ``provenance`` must hold plain values (mappings, lists, text, numbers, booleans, None). A tuple is written as a list, the
    only thing that would come back as another type.
    """
    atomic.write_text(path, dump_mixture(mixture))


def dump_mixture(mixture: Mixture) -> str:
    """The text of a mixture file."""
    from tvt import __version__

    data = _plain(mixture.model_dump())
    for predicted in data["predicted"].values():
        if not predicted["estimated"]:  # the rule
            del predicted["estimated"]
    return _HEADER.format(version=__version__) + strict_yaml.dump(data)


def load_mixture(path: Path) -> Mixture:
    """Read a mixture file.

    Raises:
        InputError: unreadable, not strict YAML, of another schema, or not a mixture; every fault, one line each.
    """
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a mixture; write one with tvt select ... -o {path.name}")
    version = data.get("schema_version", SCHEMA)
    if version != SCHEMA:
        raise InputError(f"{path}: schema_version: {version!r} is not {SCHEMA}; select the mixture anew with this tvt")
    try:
        mixture = Mixture.model_validate(data)
    except ValidationError as error:
        raise input_error(error, Mixture, str(path)) from error
    faults = _inconsistencies(mixture)
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in faults))
    return mixture


def _inconsistencies(mixture: Mixture) -> list[str]:
    """What no single field can be blamed for, usually the trace of an edit by hand."""
    faults = [f"counts.{name}: {count} is negative; make it 0 or more" for name, count in mixture.counts.items() if count < 0]
    return faults + [
        f"counts.{name}: no weight for this source; add it to weights or drop the count"
        for name in mixture.counts
        if name not in mixture.weights
    ]


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
