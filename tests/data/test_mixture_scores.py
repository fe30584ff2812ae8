"""Runs on mixtures and doses beside a study: their file, and the gains they become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tvt.core.mixture_runs import MixtureRuns, join
from tvt.core.pooling import pool
from tvt.core.scores import MixtureScore, Score
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, read_study, write_study
from tvt.data.studies.load import load_study
from tvt.errors import InputError

SCORES = (
    "run,source,target,correct,total\n"
    "r0,base,A,50,100\nr0,A,A,80,100\nr0,B,A,60,100\nr0,base,B,40,100\nr0,A,B,52,100\nr0,B,B,70,100\n"
    "r1,A,A,78,100\nr1,B,A,62,100\n"
)
MIXTURES = (
    "mixture,run,target,correct,total,w:A,w:B\n"
    "half,r0,A,75,100,0.5,0.5\nhalf,r0,B,60,100,0.5,0.5\nhalf,r1,A,70,100,0.5,0.5\n"
    "dose,r9,A,70,100,0.25,\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text("name: mine\nmixtures: mixtures.csv\ntasks: [A, B, C]\n")
    (tmp_path / "scores.csv").write_text(SCORES)
    (tmp_path / "mixtures.csv").write_text(MIXTURES)
    return tmp_path


def faults(folder: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        load_study(folder)
    return tuple(line.removeprefix(f"{folder}/") for line in caught.value.faults)


def evidence(folder: Path) -> MixtureRuns:
    found = load_study(folder).evidence
    assert found is not None
    return found


def test_mixtures_become_gains_with_errors(folder: Path) -> None:
    found = evidence(folder)
    assert found.ids == ("half/r0", "half/r1", "dose/r9")
    assert found.runs == ("r0", "r1", "r9")
    assert found.sources == ("A", "B")
    assert found.weights == pytest.approx(np.array([[0.5, 0.5], [0.5, 0.5], [0.25, 0.0]]))
    assert found.scores == pytest.approx(np.array([[0.5, 1 / 3], [0.4, np.nan], [0.4, np.nan]]), nan_ok=True)
    assert (np.isfinite(found.known_errors) == np.isfinite(found.scores)).all()
    assert found.doses.tolist() == [False, False, True]
    assert found.mixtures.tolist() == [True, True, False]


def test_a_masked_target_has_no_gain(folder: Path) -> None:
    (folder / "study.yaml").write_text("name: m\nmixtures: mixtures.csv\ntasks: [{name: A, ceiling: 0.5}, B, C]\n")
    assert np.isnan(evidence(folder).scores[:, 0]).all()


def test_known_pairs_make_the_error_smaller(folder: Path) -> None:
    wide = evidence(folder).known_errors[0, 0]
    (folder / "mixtures.csv").write_text(
        "mixture,run,target,correct,total,both_correct,w:A,w:B\nhalf,r0,A,75,100,50,0.5,0.5\nhalf,r1,A,70,100,,0.5,0.5\n"
    )
    assert evidence(folder).known_errors[0, 0] < wide


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = StudyManifest(name="mine", tasks=(Task(name="Jigsaw"), Task(name="a,b"), Task(name="Plain")))
    scores = (
        Score(run="0", source=None, target="Jigsaw", accuracy=0.4, correct=4, total=10),
        Score(run="0", source="a,b", target="Jigsaw", accuracy=0.7, correct=7, total=10),
    )
    third = 1 / 3
    mixtures = (
        MixtureScore(mixture="m", run="0", weights={"a,b": third, "Plain": 1 - third}, target="Jigsaw", correct=6, total=10),
        MixtureScore(mixture="d", run="1", weights={"Plain": 0.1}, target="Jigsaw", correct=5, total=10, both_correct=3),
    )
    write_study(tmp_path, manifest, scores, mixtures=mixtures)
    study = read_study(tmp_path)
    assert study.mixtures == mixtures
    assert study.manifest == manifest.model_copy(update={"mixtures": "mixtures.csv"})
    write_study(tmp_path, study.manifest, scores, mixtures=study.mixtures)
    assert read_study(tmp_path) == study
    found = study.matrix().evidence
    assert found is not None
    assert found.sources == ("a,b", "Plain")


def test_without_mixtures_nothing_is_written_or_named(tmp_path: Path) -> None:
    manifest = StudyManifest(name="mine", tasks=(Task(name="Jigsaw"),), mixtures="mixtures.csv")
    write_study(tmp_path, manifest, [Score(run="0", source=None, target="Jigsaw", accuracy=0.4, correct=4, total=10)])
    assert "mixtures" not in (tmp_path / "study.yaml").read_text()
    assert not (tmp_path / "mixtures.csv").exists()


def test_a_file_that_study_yaml_does_not_name_is_no_evidence_in_silence(folder: Path) -> None:
    (folder / "study.yaml").write_text("name: mine\ntasks: [A, B, C]\n")
    assert "add 'mixtures: mixtures.csv' there, or remove the file" in faults(folder)[0]


@pytest.mark.parametrize("name", ["../mixtures.csv", "/etc/passwd"])
def test_the_file_stays_in_the_folder(folder: Path, name: str) -> None:
    (folder / "study.yaml").write_text(f"name: mine\nmixtures: {name}\ntasks: [A, B, C]\n")
    assert "leaves the study's folder" in faults(folder)[0]


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("half,r0,A,1,2,0.5,0.5\n", 6, "line 2 already"),
        ("half,r2,A,1,2,0.4,0.6\n", 6, "other weights on line 2"),
        ("more,r0,A,1,2,0.6,0.5\n", 6, "weights sum to 1.1, above 1; make them shares of the budget"),
        ("more,r0,A,1,2,60,40\n", 6, "divide them by 100"),
        ("none,r0,A,1,2,,0\n", 6, "all weights are 0"),
        ("less,r0,A,1,2,-0.1,0.5\n", 6, "w:A: -0.1 is negative"),
        ("text,r0,A,1,2,x,0.5\n", 6, "w:A: "),
        ("m,r0,D,1,2,0.5,0.5\n", 6, "unknown task 'D'"),
        ("m,r0,C,1,2,0.5,0.5\n", 6, "no base row for target 'C'"),
        ("m,r0,A,3,2,0.5,0.5\n", 6, "not within 0 and total 2"),
        ("m,r0,A,,2,0.5,0.5\n", 6, "no counts"),
        ("m,r0,A,1,0,0.5,0.5\n", 6, "not positive"),
        (",,A,1,2,0.5,0.5\n", 6, "no run"),
    ],
)
def test_bad_rows(folder: Path, rows: str, line: int, message: str) -> None:
    (folder / "mixtures.csv").write_text(MIXTURES + rows)
    assert any(f.startswith(f"mixtures.csv:{line}: ") and message in f for f in faults(folder))


def test_all_faults_of_both_files_come_at_once(folder: Path) -> None:
    (folder / "scores.csv").write_text(SCORES + "r1,B,Z,1,2\n")
    (folder / "mixtures.csv").write_text(MIXTURES + "m,r0,Z,1,2,0.5,0.5\nm,r1,A,5,2,0.5,0.6\n")
    found = faults(folder)
    assert {f.split(": ")[0] for f in found} == {"scores.csv:10", "mixtures.csv:6", "mixtures.csv:7"}
    assert len(found) >= 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MIXTURES.splitlines()[0] + "\n", "no rows below the header"),
        (MIXTURES.replace("w:B", "w:Bee"), "unknown task 'Bee' in 'w:Bee'"),
        (MIXTURES.replace("w:B", "B"), "unknown column 'B'"),
        (MIXTURES.replace("correct", "corect"), "no column 'correct'"),
        ("mixture,run,target,correct,total\nm,r0,A,1,2\n", "no column of weights"),
    ],
)
def test_bad_columns(folder: Path, text: str, message: str) -> None:
    (folder / "mixtures.csv").write_text(text)
    assert any(f.startswith("mixtures.csv") and message in f for f in faults(folder))


def test_leaving_a_run_out_leaves_its_evidence_out(folder: Path) -> None:
    matrix = load_study(folder)
    for keep, ids in (
        ([0], ("half/r0", "dose/r9")),
        ([1], ("half/r1", "dose/r9")),
        ([0, 1], ("half/r0", "half/r1", "dose/r9")),
    ):
        found = matrix.only_runs(keep).evidence
        assert found is not None
        assert found.ids == ids
    assert matrix.evidence is not None
    alone = replace(matrix, evidence=matrix.evidence.take([0]))
    assert alone.only_runs([1]).evidence is None


def test_the_digest_names_the_evidence_and_is_the_old_one_without(folder: Path) -> None:
    matrix = load_study(folder)
    assert matrix.evidence is not None
    without = replace(matrix, evidence=None)
    assert matrix.digest() != without.digest()
    assert replace(matrix, evidence=matrix.evidence.take([2, 0, 1])).digest() == matrix.digest()
    assert replace(matrix, evidence=matrix.evidence.take([0, 1])).digest() != matrix.digest()
    assert load_study("qwen2.5-vl-7b").digest() == load_study("qwen2.5-vl-7b").only_runs([0, 1, 2, 3]).digest()


def test_pooled_studies_keep_their_evidence_apart(folder: Path) -> None:
    one = load_study(folder)
    two = replace(one, name="two")
    pooled = pool([one, two])
    assert pooled.evidence is not None
    assert pooled.evidence.ids[0] == "mine/half/r0"
    assert pooled.evidence.ids[3] == "two/half/r0"
    left = pooled.only_runs([k for k, run in enumerate(pooled.runs) if run != "two/r0"]).evidence
    assert left is not None
    assert left.ids == ("mine/half/r0", "mine/half/r1", "mine/dose/r9", "two/half/r1", "two/dose/r9")
    assert pool([one, replace(two, evidence=None)]).evidence is not None


def test_joining_tables_of_different_sources() -> None:
    def table(source: str, target: str) -> MixtureRuns:
        return MixtureRuns(ids=("x",), sources=(source,), targets=(target,), weights=np.ones((1, 1)), scores=np.ones((1, 1)))

    both = join([table("A", "T"), table("B", "U")])
    assert both is not None
    assert both.ids == ("x", "x#2")
    assert both.weights.tolist() == [[1, 0], [0, 1]]
    assert both.scores == pytest.approx(np.array([[1, np.nan], [np.nan, 1]]), nan_ok=True)
    assert join([]) is None
