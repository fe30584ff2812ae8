"""LLaMA-Factory's ``dataset_info.json``: which columns and tags a file of rows has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tvt.data.imports.media import note_read
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.io import json_text

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
    path = os.path.abspath(data.path)  # not pathlib: this is asked for every row
    found = _found(path, data.config, tuple(_changed(place) for place in _places(path)))
    if found is not None:
        note_read(found.path)
    return found


@lru_cache(maxsize=256)
def _places(path: str) -> tuple[str, ...]:
    return tuple(str(folder / NAME) for folder in list(Path(path).parents)[:3])


def _changed(place: str) -> int | None:
    """When a file was changed; ``None`` where there is none."""
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=256)
def _found(file: str, config: str | None, _changes: tuple[int | None, ...]) -> Description | None:
    """The entry; what was found holds until one of the files of entries is changed."""
    path = Path(file)
    for place in map(Path, _places(file)):
        folder = place.parent
        named = {name: os.path.abspath(folder / str(entry["file_name"])) for name, entry in _entries(place).items()}
        entries = {name: entry for name, entry in _entries(place).items() if named[name] == file}
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
        content = json_text.loads(place.read_text(encoding="utf-8"))
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
