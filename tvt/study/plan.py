"""What a study consists of: its tasks, its runs, and the identity that names each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvt.core.choices import READERS
from tvt.core.recipe import Recipe
from tvt.core.scores import Part, Run, set_name
from tvt.core.task import QuestionSet
from tvt.data.mixing.plan import LAYOUT
from tvt.data.questions.checks import Forbidden
from tvt.data.task_data import resolve_data_paths
from tvt.data.task_questions import Absent, absent, as_stored, check_metric, choose, count, identify, locate, look_at_set, read
from tvt.data.task_questions import Part as QuestionPart
from tvt.data.tasks import QuestionData, TaskManifest, find_manifests
from tvt.errors import InputError
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.readers import find_reader
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

    def runs(self) -> list[Run]:
        """The base, then one run per seed, dose and source; the full budget before the doses, seeds outermost."""
        grid = [(seed, dose) for dose in sorted(self.recipe.doses, reverse=True) for seed in self.recipe.seeds]
        runs = [self.source_run(source, seed, dose) for seed, dose in grid for source in self.sources]
        distinct = {(*run.counts.items(), run.seed): run for run in reversed(runs)}  # two doses may come to the same examples
        return [BASE_RUN, *reversed(distinct.values())]

    def source_run(self, source: str, seed: int, dose: float = 1.0) -> Run:
        """The run on one source alone."""
        label = source if dose == 1 else f"{source} at {dose:.3g} of the budget"
        return Run(label=label, counts={source: max(1, round(dose * self.recipe.budget))}, seed=seed)

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
        return {**self.family(), "counts": counts, "data": {s: self.training[s] for s in counts}, "seed": run.seed}

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

    def source(self, manifest: TaskManifest) -> None:
        """Read a task's training rows."""
        if not self._absent(manifest, "training"):
            found = _gather(lambda: identify(locate(manifest, "training"), manifest.name, self.scored), self.faults)
            self.training[manifest.name] = found
        else:
            self.training[manifest.name] = f"not here yet: {manifest.name}"

    def target(self, manifest: TaskManifest) -> None:
        """Read the questions that a task is scored on."""
        limit = self.recipe.evaluation.questions
        for part in _parts(manifest):
            where = (manifest.name, part)
            if not self._absent(manifest, part):
                faults = len(self.faults)
                self.questions[where] = _gather(lambda p=part: self._asked(manifest, p), self.faults)  # type: ignore[misc]
                rows = _gather(lambda p=part: count(locate(manifest, p)), self.faults) or 0  # type: ignore[misc]
                if len(self.faults) == faults:
                    self.sets[where] = look_at_set(locate(manifest, part), set_name(*where), limit)
            else:
                self.questions[where] = f"not here yet: {manifest.name}, {part}"
                rows = locate(manifest, part).questions or 0
            self.sizes[where] = rows if limit is None else min(rows, limit)

    def _asked(self, manifest: TaskManifest, part: Part) -> str:
        """Digest of questions and of how they are asked."""
        settings = {**self.recipe.evaluation_identity(), **self.prompt, "scorer": SCORER_VERSION}
        if self.recipe.evaluation.mode == "generate" or manifest.metric == "mra":
            settings["reader"] = find_reader(
                READERS.default
            ).identity  # another version reads stored answers anew, and asks nothing
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
