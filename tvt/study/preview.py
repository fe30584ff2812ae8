"""A look at mixtures before training them: the study's own adapters, merged by the mixture's weights and scored.

The merge for a seed sums that seed's single-source adapters, so its change of the base model is the weighted mean of theirs.
Training on the mixture gives another change: sources meet in the same steps. What the merge says is therefore a measurement of
something near, and :class:`tvt.study.previewed.Agreement` says how near it came wherever a mixture was trained as well.

Help usually grows less than in proportion to a source's examples, while its share of the merge is in proportion: merges of many
sources tend to understate them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tvt.core.arms import Candidate
from tvt.core.matrix import TransferMatrix
from tvt.core.scores import Run, Score
from tvt.data.task_questions import locate, read
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator, Target, question_count
from tvt.evaluate.harness.task import describe
from tvt.evaluate.merging import merge_adapters
from tvt.evaluate.results import CellResult
from tvt.io import machine
from tvt.io.adapter_file import dropped_digest
from tvt.io.atomic import attempted
from tvt.selection.engine import Prepared
from tvt.study.plan import Study
from tvt.study.previewed import (
    Gain,
    Preview,
    Previewed,
    agreements,
    judged,
    predicted_gains,
    wished_targets,
)
from tvt.study.run_folders import CLAIM
from tvt.study.session import Session
from tvt.study.store import Store
from tvt.train.record import ADAPTER
from tvt.train.record import RECORD as TRAINING

Progress = Callable[[int, int], None]
"""Called with how many questions are done and how many there are, over all merges."""
MOST_TRAINED = 12
LOOK = (
    "merged adapters are a look ahead, not a promise: training on the mixture may come out otherwise, and the selection stays "
    "as it is"
)


def _silent(done: int, total: int) -> None:
    pass


def preview(
    session: Session,
    candidates: Sequence[Candidate],
    prepared: Prepared,
    *,
    progress: Progress = _silent,
    selected: str | None = None,
) -> Preview:
    """Merge, score and rank candidate mixtures; the merged adapters are removed again, their answers stay in the study.

    Args:
        session: the study; its single-source runs on the whole budget give the adapters.
        candidates: mixtures of the study's budget, with different labels.
        prepared: the selection's request and response on this study: they say which targets count, what is predicted and how
            candidates are ranked. Protected targets are scored too, and harm below their limits costs as in the selection.
        progress: called with how many questions are done.
        selected: label of the candidate that was selected.

    Raises:
        InputError: a target that is none of the study's, adapters that cannot be merged, or none that is there at all.
    """
    targets = wished_targets(prepared)
    result = _Merges(session, targets).score(candidates, progress)
    runs = {c.label: list(trained_scores(session, c, targets)) for c in candidates}
    previewed = _previewed(session.study, prepared, targets=targets, candidates=candidates, found=result, runs=runs)
    compared, noise = agreements(previewed)
    return Preview(
        objective=prepared.spec.aim.name,
        targets=targets,
        counting={t: float(w) for t, w in zip(prepared.request.targets, prepared.request.weights, strict=True) if w > 0},
        selected=selected,
        candidates=tuple(previewed),
        agreement=compared,
        trained_error=noise,
        asked=result.asked,
        notes=tuple(_notes(session.study, prepared, previewed)),
    )


def _previewed(
    study: Study,
    prepared: Prepared,
    *,
    targets: Sequence[str],
    candidates: Sequence[Candidate],
    found: _Found,
    runs: Mapping[str, Sequence[Score]],
) -> list[Previewed]:
    """Every candidate with all that is known of it, the best merged objective first; what was not merged comes last."""
    merged = _gains(study, found.base, found.scores)
    trained = _gains(study, found.base, [score for scores in runs.values() for score in scores])
    previewed = []
    for candidate in candidates:
        label = candidate.label
        predicted, linear = predicted_gains(candidate, prepared, targets)
        gains: dict[str, Mapping[str, float]] = {"linear": linear}
        known = {"merged": merged.get(label, {}), "predicted": predicted, "trained": trained.get(label, {})}
        gains |= {figure: {t: gain.value for t, gain in by_target.items()} for figure, by_target in known.items()}
        values = {figure: judged(by_target, prepared) for figure, by_target in gains.items()}
        previewed.append(
            Previewed(
                candidate=candidate,
                **known,
                linear=linear,
                merged_seeds=found.seeds.get(label, ()),
                trained_seeds=tuple(sorted({_seed(score) for score in runs[label]})),
                objective={figure: value for figure, value in values.items() if value is not None},
                missing=found.missing.get(label),
            )
        )
    last = float("-inf")
    return sorted(previewed, key=lambda p: (-p.objective.get("merged", last), -p.objective.get("predicted", last)))


_Merge = tuple[Candidate, int, dict[Path, float]]
"""A candidate, a seed, and that seed's adapters with their weights."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the merges scored; ``seeds`` and ``missing`` by candidate label."""

    base: list[Score]
    scores: list[Score]
    seeds: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, str]
    asked: int


