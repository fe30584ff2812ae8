"""A study folder and the study in it: opened, planned, brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvt.core.choices import READERS
from tvt.core.events import Done, Failed, StudyEvent
from tvt.core.recipe import Recipe, identity
from tvt.core.scores import Part, Run, set_name
from tvt.errors import InputError
from tvt.evaluate.readers import find_reader
from tvt.evaluate.store import SCORER_VERSION, AnswerStore
from tvt.io import atomic, machine, strict_yaml
from tvt.io.atomic import exclusively
from tvt.io.yaml_files import load_recipe
from tvt.study.conductor import Conductor, More
from tvt.study.executors import Start
from tvt.study.jobs import RunTask, Where, check_job, make_job, make_task
from tvt.study.plan import BASE_RUN, Study, load_study_plan
from tvt.study.run_folders import tidy
from tvt.study.store import RECIPE, Cells, Status, Store
from tvt.study.views import write_views
from tvt.train.record import ORDER_VERSION, base_digest


@dataclass(frozen=True, kw_only=True)
class Session:
    """A study and the folder of its runs."""

    study: Study
    store: Store

    def tasks(self) -> list[RunTask]:
        """Everything that makes the transfer matrix: each run on every target."""
        cells: list[Where] = [(target, "evaluation") for target in self.study.targets]
        return [make_task(self.study, run, cells) for run in self.study.runs()]

    def comparison_tasks(self, runs: Sequence[Run], targets: Sequence[str]) -> list[RunTask]:
        """The runs of a comparison, and the base: scored on all targets, as evidence, and on what is reported on."""
        parts: tuple[Part, ...] = ("evaluation", "report")
        cells: list[Where] = [(t, part) for t in self.study.targets for part in parts if self._is_scored(t, part, targets)]
        tasks = [make_task(self.study, run, cells) for run in (BASE_RUN, *runs)]
        return list({task.run_id: task for task in tasks}.values())

    def _is_scored(self, target: str, part: Part, targets: Sequence[str]) -> bool:
        return part == "evaluation" or (target in targets and (target, part) in self.study.questions)

    def status(self, tasks: Sequence[RunTask]) -> dict[str, Status]:
        """How far each task is, by run id."""
        return {task.run_id: self.store.status(task.run_id, task.keys) for task in tasks}

    def do(
        self,
        tasks: Sequence[RunTask],
        start: Start,
        report: Callable[[StudyEvent], None],
        *,
        retry: bool = False,
        more: More | None = None,
    ) -> None:
        """Do what is missing of ``tasks``; the study's tables are brought up to date after every run.

        Args:
            tasks: from :meth:`tasks` or :meth:`comparison_tasks`.
            start: from :func:`tvt.study.executors.choose_executor`.
            report: gets every message.
            retry: also try again what failed before.
            more: decides on the way which of ``tasks`` to do; default: all, in order.

        Raises:
            InputError: something that would stop every run; what is done stays.
        """
        with machine.resource_errors(self.store.folder, self.study.recipe.name):
            with exclusively(self.store.folder / ".views"):
                save_recipe(self.study.recipe, self.store.folder)
            if retry:
                for task in tasks:
                    self.store.forgive(task.run_id)
            self._do_missing(tasks, start, report, more)

    def _do_missing(
        self, tasks: Sequence[RunTask], start: Start, report: Callable[[StudyEvent], None], more: More | None
    ) -> None:
        status = self.status(tasks)
        todo = [task for task in tasks if status[task.run_id] not in ("done", "failed")]

        def handle(event: StudyEvent) -> None:
            if isinstance(event, Done | Failed):
                write_views(self.study, self.store)
            report(event)

        try:
            with exclusively(self.store.folder / "logs" / ".lock"):
                tidy(self.store.folder)
            if todo:
                job = make_job(self.study, self.store.folder, todo)
                check_job(self.study, job)
                Conductor(job, start(job), handle, more).run()
        finally:
            write_views(self.study, self.store)


def open_session(recipe: Recipe, folder: Path, progress: Callable[[str], object] = str, *, planning: bool = False) -> Session:
    """Look up everything that a recipe names; nothing is written into the folder.

    Args:
        recipe: the study's recipe.
        folder: of its runs.
        progress: called with the task whose rows are read.
        planning: whether data may be missing; the session can be looked at then, and not run.

    Raises:
        InputError: see :func:`tvt.study.plan.load_study_plan`.
    """
    atomic.refuse_file(folder)
    return Session(study=load_study_plan(recipe, progress, planning=planning), store=Store(folder))


def reopen(folder: Path, progress: Callable[[str], object] = str) -> Session:
    """Open a study folder by the recipe that is stored in it.

    Raises:
        InputError: no study of tvt study, or what it stands on is gone.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"{folder}: no study with runs ({RECIPE} is missing); make one with tvt study run RECIPE -o {folder}")
    return open_session(stored_recipe(path), folder, progress)


