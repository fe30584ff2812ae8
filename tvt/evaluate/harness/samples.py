"""What lmms-eval wrote of a run: ``*_results.json``, and ``*_samples_TASK.jsonl`` with a line for each question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from tvt.core.question import LETTERS
from tvt.errors import InputError
from tvt.io import digest, json_lines, json_text


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question of a task, as lmms-eval asked and scored it."""

    id: str
    """Its place in the task's data, which lmms-eval calls ``doc_id``."""
    item: str
    """Digest of what was asked: the prompt and the right answer."""
    answer: str
    """What was taken for the answer; of options, the negative log-likelihood of each, and whether the model would write it."""
    predicted: str
    """The same; of options, the letter of the most likely one, ``A`` for the first."""
    target: str
    """The right answer."""
    credit: float
    """What the answer is worth, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A model on one task."""

    samples: tuple[Sample, ...]
    """In the order of the task's data."""
    reported: float | None
    """lmms-eval's own figure for the metric over all samples."""

    @property
    def mean(self) -> float:
        """Mean credit."""
        return math.fsum(sample.credit for sample in self.samples) / len(self.samples)

    @property
    def is_mean(self) -> bool:
        """Whether lmms-eval's own figure is the mean over the samples, as far as it is known."""
        return self.reported is None or math.isclose(self.reported, self.mean, rel_tol=1e-6, abs_tol=1e-9)


def read_result(folder: Path, task: str, metric: str, score_key: str = "score") -> TaskResult:
    """Read what lmms-eval wrote of one run with ``--log_samples``.

    A task with several filters (ways of taking the answer out of the text) has its samples once for each of them, in the order
    of the filters; the first filter's are taken.

    Args:
        folder: its output folder; the newest files in it or below it are read.
        task: name of lmms-eval's task.
        metric: the metric that is each answer's score.
        score_key: where a metric's value is a mapping, the key of the score in it (``score_key`` of the task).

    Raises:
        InputError: files are missing or damaged, or the metric is no number in [0, 1] for each sample; one line.
    """
    path = _newest(folder, f"*_samples_{escape(task)}.jsonl")
    try:
        rows = json_lines.read(path)
        first = {str(row["doc_id"]): row for row in reversed(rows)}
        ordered = [first[name] for name in dict.fromkeys(str(row["doc_id"]) for row in rows)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; run lmms-eval again") from error
    if not ordered:
        raise InputError(f"{path}: no samples; run lmms-eval again")
    samples = tuple(_sample(task, row, metric, score_key) for row in ordered)
    return TaskResult(samples=samples, reported=_reported(_newest(folder, "*_results.json"), task, metric))


def credit_of(value: Any, score_key: str) -> float | None:
    """A metric's value for one sample as lmms-eval's standard errors take it: a number, or that number of a mapping."""
    if isinstance(value, dict):
        value = value.get(score_key)
    return float(value) if isinstance(value, int | float) else None


def _sample(task: str, row: Mapping[str, Any], metric: str, score_key: str) -> Sample:
    name = str(row["doc_id"])
    credit = credit_of(row.get(metric), score_key)
    if credit is None:
        others = [each for each in _metrics(row) if each != metric and credit_of(row[each], score_key) is not None]
        rest = f"; name another metric in 'score:' ({', '.join(others)})" if others else "; it cannot be a target"
        raise InputError(f"{task}: its metric {metric} has no number for sample {name}{rest}")
    if not 0 <= credit <= 1:
        raise InputError(
            f"{task}: its metric {metric} is {credit:g} for sample {name}, and scores lie between 0 and 1; name another "
            "one in 'score:'"
        )
    answer = row.get("filtered_resps")
    asked = {"task": task, "id": name, "input": row.get("input"), "target": row.get("target")}
    return Sample(
        id=name,
        item=digest.of_value(asked),
        answer=_text(answer),
        predicted=_likeliest(answer) or _text(answer),
        target=str(row.get("target", "")),
        credit=credit,
    )


_NOT_METRICS = ("doc_id", "target", "resps", "filtered_resps", "token_counts", "doc_hash", "input", "input_media")


def _metrics(row: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in row if name not in _NOT_METRICS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _likeliest(answer: Any) -> str | None:
    """The letter of the option whose negative log-likelihood is least; ``None`` where the answer is no list of these."""
    try:
        losses = [float(loss) for loss, _ in answer]
    except (TypeError, ValueError):
        return None
    return LETTERS[losses.index(min(losses))] if 0 < len(losses) <= len(LETTERS) else None


def _reported(path: Path, task: str, metric: str) -> float | None:
    try:
        figures = json_text.loads(path.read_text(encoding="utf-8"))["results"][task]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; run lmms-eval again") from error
    value = next((value for name, value in figures.items() if name.split(",")[0] == metric), None)
    return float(value) if isinstance(value, int | float) else None


def _newest(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not found:
        raise InputError(f"{folder}: no {pattern} of lmms-eval in it; run lmms-eval with --log_samples")
    return found[-1]
