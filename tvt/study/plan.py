"""What a study consists of: its tasks, its runs, and the identity that names each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tvt.core.choices import METRICS, READERS
from tvt.core.question import QuestionSet
from tvt.core.recipe import Recipe
from tvt.core.scores import Part, PlaceboKind, Run, placebo_name, set_name
from tvt.data.controls import Asked, asked, control_faults, control_identity
from tvt.data.mixing.plan import LAYOUT
from tvt.data.questions.checks import Forbidden
from tvt.data.task_data import resolve_data_paths
from tvt.data.task_questions import Absent, absent, as_stored, check_metric, choose, count, identify, locate, look_at_set, read
from tvt.data.task_questions import Part as QuestionPart
from tvt.data.tasks import QuestionData, TaskManifest, find_manifests
from tvt.errors import InputError, MissingPackageError
from tvt.evaluate.harness.task import HarnessTask, describe, described
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.readers import find_reader
from tvt.evaluate.results import metric_faults
from tvt.evaluate.store import SCORER_VERSION
from tvt.io import digest
from tvt.io.names import file_name, quoted_name, same_files
from tvt.study.run_folders import run_id_of
from tvt.train.record import ORDER_VERSION, base_digest

BASE_RUN = Run(label="base", counts={})


@dataclass(frozen=True, kw_only=True)
class Study:
    """A recipe with all that it stands on looked up and checked."""

    recipe: Recipe
    sources: Mapping[str, TaskManifest]
    """By task name, in the recipe's order."""
    targets: Mapping[str, TaskManifest]
    training: Mapping[str, str]
    """Digest of each source's training rows."""
    questions: Mapping[tuple[str, Part], str]
    """Digest of each target's questions, and how they are asked."""
    sizes: Mapping[tuple[str, Part], int]
    """How many questions each has."""
    sets: Mapping[tuple[str, Part], QuestionSet]
    """What is odd about them; of those that are on this machine."""
    base: str | None
    """Digest of a base model in a folder."""
    missing: tuple[Absent, ...] = ()
    """What is not on this machine yet; only of a study that is planned."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """How many training rows each source has; a source whose rows are not on this machine yet may be left out."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """How each target's answers are scored: ``accuracy``, or one of :data:`tvt.core.choices.METRICS`."""

    def runs(self) -> list[Run]:
        """The base, then one run per seed, dose and source; the full budget before the doses, seeds outermost.

        Placebo runs come last, so that they hold up no cell.
        """
        grid = [(seed, dose) for dose in sorted(self.recipe.doses, reverse=True) for seed in self.recipe.seeds]
        runs = [self.source_run(source, seed, dose) for seed, dose in grid for source in self.sources]
        distinct = {(*run.counts.items(), run.seed): run for run in reversed(runs)}  # two doses may come to the same examples
        placebos = [self.placebo_run(kind, seed) for kind in self.recipe.placebo for seed in self.recipe.seeds]
        return [BASE_RUN, *reversed(distinct.values()), *placebos]

    def source_run(self, source: str, seed: int, dose: float = 1.0) -> Run:
        """The run on one source alone, at no more examples than its rows allow (:meth:`whole`)."""
        count = min(max(1, round(dose * self.recipe.budget)), self.whole(source))
        share = dose if count == max(1, round(dose * self.recipe.budget)) else count / self.recipe.budget
        label = source if share == 1 else f"{source} at {share:.3g} of the budget"
        return Run(label=label, counts={source: count}, seed=seed)

    def whole(self, source: str) -> int:
        """Examples of a source's run: the budget, or as many as its rows give in the passes that the recipe allows."""
        most, rows = self.recipe.max_source_epochs, self.rows.get(source)
        if most is None or rows is None:
            return self.recipe.budget
        # Every example is seen num_train_epochs times, so that no choice of examples makes for fewer passes than that.
        passes = max(1.0, most / self.recipe.training.num_train_epochs)
        return max(1, min(self.recipe.budget, math.floor(passes * rows + 1e-9)))

    @property
    def limited(self) -> dict[str, float]:
        """The share of the budget that a source's run takes, of those whose rows do not allow all of it."""
        whole = {source: self.whole(source) for source in self.sources}
        return {source: count / self.recipe.budget for source, count in whole.items() if count < self.recipe.budget}

    def is_cell(self, run: Run) -> bool:
        """Whether a run makes cells of the matrix: a source alone, at as many examples as it is trained on."""
        return run.placebo is None and len(run.counts) == 1 and all(n == self.whole(s) for s, n in run.counts.items())

    def placebo_run(self, kind: PlaceboKind, seed: int) -> Run:
        """A run on the rows of all sources in equal shares, which teach nothing; the first sources take what is left over."""
        share, over = divmod(self.recipe.budget, len(self.sources))
        counts = {source: share + (at < over) for at, source in enumerate(self.sources)}
        return Run(label=placebo_name(kind), counts=counts, seed=seed, placebo=kind)

    def family(self) -> dict[str, Any]:
        """What all runs of this study have in common: plain values for a digest."""
        family = self.recipe.training_identity()
        if self.base is not None:  # what a model is, not where it lies
            family["model"] = {**family["model"], "model_name_or_path": self.base}
        return {**family, "order": ORDER_VERSION, "layout": LAYOUT}

    def identity(self, run: Run) -> dict[str, Any]:
        """What decides the run's adapter: plain values for a digest.

        Raises:
            InputError: it needs a source that is none of this study.
        """
        if run.is_base:  # how it would be trained is no part of what the base model is
            return {"base": self.family()["model"]}
        foreign = [source for source, count in run.counts.items() if count and source not in self.training]
        if foreign:
            raise InputError(*(f"{run.label}: source {name} is none of the study; add it to 'sources:'" for name in foreign))
        counts = run.plain()["counts"]
        data = {s: self._rows_digest(run.placebo, s) for s in counts}
        return {**self.family(), "counts": counts, "data": data, "seed": run.seed}

    def _rows_digest(self, placebo: PlaceboKind | None, source: str) -> str:
        """Of what a run shows of a source."""
        if placebo is None:
            return self.training[source]
        ours = {name: self.training[name] for name in self.sources}
        return digest.of_value(control_identity(placebo, source, ours))

    def run_id(self, run: Run) -> str:
        """The run's id."""
        return run_id_of(self.identity(run))

    def part(self, target: str) -> Part:
        """Which of a target's questions comparisons report on."""
        return "report" if self.targets[target].report is not None else "evaluation"


