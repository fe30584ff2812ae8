"""LLaMA-Factory's ``dataset_info.json``: which columns and tags a file of rows has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tvt.data.imports.media import note_read
from tvt.data.tasks import QuestionData
from tvt.errors import InputError

NAME = "dataset_info.json"
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_COLUMNS = {
    "sharegpt": {"messages": "conversations"},
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
}
"""What LLaMA-Factory takes where an entry says nothing."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """An entry of a ``dataset_info.json``."""

    name: str
    path: Path
    """The ``dataset_info.json``."""
    formatting: str
    columns: Mapping[str, str]
    tags: Mapping[str, str]

    def column(self, name: str) -> str | None:
        """The rows' own name of a column; ``None`` where they have none."""
        return self.columns.get(name) or _COLUMNS.get(self.formatting, _COLUMNS["sharegpt"]).get(name)

    def tag(self, name: str) -> str:
        """The rows' own name of a key or a role."""
        return self.tags.get(name) or _TAGS[name]

    def role(self, said: str) -> str:
        """The role that a turn's tag means; of a tag without a meaning, what to call it in a fault."""
        meant = {self.tag("user_tag"): "user", self.tag("assistant_tag"): "assistant", self.tag("system_tag"): "system"}
        return meant.get(said, f"{said}, which is no tag of {self.name} in {NAME}")


def description_of(data: QuestionData) -> Description | None:
    """The entry that describes a file, in the ``dataset_info.json`` of its folder or of one of the two above it.

    Raises:
        InputError: several entries name the file, and ``config`` none of them; or the file of entries is damaged.
    """
    if data.path is None:
        return None
    found = _found(Path(data.path).absolute(), data.config)
    if found is not None:
        note_read(found.path)
    return found


@cache
def _found(path: Path, config: str | None) -> Description | None:
    for folder in list(path.parents)[:3]:
        place = folder / NAME
        entries = {
            name: entry for name, entry in _entries(place).items() if (folder / str(entry["file_name"])).absolute() == path
        }
        if not entries:
            continue
        if config in entries:
            entries = {config: entries[config]}
        made = [_made(name, place, entry) for name, entry in entries.items()]
        if len({(one.formatting, *sorted(one.columns.items()), *sorted(one.tags.items())) for one in made}) > 1:
            names = ", ".join(entries)
            raise InputError(f"{place}: {names} describe {path.name} in different ways; name one with --config")
        return made[0]
    return None


def _entries(place: Path) -> dict[str, Mapping[str, Any]]:
    """The entries that describe files; none where there is no such file, or it is one of ``datasets``."""
    if not place.is_file():
        return {}
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be read ({error}); mend it, or move it away") from error
    if not isinstance(content, Mapping):
        return {}
    return {
        name: entry for name, entry in content.items() if isinstance(entry, Mapping) and isinstance(entry.get("file_name"), str)
    }


def _made(name: str, place: Path, entry: Mapping[str, Any]) -> Description:
    columns, tags = ({str(key): str(value) for key, value in (entry.get(part) or {}).items()} for part in ("columns", "tags"))
    return Description(name=name, path=place, formatting=str(entry.get("formatting") or "alpaca"), columns=columns, tags=tags)
