"""Where the hub's client keeps what it downloaded, without loading that client."""

from __future__ import annotations

import os
from pathlib import Path


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched: $HF_HUB_CACHE, or ``hub`` in $HF_HOME, or in ~/.cache/huggingface."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).expanduser() / "huggingface" / "hub"


def snapshot(name: str, revision: str | None) -> Path:
    """The folder in which a model's files lie once they are downloaded, whether it is there or not."""
    folder = hub_cache() / f"models--{name.replace('/', '--')}"
    wanted = revision or "main"
    reference = folder / "refs" / wanted
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    return folder / "snapshots" / commit
