"""A mixed dataset's rows as JSON Lines of messages, for trainers that read one file and no parquet columns (axolotl).

Images are base64 within their message's content, so that the file holds all it needs and names no path.
"""

from __future__ import annotations

import base64
from typing import Any, BinaryIO

import pyarrow as pa

from tvt.io import json_lines

FILE = "messages.jsonl"


def write_messages(table: pa.Table, stream: BinaryIO) -> None:
    """Append rows with ``images``, ``prompt`` and ``completion``."""
    for row in table.select(["images", "prompt", "completion"]).to_pylist():
        images = [{"type": "image", "base64": base64.b64encode(image["bytes"]).decode()} for image in row["images"]]
        messages: list[dict[str, Any]] = []
        for message in [*row["prompt"], *row["completion"]]:
            text = {"type": "text", "text": message["content"]}
            messages.append({"role": message["role"], "content": [*([] if messages else images), text]})
        stream.write(json_lines.line({"messages": messages}).encode())
