"""README.md as the hub reads it: a header of YAML for its search, then text for people.

What the header's keys mean is said in the hub's documentation (model cards, dataset cards); ``license`` takes identifiers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tvt.io import strict_yaml

NOT_STATED = "not stated"

_FAMILIES = {
    "cc-by": ("2.0", "2.5", "3.0", "4.0"),
    "cc-by-sa": ("3.0", "4.0"),
    "cc-by-nc": ("2.0", "3.0", "4.0"),
    "cc-by-nd": ("4.0",),
    "cc-by-nc-nd": ("3.0", "4.0"),
    "cc-by-nc-sa": ("2.0", "3.0", "4.0"),
    "cc0": ("1.0",),
    "cdla-permissive": ("1.0", "2.0"),
    "cdla-sharing": ("1.0",),
    "apache": ("2.0",),
    "gpl": ("2.0", "3.0"),
    "mpl": ("2.0",),
}
LICENCES = {
    *(f"{family}-{version}" for family, versions in _FAMILIES.items() for version in versions),
    *("mit", "bsd-2-clause", "bsd-3-clause", "odc-by", "odbl", "isc", "unlicense", "wtfpl"),
}
"""The hub's identifiers of licences that data usually has."""


def licence_id(text: str) -> str | None:
    """The hub's identifier of a licence, e.g. ``cc-by-4.0`` of "CC BY 4.0"; ``None`` where it is not clearly one of them."""
    name = re.sub(r"[\s_]+", "-", text.strip().lower()).removesuffix("-license")
    name = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "cc0": "cc0-1.0"}.get(name, name)
    return name if name in LICENCES else None


def hub_name(text: str) -> str | None:
    """A text if it is a repository's name on the hub, ``owner/name``."""
    return text if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text) else None


def hub_dataset(address: str) -> str | None:
    """The name of a dataset on the hub, from its address there."""
    match = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/datasets/([\w.-]+/[\w.-]+)", address)
    return match.group(1) if match else None


def front_matter(header: Mapping[str, Any], remarks: Iterable[str] = ()) -> str:
    """The header, with remarks for the person who fills it in."""
    stated = {key: value for key, value in header.items() if value not in (None, [], "")}
    return "".join(["---\n", strict_yaml.dump(stated), *(f"# {line}\n" for line in remarks), "---\n"])


def cell(text: object) -> str:
    """A text as it can stand in a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(heads: Iterable[str], rows: Iterable[Iterable[object]], figures: int = 0) -> list[str]:
    """A table's lines; the last ``figures`` columns are of numbers."""
    names = list(heads)
    words = len(names) - figures
    return [
        f"| {' | '.join(names)} |",
        f"|{'---|' * words}{'---:|' * figures}",
        *(f"| {' | '.join(cell(value) for value in row)} |" for row in rows),
    ]