def stored_recipe(path: Path) -> Recipe:
    """The recipe in a study's folder. Versions before 0.3 knew no limit of passes over few rows: their runs had none."""
    recipe = load_recipe(path)
    known = "max_source_epochs" in strict_yaml.load_file(path)
    return recipe if known else recipe.model_copy(update={"max_source_epochs": None})


def save_recipe(recipe: Recipe, folder: Path) -> None:
    """Write the recipe into the study's folder."""
    text = "# The recipe of this study, as tvt study last ran it.\n" + strict_yaml.dump(recipe.model_dump(mode="json"))
    atomic.write_text(folder / RECIPE, text)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """In what a study differs, as far as results go, from what its folder was last run with; one line each."""

    remade: tuple[str, ...]
    """For these, runs are trained anew."""
    rescored: tuple[str, ...]
    """For these, adapters stay and are scored anew."""


def changes(session: Session) -> Changes:
    """Compare a study with what its folder knows: fields of the recipe, the base model, rows and questions.

    Raises:
        InputError: the folder's records are damaged.
    """
    study, store = session.study, session.store
    path = store.folder / RECIPE
    if not path.is_file():
        return Changes(remade=(), rescored=())
    stored = stored_recipe(path)
    before, now = _results(stored), _results(study.recipe)
    known = [spec.identity for spec in store.known().values()]
    base_cells = store.finished(study.run_id(BASE_RUN)).cells
    models = {identity.get("model", identity.get("base"))["model_name_or_path"] for identity in known}
    earlier = base_digest(str(before["model.model_name_or_path"]))
    if study.base is not None and (
        study.base == earlier or (earlier is None and study.base in models)
    ):  # it lies elsewhere now
        before["model.model_name_or_path"] = study.recipe.model.model_name_or_path
    fields = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    lines = {name: f"{name}: {before.get(name)} before, {now.get(name)} now" for name in fields}
    rows = {(source, item) for identity in known for source, item in identity.get("data", {}).items()}
    remade = [line for name, line in lines.items() if not name.startswith("evaluation.")]
    if study.base is not None and models and study.base not in models and "model.model_name_or_path" not in lines:
        remade.append(f"{study.recipe.model.model_name_or_path}: another model than before")
    sources = {source for source, _ in rows}
    remade += [f"the training rows of {s}" for s, d in study.training.items() if s in sources and (s, d) not in rows]
    remade += _other_doses(study, stored)
    remade += _newer(
        "the way rows are trained on", {identity["order"] for identity in known if "order" in identity}, ORDER_VERSION
    )
    rescored = [line for name, line in lines.items() if name.startswith("evaluation.")]
    others = [t for (t, p), k in study.questions.items() if (t, p) in base_cells and base_cells[t, p].key != k]
    scorer = _newer("the way answers are scored", _scorers(store, base_cells), SCORER_VERSION)
    if base_cells and not others:  # e.g. a template that lies elsewhere now
        rescored = []
    elif scorer:
        rescored += scorer
    elif reader := _newer(
        f"the reader of answers ({READERS.default})", _reader_versions(store, base_cells), find_reader(READERS.default).version
    ):
        rescored += reader
    elif not fields:
        rescored = [f"the questions of {target}" for target in others]
    return Changes(remade=tuple(remade), rescored=tuple(rescored))


def _other_doses(study: Study, stored: Recipe) -> list[str]:
    """A line for the sources that take another number of examples than before, as the limit of passes is another one."""
    if stored.max_source_epochs == study.recipe.max_source_epochs or stored.budget != study.recipe.budget:
        return []
    earlier = replace(study, recipe=stored)
    moved = [s for s in study.sources if s in stored.sources and earlier.whole(s) != study.whole(s)]
    limits = f"max_source_epochs: {stored.max_source_epochs} before, {study.recipe.max_source_epochs} now"
    counts = ", ".join(f"{s} takes {study.whole(s):,} examples, {earlier.whole(s):,} before" for s in moved)
    return [f"{limits} ({counts})"] if moved else []


def _newer(what: str, versions: set[int], now: int) -> list[str]:
    """A line where all results of a folder are of other versions of tvt's own code than today's."""
    return [f"{what}: version {max(versions)} before, {now} now"] if versions and now not in versions else []


def _scorers(store: Store, cells: Cells) -> set[int]:
    """The versions of the scorer that the answers behind some cells are of; those of another harness have none."""
    identities = [AnswerStore.reopen(store.answers / folder).identity for folder in {cell.answers for cell in cells.values()}]
    return {identity["scorer"] for identity in identities if "harness" not in identity}


def _reader_versions(store: Store, cells: Cells) -> set[int]:
    """The versions of the reader of the answers behind some cells, where these are text."""
    records = [AnswerStore.reopen(store.answers / cell.answers).finished(set_name(*where))[1] for where, cell in cells.items()]
    return {record["reader"]["version"] for record in records if "reader" in record}


def _results(recipe: Recipe) -> dict[str, Any]:
    """All fields that change results, by their dotted name."""
    result: dict[str, Any] = {"budget": recipe.budget}
    for part in ("model", "lora", "training", "evaluation"):
        result |= {f"{part}.{name}": value for name, value in identity(getattr(recipe, part)).items()}
    return result
