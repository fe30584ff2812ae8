"""Results of lmms-eval: ``*_results.json`` below ``--output_path``, and its samples beside them.

Read from the code of lmms-eval 0.7.3 (``loggers/evaluation_tracker.py``, ``evaluator.py``): a folder for each model, named by
the adapter (``peft=``) or else the model; in it ``DATE_results.json`` with ``results`` (by task the values ``METRIC,FILTER``
and ``METRIC_stderr,FILTER``), ``n-samples`` (``effective``: how many questions were asked) and ``group_subtasks``; with
``--log_samples`` also ``DATE_samples_TASK.jsonl``, a line a question with ``doc_id`` and each metric's value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvt.data.studies.imports.results import Result
from tvt.errors import InputError
from tvt.io import json_text

ENDING = "_results.json"
_NOT_METRICS = ("alias", "samples", "name", "sample_len")


def results_files(path: Path) -> list[Path]:
    """The results below a folder, or the file itself; older ones first."""
    if path.is_file():
        return [path] if path.name.endswith("results.json") else []
    return sorted(path.glob(f"**/*{ENDING}"), key=lambda file: (file.name, file))


def read(path: Path, scores: Mapping[str, str], without: Sequence[str] = ()) -> tuple[list[Result], list[str]]:
    """The results below ``path``.

    Args:
        path: ``--output_path`` of lmms-eval, a model's folder in it, or one ``*_results.json``.
        scores: the metric that counts, by task, where a task has several.
        without: tasks to leave out.

    Returns:
        The results, and notes of what was left out.

    Raises:
        InputError: a damaged file, or tasks with several metrics of which none is chosen; every fault, one line each.
    """
    results, notes, faults = [], dict[str, None](), list[str]()
    for file in results_files(path):
        data = _load(file)
        groups = {name for name, tasks in (data.get("group_subtasks") or {}).items() if tasks}
        inside = {task for name in groups for task in data["group_subtasks"][name]} & data["results"].keys()
        for task, values in data["results"].items():
            if task in without:
                continue
            if task in groups and inside:
                notes[f"{task} is a group of tasks and left out; its tasks are targets"] = None
                continue
            try:
                results.append(_result(file, data, task, _metric(task, values, scores), values))
            except ValueError as error:
                faults.append(f"{file}: {error}")
    if faults:
        raise InputError(*faults)
    return results, list(notes)


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json_text.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}); evaluate again") from error
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise InputError(f"{file}: has no 'results'; name the output of lmms-eval")
    return data


def _is_metric(key: str, value: object) -> bool:
    return "_stderr" not in key and key.partition(",")[0] not in _NOT_METRICS and _number(value)


def _metric(task: str, values: Mapping[str, Any], scores: Mapping[str, str]) -> str:
    """The key of the task's accuracy, ``METRIC,FILTER``.

    Raises:
        ValueError: there is none, or several and no choice, with what to do.
    """
    keys = [key for key, value in values.items() if _is_metric(key, value)]
    asked = scores.get(task)
    if asked is not None:
        found = next((key for key in keys if asked in (key, key.partition(",")[0])), None)
        if found is None:
            raise ValueError(f"--score {task}={asked}: no such value; there are {', '.join(keys)}")
        return found
    overall = [key for key in keys if "overall" in key.casefold()]
    if len(keys) == 1 or len(overall) == 1:
        return keys[0] if len(keys) == 1 else overall[0]
    if not keys:
        raise ValueError(f"{task}: no value that is a number; leave the task out with --without {task}")
    raise ValueError(f"{task}: has {', '.join(keys)}; say which counts: --score {task}={keys[0].partition(',')[0]}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _result(file: Path, data: Mapping[str, Any], task: str, key: str, values: Mapping[str, Any]) -> Result:
    asked = (data.get("n-samples") or {}).get(task) or {}
    total = asked.get("effective") or values.get("samples")
    stamp = file.name.removesuffix(ENDING)
    hits = _hits(file.with_name(f"{stamp}_samples_{task}.jsonl"), key.partition(",")[0])
    accuracy = float(values[key])
    if hits is not None and not math.isclose(sum(hits.values()) / len(hits), accuracy, abs_tol=1e-6):
        hits = None  # the task's value is not the mean of its samples
    model_args = str((data.get("config") or {}).get("model_args") or "")
    return Result(
        source=str(data.get("model_name") or file.parent.name).rstrip("/").rpartition("/")[2],
        target=task,
        accuracy=accuracy,
        origin=file,
        total=len(hits) if hits is not None else int(total) if isinstance(total, int | float) and total > 0 else None,
        hits=hits,
        when=stamp,
        adapter="peft=" in model_args,
    )


def _hits(file: Path, metric: str) -> dict[str, float] | None:
    """What each question earned, where the samples are there and say so as a number from 0 to 1."""
    if not file.is_file():
        return None
    hits: dict[str, float] = {}
    for line in _lines(file):
        value = line.get(metric)
        value = float(value) if isinstance(value, bool) else value
        if not _number(value) or not 0 <= float(value) <= 1 or "doc_id" not in line:  # type: ignore[arg-type]
            return None
        hits[str(line["doc_id"])] = float(value)  # type: ignore[arg-type]
    return hits or None


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as stream:
        for number, text in enumerate(stream, 1):
            try:
                value = json_text.loads(text)
            except ValueError as error:
                raise InputError(f"{file}:{number}: is no JSON; delete the file, and its accuracy alone counts") from error
            if isinstance(value, dict):
                yield value
