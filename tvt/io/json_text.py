"""JSON from files that others wrote, whose every fault is a ``ValueError``."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value of a JSON text, as :func:`json.loads` gives it.

    Raises:
        ValueError: it is no JSON, or nested more deeply than Python can follow, which :func:`json.loads` calls a
            ``RecursionError``, so that callers would need to know of both.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
