"""tvt's own study format: what is written is read back, and what is wrong is refused."""

from pathlib import Path

import numpy as np
import pytest

from tvt.core.scores import MaskedScore, Score
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, read_study, write_study
from tvt.data.studies.load import load_study
from tvt.errors import InputError

YAML = "format_version: 1\nname: mine\ntasks: [Jigsaw, Mine]\n"
CSV = "run,source,target,correct,total\nr0,base,Jigsaw,50,100\nr0,Mine,Jigsaw,75,100\n"


def score(run: str, source: str | None, target: str, correct: int, both: int | None = None) -> Score:
    return Score(run=run, source=source, target=target, accuracy=correct / 10, correct=correct, total=10, both_correct=both)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(YAML)
    (tmp_path / "scores.csv").write_text(CSV)
    return tmp_path


def faults(folder: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        load_study(folder)
    return tuple(line.removeprefix(f"{folder}/") for line in caught.value.faults)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = StudyManifest(
        name="mine",
        model="tiny",
        parameters=0.5,
        provenance="measured here: by 'hand'",
        tasks=(Task(name="Jigsaw", abbreviation="JG", options=2), Task(name="a,b", ceiling=0.9), Task(name="Plain")),
    )
    scores = (score("r0", None, "Jigsaw", 4), score("r0", "a,b", "Jigsaw", 7, both=4), score("r0", "Plain", "Jigsaw", 2))
    masked = (MaskedScore(run="r0", source="Jigsaw", target="Jigsaw", reason="diverged, twice"),)
    write_study(tmp_path / "new", manifest, scores, masked, notes="a note\nof two lines")
    study = read_study(tmp_path / "new")
    assert (study.manifest, study.scores, study.masked) == (manifest, scores, masked)
    matrix = load_study(tmp_path / "new" / "study.yaml")
    assert matrix.reason("Jigsaw", "Jigsaw") == "diverged, twice"
    assert matrix.values[0, :2, 0] == pytest.approx([0.5, -1 / 3])


def test_names_take_their_details_from_the_manifests_and_may_override_them(folder: Path) -> None:
    assert load_study(folder).short("Jigsaw") == "JG"
    (folder / "study.yaml").write_text(YAML.replace("[Jigsaw, Mine]", "[{name: Jigsaw, ceiling: 0.75}, Mine]"))
    matrix = load_study(folder)
    assert matrix.values[0, 0, 0] == 1.0
    assert matrix.short("Jigsaw") == "JG"


def test_a_masked_base_gives_its_reason(folder: Path) -> None:
    (folder / "scores.csv").write_text(
        "run,source,target,correct,total,reason\n"
        "r0,base,Jigsaw,,,crashed\nr0,Mine,Jigsaw,75,100,\nr0,base,Mine,5,10,\nr0,Mine,Mine,6,10,\n"
    )
    matrix = load_study(folder)
    assert np.isnan(matrix.values[0, 0, 0])
    assert matrix.reason("Mine", "Jigsaw") == "base row missing: crashed"


def test_unknown_task_names_get_the_nearest(folder: Path) -> None:
    (folder / "scores.csv").write_text(CSV + "r0,Mine,Jigsew,1,2\n")
    assert "scores.csv:4: unknown task 'Jigsew' (did you mean 'Jigsaw'?)" in faults(folder)[0]


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("r0,Mine,Jigsaw,1,2\n", 4, "line 3 already"),
        ("r0,Jigsaw,Jigsaw,7,5\n", 4, "not within 0 and total 5"),
        ("r0,Jigsaw,Jigsaw,half,5\n", 4, "not a number"),
        ("r0,Jigsaw,Jigsaw,1,5.5\n", 4, "not a whole number"),
        ("r0,Jigsaw,Jigsaw,5.5,5\n", 4, "not within 0 and total 5"),
        ("r0,Jigsaw,Jigsaw,,\n", 4, "no counts and no reason"),
        ("r0,Jigsaw,Mine,1,2\n", 4, "no base row for target 'Mine'"),
        (",Jigsaw,Jigsaw,1,2\n", 4, "no run"),
        ("r0,Jigsaw,base,1,2\n", 4, "unknown task 'base'"),
    ],
)
def test_bad_rows(folder: Path, rows: str, line: int, message: str) -> None:
    (folder / "scores.csv").write_text(CSV + rows)
    assert any(f.startswith(f"scores.csv:{line}: ") and message in f for f in faults(folder))