def load_study_plan(recipe: Recipe, progress: Callable[[str], object] = str, *, planning: bool = False) -> Study:
    """Look up the recipe's tasks and check all of their rows, so that nothing bad is met half-way.

    Args:
        recipe: the study's recipe, as read from its file.
        progress: called with the task whose rows are read.
        planning: what is not on this machine yet is listed in :attr:`Study.missing` and not an error; nothing is fetched.

    Raises:
        InputError: unknown tasks, missing files, bad rows, training rows that are also scored: every fault, one line each.
    """
    faults: list[str] = []
    manifests = resolve_data_paths(find_manifests(recipe.manifests), datasets=recipe.datasets, data_dir=recipe.data_dir)
    sources = _gather(lambda: choose(recipe.sources, manifests, "sources"), faults)
    targets = _gather(lambda: choose(recipe.targets, manifests, "targets"), faults)
    prompt = _gather(lambda: read_profile(recipe.evaluation.prompt).identity, faults)
    lacking = [absent(manifest, "training") for manifest in sources.values()]
    fetch = not planning and all(found is None or found.fetched for found in lacking)  # else it cannot run anyway
    scored = _scored(targets.values(), fetch)
    faults += same_files(sources, file_name) if recipe.data_dir is not None else []
    faults += same_files((set_name(*where) for where in _sets(targets.values())), quoted_name)
    reading = _Reading(recipe=recipe, prompt=prompt, planning=planning, fetch=fetch, scored=scored, faults=faults)
    for name, manifest in sources.items():
        progress(name)
        reading.source(manifest)
    for name, manifest in targets.items():
        progress(name)
        reading.target(manifest)
    faults += [fault for kind in recipe.placebo for fault in control_faults(kind, reading.first)]
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return Study(
        recipe=recipe,
        sources=sources,
        targets=targets,
        training=reading.training,
        questions=reading.questions,
        sizes=reading.sizes,
        sets=reading.sets,
        base=base_digest(recipe.model.model_name_or_path),
        rows=reading.rows,
        metrics=reading.metrics,
        missing=tuple(dict.fromkeys(reading.missing)) if planning else (),
    )


