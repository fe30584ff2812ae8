"""What a trainer must know of the base model: its type, from its config.json, or from its name where it is not here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvt.core.recipe import ModelConfig
from tvt.exports.rows import Row
from tvt.io.model_folder import names_folder, snapshot
from tvt.model.families import read_config

_NAMES = (
    (r"qwen-?3\.5", "qwen3_5"),
    (r"qwen-?3-vl-\d+b-a\d+b", "qwen3_vl_moe"),
    (r"qwen-?3-vl", "qwen3_vl"),
    (r"qwen-?2\.5-vl", "qwen2_5_vl"),
    (r"qwen-?2-vl", "qwen2_vl"),
    (r"llava-onevision", "llava_onevision"),
    (r"llava-(v?1\.6|next)", "llava_next"),
    (r"llava-(v?1\.5)", "llava"),
    (r"gemma-3n", "gemma3n"),
    (r"gemma-3-", "gemma3"),
    (r"paligemma", "paligemma"),
    (r"glm-4(\.1)?v", "glm4v"),
    (r"internvl\d.*-hf", "internvl"),
    (r"smolvlm", "smolvlm"),
    (r"idefics3", "idefics3"),
    (r"idefics2", "idefics2"),
    (r"llama-3\.2-\d+b-vision", "mllama"),
    (r"lfm2-vl", "lfm2_vl"),
    (r"pixtral", "llava"),
    (r"mistral-small-3", "mistral3"),
)
"""``model_type`` by a part of a hub name in lower case; the first that fits."""


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The model that is finetuned."""

    name: str
    """As the trainer's configuration names it: a hub name, or the absolute path of a folder."""
    kind: str | None = None
    """``model_type`` of its config.json; None where it is not known."""
    source: Literal["config.json", "its name", "nothing"] = "nothing"
    """What says the type."""
    folder: Path | None = None
    """Where its files are on this machine."""

    @classmethod
    def of(cls, name: str) -> BaseModel:
        """The model of a name: its own files say what it is, or else, where they are not here, the name does."""
        config = ModelConfig(model_name_or_path=name)
        values = read_config(config)
        local = names_folder(name)
        full = str(Path(name).expanduser().absolute()) if local else name
        if values is not None and isinstance(values.get("model_type"), str):
            folder = Path(full) if local else snapshot(name, config.revision)
            return cls(name=full, kind=values["model_type"], source="config.json", folder=folder)
        kind = None if local else next((kind for part, kind in _NAMES if re.search(part, name.lower())), None)
        return cls(name=full, kind=kind, source="its name" if kind else "nothing")

    @property
    def unverified(self) -> list[str]:
        """The note on a model whose files are not here."""
        if self.source != "its name":
            return []
        return [
            f"not verified: {self.name} is not on this machine, so its type, {self.kind}, is taken from its name, and neither "
            "its chat template nor the tokens that are trained were looked at; export where the model is, or look at a batch"
        ]


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
