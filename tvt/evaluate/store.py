"""Answers on disk: one folder for each way of answering (model, adapter, settings), filled in chunks, records written last.

Nothing is ever changed: a chunk is a new file, wholly there or not at all. What is known is what the chunks hold, by the digest
of the question; so an interrupted evaluation goes on, a question that several sets share is asked once, and a changed question
or image is simply another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tvt.errors import InputError
from tvt.evaluate.scorer import Outcome
from tvt.io import atomic, digest
from tvt.io.lock import exclusively

Row = tuple[str, str, str, Outcome]
"""Digest of the question, task, question id, outcome."""


class AnswerStore:
    """The answers of one run identity.

    Args:
        root: folder of all evaluations.
        identity: what decides the answers; its digest names the folder.
        about: more that a person may want to know and that decides nothing, such as paths.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.key = digest.of_value(dict(identity))[:32]
        self.folder = root / self.key
        self._identity = {"schema": 1, "identity": dict(identity), "about": dict(about)}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: a second process waits, then finds what the first one wrote."""
        with exclusively(self.folder / ".lock"):
            if not (self.folder / "identity.json").exists():
                atomic.write_text(self.folder / "identity.json", json.dumps(self._identity, indent=1) + "\n")
            yield

    def load(self) -> dict[str, Outcome]:
        """All answers so far, by the question's digest.

        Raises:
            InputError: a chunk was damaged after it was written.
        """
        found: dict[str, Outcome] = {}
        for path in self._chunks():
            try:
                rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                found |= {
                    row["item"]: Outcome(scores=tuple(row["scores"]) if "scores" in row else None, raw=row.get("raw"))
                    for row in rows
                }
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: damaged; delete this file, and its questions are asked again") from error
        return found

    def append(self, rows: Sequence[Row]) -> None:
        """Write answers (digest, task, question id, outcome) as one more chunk; call it while the folder is held."""
        chunks = self._chunks()
        number = 1 + (int(chunks[-1].stem.rpartition("-")[2]) if chunks else 0)
        lines = [
            json.dumps({"item": item, "task": task, "id": name, **plain(outcome)}, ensure_ascii=False)
            for item, task, name, outcome in rows
        ]
        atomic.write_text(self.folder / f"chunk-{number:06d}.jsonl", "\n".join(lines) + "\n")

    def finish(self, task: str, items: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        """Write a finished set's items, and then its record, so that a record says that the items are whole."""
        stem = quote(task, safe=" -_")
        text = "".join(json.dumps(dict(item), ensure_ascii=False) + "\n" for item in items)
        told = {**record, "items_sha256": digest.of_value(text)}
        path = self.folder / f"{stem}.json"
        if path.exists() and path.read_text(encoding="utf-8") == _pretty(told):
            return
        atomic.write_text(self.folder / f"{stem}.items.jsonl", text)
        atomic.write_text(path, _pretty(told))

    def _chunks(self) -> list[Path]:
        return sorted(self.folder.glob("chunk-*.jsonl"))


def plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON has it."""
    return {"raw": outcome.raw} if outcome.scores is None else {"scores": list(outcome.scores)}


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), indent=1, ensure_ascii=False) + "\n"