@dataclass(kw_only=True)
class _Reading:
    """Reads the rows of tasks one after the other, and keeps what it learnt of them."""

    recipe: Recipe
    prompt: Mapping[str, Any]
    planning: bool
    fetch: bool
    """Whether the hub may be asked."""
    scored: Forbidden
    faults: list[str]
    training: dict[str, str] = field(default_factory=dict)
    questions: dict[tuple[str, Part], str] = field(default_factory=dict)
    sizes: dict[tuple[str, Part], int] = field(default_factory=dict)
    sets: dict[tuple[str, Part], QuestionSet] = field(default_factory=dict)
    missing: list[Absent] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    first: dict[str, Asked] = field(default_factory=dict)
    """What each source's first row asks, where placebos are to be made of them."""

    def source(self, manifest: TaskManifest) -> None:
        """Read a task's training rows."""
        name = manifest.name
        if self._absent(manifest, "training"):
            self.training[name] = f"not here yet: {name}"
            if (stated := manifest.training.questions if manifest.training is not None else None) is not None:
                self.rows[name] = stated
            return
        before = len(self.faults)
        self.training[name] = _gather(lambda: identify(locate(manifest, "training"), name, self.scored), self.faults)
        if len(self.faults) > before:
            return
        self.rows[name] = count(locate(manifest, "training"))
        if self.recipe.placebo:
            self.first.update((name, own) for own in asked(islice(read(locate(manifest, "training"), name), 1)))

    def target(self, manifest: TaskManifest) -> None:
        """Read the questions that a task is scored on."""
        limit = self.recipe.evaluation.questions
        self.metrics[manifest.name] = manifest.scored_by
        for part in _parts(manifest):
            where = (manifest.name, part)
            if (data := locate(manifest, part)).harness is not None:
                self._harness(where, data)
                continue
            if not self._absent(manifest, part):
                faults = len(self.faults)
                self.questions[where] = _gather(lambda p=part: self._asked(manifest, p), self.faults)  # type: ignore[misc]
                rows = _gather(lambda p=part: count(locate(manifest, p)), self.faults) or 0  # type: ignore[misc]
                if len(self.faults) == faults:
                    _gather(lambda p=part: self._metric(manifest, p), self.faults)  # type: ignore[misc]
                    self.sets[where] = look_at_set(locate(manifest, part), set_name(*where), limit)
            else:
                self.questions[where] = f"not here yet: {manifest.name}, {part}"
                rows = locate(manifest, part).questions or 0
            self.sizes[where] = rows if limit is None else min(rows, limit)

    def _metric(self, manifest: TaskManifest, part: Part) -> None:
        """See how questions in a file are scored, by the first of them, and whether the recipe's mode can score them."""
        data = locate(manifest, part)
        if as_stored(data).path is None:
            return
        first = next(read(data, manifest.name), None)
        if first is not None:
            self.metrics[manifest.name] = first.scored_by
            self.faults += metric_faults(manifest.name, [first], self.recipe.evaluation.mode)

    def _harness(self, where: tuple[str, Part], data: QuestionData) -> None:
        """Note a target that lmms-eval asks; a plan starts no lmms-eval, and says what it does not know yet."""
        limit, python = self.recipe.evaluation.questions, self.recipe.runtime.lmms_eval_python
        target: HarnessTask | None = None
        absent_: Absent | None = None
        try:
            target = (described if self.planning else describe)(data, limit=limit, python=python)
            if target is None:
                what, step = f"lmms-eval has not loaded its task {data.task} yet", "the study does it when it runs"
                absent_ = Absent(of=where[0], what=what, step=step, fetched=True)
        except MissingPackageError as error:
            what, _, step = str(error).partition("; ")
            absent_ = Absent(of=where[0], what=what, step=step)
            if not self.planning:
                raise
        except InputError as error:
            self.faults += [f"{where[0]}: {fault}" for fault in error.faults]
        if absent_ is not None:
            self.missing.append(absent_)
        self.metrics[where[0]] = "lmms-eval" if target is None else f"lmms-eval {target.metric}"
        limits = [count for count in (data.limit, limit) if count is not None]
        self.sizes[where] = target.questions if target is not None else min(limits, default=0)
        self.questions[where] = (
            f"not here yet: {where[0]}, {where[1]}" if target is None else digest.of_value({"harness": target.identity})
        )

    def _asked(self, manifest: TaskManifest, part: Part) -> str:
        """Digest of questions and of how they are asked."""
        settings = {**self.recipe.evaluation_identity(), **self.prompt, "scorer": SCORER_VERSION}
        settings |= _judged(manifest.scored_by, self.recipe.evaluation.mode)
        content = identify(locate(manifest, part), manifest.name)
        if not self.planning:
            check_metric(manifest, read(locate(manifest, part), manifest.name))
        return digest.of_value({"content": content, "asked": settings})

    def _absent(self, manifest: TaskManifest, part: QuestionPart) -> bool:
        """Whether questions are left for later; notes what brings them."""
        found = absent(manifest, part)
        if found is not None:
            self.missing.append(found)
        return found is not None and (self.planning or (found.fetched and not self.fetch))


