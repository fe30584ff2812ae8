"""Runs of a study from a script: doing what is missing, and comparing a selected mixture with baselines on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.api.studies import load_study
from tvt.compare.comparison import Comparison
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.errors import InputError, MissingPackageError, TrainingError, install, refuse

if TYPE_CHECKING:
    from tvt.core.events import StudyEvent
    from tvt.study.adaptive import AdaptiveStudy
    from tvt.study.gradients import Estimated
    from tvt.study.jobs import RunTask
    from tvt.study.session import Session
    from tvt.study.views import StoredComparison
    from tvt.transfer.power import DetectionReport

Note = Callable[[str], None]


def ignore(_: object) -> None:
    """Takes what nobody wants to see."""


def run_study(
    recipe: str | Path,
    folder: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    executor: str | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    show: Callable[[StudyEvent], None] = ignore,
    note: Note = ignore,
) -> TransferMatrix:
    """Do what is missing of a study and load it, as ``tvt study run`` and ``tvt analyze`` do.

    Args:
        recipe: a recipe's file.
        folder: of the study; by default ``studies/NAME``.
        overrides: ``FIELD=VALUE``, each changes one value of the recipe.
        executor: who does the runs; by default the recipe's.
        workers: runs at once.
        retry_failed: whether runs that failed before are tried again.
        show: called with each event.
        note: called with each note.

    Raises:
        InputError: a faulty recipe, or settings that would end every run.
        MissingPackageError: there is something to do, and the ``train`` extra is not installed.
        TrainingError: every run failed.
    """
    from tvt.io.names import folder_name
    from tvt.io.yaml_files import load_recipe
    from tvt.study.session import open_session

    loaded = load_recipe(Path(recipe), overrides)
    session = open_session(loaded, Path(folder or Path("studies") / folder_name(loaded.name)), ignore)
    do_runs(session, session.tasks(), executor=executor, workers=workers, retry=retry_failed, show=show, note=note)
    return load_study(session.store.folder)


def to_do(session: Session, tasks: Sequence[RunTask], *, retry: bool = False) -> list[RunTask]:
    """The tasks that are not done yet; those that failed before only with ``retry``."""
    status = session.status(list(tasks))
    return [t for t in tasks if status[t.run_id] != "done" and (retry or status[t.run_id] != "failed")]


def do_runs(
    session: Session,
    tasks: Sequence[RunTask],
    *,
    executor: str | None = None,
    workers: int | None = None,
    retry: bool = False,
    chooser: AdaptiveStudy | None = None,
    show: Callable[[StudyEvent], None] = ignore,
    note: Note = ignore,
) -> None:
    """Do what is missing of ``tasks``, or what ``chooser`` chooses.

    Raises:
        MissingPackageError: there is something to do, and the train extra or what the recipe needs is not installed.
        InputError: the recipe's settings, its base model or the environment would end every run.
        TrainingError: every run failed.
    """
    from tvt.study.executors import choose_executor, engine_of
    from tvt.train.checks import machine_checks, training_checks

    recipe = session.study.recipe
    start = choose_executor(recipe, executor, workers)
    tasks = list(tasks) if chooser is None else chooser.tasks
    if to_do(session, tasks, retry=retry):  # before anything is written
        missing = [name for name in ("torch", "transformers", "trl", "peft") if find_spec(name) is None]
        if missing:
            raise MissingPackageError(f"training and scoring need {', '.join(missing)}; {install('train')}")
        here = engine_of(recipe, executor).here
        refuse([*training_checks(recipe), *(machine_checks(recipe) if here else ())], note)
    session.do(tasks, start, show, retry=retry, more=chooser)
    failed = [task for task in tasks if session.store.status(task.run_id, task.keys) == "failed"]
    trained = [task for task in tasks if not task.run.is_base]
    if trained and len(failed) == len(trained):
        which = f"all {len(failed)} runs failed, the first because" if len(failed) > 1 else "the only run failed"
        raise TrainingError(f"{which}: {session.store.failure(failed[0].run_id)}")


def estimate_gradients(
    session: Session, report: Callable[[str, int, int], object] = lambda *_: None, note: Note = ignore
) -> Estimated:
    """Estimate transfer from gradients of the base model, which is scored already: see :func:`tvt.study.gradients.estimate`.

    Raises:
        MissingPackageError: the train extra is not installed.
        InputError: rows or questions that the model cannot take.
    """
    from tvt.study.gradients import estimate

    return estimate(session, report, note)


@dataclass(frozen=True, kw_only=True)
class StudyComparison:
    """A comparison that a study folder keeps: its arms, the targets it is reported on, and the runs that it needs."""

    session: Session
    matrix: TransferMatrix
    stored: StoredComparison
    targets: tuple[str, ...]

    @property
    def tasks(self) -> list[RunTask]:
        """The runs that it takes: the base model first."""
        from tvt.study.views import comparison_runs

        runs = comparison_runs(self.stored.arms, self.session.study.recipe.seeds)
        return self.session.comparison_tasks(list(runs.values()), list(self.targets))

    def keep(self) -> None:
        """Write it into the study's folder, so that it is known by its name."""
        from tvt.study.views import keep_comparison

        keep_comparison(self.session.store.folder, self.stored)

    def detection(self, difference: float, *, seed_sd: float | None = None, differing: float | None = None) -> DetectionReport:
        """What difference between its arms it can show: see :func:`detection`."""
        given = {"targets": self.targets, "arms": len(self.stored.arms), "seed_sd": seed_sd, "differing": differing}
        return detection(self.session, difference, **given)  # type: ignore[arg-type]

    def judge(self) -> Comparison:
        """The comparison by the runs that are there.

        Raises:
            InputError: the base model is not scored, or an answer file is damaged.
        """
        return judge(self.session, self.matrix, self.stored, self.targets)


