"""Answers on disk, and the digests of what decides them: the question as it is asked, the adapter, the base model, the
settings.

There is one folder for each way of answering (model, adapter, settings), filled in chunks, with records written last. Nothing
is ever changed: a chunk is a new file, wholly there or not at all. What is known is what the chunks hold, by the digest of the
question; so an interrupted evaluation goes on, a question that several sets share is asked once, and a changed question or
image is simply another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig, identity
from tvt.errors import InputError, needs_train_extra, reason_of, refuse
from tvt.evaluate.prompts import Profile
from tvt.evaluate.scorer import RawAnswer
from tvt.io import atomic, digest, json_lines, json_text
from tvt.io.atomic import exclusively
from tvt.io.names import quoted_name
from tvt.model.families import model_checks

IDENTITY = "identity.json"
Row = tuple[str, str, str, RawAnswer]
"""Digest of the question, task, question id, outcome."""


class AnswerStore:
    """The answers of one run identity.

    Args:
        root: folder of all evaluations.
        identity: what decides the answers; its digest names the folder.
        about: further facts for people, which decide nothing, such as paths.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.key = digest.of_value(dict(identity))[:32]
        self.folder = root / self.key
        self.identity = dict(identity)
        self.about = dict(about)

    @classmethod
    def reopen(cls, folder: Path) -> AnswerStore:
        """The answers that a folder holds.

        Raises:
            InputError: the folder does not say whose answers they are, or its name is not that of what it says.
        """
        path = folder / IDENTITY
        try:
            values = json_text.loads(path.read_text(encoding="utf-8"))
            store = cls(folder.parent, values["identity"], values["about"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: missing or damaged; these answers cannot be used") from error
        if store.key != folder.name:
            raise InputError(f"{path}: does not belong to this folder; these answers cannot be used")
        return store

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: a second process waits, then reads what the first one wrote."""
        with exclusively(self.folder / ".lock"):
            if not (self.folder / IDENTITY).exists():
                record = {"schema": 1, "identity": self.identity, "about": self.about}
                atomic.write_text(self.folder / IDENTITY, json.dumps(record, indent=1) + "\n")
            yield

    def load(self) -> dict[str, RawAnswer]:
        """All answers so far, by the question's digest.

        Raises:
            InputError: a chunk was damaged after it was written.
        """
        return {item: outcome for item, _, _, outcome in self.rows()}

    def rows(self) -> Iterator[Row]:
        """All answers so far, in the order in which they were given.

        Raises:
            InputError: a chunk was damaged after it was written.
        """
        for path in self._chunks():
            try:
                rows = [(row["item"], row["task"], row["id"], outcome_of(row)) for row in json_lines.read(path)]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: damaged; delete this file, and its questions are asked again") from error
            yield from rows

    def append(self, rows: Sequence[Row], writer: int | None = None) -> None:
        """Write answers as one more chunk; call it while the folder is held.

        Args:
            rows: digest, task, question id and outcome.
            writer: the number of this process where several write at once, for whom the folder is held.
        """
        chunks = self._chunks()
        number = 1 + (int(chunks[-1].stem.split("-")[1]) if chunks else 0)
        name = f"chunk-{number:06d}" + ("" if writer is None else f"-{writer}")
        answers = [{"item": item, "task": task, "id": name, **plain(outcome)} for item, task, name, outcome in rows]
        atomic.write_text(self.folder / f"{name}.jsonl", json_lines.dump(answers))

    def finish(self, task: str, items: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        """Write a finished set's items, and then its record, so that a record states that the items are complete."""
        text = json_lines.dump(map(dict, items))
        stored = {**record, "items_sha256": digest.of_value(text)}
        path = self.record_path(task)
        if path.exists() and path.read_text(encoding="utf-8") == _pretty(stored):
            return
        atomic.write_text(self.items_path(task), text)
        atomic.write_text(path, _pretty(stored))

    def finished(self, task: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A finished set's items and its record, as :meth:`finish` received them.

        Raises:
            InputError: it is not finished, or was changed since.
        """
        path = self.record_path(task)
        try:
            record = json_text.loads(path.read_text(encoding="utf-8"))
            text = self.items_path(task).read_text(encoding="utf-8")
            intact = record.pop("items_sha256") == digest.of_value(text)
            items = json_lines.parse(text)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: missing or damaged, or its items are; these answers cannot be used") from error
        if not intact:
            raise InputError(f"{path}: its items changed since it was written; these answers cannot be used")
        return items, record

    def record_path(self, task: str) -> Path:
        """Where the record of a set is."""
        return self.folder / f"{quoted_name(task)}.json"

    def items_path(self, task: str) -> Path:
        """Where the items of a set are, a line each."""
        return items_file(self.folder, task)

    def _chunks(self) -> list[Path]:
        return sorted(self.folder.glob("chunk-*.jsonl"))


def superseded_answers(root: Path, base: Mapping[str, Any], adapters: Collection[str | None], version: int) -> int:
    """How many answers were given to earlier versions of the scorer, by those that have not been asked since.

    Args:
        root: folder of all evaluations.
        base: identity of the base model.
        adapters: digests of the adapters in question; ``None`` is the base model alone.
        version: the scorer's version now.
    """
    earlier: dict[str | None, list[Path]] = {adapter: [] for adapter in adapters}
    for path in sorted(root.glob(f"*/{IDENTITY}")):
        try:
            values = json_text.loads(path.read_text(encoding="utf-8"))["identity"]
            of, scorer, adapter = values["base"], values["scorer"], values["adapter"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an error comes when these answers are needed
        if of == base and adapter in earlier:
            if scorer == version:
                del earlier[adapter]
            else:
                earlier[adapter].append(path.parent)
    chunks = [chunk for folders in earlier.values() for folder in folders for chunk in folder.glob("chunk-*.jsonl")]
    return sum(chunk.read_bytes().count(b"\n") for chunk in chunks)


def items_file(folder: Path, task: str) -> Path:
    """Where the items of a set are in a folder of answers, a line each."""
    return folder / f"{quoted_name(task)}.items.jsonl"


def plain(outcome: RawAnswer) -> dict[str, Any]:
    """An outcome as JSON has it."""
    return {"raw": outcome.raw} if outcome.scores is None else {"scores": list(outcome.scores)}


def outcome_of(values: Mapping[str, Any]) -> RawAnswer:
    """The inverse of :func:`plain`; other entries are ignored."""
    return RawAnswer(scores=tuple(values["scores"]) if "scores" in values else None, raw=values.get("raw"))


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), indent=1, ensure_ascii=False) + "\n"


SCORER_VERSION = 2
"""Raise it whenever the same model could get other scores for the same question; all earlier results are then misses.

2: the base is proved unchanged after every adapter, the scored prompt is the trained one, letters are scored in every
spelling, and pictures with an alpha channel or more than 8 bits are shown as they look.
"""


_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


_REMEMBERED_BYTES = 50 * 2**20
"""Digests of base model files beyond this size are kept beside the results: a large model takes minutes to read."""


def item_digest(question: Question, settings: EvaluationConfig, profile: Profile, images: dict[bytes, str]) -> str:
    """sha256 of what the model is shown: prompt, option letters, images and earlier turns. The right answer is no part of it.

    Args:
        question: what is asked.
        settings: how. Where letters are scored, the answer to an open-ended question is generated all the same, and depends on
            how long it may be.
        profile: how it is put.
        images: digests of the images so far, which are added to: questions may share them.
    """
    shown: dict[str, Any] = {"prompt": profile.shown(question), "letters": question.letters}
    for image in question.images:
        if image not in images:
            images[image] = hashlib.sha256(image).hexdigest()
    if question.turns:
        shown["turns"] = [list(turn) for turn in question.turns]
    shown["images"] = [images[image] for image in question.images]
    if question.open_ended and settings.mode == "options":
        shown["max_new_tokens"] = settings.max_new_tokens
    return digest.of_value(shown)


def run_identity(
    model: ModelConfig, base: dict[str, Any], settings: EvaluationConfig, profile: Profile, adapter: str | None
) -> dict[str, Any]:
    """What decides the answer to a question: plain values for a digest.

    Args:
        model: the base model; where it is stored is no part of it, since ``base`` says what it is.
        base: from :func:`model_identity`.
        settings: how to score.
        profile: how questions are put.
        adapter: the adapter's digest, ``None`` for the base model alone.
    """
    loading = {name: value for name, value in identity(model).items() if name not in ("model_name_or_path", "freeze_vision")}
    scoring: dict[str, Any] = {"mode": settings.mode, **profile.identity}
    if settings.mode == "generate":
        scoring |= {"max_new_tokens": settings.max_new_tokens, "decoding": "greedy"}
    if settings.backend != "local":
        scoring["backend"] = settings.backend
    return {"scorer": SCORER_VERSION, "base": base, "loading": loading, "scoring": scoring, "adapter": adapter}


def model_identity(model: ModelConfig, memory: Path) -> dict[str, Any]:
    """The base model by its content: digests of its files, or the commit of a hub model, which names its content.

    Args:
        model: which model.
        memory: a JSON file that remembers digests of large files by size and time of change.

    Raises:
        InputError: no model, or an incomplete one; see :mod:`tvt.io.model_folder`.
    """
    refuse(model_checks(model))
    folder = Path(model.model_name_or_path)
    if not folder.is_dir():
        return {"hub": model.model_name_or_path, "commit": _hub_commit(model)}
    files = sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    return {"files": digest.of_value(_file_digests(files, memory))}


def _hub_commit(model: ModelConfig) -> str:
    """The commit that the name and revision stand for, as the hub or its local cache says."""
    with needs_train_extra():
        from transformers.utils.hub import cached_file, extract_commit_hash
    name = model.model_name_or_path
    try:
        path = cached_file(name, "config.json", revision=model.revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: neither a folder nor a model that can be reached ({reason_of(error)}); check the name"
        ) from error
    commit = extract_commit_hash(path, None)
    if not commit:
        raise InputError(f"{name}: its commit is unknown; pin --revision or name a folder")
    return str(commit)


def _file_digests(files: list[Path], memory: Path) -> dict[str, str]:
    """sha256 of every file by name."""
    try:
        known: dict[str, Any] = json_text.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    digests, learnt = {}, False
    for path in files:
        state = path.stat()
        place, stamp = str(path.resolve()), [state.st_size, state.st_mtime_ns, state.st_ino]
        entry = known.get(place, {})
        if state.st_size < _REMEMBERED_BYTES or entry.get("stamp") != stamp:
            entry = {"stamp": stamp, "sha256": digest.of_file(path)}
            if state.st_size >= _REMEMBERED_BYTES:
                known[place], learnt = entry, True
        digests[path.name] = entry["sha256"]
    if learnt:
        atomic.write_text(memory, json.dumps(known, indent=1) + "\n")
    return digests