def _judged(metric: str, mode: str) -> dict[str, Any]:
    """What decides the score of a stored answer: another version judges it anew, and asks nothing.

    A metric that no manifest names, and MRA, which was there before there were others, are left out while they are as at first.
    """
    named = METRICS.find(METRICS.default if metric == "accuracy" else metric)
    decides: dict[str, Any] = {}
    if mode == "options" and metric == "accuracy":
        return decides  # letters alone are scored
    if mode == "generate" or named.reads == "number":
        decides["reader"] = find_reader(READERS.default).identity
    if named.version > 1 or metric not in ("accuracy", "mra"):
        decides["metric"] = named.identity
    return decides


def _scored(targets: Iterable[TaskManifest], fetch: bool) -> Forbidden:
    """The questions that are scored on and can be files, and hence not trained on; drawn ones share none with training rows."""
    paths = []
    for manifest in targets:
        for part in _parts(manifest):
            data: QuestionData | None = getattr(manifest, part)
            if data is not None and (fetch or absent(manifest, part) is None):
                with suppress(InputError):  # faults are reported where the questions are identified
                    data = as_stored(data)
                    if data.path is not None:
                        paths.append(Path(data.path))
    return Forbidden(paths)


def _parts(manifest: TaskManifest) -> tuple[Part, ...]:
    return ("evaluation", "report") if manifest.report is not None else ("evaluation",)


def _sets(targets: Iterable[TaskManifest]) -> Iterator[tuple[str, Part]]:
    """The sets of questions that are scored."""
    yield from ((manifest.name, part) for manifest in targets for part in _parts(manifest))


def _gather(step: Callable[[], Any], faults: list[str]) -> Any:
    """What a step returns, or something empty with its faults noted."""
    try:
        return step()
    except InputError as error:
        faults += error.faults
        return {}
