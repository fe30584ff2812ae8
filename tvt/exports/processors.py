"""What a model's own files say, where they are here: how large pictures may be, and where an answer stands in a chat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.exports.model_types import BaseModel
from tvt.io import json_text
from tvt.model.tokens import load_tokenizer

_QUESTION, _ANSWER = "Which one is it?\nA. this\nB. that", "B"


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The marks between which a chat has the assistant's answer."""

    begin: str
    """What begins any turn."""
    user: str
    """What follows it in the user's turn."""
    assistant: str
    """And in the assistant's."""
    end: str
    """What ends any turn."""


def pixel_limits(model: BaseModel) -> tuple[int, int] | None:
    """The least and most pixels to which an image processor of Qwen's models scales a picture; None where they are not here."""
    if model.folder is None:
        return None
    settings = _image_settings(model.folder)
    size = settings.get("size") or {}
    least = settings.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels")
    most = settings.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels")
    return (least, most) if isinstance(least, int) and isinstance(most, int) else None


def _image_settings(folder: Path) -> dict[str, Any]:
    for name, key in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        try:
            values = json_text.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = values.get(key) if key else values
        if isinstance(found, dict):
            return found
    return {}


def mask_faults(folder: Path, turns: Turns) -> list[str]:
    """Why a trainer that finds answers by these marks would not train the answer alone; empty where it would.

    The marks are looked for as the trainer does: as tokens, in the tokens of a whole conversation.

    Raises:
        InputError: the tokenizer cannot be loaded.
    """
    own = _chat_template(folder)
    if own is not None and not (turns.begin in own and turns.end in own):
        return [
            f"{folder}: its own chat template does not write {turns.begin} and {turns.end}, so what is trained would not be "
            "the prompt that is scored; name the trainer's template that fits with --template, or take another trainer"
        ]
    tokenizer = load_tokenizer(folder)
    before, after = _tokens(tokenizer, turns.begin + turns.assistant), _tokens(tokenizer, turns.end)
    asked = f"{turns.begin}{turns.user}{_QUESTION}{turns.end}\n"
    ids = _tokens(tokenizer, f"{asked}{turns.begin}{turns.assistant}{_ANSWER}{turns.end}\n")
    start = _find(ids, before, 0)
    end = _find(ids, after, start + len(before)) if start >= 0 else -1
    if start < 0 or end < 0:
        missing = turns.begin + turns.assistant if start < 0 else turns.end
        return [f"{folder}: its tokenizer does not write {missing!r} as the trainer looks for it, so nothing would be trained"]
    answer = tokenizer.decode(ids[start + len(before) : end])
    if answer != _ANSWER:
        return [
            f"{folder}: between the marks of an answer stands {answer!r}, not the answer, so something else would be trained"
        ]
    return []


def _chat_template(folder: Path) -> str | None:
    """The model's chat template, wherever its folder has it."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        try:
            template = json_text.loads((folder / name).read_text(encoding="utf-8")).get("chat_template")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(template, str):
            return template
    return None


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _find(ids: list[int], part: list[int], start: int) -> int:
    """Where ``part`` begins in ``ids`` from ``start`` on; -1 where it does not."""
    return next((at for at in range(start, len(ids) - len(part) + 1) if ids[at : at + len(part)] == part), -1)
