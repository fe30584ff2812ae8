"""What a study consists of: its tasks, its runs, and the identity that names each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.core.run import Part, Run
from tvt.data.mix_plan import LAYOUT
from tvt.data.placing import placed
from tvt.data.question_checks import EvaluationSet
from tvt.data.task_questions import as_stored, choose, count, identify, locate
from tvt.data.tasks import QuestionData, TaskManifest, find_manifests
from tvt.errors import InputError
from tvt.evaluate.identity import SCORER_VERSION
from tvt.io import digest
from tvt.train.base import base_digest
from tvt.train.record import ORDER_VERSION

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
    base: str | None
    """Digest of a base model in a folder."""

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
        told = self.recipe.training_identity()
        if self.base is not None:  # what a model is, not where it lies
            told["model"] = {**told["model"], "model_name_or_path": self.base}
        return {**told, "order": ORDER_VERSION, "layout": LAYOUT}

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
        """Name of the run's folder."""
        return digest.of_value(self.identity(run))[:20]

    def part(self, target: str) -> Part:
        """Which of a target's questions comparisons report on."""
        return "report" if self.targets[target].report is not None else "evaluation"


def load_study_plan(recipe: Recipe, progress: Callable[[str], object] = str) -> Study:
    """Look up the recipe's tasks and check all of their rows, so that nothing bad is met half-way.

    Args:
        recipe: the study's recipe, as read from its file.
        progress: told which task's rows are read.

    Raises:
        InputError: unknown tasks, missing files, bad rows, training rows that are also scored: every fault, one line each.
    """
    manifests = placed(find_manifests(recipe.manifests), datasets=recipe.datasets, data_dir=recipe.data_dir)
    faults: list[str] = []
    sources = _gather(lambda: choose(recipe.sources, manifests, "sources"), faults)
    targets = _gather(lambda: choose(recipe.targets, manifests, "targets"), faults)
    training: dict[str, str] = {}
    scored = _scored(targets.values())
    for name, manifest in sources.items():
        progress(name)
        _gather(
            lambda m=manifest: training.update({m.name: identify(locate(m, "training"), m.name, scored)}),  # type: ignore[misc]
            faults,
        )
    questions: dict[tuple[str, Part], str] = {}
    sizes: dict[tuple[str, Part], int] = {}
    for name, manifest in targets.items():
        progress(name)
        _gather(lambda m=manifest: questions.update(_question_digests(m, recipe)), faults)  # type: ignore[misc]
        _gather(lambda m=manifest: sizes.update(_question_counts(m, recipe)), faults)  # type: ignore[misc]
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return Study(
        recipe=recipe,
        sources=sources,
        targets=targets,
        training=training,
        questions=questions,
        sizes=sizes,
        base=base_digest(recipe.model.model_name_or_path),
    )


def _scored(targets: Iterable[TaskManifest]) -> EvaluationSet:
    """The questions that are scored on and can be files, and hence not trained on; drawn ones share none with training rows."""
    found = EvaluationSet()
    for manifest in targets:
        for part in _parts(manifest):
            data: QuestionData | None = getattr(manifest, part)
            if data is not None:
                with suppress(InputError):  # faults are told where the questions are identified
                    data = as_stored(data)
                    if data.path is not None:
                        found.add(Path(data.path))
    return found


def _question_digests(manifest: TaskManifest, recipe: Recipe) -> dict[tuple[str, Part], str]:
    asked = {**recipe.evaluation_identity(), "scorer": SCORER_VERSION}
    return {
        (manifest.name, part): digest.of_value({"content": identify(locate(manifest, part), manifest.name), "asked": asked})
        for part in _parts(manifest)
    }


def _question_counts(manifest: TaskManifest, recipe: Recipe) -> dict[tuple[str, Part], int]:
    limit = recipe.evaluation.questions
    found = {part: count(locate(manifest, part)) for part in _parts(manifest)}
    return {(manifest.name, part): rows if limit is None else min(rows, limit) for part, rows in found.items()}


def _parts(manifest: TaskManifest) -> tuple[Part, ...]:
    return ("evaluation", "report") if manifest.report is not None else ("evaluation",)


def _gather(step: Callable[[], Any], faults: list[str]) -> Any:
    """What a step returns, or an empty mapping with its faults noted."""
    try:
        return step()
    except InputError as error:
        faults += error.faults
        return {}
