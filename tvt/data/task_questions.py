"""The questions that a manifest names (in a file, drawn on the spot, or on the hub), and whether they are those it states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from tvt.core.choices import METRICS
from tvt.core.question import Question, QuestionSet
from tvt.core.task import resolve_name
from tvt.data.controls import shuffled
from tvt.data.hub.formats import format_of
from tvt.data.hub.questions import count_rows, is_here, is_stored, read_rows, row_digests, rows_identity, stored_questions
from tvt.data.hub.rows import commit_of, local_folder
from tvt.data.imports.stored import imported_questions, is_foreign
from tvt.data.questions.checks import Forbidden, scan
from tvt.data.questions.files import open_questions, read_questions, whole_files, write_parquet
from tvt.data.tasks import MINIATURE, QuestionData, TaskManifest
from tvt.errors import InputError
from tvt.io import digest, json_text
from tvt.io.digest import recall, remember, states

Part = Literal["training", "evaluation", "report"]

_CHECK_VERSION = 2
"""Raised whenever the same files would have other digests, or other faults."""
_MINIATURE_VERSION = 2
"""Raised whenever the miniature draws other questions for the same request."""


def choose(names: Sequence[str], manifests: Mapping[str, TaskManifest], field: str) -> dict[str, TaskManifest]:
    """The manifests of the tasks that ``names`` mean (names or abbreviations), in that order.

    Raises:
        InputError: unknown tasks, or one named twice; every fault, one line each.
    """
    tasks = [manifest.task() for manifest in manifests.values()]
    found: dict[str, TaskManifest] = {}
    faults: list[str] = []
    for text in names:
        try:
            name = resolve_name(text, tasks, list(manifests))
        except KeyError as error:
            faults.append(f"{field}: {error.args[0]}; add its manifest to 'manifests:'")
            continue
        if name in found:
            faults.append(f"{field}: {name} stands twice; keep one")
        found[name] = manifests[name]
    if faults:
        raise InputError(*faults)
    return found


def locate(manifest: TaskManifest, part: Part) -> QuestionData:
    """Where a part of a task's questions is, with the metric by which they are scored.

    Raises:
        InputError: the manifest does not say.
    """
    assert part in get_args(Part)  # noqa: S101
    found: QuestionData | None = getattr(manifest, part)
    if found is None:
        raise InputError(str(_unlocated(manifest, part)))
    if part == "training" or found.harness is not None:  # another harness has metrics of its own
        return found
    return found.model_copy(update={"metric": manifest.scored_by})


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Questions that are not on this machine yet."""

    of: str
    """The task, or the dataset."""
    what: str
    step: str
    """What brings them."""
    fetched: bool = False
    """Whether they come from the hub by themselves, when they are read."""

    def __str__(self) -> str:
        return f"{self.of}: {self.what}; {self.step.replace('TASK', self.of)}"


def absent(manifest: TaskManifest, part: Part) -> Absent | None:
    """What a task lacks on this machine to be trained or scored on; ``None`` where its questions are here. Fetches nothing."""
    data: QuestionData | None = getattr(manifest, part)
    if data is None:
        return _unlocated(manifest, part)
    if data.path is not None:
        there = Path(data.path).exists()
        return None if there else Absent(of=manifest.name, what=f"{data.path}: no such file", step="make it, or mend the path")
    if data.harness is not None or data.dataset == MINIATURE or is_here(data):
        return None
    if (folder := local_folder(data)) is not None:
        step = "get the dataset, or name the folder of a copy"
        return Absent(of=str(data.dataset), what=f"{folder}: no such folder", step=format_of(data).copying(data) or step)
    if (copying := format_of(data).copying(data)) is not None:
        return Absent(of=str(data.dataset), what="it is read from a local copy only", step=copying)
    return Absent(
        of=str(data.dataset), what="not fetched from the hub yet", step="the study does it when it runs", fetched=True
    )


def _unlocated(manifest: TaskManifest, part: Part) -> Absent:
    if part == "training" and manifest.builder is not None:
        step = "tvt data build TASK makes them, and tvt tasks show TASK names what it needs"
        return Absent(of=manifest.name, what="no training rows in the recipe's data_dir", step=step)
    use = {"training": "trained on", "evaluation": "scored on", "report": "reported on"}[part]
    what = f"its manifest has no '{part}:', so it cannot be {use}"
    return Absent(of=manifest.name, what=what, step="say where the questions are")


def check_metric(manifest: TaskManifest, questions: Iterable[Question]) -> None:
    """See that a task's first question is answered as its manifest's ``metric`` takes it; free text needs no metric.

    Raises:
        InputError: it is not.
    """
    first = next(iter(questions), None)
    if first is None:
        return
    where = f"{manifest.name}: 'metric: {manifest.scored_by}', but question {first.id}"
    accuracy = manifest.scored_by == "accuracy"
    if (accuracy and first.numeric) or not (accuracy or first.open_ended):
        how, metric = ("by a number", "mra") if first.numeric else ("by an option", "accuracy")
        raise InputError(f"{where} is answered {how}; write 'metric: {metric}' in its manifest, or mend the questions")
    if not accuracy and (fault := METRICS.find(manifest.scored_by).fault(first.accepted)) is not None:
        raise InputError(f"{where}: {fault}")