def test_unknown_and_absent_columns(folder: Path) -> None:
    (folder / "scores.csv").write_text("run,source,target,corect,total\nr0,base,Jigsaw,1,2\n")
    found = faults(folder)
    assert "unknown column 'corect' (did you mean 'correct'?)" in found[0]
    assert "no column 'correct'" in found[1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine", "nam: mine", "unknown key (did you mean 'name'?)"),
        ("version: 1", "version: 2", "is not 1"),
        ("[Jigsaw, Mine]", "[Jigsaw, Jigsaw]", "share the label"),
        ("[Jigsaw, Mine]", "[Jigsaw, base]", "means the base model"),
        ("[Jigsaw, Mine]", "[]", "tasks"),
        ("[Jigsaw, Mine]", "[{name: Jigsaw, celing: 0.5}]", "did you mean 'ceiling'?"),
        ("name: mine", "name: mine\nscores: ../other.csv", "leaves the study's folder"),
        ("name: mine", "name: mine\nscores: /etc/passwd", "leaves the study's folder"),
        ("name: mine", "name: mine\ncounts: guessed", "counts"),
    ],
)
def test_bad_study_yaml(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "study.yaml").write_text(YAML.replace(old, new))
    assert any(f.startswith("study.yaml") and message in f for f in faults(folder))


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "scores.csv"
    (folder / "scores.csv").rename(outside)
    (folder / "scores.csv").symlink_to(outside)
    assert "leaves the study's folder" in faults(folder)[0]


def test_options_for_csv_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="drop --metric"):
        load_study(folder, metric="gain")


def test_a_score_without_counts_cannot_be_written(tmp_path: Path) -> None:
    bare = Score(run="r0", source=None, target="Plain", accuracy=0.5)
    with pytest.raises(InputError, match="no counts"):
        write_study(tmp_path, StudyManifest(name="n", tasks=(Task(name="Plain"),)), [bare])
    assert not list(tmp_path.iterdir())


def test_people_as_the_ceiling(tmp_path: Path) -> None:
    manifest = StudyManifest(name="s", tasks=(Task(name="a", human=0.9), Task(name="b")))
    scores = [
        Score(run="r", source=source, target=target, accuracy=correct / 100, correct=correct, total=100)
        for source, target, correct in ((None, "a", 50), (None, "b", 50), ("a", "a", 70), ("a", "b", 70))
    ]
    write_study(tmp_path / "s", manifest, scores)
    plain, human = (load_study(tmp_path / "s", ceiling=ceiling) for ceiling in ("task", "human"))
    assert plain.mean[0].tolist() == pytest.approx([0.4, 0.4])
    assert human.mean[0].tolist() == pytest.approx([0.5, 0.4])  # no accuracy of people is known for b


def test_people_as_the_ceiling_need_a_known_accuracy(tmp_path: Path) -> None:
    manifest = StudyManifest(name="s", tasks=(Task(name="a"),))
    write_study(tmp_path / "s", manifest, [score("r", None, "a", 5), score("r", "a", "a", 6)])
    with pytest.raises(InputError, match="no task's accuracy of people is known"):
        load_study(tmp_path / "s", ceiling="human")


def test_a_recipe_is_told_from_a_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: s\nmodel: {model_name_or_path: m}\nsources: [a]\ntargets: [a]\n")
    with pytest.raises(InputError, match=r"a recipe, not what was measured; run it with tvt study run"):
        load_study(tmp_path)


def test_a_folder_with_a_recipe_and_no_runs_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    with pytest.raises(InputError, match="a recipe and no finished run yet; see tvt study status"):
        load_study(tmp_path)
