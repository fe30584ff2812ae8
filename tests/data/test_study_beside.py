"""Placebos and doses in a study's folder and in its matrix: written, read back, kept apart from the sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tvt
from tvt.core.matrix import TransferMatrix
from tvt.core.pooling import pool
from tvt.core.scores import MaskedScore, Score
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, read_study, write_study
from tvt.errors import InputError
from tvt.transfer.analysis import analyze

TASKS = ("Alpha", "Beta")
SEEDS = ("seed_0", "seed_1")
KINDS = ("placebo-shuffled", "placebo-format")


def score(run: str, source: str | None, target: str, correct: int, both: int | None = None) -> Score:
    return Score(run=run, source=source, target=target, accuracy=correct / 10, correct=correct, total=10, both_correct=both)


BASE = [score("base", None, target, 4) for target in TASKS]
CELLS = [score(run, s, t, 6 + (s == t), 3) for run in SEEDS for s in TASKS for t in TASKS]
PLACEBOS: list[Score | MaskedScore] = [
    score(run, kind, t, 5, 4) for run in SEEDS for kind in KINDS for t in TASKS if (run, kind) != ("seed_1", "placebo-format")
]
LACKING = [MaskedScore(run="seed_1", source="placebo-format", target=t, reason="out of memory") for t in TASKS]
MANIFEST = StudyManifest(name="beside", budget=100, tasks=tuple(Task(name=name) for name in TASKS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path, MANIFEST, [*BASE, *CELLS], placebos=[*PLACEBOS, *LACKING], doses={"Beta": 0.32})
    return tmp_path


def test_a_folder_reads_back_what_was_written(folder: Path) -> None:
    study = read_study(folder)
    assert study.placebos == (*PLACEBOS, *LACKING)
    assert study.doses == {"Beta": 0.32}
    assert "placebo" not in (folder / "scores.csv").read_text() + (folder / "study.yaml").read_text()


def test_placebos_have_gains_with_errors_and_are_no_sources(folder: Path) -> None:
    matrix = tvt.load_study(folder)
    assert (matrix.sources, matrix.dose) == (TASKS, {"Alpha": 1.0, "Beta": 0.32})
    placebo = matrix.placebo
    assert placebo is not None
    assert (placebo.sources, placebo.targets, placebo.runs) == (KINDS, TASKS, SEEDS)
    assert placebo.mean == pytest.approx(np.full((2, 2), 1 / 6))
    assert np.isfinite(placebo.item_error).all()
    assert np.isnan(placebo.values[1, 1]).all()
    assert placebo.reasons["seed_1", "placebo-format", "Alpha"] == "out of memory"
    plain = analyze([matrix]).to_json()["studies"]["beside"]
    assert set(plain["pgf"]) == set(plain["transferability"]) == set(TASKS)
    assert plain["placebo"]["placebo-shuffled"]["Alpha"]["mean"] == pytest.approx(1 / 6)
    assert plain["generic"]["Alpha"]["mean"] == pytest.approx(1 / 6)
    assert plain["generic_from"] == dict.fromkeys(TASKS, "placebo")


def test_analysis_says_of_which_dose_cells_are(folder: Path) -> None:
    (note,) = [text for text in analyze([tvt.load_study(folder)]).notes if "share of the budget" in text]
    assert "Beta 0.32" in note
    assert "Alpha" not in note


def test_a_study_without_them_leaves_no_file(folder: Path) -> None:
    write_study(folder, MANIFEST, [*BASE, *CELLS])
    assert not (folder / "placebos.csv").exists()
    assert not (folder / "doses.csv").exists()
    matrix = tvt.load_study(folder)
    assert matrix.placebo is None
    assert matrix.dose == dict.fromkeys(TASKS, 1.0)
    assert analyze([matrix]).to_json()["studies"]["beside"]["placebo"] is None


def test_all_faults_of_both_files_are_listed_at_once(folder: Path) -> None:
    (folder / "placebos.csv").write_text(
        "run,placebo,target,correct,total\nseed_0,Alpha,Alpha,5,10\nseed_0,placebo-format,Gamma,5,10\n"
        "seed_0,placebo-format,Beta,11,10\n"
    )
    (folder / "doses.csv").write_text("source,dose\nAlpha,2\nGamma,0.5\nBeta,0.5\nBeta,0.25\n")
    with pytest.raises(InputError) as error:
        read_study(folder)
    told = "\n".join(error.value.faults)
    for part in (
        "'Alpha' is no placebo", "unknown task 'Gamma'", "correct 11 is not within 0 and total 10",
        "a dose is a share of the budget", "Beta stands on line 4 already",
    ):  # fmt: skip
        assert part in told


def study(name: str = "one", runs: tuple[str, ...] = SEEDS) -> TransferMatrix:
    cells = [replace(cell, run=run) for run in runs for cell in CELLS if cell.run == "seed_0"]
    beside = [replace(cell, run=run) for run in runs for cell in PLACEBOS if isinstance(cell, Score) and cell.run == "seed_0"]
    return TransferMatrix.from_scores([*BASE, *cells], placebos=beside, doses={"Beta": 0.5}, name=name)


def test_fewer_targets_or_runs_are_fewer_of_the_placebos_too() -> None:
    matrix = study()
    small = matrix.reindex(targets=("Beta",), sources=("Beta", "Gamma"), missing=True)
    assert small.placebo is not None
    assert (small.placebo.targets, small.placebo.sources) == (("Beta",), KINDS)
    assert small.dose == {"Beta": 0.5, "Gamma": 1.0}
    one = matrix.only_runs([1])
    assert one.placebo is not None
    assert one.placebo.runs == ("seed_1",)
    assert one.doses is not None
    assert one.doses.shape == (1, 2)


def test_pooled_studies_keep_their_own_doses_and_placebos() -> None:
    plain = TransferMatrix.from_scores([*BASE, *CELLS], name="two")
    pooled = pool([study(), plain])
    assert pooled.doses is not None
    assert pooled.doses[:, 1].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert pooled.dose == {"Alpha": 1.0, "Beta": 0.75}
    assert pooled.placebo is not None
    assert pooled.placebo.runs == ("one/seed_0", "one/seed_1")
    both = pool([study("one"), study("two")]).placebo
    assert both is not None
    assert both.runs == ("one/seed_0", "one/seed_1", "two/seed_0", "two/seed_1")
    assert pool([plain, replace(plain, name="three")]).placebo is None


def test_the_digest_names_doses_and_placebos_and_stays_without_them() -> None:
    plain = TransferMatrix.from_scores([*BASE, *CELLS])
    digests = {
        study().digest(), replace(study(), placebo=None).digest(), replace(study(), doses=None).digest(), plain.digest()
    }  # fmt: skip
    assert len(digests) == 4
    assert replace(plain, doses=np.ones((2, 2))).digest() == plain.digest()
