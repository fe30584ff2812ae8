"""Tensors by key in safetensors shards, which any number of processes read and add to at once.

A shard is written whole, under a name of its own, and never changed; readers look for new ones when they miss a key. Its header
says for every key what is known ``about`` it and a checksum of that and its tensors, so that a damaged shard is a miss: it is
deleted, and what it held is computed anew.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tvt.model.vision.space import SHARDS, Space

SHARD_BYTES = 64 * 2**20
_OPEN = 32
"""Shards that are kept mapped into memory."""
_ENTRIES = "entries"
_SETTLED_NS = 10**8


@dataclass(frozen=True, kw_only=True)
class _Entry:
    about: dict[str, Any]
    names: tuple[str, ...]
    checksum: int
    shard: Path | None = None
    """Where it is; ``None`` while it waits to be written."""


class Store:
    """What one namespace holds.

    Args:
        space: the namespace's place on disk.
        shard_bytes: write a shard when so much waits.
    """

    def __init__(self, space: Space, shard_bytes: int = SHARD_BYTES) -> None:
        self.full = False
        """Whether something could not be kept for want of room."""
        self._space, self._shard_bytes = space, shard_bytes
        self._entries: dict[str, _Entry] = {}
        self._waiting: dict[str, dict[str, Any]] = {}
        self._shards: set[Path] = set()
        self._handles: OrderedDict[Path, Any] = OrderedDict()
        self._seen = -1
        self._lock = RLock()  # the scorer prepares batches in a thread of its own

    def __getstate__(self) -> dict[str, Any]:
        """For another process: what is on disk."""
        on_disk = {key: entry for key, entry in self._entries.items() if entry.shard is not None}
        return {**vars(self), "_entries": on_disk, "_waiting": {}, "_handles": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    def about(self, key: str) -> dict[str, Any] | None:
        """What was told with ``key``'s tensors; ``None`` if they are not here."""
        with self._lock:
            if key not in self._entries:
                self._scan()
            entry = self._entries.get(key)
            return entry.about if entry else None

    def get(self, key: str) -> dict[str, Any] | None:
        """The tensors of ``key``, on the CPU and mapped from the file, or ``None``."""
        with self._lock:
            if self.about(key) is None:
                return None
            entry = self._entries[key]
            if entry.shard is None:
                return self._waiting[key]
            tensors = self._read(key, entry)
            if tensors is None:
                self._forget(entry.shard)
            return tensors

    def put(self, key: str, tensors: dict[str, Any], about: dict[str, Any]) -> bool:
        """Keep tensors (CPU, contiguous) until the next shard is written; says whether there is room as far as is known."""
        with self._lock:
            if key in self._entries:
                return True
            if self.full:
                return False
            self._waiting[key] = tensors
            self._entries[key] = _Entry(about=about, names=tuple(sorted(tensors)), checksum=_checksum(about, tensors))
            if sum(tensor.nbytes for held in self._waiting.values() for tensor in held.values()) >= self._shard_bytes:
                self.flush()
            return not self.full

    def flush(self) -> None:
        """Write what waits and is not on disk yet, or forget it where there is no room."""
        from safetensors.torch import save

        with self._lock:
            fresh, self._waiting = self._waiting, {}
            mine = {key: self._entries.pop(key) for key in fresh}
            self._scan()
            mine = {key: entry for key, entry in mine.items() if key not in self._entries}  # another process was faster
            if not mine:
                return
            told = {key: {"about": e.about, "names": e.names, "checksum": e.checksum} for key, e in mine.items()}
            tensors = {f"{key}/{name}": tensor for key in mine for name, tensor in fresh[key].items()}
            name = f"{time.time_ns()}-{os.getpid()}.safetensors"
            self.full = not self._space.add(name, save(tensors, {_ENTRIES: json.dumps(told)}))

    def close(self) -> None:
        """Write what waits and let go of the namespace."""
        with self._lock:
            self.flush()
            self._handles.clear()
            self._space.leave()

    def _scan(self) -> None:
        """Take note of shards that are new since the last look."""
        try:
            changed = self._space.folder.stat().st_mtime_ns
        except OSError:  # somebody removed it
            return
        if changed == self._seen:
            return
        # A file that comes within the same tick of the clock leaves no trace: so what is fresh is looked at again.
        self._seen = changed if time.time_ns() - changed > _SETTLED_NS else -1
        for shard in sorted(set(self._space.folder.glob(SHARDS)) - self._shards):
            self._shards.add(shard)
            try:
                told = json.loads(self._handle(shard).metadata()[_ENTRIES])
                found = {key: _Entry(**{**entry, "names": tuple(entry["names"])}, shard=shard) for key, entry in told.items()}
            except Exception:  # whatever is wrong with it
                self._forget(shard)
            else:
                self._entries = {**found, **self._entries}

    def _read(self, key: str, entry: _Entry) -> dict[str, Any] | None:
        try:
            handle = self._handle(entry.shard)
            tensors = {name: handle.get_tensor(f"{key}/{name}") for name in entry.names}
        except Exception:  # whatever is wrong with it
            return None
        return tensors if _checksum(entry.about, tensors) == entry.checksum else None

    def _handle(self, shard: Path | None) -> Any:
        from safetensors import safe_open

        if shard not in self._handles:
            self._handles[shard] = safe_open(str(shard), framework="pt", device="cpu")  # type: ignore[index]
        self._handles.move_to_end(shard)  # type: ignore[arg-type]
        while len(self._handles) > _OPEN:
            self._handles.popitem(last=False)
        return self._handles[shard]  # type: ignore[index]

    def _forget(self, shard: Path) -> None:
        """Delete a damaged shard."""
        self._handles.pop(shard, None)
        self._entries = {key: entry for key, entry in self._entries.items() if entry.shard != shard}
        shard.unlink(missing_ok=True)


def _checksum(about: dict[str, Any], tensors: dict[str, Any]) -> int:
    import torch

    found = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy(), found)
    return found