def read(data: QuestionData, task: str) -> Iterator[Question]:
    """Yield the questions of ``task``, each with the metric that ``data`` names.

    Raises:
        InputError: not there, or faulty.
    """
    metric = None if data.metric == "accuracy" else data.metric
    data = as_stored(data)
    questions = _all_of(data, task) if is_drawn(data) else islice(_all_of(data, task), data.skip, _end(data))
    if data.shuffled:
        questions = shuffled(questions, data.shuffled, task)
    yield from questions if metric is None else (_scored_by(question, metric) for question in questions)


def _scored_by(question: Question, metric: str) -> Question:
    return replace(question, metric=metric) if question.open_ended and question.scored_by != metric else question


def _all_of(data: QuestionData, task: str) -> Iterator[Question]:
    """The questions in their place, with their own answers; of those that are drawn, the ones asked for."""
    if data.path is not None:
        return read_questions(Path(data.path))
    if not is_drawn(data):
        return read_rows(data, task)
    from tvt.data.miniature import question

    drawn = (question(str(data.config), index, seed=0, split=_split(data)) for index in range(data.skip, _end(data) or 0))
    return (q if q.task == task else replace(q, task=task) for q in drawn)


def _end(data: QuestionData) -> int | None:
    """The place after the last question that is taken."""
    return None if data.questions is None else data.skip + data.questions


def _part_of(data: QuestionData) -> dict[str, Any]:
    """What is taken of the questions in their place, and what is done to them: the part of their identity beside content."""
    changed = {"skip": data.skip, "shuffled": data.shuffled}
    return {"questions": data.questions, **{name: value for name, value in changed.items() if value}}


def as_stored(data: QuestionData) -> QuestionData:
    """The same questions as a file in tvt's columns, where they are one or can be: others are written into the cache once.

    Raises:
        InputError: the dataset cannot be had, or faulty; every fault, one line each.
    """
    refuse_harness(data)
    if is_foreign(data):
        stored = imported_questions(data)
    elif data.path is not None or data.dataset == MINIATURE or not is_stored(data):
        return data
    else:
        stored = stored_questions(data)
    return QuestionData(path=str(stored), questions=data.questions, skip=data.skip, shuffled=data.shuffled)


def refuse_harness(data: QuestionData) -> None:
    """Say of a harness's task that its questions cannot be read here.

    Raises:
        InputError: it is one.
    """
    if data.harness is not None:
        raise InputError(
            f"{data.task}: its questions are asked by {data.harness} in its own process, so they cannot be read, shown or "
            "checked here; name a task with questions of its own"
        )


def pinned(data: QuestionData) -> QuestionData:
    """The same with absolute paths and the commit that a dataset of the hub is at now, for other processes."""
    if data.path is not None:
        paths = {name: str(Path(value).absolute()) for name in ("path", "image_folder") if (value := getattr(data, name))}
        return data.model_copy(update=paths)
    if data.include_path is not None:
        return data.model_copy(update={"include_path": str(Path(data.include_path).absolute())})
    if data.harness is not None or data.dataset == MINIATURE:
        return data
    folder = local_folder(data)
    return data.model_copy(update={"revision": commit_of(data)} if folder is None else {"folder": str(folder.absolute())})


def identify(data: QuestionData, task: str, forbidden: Forbidden | None = None) -> str:
    """Digest of what the questions are, images included: the same rows have the same, in whatever file they lie.

    What is known of parquet files that have not changed is not read again.

    Args:
        data: where they are.
        task: whose they are.
        forbidden: questions that must not be among them.

    Raises:
        InputError: not there, faulty, or shared with ``forbidden``; every fault, one line each.
    """
    identity: dict[str, Any]
    data = as_stored(data)
    if data.path is not None:
        identity = {"content": _content(Path(data.path), task, forbidden or Forbidden()), **_part_of(data)}
    elif data.dataset == MINIATURE:
        identity = {"miniature": _MINIATURE_VERSION, "task": data.config, "split": _split(data), **_part_of(data)}
    else:
        identity = {"content": rows_identity(data), **_part_of(data)}
    return digest.of_value(identity)


def _content(path: Path, task: str, forbidden: Forbidden) -> str:
    """Digest of a file's questions, once they were found whole and free of forbidden ones."""
    about = _rests_on(path, forbidden)
    if about is not None and (known := recall(about)) is not None:
        return known
    source = open_questions(path)
    if not source.rows:
        raise InputError(f"{path}: no questions of {task}; fill the file or name another one in the manifest")
    found = scan(source, forbidden.questions)
    if found.shared:
        first = found.shared[0]
        raise InputError(
            f"{source.where(first.row)}: the same question as {first.where}, which is scored ({len(found.shared)} rows of "
            f"{task} are); remove them from the training rows"
        )
    if about is not None:
        remember(about, found.digest)
    return found.digest