def compare(
    study: str | Path,
    mixture: str | Path | Mixture | None = None,
    *,
    run: bool = False,
    name: str | None = None,
    randoms: int = 3,
    seed: int = 0,
    all_targets: bool = False,
    executor: str | None = None,
    workers: int | None = None,
    show: Callable[[StudyEvent], None] = ignore,
    note: Note = ignore,
) -> Comparison:
    """Compare a selected mixture with baselines of the same budget on a study's runs, as ``tvt compare`` does.

    Args:
        study: its folder.
        mixture: a mixture or its file; without it, the comparison ``name``, or the only one, of the study.
        run: train and score the runs that are missing.
        name: of the comparison.
        randoms: random mixtures among the baselines.
        seed: of the random mixtures.
        all_targets: report on all targets, not only on those that the selection served.
        executor: who does the runs; by default the recipe's.
        workers: runs at once.
        show: called with each event of the runs.
        note: called with each note.

    Raises:
        InputError: no such comparison, or the base model is not scored.
    """
    of = open_comparison(study, mixture, name=name, randoms=randoms, seed=seed, all_targets=all_targets)
    if run:
        of.keep()
        do_runs(of.session, of.tasks, executor=executor, workers=workers, show=show, note=note)
    return of.judge()


def open_comparison(
    study: str | Path,
    mixture: str | Path | Mixture | None = None,
    *,
    name: str | None = None,
    randoms: int = 3,
    seed: int = 0,
    all_targets: bool = False,
    doing: Callable[[str], None] = ignore,
) -> StudyComparison:
    """The comparison that is meant, with its study: see :func:`compare`.

    Raises:
        InputError: no such study or comparison.
    """
    from tvt.study.session import reopen

    session = reopen(Path(study), doing)
    # What is judged here must not have shaped the prediction.
    matrix = replace(load_study(study), evidence=None)
    chosen = _kept(session, matrix, mixture, name=name, randoms=randoms, seed=seed)
    targets = tuple(session.study.targets) if all_targets else served_targets(session, matrix, chosen)
    return StudyComparison(session=session, matrix=matrix, stored=chosen, targets=targets)


