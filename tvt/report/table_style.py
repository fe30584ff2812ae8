"""One look for all tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich import box

TABLE: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "title_justify": "left",
    "title_style": "bold",
    "pad_edge": False,
    "caption_justify": "left",
}
"""Keyword arguments of every table."""