def _rests_on(path: Path, forbidden: Forbidden) -> dict[str, Any] | None:
    """The files on which it rests that a file is whole and shares nothing forbidden; ``None`` where not all are known."""
    try:
        every = [whole_files(one) for one in (path, *forbidden.paths)]
        if None in every:
            return None
        return {"content": _CHECK_VERSION, "files": [states(files) for files in every if files is not None]}
    except (InputError, OSError):  # reported when the file is read
        return None


def is_drawn(data: QuestionData) -> bool:
    """Whether the questions are drawn on the spot, as many as are asked for."""
    return data.dataset == MINIATURE


def rows_of(data: QuestionData) -> int:
    """How many questions lie there, whatever the manifest states.

    Raises:
        InputError: not there.
    """
    data = as_stored(data)
    if is_drawn(data):
        return data.questions or 0
    return count_rows(data) if data.path is None else open_questions(Path(data.path)).rows


def count(data: QuestionData) -> int:
    """How many questions are asked at most.

    Raises:
        InputError: not there.
    """
    rows = max(rows_of(data) - (0 if is_drawn(data) else data.skip), 0)
    return rows if data.questions is None else min(rows, data.questions)


def as_file(data: QuestionData, task: str, folder: Path) -> Path:
    """The questions as a file that can be read many times: their own, or one written into ``folder`` once.

    Raises:
        InputError: not there, or faulty.
    """
    data = as_stored(data)
    if data.path is not None and data.questions is None and not data.skip and not data.shuffled:
        return Path(data.path)
    path = folder / f"{digest.of_value([task, identify(data, task)])[:16]}.parquet"
    if not path.exists():
        write_parquet(read(data, task), path)
    return path


def _split(data: QuestionData) -> Literal["train", "select", "report"]:
    splits: tuple[Literal["train", "select", "report"], ...] = ("train", "select", "report")
    for split in splits:
        if data.split == split:
            return split
    raise InputError(f"{MINIATURE}: split '{data.split}' is none of train, select, report; name one of them")


_VERSION = 1
"""Raised whenever the same files would be counted otherwise."""


class QuestionDigest(NamedTuple):
    """A question, as far as it must be known to find it again."""

    id: str
    shown: bytes
    """Digest of what it shows."""
    answer: str


def question_digests(questions: Iterable[Question]) -> Iterator[QuestionDigest]:
    """Questions by what they show: prompt (whatever its white space), options, images and earlier turns."""
    for question in questions:
        found = hashlib.blake2b(" ".join(question.prompt.split()).encode(), digest_size=16)
        earlier = (text.encode() for turn in question.turns for text in turn)
        for part in (*(option.encode() for option in question.options), *question.images, *earlier):
            found.update(hashlib.blake2b(part, digest_size=16).digest())
        yield QuestionDigest(question.id, found.digest(), question.answer)


def count_set(name: str, every: Iterable[QuestionDigest], *, rows: int | None = None, stated: int | None = None) -> QuestionSet:
    """Count questions, and those among them that show what an earlier one shows.

    Args:
        name: of the task or its part.
        every: all that are asked.
        rows: how many there are, where not all are asked; default: as many as are asked.
        stated: how many the manifest states.
    """
    first: dict[bytes, QuestionDigest] = {}
    count = repeated = contradicting = 0
    example: tuple[str, str] | None = None
    for question in every:
        count += 1
        earlier = first.setdefault(question.shown, question)
        if earlier is not question:
            repeated += 1
            contradicting += earlier.answer != question.answer
            example = example or (question.id, earlier.id)
    return QuestionSet(
        name=name,
        rows=count if rows is None else rows,
        stated=stated,
        repeated=repeated,
        example=example,
        contradicting=contradicting,
    )


def look_at_set(data: QuestionData, name: str, limit: int | None = None) -> QuestionSet:
    """Count the questions of a task where they lie. What is known of parquet files that have not changed is not read again.

    Questions that are drawn are as many as asked for, and no two are the same. Those of datasets that are not stored as a file,
    such as questions about videos, are known by their rows.

    Args:
        data: where they are.
        name: of the task or its part.
        limit: only so many are asked.

    Raises:
        InputError: not there, or faulty.
    """
    if is_drawn(data):
        return QuestionSet(name=name, rows=data.questions or 0)
    stored = as_stored(data)
    rows = rows_of(stored)
    count = min(rows, data.questions or rows, limit or rows)
    if stored.path is not None:
        found = _counted(Path(stored.path), name, count)
    else:
        found = count_set(name, islice(map(QuestionDigest._make, row_digests(stored)), count))
    return replace(found, rows=rows, stated=data.questions)


def _counted(path: Path, name: str, count: int) -> QuestionSet:
    """Count the first questions of a file, or remember how many there were."""
    files = whole_files(path)
    about = None if files is None else {"repeated questions": _VERSION, "files": states(files), "asked": count}
    if about is not None and (known := recall(about)) is not None:
        return replace(QuestionSet.load(json_text.loads(known)), name=name)
    found = count_set(name, question_digests(islice(read_questions(path), count)))
    if about is not None:
        remember(about, json.dumps(asdict(found)))
    return found