def _kept(
    session: Session, matrix: TransferMatrix, mixture: str | Path | Mixture | None, *, name: str | None, randoms: int, seed: int
) -> StoredComparison:
    """The comparison that is meant: of a mixture, by name, or the only one."""
    from tvt.compare.baselines import arms_of, placebo_arms
    from tvt.io.yaml_files import load_mixture
    from tvt.study.views import StoredComparison, comparison_name, comparison_names, load_comparison

    folder = session.store.folder
    names = comparison_names(folder)
    if mixture is None:
        if name is None and len(names) != 1:
            choices = f"there are {', '.join(names)}; choose one with --name" if names else "name a MIXTURE of tvt select"
            raise InputError(f"{folder}: which comparison? {choices}")
        return load_comparison(folder, name or names[0])
    chosen = mixture if isinstance(mixture, Mixture) else load_mixture(Path(mixture))
    called = name or comparison_name(chosen, "mixture" if isinstance(mixture, Mixture) else Path(mixture).stem)
    if called in names:
        return load_comparison(folder, called)
    sizes = {s: m.training.questions for s, m in session.study.sources.items() if m.training and m.training.questions}
    arms = arms_of(matrix, chosen, budget=session.study.recipe.budget, sizes=sizes, randoms=randoms, seed=seed)
    arms += placebo_arms(session.study.runs())
    return StoredComparison(name=called, mixture=chosen, arms=arms)


def served_targets(session: Session, matrix: TransferMatrix, chosen: StoredComparison) -> tuple[str, ...]:
    """The targets that the selection served."""
    from tvt.compare.baselines import spec_of
    from tvt.compare.engine import served_by

    counting = served_by(matrix, spec_of(chosen.mixture)).weights
    return tuple(target for target in session.study.targets if target in counting)


def judge(session: Session, matrix: TransferMatrix, rest: StoredComparison, targets: Sequence[str] | None = None) -> Comparison:
    """Compare the kept mixtures on ``targets``, by default those that the selection served; missing runs are named as such.

    Raises:
        InputError: the base model is not scored, or an answer file is damaged.
    """
    from tvt.compare import engine
    from tvt.compare.baselines import spec_of
    from tvt.study.views import measured

    study = session.study
    chosen = served_targets(session, matrix, rest) if targets is None else targets
    answers = measured(study, session.store, rest.arms, chosen)
    shared = any(study.part(target) == "evaluation" for target in chosen)
    return engine.compare(answers, rest.arms, matrix, spec_of(rest.mixture), questions_shared=shared)


GUESSED_GAP = 0.5
"""Ceiling less the base model's accuracy where nothing is measured yet: it turns accuracies into PGF."""


def detection(
    session: Session,
    difference: float,
    *,
    targets: Sequence[str] | None = None,
    arms: int | None = None,
    seed_sd: float | None = None,
    differing: float | None = None,
) -> DetectionReport:
    """Whether a study's seeds and questions can show a difference between two mixtures, and how many would.

    Args:
        session: the study.
        difference: PGF.
        targets: those that count; by default all.
        arms: that are compared, the selected one among them; by default as many as ``tvt compare`` trains, and one test.
        seed_sd: guess of the standard deviation of a run's accuracy between seeds (a fraction).
        differing: guess of the share of questions that two runs answer differently. With either guess given, or where the
            study's runs tell no noise, guesses are used.
    """
    from tvt.transfer import power

    study = session.study
    names = list(study.targets) if targets is None else list(targets)
    planned = {t: study.sizes[t, study.part(t)] for t in names}
    scored = {t: study.sizes[t, "evaluation"] for t in names}
    options: dict[str, Any] = {"arms": arms or power.ARMS, "tests": 1 if arms is None else max(arms - 1, 1)}
    seeds, why = len(study.recipe.seeds), "as asked"
    if seed_sd is None and differing is None:
        try:
            noise = power.measured_noise(load_study(session.store.folder), scored, planned)
        except InputError:
            why = "no runs of this study tell it yet"
        else:
            return power.report(
                difference, noise, seeds, origin="measured", text="this study's own seeds and questions", **options
            )
    guess = (0.03 if seed_sd is None else seed_sd, 0.25 if differing is None else differing)
    noise = power.guessed_noise(planned, seed_sd=guess[0], differing=guess[1], gap=GUESSED_GAP)
    text = (
        f"a guess ({why}): accuracies differ by {100 * guess[0]:g} points between seeds, two runs on {guess[1]:.0%} of the "
        f"questions, and the base model is {100 * GUESSED_GAP:g} points below the ceiling"
    )
    return power.report(difference, noise, seeds, origin="guess", text=text, **options)
