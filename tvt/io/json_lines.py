"""JSON Lines: one JSON value a line. A line ends at a line feed and nowhere else.

``str.splitlines`` also cuts at U+2028, U+2029 and U+0085, which JSON allows within texts, so ids and answers may hold them.
They are read as they are, and written as escapes, so that other programs' readers may cut where they like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tvt.io import json_text

_ESCAPED = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\u0085\u2028\u2029"})


def line(value: Any) -> str:
    """A value as one line, its line feed included."""
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED) + "\n"


def dump(values: Iterable[Any]) -> str:
    """Values as lines."""
    return "".join(map(line, values))


def parse(text: str) -> list[Any]:
    """The inverse of :func:`dump`; blank lines are left out.

    Raises:
        ValueError: a line is no JSON.
    """
    return [json_text.loads(part) for part in text.split("\n") if part.strip()]


def read(path: Path) -> list[Any]:
    """The values of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no UTF-8, or a line is no JSON.
    """
    return parse(path.read_text(encoding="utf-8"))
