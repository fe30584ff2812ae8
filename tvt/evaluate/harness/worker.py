"""The process in which lmms-eval runs, possibly in another environment: ``python -m tvt.evaluate.harness.worker JOB``.

A job either describes a task or asks its questions. Results are written by lmms-eval's own code, in its own layout.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.data.tasks import QuestionData
from tvt.errors import InputError, TvtError, suggest
from tvt.evaluate.adapters import CheckedAdapter, attached
from tvt.evaluate.asking import naming
from tvt.io import digest, json_text
from tvt.io.processes import first_line, report, run_part
from tvt.model.base import Loaded

SUPPORTED = ("generate_until", "multiple_choice")
"""lmms-eval's output types that a target may have."""


def main(path: Path) -> None:
    """Do a job, and report it to the parent."""
    run_part(lambda: _work(json_text.loads(path.read_text(encoding="utf-8"))))


def _work(job: Mapping[str, Any]) -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    if job["act"] == "describe":
        data = QuestionData.model_validate(job["task"])
        report("task", _described(data, load_task(data)))
    else:
        _score(job)


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """A task of lmms-eval with its data, and the manager that knows it."""

    task: Any
    manager: Any
    files: str
    """Digest of its own files."""


def load_task(data: QuestionData) -> LoadedTask:
    """Load a task of lmms-eval as its own command would for a model with a chat template, or without for likelihoods.

    Raises:
        InputError: there is no such task, its data cannot be loaded, or it cannot be a target.
    """
    name = str(data.task)
    manager = _manager(data)
    entry = manager.task_index[name]
    if entry["type"] not in ("task", "python_task"):
        raise InputError(
            f"{name}: is a {entry['type']} of several tasks of lmms-eval; name one of them, each a target of its own"
        )
    output_type = _with_task(name, lambda: manager._get_config(name)).get("output_type", "generate_until")
    if output_type not in SUPPORTED:
        raise InputError(f"{name}: its output type {output_type} cannot be a target; take a task of {' or '.join(SUPPORTED)}")
    kind = "chat" if output_type == "generate_until" else "simple"
    task = _with_task(name, lambda: manager.load_task_or_group([name], kind))[name]
    folder = Path(entry["yaml_path"]).parent
    files = {path.name: digest.of_file(path) for path in sorted(folder.iterdir()) if _decides(path)}
    return LoadedTask(task=task, manager=manager, files=digest.of_value(files))


def _decides(path: Path) -> bool:
    return path.is_file() and path.suffix in (".yaml", ".py", "")


def _manager(data: QuestionData) -> Any:
    """What knows the task: a folder of one's own goes before lmms-eval's tasks, whose index takes seconds."""
    from lmms_eval.tasks import TaskManager

    name, known = str(data.task), []
    for options in ({"include_path": data.include_path, "include_defaults": False}, {"include_path": data.include_path}):
        if options.get("include_defaults") is False and data.include_path is None:
            continue
        manager = _with_task(name, lambda o=options: TaskManager("ERROR", **o))  # type: ignore[misc]
        known = manager.all_tasks
        if name in known:
            return manager
    where = f" and {data.include_path}" if data.include_path else ""
    raise InputError(f"{name}: no such task in lmms-eval{where}{suggest(name, known)}; 'lmms-eval --tasks list' shows all")


def _with_task(name: str, step: Callable[[], Any]) -> Any:
    """Do what runs the code of a task, which may raise anything."""
    try:
        return step()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: lmms-eval cannot load it ({_line(error)}); see what the task and its data need") from error


def _line(error: BaseException) -> str:
    """A line of an exception; of one that says that several tries failed, of its cause."""
    attempt = getattr(error, "last_attempt", None)  # tenacity's, with which lmms-eval tries again
    cause = error if attempt is None else attempt.exception()
    return first_line(cause) if isinstance(cause, Exception) else type(cause).__name__


def _described(data: QuestionData, loaded: LoadedTask) -> dict[str, Any]:
    """What the parent must know of a task; see :class:`tvt.evaluate.harness.task.HarnessTask`."""
    from importlib.metadata import version

    task, name = loaded.task, str(data.task)
    config = task.config
    metric = _metric(data, task)
    if "acc_mutual_info" in task.aggregation():
        raise InputError(
            f"{name}: its metric acc_mutual_info asks without picture and question, which is not done here; take another task"
        )
    if (config.repeats or 1) > 1:
        raise InputError(
            f"{name}: asks each question {config.repeats} times, and a target's questions are asked once; take another task"
        )
    questions, content = asked(data, task)
    return {
        "version": version("lmms_eval"),
        "task_version": _version(task),
        "output_type": task.OUTPUT_TYPE,
        "metric": metric,
        "score_key": config.score_key or "score",
        "files": loaded.files,
        "questions": questions,
        "content": content,
    }


