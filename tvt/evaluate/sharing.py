"""Questions shared out among processes, each with a device: whole batches, so that every answer is what one process gets.

What they share is in one folder: the job as JSON, and the images in a file of which each process reads those of its batches.
Each of them is ``python -m tvt.evaluate.sharing JOB``, started by :mod:`tvt.io.processes`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import IO, Any

from tvt.core.question import Question, Turn
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.adapters import CheckedAdapter
from tvt.evaluate.asking import Asker, Flush, ScoringRequest
from tvt.evaluate.prompts import Profile, read_profile
from tvt.evaluate.store import AnswerStore, run_identity
from tvt.io import json_text
from tvt.io.processes import Machines, SharedWork, report, run_part, run_together
from tvt.model.base import Loaded

FOLDER, IMAGES, LOG = ".asking.unfinished", "images", "scoring.log"
_TEXTS = tuple(part.name for part in fields(Question) if part.name != "images")


@dataclass(frozen=True, kw_only=True)
class ScoringProcesses:
    """How many processes ask, over all machines."""

    processes: int = 1
    machines: Machines = field(default_factory=Machines)
    """Those of a launcher, which share the folder of the answers."""


def ask_together(  # noqa: PLR0917
    parts: Sequence[ScoringRequest],
    model: ModelConfig,
    settings: EvaluationConfig,
    flush: Flush,
    together: ScoringProcesses,
    note: Callable[[str], None],
    answered: Callable[[int], None],
) -> float:
    """Answer all requests in processes; their stores are locked by the caller.

    Returns:
        The seconds until the last process had loaded the model.

    Raises:
        InputError: see :meth:`tvt.evaluate.asking.Asker.ask`.
        TrainingError: see :func:`tvt.io.processes.run_together`. Answers so far are stored.
    """
    place = parts[0].store.folder
    folder = place / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    started = loaded = time.monotonic()

    def on_event(kind: str, what: Any) -> None:
        nonlocal loaded
        if kind == "answered":
            answered(what)
        elif kind == "note":
            note(what)
        elif kind == "loaded":
            loaded = time.monotonic()

    try:
        job = _dump(parts, model, settings, flush, folder / IMAGES)
        work = SharedWork(
            name="scoring",
            module="tvt.evaluate.sharing",
            job=job,
            job_file=folder / "job.json",
            log=place / LOG,
            processes=together.processes,
            rendezvous=place.name,
            again="run the same command again: what was answered is kept",
        )
        run_together(work, together.machines, on_event)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    work.log.unlink(missing_ok=True)
    return loaded - started


@dataclass(frozen=True, kw_only=True)
class Share:
    """The requests of one process."""

    model: ModelConfig
    settings: EvaluationConfig
    flush: Flush
    parts: tuple[ScoringRequest, ...]
    """Those with questions for it."""

    def check(self, profile: Profile) -> None:
        """Refuse a template that differs from the parent's.

        Raises:
            InputError: it changed.
        """
        for part in self.parts:
            adapter = part.adapter.digest if part.adapter else None
            if run_identity(self.model, part.store.identity["base"], self.settings, profile, adapter) != part.store.identity:
                raise InputError(f"{self.settings.prompt}: changed while questions were asked by it; start again")


def load_share(path: Path, process: int, processes: int) -> Share:
    """What one of so many processes is to ask: every so many-th batch, so that all get long ones and short ones."""
    job = json_text.loads(path.read_text(encoding="utf-8"))
    parts = []
    with (path.parent / IMAGES).open("rb") as images:
        question = cache(lambda number: _question(job["questions"][number], images))  # images of this share alone
        for part in job["parts"]:
            batches = []
            for task, numbers in part["batches"][process::processes]:
                pairs = [question(number) for number in numbers]
                batches.append((task, ([one for one, _ in pairs], [digest for _, digest in pairs])))
            if batches:
                store = AnswerStore(Path(part["root"]), part["identity"], part["about"])
                parts.append(ScoringRequest(adapter=_adapter(part["adapter"]), store=store, batches=batches))
    return Share(
        model=ModelConfig.model_validate(job["model"]),
        settings=EvaluationConfig.model_validate(job["settings"]),
        flush=Flush(**job["flush"]),
        parts=tuple(parts),
    )


def _question(entry: dict[str, Any], images: IO[bytes]) -> tuple[Question, str]:
    """A question and its digest, from the job and the file of images."""
    shown = []
    for offset, length in entry["images"]:
        images.seek(offset)
        shown.append(images.read(length))
    texts = {**entry["texts"], **{name: tuple(entry["texts"][name]) for name in ("options", "answers")}}
    texts["turns"] = tuple(Turn(*turn) for turn in texts["turns"])
    return Question(**texts, images=tuple(shown)), entry["digest"]


def _dump(parts: Sequence[ScoringRequest], model: ModelConfig, settings: EvaluationConfig, flush: Flush, images: Path) -> str:
    """The job as JSON; its images are written to their file, each once."""
    numbers: dict[tuple[str, str], int] = {}
    questions: list[dict[str, Any]] = []
    places: dict[bytes, tuple[int, int]] = {}
    with images.open("wb") as stream:
        for part in parts:
            for _, batch in part.batches:
                for question, digest in zip(*batch, strict=True):
                    if (digest, question.id) in numbers:
                        continue
                    for image in question.images:
                        if image not in places:
                            places[image] = stream.tell(), len(image)
                            stream.write(image)
                    numbers[digest, question.id] = len(questions)
                    texts = {name: getattr(question, name) for name in _TEXTS}
                    questions.append({"texts": texts, "digest": digest, "images": [places[i] for i in question.images]})
    return json.dumps(
        {
            "model": model.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "flush": vars(flush),
            "questions": questions,
            "parts": [
                {
                    "adapter": None if part.adapter is None else {**vars(part.adapter), "folder": str(part.adapter.folder)},
                    "root": str(part.store.folder.parent.absolute()),
                    "identity": part.store.identity,
                    "about": part.store.about,
                    "batches": [
                        [task, [numbers[d, q.id] for q, d in zip(*batch, strict=True)]] for task, batch in part.batches
                    ],
                }
                for part in parts
            ],
        }
    )


def _adapter(entry: dict[str, Any] | None) -> CheckedAdapter | None:
    return None if entry is None else CheckedAdapter(**{**entry, "folder": Path(entry["folder"])})


_CHECK_SECONDS = 0.5


def main(path: Path) -> None:
    """Ask this process's share, and report it to the parent."""
    run_part(lambda: _work(path))


def _work(path: Path) -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    share = load_share(path, rank, processes)
    if share.parts:
        _use_own_device()
        _ask(share, rank)
    if int(os.environ["GROUP_WORLD_SIZE"]) > 1:
        _wait_for_others(processes)


def _use_own_device() -> None:
    """Take the GPU of this process's number on its machine."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _ask(share: Share, rank: int) -> None:
    def note(text: str) -> None:
        report("note", text)

    profile = read_profile(share.settings.prompt)
    share.check(profile)
    base = Loaded(config=share.model, note=note)
    asker = Asker(base, share.settings, profile, note, flush=share.flush, writer=rank)
    first = {task: questions[0] for part in share.parts for task, (questions, _) in part.batches}
    asker.prepare(first.values())
    report("loaded", None)
    for part in share.parts:
        asker.ask(part, lambda count: report("answered", count))


def _wait_for_others(processes: int) -> None:
    """Stay until all are done: torchrun's agents give up five minutes after the first of them is."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    store.add("tvt/asked", 1)
    while store.add("tvt/asked", 0) < processes:
        time.sleep(_CHECK_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
