"""The two ways in which trainers take a row with pictures: marks in the text beside a list of paths, or blocks of content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvt.exports.rows import Row

IMAGE = "<image>"

LANGUAGE_MODEL_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""LoRA on the language model only; the vision tower stays as it is."""


def inline_line(row: Row) -> dict[str, Any]:
    """``messages`` with one ``<image>`` per image before the first question, and ``images``."""
    messages = [dict(message) for message in row.messages]
    if row.images:
        first = messages[row.first_user]
        first["content"] = IMAGE * len(row.images) + first["content"]
    return {"messages": messages, "images": list(row.images)}


def inline_places(line: Mapping[str, Any]) -> tuple[list[str], int]:
    """The paths of a line of :func:`inline_line`, and the marks in its texts."""
    return list(line["images"]), sum(message["content"].count(IMAGE) for message in line["messages"])


def block_line(row: Row) -> dict[str, Any]:
    """``messages`` whose content is blocks, the images before the first question's text."""
    messages: list[dict[str, Any]] = []
    for index, message in enumerate(row.messages):
        images = [{"type": "image", "path": path} for path in row.images] if index == row.first_user else []
        messages.append({"role": message["role"], "content": [*images, {"type": "text", "text": message["content"]}]})
    return {"messages": messages}


def block_places(line: Mapping[str, Any]) -> tuple[list[str], int]:
    """The paths of a line of :func:`block_line`, and its image blocks."""
    blocks = [block for message in line["messages"] for block in message["content"] if block["type"] == "image"]
    return [block["path"] for block in blocks], len(blocks)