def _metric(data: QuestionData, task: Any) -> str:
    """The metric that is the score: the one named, or the first."""
    known = list(task.aggregation())
    if data.score is not None and data.score not in known:
        raise InputError(f"{data.task}: has no metric {data.score}{suggest(data.score, known)}; it has {', '.join(known)}")
    if not known:
        raise InputError(f"{data.task}: lmms-eval states no metric of it; it cannot be a target")
    metric = data.score or known[0]
    if task.higher_is_better().get(metric) is False:
        raise InputError(
            f"{data.task}: of its metric {metric} less is better, and tvt's scores rise; name another one in 'score:'"
        )
    return metric


def _version(task: Any) -> str:
    """The task's own version: lmms-eval takes it from a mapping of metadata alone, and most files have a list."""
    metadata = task.config.metadata
    entries = metadata if isinstance(metadata, list) else [metadata]
    stated = next((entry["version"] for entry in entries if isinstance(entry, dict) and "version" in entry), task.VERSION)
    return str(stated)


def asked(data: QuestionData, task: Any) -> tuple[int, str]:
    """How many questions of a task are asked, and their digest; pictures are no part of it.

    Raises:
        InputError: there are none.
    """
    documents = task.eval_docs_no_media
    stop = len(documents) if data.limit is None else min(len(documents), data.offset + data.limit)
    places = range(data.offset, stop)
    if not places:
        raise InputError(
            f"{data.task}: has {len(documents)} questions, and none of them behind 'offset: {data.offset}'; lower it"
        )
    texts = [json.dumps(dict(documents[place]), sort_keys=True, default=str) for place in places]
    return len(texts), digest.of_value(texts)


def _score(job: Mapping[str, Any]) -> None:
    """Ask the questions of tasks, of each adapter those that it lacks."""
    from tvt.evaluate.harness.model import HarnessModel

    tasks = {key: QuestionData.model_validate(values) for key, values in job["tasks"].items()}
    loaded = {key: load_task(data) for key, data in tasks.items()}
    for key, data in tasks.items():
        said = _described(data, loaded[key])
        if said != job["said"][key]:
            report("changed", [key, said])
            changed = ", ".join(name for name in said if said[name] != job["said"][key].get(name))
            raise InputError(f"{data.task}: changed since the scores were planned ({changed}); run the same command again")
    base = Loaded(config=ModelConfig.model_validate(job["model"]), note=lambda text: report("note", text))
    base.load()
    report("loaded", None)
    for part in job["parts"]:
        adapter = (
            None
            if part["adapter"] is None
            else CheckedAdapter(**{**part["adapter"], "folder": Path(part["adapter"]["folder"])})
        )
        with naming(adapter), attached(base, adapter, lambda text: report("note", text)) as model:
            for key, folder in part["tasks"].items():
                asking = HarnessModel(
                    base, model, batch_size=job["batch_size"], answered=lambda count: report("answered", count)
                )
                _run(tasks[key], loaded[key], asking, Path(folder))
                report("done", [part["place"], key])


def _run(data: QuestionData, loaded: LoadedTask, model: Any, folder: Path) -> None:
    """Run a task by lmms-eval's own code with the settings of its own command, and write its results and samples."""
    from lmms_eval import evaluator
    from lmms_eval.loggers import EvaluationTracker
    from lmms_eval.utils import get_datetime_str

    settings = command_settings(str(data.task), folder)
    model.is_simple = loaded.task.OUTPUT_TYPE == "multiple_choice"
    seeds = settings.seed
    with _named_errors(str(data.task)):
        results = evaluator.simple_evaluate(
            model=model,
            tasks=[str(data.task)],
            batch_size=model.batch_size,
            limit=data.limit,
            offset=data.offset,
            bootstrap_iters=0,
            log_samples=True,
            task_manager=loaded.manager,
            verbosity="ERROR",
            random_seed=seeds[0],
            numpy_random_seed=seeds[1],
            torch_random_seed=seeds[2],
            fewshot_random_seed=seeds[3],
            cli_args=settings,
        )
    samples = results.pop("samples")
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args("tvt", "pretrained=model", "", "", False)
    tracker.save_results_aggregated(results=results, samples=samples, datetime_str=get_datetime_str())
    tracker.save_results_samples(task_name=str(data.task), samples=samples[str(data.task)])


def command_settings(task: str, folder: Path, more: Sequence[str] = ()) -> Any:
    """The settings of ``lmms-eval --tasks TASK``, all others as its own command has them: tasks read some of them."""
    from lmms_eval.__main__ import parse_eval_args

    before = sys.argv
    sys.argv = ["lmms-eval", "--model", "tvt", "--tasks", task, "--output_path", str(folder), "--log_samples", *more]
    try:
        return parse_eval_args()[1]
    finally:
        sys.argv = before


@contextmanager
def _named_errors(task: str) -> Iterator[None]:
    """Report in a line that a task's code failed, or ended the process in its own way."""
    try:
        yield
    except TvtError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise InputError(
            f"{task}: lmms-eval cannot ask or score its questions ({_line(error)}); see what the task needs"
        ) from error
    except SystemExit as error:
        raise InputError(f"{task}: lmms-eval stopped by itself ({error}); run it with lmms-eval alone to see why") from error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