class _Merges:
    """Merges one candidate and seed after the other, so that one merged adapter at a time takes room on the disk."""

    def __init__(self, session: Session, targets: Sequence[str]) -> None:
        self.study, self.store = session.study, session.store
        unknown = [t for t in targets if t not in self.study.targets]
        if unknown:
            raise InputError(*(f"target {t} is none of the study {self.store.folder}; it cannot be previewed" for t in unknown))
        recipe = self.study.recipe
        self._evaluator = Evaluator(recipe.model, recipe.evaluation, self.store.answers, endpoint=recipe.runtime.endpoint)
        self._questions = {t: self._target(t) for t in targets}
        self._count = sum(question_count(asked, recipe.evaluation.questions) for asked in self._questions.values())

    def _target(self, target: str) -> Target:
        recipe, data = self.study.recipe, locate(self.study.targets[target], "evaluation")
        if data.harness is None:
            return tuple(read(data, target))
        return describe(data, limit=recipe.evaluation.questions, python=recipe.runtime.lmms_eval_python)

    def score(self, candidates: Sequence[Candidate], progress: Progress) -> _Found:
        todo, missing = self._plan(candidates)
        total = (1 + len(todo)) * self._count
        cells = self._ask(None, 0, total, progress)
        base, asked = cells, sum(cell.asked for cell in cells.values())
        scores: list[Score] = []
        seeds: dict[str, list[int]] = {}
        with machine.resource_errors(self.store.folder, "the preview"), _room(self.store.folder) as room:
            for place, (candidate, seed, adapters) in enumerate(todo, 1):
                merged = merge_adapters(self.study.recipe.model, adapters, room / "merged")
                cells = self._ask(merged, place * self._count, total, progress)
                shutil.rmtree(merged)
                scores += [cell.score(run=_run_name(seed), source=candidate.label, base=base[t]) for t, cell in cells.items()]
                seeds.setdefault(candidate.label, []).append(seed)
                asked += sum(cell.asked for cell in cells.values())
        base_scores = [cell.score(run="base", source=None) for cell in base.values()]
        return _Found(
            base=base_scores, scores=scores, seeds={c: tuple(s) for c, s in seeds.items()}, missing=missing, asked=asked
        )

    def _plan(self, candidates: Sequence[Candidate]) -> tuple[list[_Merge], dict[str, str]]:
        """What to merge, seed by seed, and for which candidates something is missing, with the first reason."""
        todo: list[_Merge] = []
        missing: dict[str, str] = {}
        for candidate in candidates:
            for seed in self.study.recipe.seeds:
                adapters: dict[Path, float] = {}
                for source, weight in candidate.weights.items():
                    adapter = self._adapter(source, seed)
                    if isinstance(adapter, str):
                        missing.setdefault(candidate.label, adapter)
                        break
                    adapters[adapter] = weight
                else:
                    todo.append((candidate, seed, adapters))
        if not todo:
            reason = next(iter(missing.values()), "there is no candidate")
            raise InputError(
                f"{self.store.folder}: nothing can be merged ({reason}); finish the study with tvt study run first"
            )
        return todo, missing

    def _adapter(self, source: str, seed: int) -> Path | str:
        """A source's own adapter, or why it is not there."""
        if source not in self.study.sources:
            return f"{source} is no source of the study"
        run = self.study.source_run(source, seed)
        run_id = self.study.run_id(run)
        folder = self.store.run_folder(run_id)
        if self.study.recipe.training.method == "full":
            return f"{run.name}: was finetuned as a whole, and adapters alone are merged"
        if (folder / TRAINING).is_file() and dropped_digest(folder / ADAPTER) is not None:
            return f"{run.name}: its adapter was dropped once it was scored (runtime.keep)"
        if (folder / TRAINING).is_file() and (folder / ADAPTER).is_dir():
            return folder / ADAPTER
        return f"{run.name}: {self.store.failure(run_id) or 'not trained yet'}"

    def _ask(self, adapter: Path | None, before: int, total: int, progress: Progress) -> dict[str, CellResult]:
        (cells,) = self._evaluator.evaluate([adapter], self._questions, lambda done, _: progress(before + done, total))
        return cells


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A folder for merged adapters, removed afterwards; one that a killed preview left is removed before."""
    for left in folder.glob(".preview-*"):
        with suppress(OSError), attempted(left / CLAIM) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    room = Path(tempfile.mkdtemp(dir=folder, prefix=".preview-"))
    try:
        with attempted(room / CLAIM):
            yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _run_name(seed: int) -> str:
    return f"seed_{seed}"


def _seed(score: Score) -> int:
    return int(score.run.removeprefix("seed_"))


def trained_scores(session: Session, candidate: Candidate, targets: Sequence[str]) -> Iterator[Score]:
    """The cells of this study's runs on the candidate's very counts, for all seeds that have every target."""
    study = session.study
    if not set(candidate.counts) <= set(study.training):
        return
    for seed in study.recipe.seeds:
        run = Run(label=candidate.label, counts=candidate.counts, seed=seed)
        cells = session.store.finished(study.run_id(run)).cells
        scored = {t: cells.get((t, "evaluation")) for t in targets}
        if any(cell is None or cell.key != study.questions[t, "evaluation"] for t, cell in scored.items()):
            continue
        for target, cell in scored.items():
            assert cell is not None  # noqa: S101 - looked at above
            yield Score(
                run=_run_name(seed),
                source=candidate.label,
                target=target,
                accuracy=cell.correct / cell.total,
                correct=cell.correct,
                total=cell.total,
                both_correct=cell.both_correct,
            )


def trained_candidates(study: Study, store: Store) -> tuple[Candidate, ...]:
    """The mixtures of several sources that this study has trained and scored at its budget, at most ``MOST_TRAINED``.

    They cost a merge each, and show how far merges and predictions can be trusted here.
    """
    result: dict[tuple[tuple[str, int], ...], Candidate] = {}
    for run_id, spec in sorted(store.known().items(), key=lambda item: (item[1].run.label, item[0])):
        run, counts = spec.run, dict(spec.run.counts)
        key = tuple(sorted(counts.items()))
        fits = len(counts) > 1 and sum(counts.values()) == study.recipe.budget and run.seed in study.recipe.seeds
        if not fits or key in result or not set(counts) <= set(study.training):
            continue
        if study.run_id(run) == run_id and store.finished(run_id).cells:
            labels = {candidate.label for candidate in result.values()}
            label = next(text for n in range(1, len(result) + 2) if (text := _earlier(run.label, n)) not in labels)
            result[key] = Candidate(label=label, counts=counts, about="trained in this study before")
    return tuple(result.values())[:MOST_TRAINED]


def _earlier(label: str, number: int) -> str:
    return f"earlier {label}" + (f" ({number})" if number > 1 else "")


def _gains(study: Study, base: Sequence[Score], scores: Sequence[Score]) -> dict[str, dict[str, Gain]]:
    """PGF with errors by label and target: the very arithmetic of the study's matrix."""
    if not scores:
        return {}
    matrix = TransferMatrix.from_scores([*base, *scores], tasks=[m.task() for m in study.targets.values()])
    mean, error = matrix.mean, matrix.error
    return {
        label: {
            t: Gain(value=float(mean[i, j]), error=float(error[i, j]) if error[i, j] == error[i, j] else None)
            for j, t in enumerate(matrix.targets)
            if mean[i, j] == mean[i, j]
        }
        for i, label in enumerate(matrix.sources)
    }


def _notes(study: Study, prepared: Prepared, order: Sequence[Previewed]) -> Iterator[str]:
    yield LOOK
    if any(p.candidate.single for p in order) and any(not p.candidate.single for p in order):
        yield (
            "a merge dilutes what each source adds, and one source alone is not diluted: mixtures of several sources tend to "
            "look worse beside it than they train"
        )
    if len(study.recipe.seeds) == 1:
        yield "one seed: the errors leave out the noise between seeds, which is unknown"
    incomplete = [p for p in order if p.missing is not None]
    if incomplete:
        yield f"not merged for every seed: {', '.join(p.candidate.label for p in incomplete)} ({incomplete[0].missing})"
    matrix = prepared.evidence.matrix
    beside = None if matrix is None else matrix.evidence
    compared = any(p.trained and not p.candidate.single for p in order)
    fitted = prepared.of.joint is not None or prepared.curvature is not None
    if compared and beside is not None and fitted and prepared.spec.kappa is None:
        yield "the response was fitted on runs of this study, these mixtures' among them, which flatters the prediction"
