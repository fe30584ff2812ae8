"""Transfer estimated from gradients: the base model is scored, and the gradients of its loss on each source's rows and of its
score on each target's questions are taken with the adapter that every run begins with. Nothing is trained.

Every source and every target has a file of its own, ``gradients/*.npz``, named after the digest of all that it rests on: what
is there is used again, also after a kill. ``gradients.json`` is made of them and comes last.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tvt.core.gradients import GradientCells
from tvt.core.mixture import Mixture
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.studies.gradient_file import write_gradients
from tvt.data.task_questions import as_file, read
from tvt.errors import InputError
from tvt.evaluate.asking import compose
from tvt.evaluate.scored_quantity import ScoredQuantity
from tvt.evaluate.scorer import Scorer
from tvt.io import atomic, digest, machine
from tvt.io.atomic import exclusively
from tvt.io.names import file_name
from tvt.model.base import Loaded
from tvt.study.jobs import Where, check_job, make_job, make_task
from tvt.study.session import Session
from tvt.types import Floats, silent

if TYPE_CHECKING:
    from tvt.train.gradients import AdapterGradients

Report = Callable[[str, int, int], object]
ROWS, QUESTIONS = 96, 128
"""Rows of a source and questions of a target: more were no better on the miniature."""
CHUNKS = 8
"""Groups of rows, and of questions, whose gradients are stored apart: errors come from leaving each of them out."""
VERSION = 1
"""Raised whenever the same study gives other gradients."""
FOLDER = "gradients"
HARNESS = "it is asked by another harness, whose score has no gradient here"


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """The gradients of a source's loss, or of a target's score, as means over chunks of its rows or questions."""

    chunks: Floats
    """(chunks, length)."""
    sizes: Floats
    """Rows or questions of each chunk, (chunks,)."""
    numbers: int
    """Of a gradient before it was projected."""
    quantity: str
    """What was differentiated: the loss, or what stands behind a target's score."""

    @property
    def rows(self) -> int:
        """Rows or questions of all chunks."""
        return int(self.sizes.sum())

    @property
    def weights(self) -> Floats:
        """Share of the rows that each chunk has, (chunks,)."""
        shares: Floats = self.sizes / self.sizes.sum()
        return shares

    @property
    def mean(self) -> Floats:
        """Over all rows, (length,)."""
        return self.weights @ self.chunks

    @property
    def without_each(self) -> Floats:
        """The mean without each chunk in turn, (chunks, length); of a single chunk nothing is left."""
        if len(self.sizes) < 2:
            return self.chunks
        left: Floats = (self.mean - self.weights[:, None] * self.chunks) / (1 - self.weights)[:, None]
        return left

    def dump(self) -> bytes:
        """As a file of numpy's; the same gradients give the same bytes."""
        stream = io.BytesIO()
        numbers, quantity = np.array(self.numbers), np.array(self.quantity)
        np.savez(stream, chunks=self.chunks, sizes=self.sizes, numbers=numbers, quantity=quantity)
        return stream.getvalue()

    @classmethod
    def load(cls, path: Path) -> Sketch:
        """The inverse of :meth:`dump`.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                sizes, numbers = stored["sizes"], int(stored["numbers"])
                return cls(chunks=stored["chunks"], sizes=sizes, numbers=numbers, quantity=str(stored["quantity"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged; delete it, and the estimate takes these gradients anew") from error


def cells_of(
    sources: Mapping[str, Sketch], targets: Mapping[str, Sketch], *, masked: Mapping[str, str], identity: str
) -> GradientCells:
    """What a small step on each source changes of each target, to first order, with jackknife errors over chunks.

    Args:
        sources, targets: their gradients.
        masked: further targets, with the reason that they have none.
        identity: digest of what all of it rests on.
    """
    names, asked = tuple(sources), (*targets, *masked)
    g = np.stack([sketch.mean for sketch in sources.values()]).astype(float)
    shape = len(names), len(asked)
    arrays = {name: np.full(shape, np.nan) for name in ("change", "row_error", "question_error", "projection_error")}
    for j, sketch in enumerate(targets.values()):
        h = sketch.mean.astype(float)
        arrays["change"][:, j] = -(g @ h)
        arrays["question_error"][:, j] = _jackknife(np.stack([g @ other for other in sketch.without_each]))
        arrays["row_error"][:, j] = [float(_jackknife((s.without_each @ h)[:, None])[0]) for s in sources.values()]
        # The variance of a product of count sketches, of which the estimates themselves tell the lengths.
        noise = ((g**2).sum(axis=1) * (h @ h) + (g @ h) ** 2) / len(h) if len(h) < sketch.numbers else np.zeros(len(g))
        arrays["projection_error"][:, j] = np.sqrt(noise)
    quantities = {name: sketch.quantity for name, sketch in targets.items()}
    return GradientCells(sources=names, targets=asked, **arrays, quantities=quantities, masked=dict(masked), identity=identity)


def _jackknife(left_out: Floats) -> Floats:
    """Standard error from values with each chunk left out, (chunks, N) -> (N,); NaN where there is a single one (Tukey
    1958).
    """
    count = len(left_out)
    if count < 2:
        return np.full(left_out.shape[1], np.nan)
    spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    error: Floats = np.sqrt((count - 1) / count * spread)
    return error


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """An estimate and what it took."""

    cells: GradientCells
    rows: int
    """Of all sources."""
    questions: int
    """Of all targets."""
    computed: int
    """Sources and targets whose gradients were taken just now; those of the others were there."""


def estimate(session: Session, report: Report = lambda *_: None, note: Callable[[str], None] = silent) -> Estimated:
    """Take the gradients that are missing, and write ``gradients.json``.

    Args:
        session: a study whose base model is scored.
        report: called with the task at work, its number, and how many there are.
        note: called with a sentence that is worth knowing.

    Raises:
        InputError: rows or questions that the model cannot take, or the recipe's adapter does not fit the model.
        TrainingError: a gradient is not finite.
    """
    with (
        machine.resource_errors(session.store.folder, "gradients", session.study.recipe),
        exclusively(session.store.folder / FOLDER / ".lock"),
    ):
        return _Estimating(session, report, note).do()


class _Estimating:
    """One estimate. The model is loaded only where a gradient is missing."""

    def __init__(self, session: Session, report: Report, note: Callable[[str], None]) -> None:
        self.study, self.folder = session.study, session.store.folder
        self.recipe, self.seed = session.study.recipe, session.study.recipe.seeds[0]
        self._report, self._note = report, note
        runs = [self.study.source_run(source, self.seed) for source in self.study.sources]
        cells: list[Where] = [(target, "evaluation") for target in self.study.targets]
        self.job = make_job(self.study, self.folder, [make_task(self.study, run, cells) for run in runs])

    def do(self) -> Estimated:
        """See :func:`estimate`."""
        masked = {t: HARNESS for t in self.study.targets if self.job.questions[t, "evaluation"].harness is not None}
        sources = {name: self._place("rows", name) for name in self.study.sources}
        targets = {name: self._place("questions", name) for name in self.study.targets if name not in masked}
        missing = [place for place in (*sources.values(), *targets.values()) if not place.is_file()]
        if missing:
            self._take(sources, targets, len(missing))
        taken = {place: Sketch.load(place) for place in (*sources.values(), *targets.values())}
        result = cells_of(
            {name: taken[place] for name, place in sources.items()},
            {name: taken[place] for name, place in targets.items()},
            masked=masked,
            identity=digest.of_value(sorted(place.name for place in taken)),
        )
        rows = sum(taken[place].rows for place in sources.values())
        questions = sum(taken[place].rows for place in targets.values())
        write_gradients(self.folder, result, {"rows": rows, "questions": questions})
        return Estimated(cells=result, rows=rows, questions=questions, computed=len(missing))

    def _place(self, kind: Literal["rows", "questions"], name: str) -> Path:
        """Where the gradients of a source or a target are stored: the name has the digest of all that they rest on."""
        recipe, study = self.recipe, self.study
        family = study.family()
        content = study.training[name] if kind == "rows" else study.questions[name, "evaluation"]
        about = {
            "version": VERSION,
            "model": family["model"],
            "lora": family.get("lora"),
            "parts": sorted(recipe.trained_parts),
            "seed": self.seed,
            "counts": [ROWS, QUESTIONS, CHUNKS],
            "content": content,
        }
        return self.folder / FOLDER / f"{kind}-{file_name(name)}-{digest.of_value(about)[:16]}.npz"

    def _take(self, sources: Mapping[str, Path], targets: Mapping[str, Path], total: int) -> None:
        """Take the gradients that are missing; each is written as soon as it is there."""
        from tvt.train.gradients import fresh_adapter

        check_job(self.study, self.job)
        base = Loaded(config=self.recipe.model, note=self._note)
        base.load()
        scorer = Scorer(base, self.recipe.evaluation)
        tasks = [(name, place, "rows") for name, place in sources.items()]
        tasks += [(name, place, "questions") for name, place in targets.items()]
        done = 0
        with fresh_adapter(base, self.recipe, self.seed) as gradients:
            for name, place, kind in tasks:
                if not place.is_file():
                    self._report(name, done, total)
                    taken = self._rows(name, gradients, base) if kind == "rows" else self._questions(name, gradients, scorer)
                    atomic.write_bytes(place, taken.dump())
                    done += 1

    def _rows(self, source: str, gradients: AdapterGradients, base: Loaded) -> Sketch:
        """Of a source's loss, on rows that are drawn, mixed and read as those of a run."""
        from tvt.train.gradients import RowLoss

        with exclusively(self.folder / "data" / ".lock"):
            path = as_file(self.job.rows[source], source, self.folder / "data")
        count = min(ROWS, self.study.rows[source])
        plan = plan_mix(Mixture.of_counts({source: count}), {source: path}, seed=self.seed)
        with tempfile.TemporaryDirectory(dir=self.folder / FOLDER, prefix=".rows-") as mixed:
            write_mix(plan, Path(mixed) / "mixed")
            loss = RowLoss(Path(mixed) / "mixed", Path(mixed) / "cache", base)
            size = self.recipe.training.per_device_train_batch_size
            chunks = [part.tolist() for part in np.array_split(np.arange(count), min(CHUNKS, count))]
            found = [gradients.of(loss, [rows[k : k + size] for k in range(0, len(rows), size)]) for rows in chunks]
        return _sketch(found, chunks, gradients.numbers, "loss")

    def _questions(self, target: str, gradients: AdapterGradients, scorer: Scorer) -> Sketch:
        """Of a target's score, on questions that are drawn from those that it is scored on, and put as these are."""
        recipe, total = self.recipe, self.study.sizes[target, "evaluation"]
        order = np.random.default_rng(self.seed).permutation(total)[:QUESTIONS].tolist()
        wanted = set(order)
        asked = enumerate(islice(read(self.job.questions[target, "evaluation"], target), total))
        drawn = {place: question for place, question in asked if place in wanted}
        questions = [drawn[place] for place in order]
        quantity = ScoredQuantity(scorer)
        kind = quantity.kind(questions)
        chunks = [part.tolist() for part in np.array_split(np.arange(len(order)), min(CHUNKS, len(order)))]
        found = []
        for chunk in chunks:
            mine = [questions[k] for k in chunk]
            size = min(recipe.evaluation.batch_size, recipe.training.per_device_train_batch_size)
            batches = compose(mine, size, recipe.model.max_pixels, recipe.model.min_pixels)
            found.append(gradients.of(quantity.of(kind), [[mine[k] for k in batch] for batch in batches]))
        return _sketch(found, chunks, gradients.numbers, kind)


def _sketch(found: Sequence[Floats], chunks: Sequence[Sequence[int]], numbers: int, quantity: str) -> Sketch:
    sizes = np.array([len(chunk) for chunk in chunks])
    return Sketch(chunks=np.stack(found), sizes=sizes, numbers=numbers, quantity=quantity)
