"""Questions by their manifests: files, the miniature, and what a manifest does not say."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import yaml

from mixing_rows import picture
from tvt.core.question import Question
from tvt.core.recipe import Recipe
from tvt.data.miniature import MINIATURE_TASKS, generate
from tvt.data.questions.checks import Forbidden
from tvt.data.questions.files import read_questions, write_jsonl, write_parquet
from tvt.data.task_questions import as_file, choose, identify, locate, read
from tvt.data.tasks import QuestionData, find_manifests, load_manifest, read_folder
from tvt.errors import InputError
from tvt.io.machine import bundled_root
from tvt.study.plan import load_study_plan


def rows(count: int = 4, start: int = 0) -> list[Question]:
    return [
        Question(id=str(k), task="mine", prompt=f"{k}?", options=("a", "b"), answer="AB"[k % 2], images=(picture(k),))
        for k in range(start, start + count)
    ]


def manifest(folder: Path, name: str = "mine", **parts: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, **parts}))
    return path


def test_the_miniature_has_a_manifest_for_every_task() -> None:
    found = {m.name: m for m in read_folder(bundled_root() / "miniature")}
    assert {name: (m.abbreviation, m.options) for name, m in found.items()} == {
        task.name: (task.abbreviation, task.options) for task in MINIATURE_TASKS
    }
    for m in found.values():
        splits = {part: locate(m, part).split for part in ("training", "evaluation", "report")}
        assert splits == {"training": "train", "evaluation": "select", "report": "report"}, m.name
        assert all(locate(m, part).config == m.name for part in ("training", "evaluation", "report"))


def test_drawn_questions_are_those_of_the_generator() -> None:
    data = QuestionData(dataset="tvt/miniature", config="Jigsaw", split="select", questions=5)
    assert list(read(data, "Jigsaw")) == list(generate("Jigsaw", 5, seed=0, split="select"))


def test_paths_start_at_the_manifest(tmp_path: Path) -> None:
    write_parquet(rows(), tmp_path / "data" / "mine.parquet")
    (tmp_path / "tasks").mkdir()
    path = manifest(tmp_path / "tasks", training={"path": "../data/mine.parquet"})
    data = locate(load_manifest(path), "training")
    assert list(read(data, "mine")) == rows()
    assert as_file(data, "mine", tmp_path / "cache") == Path(str(data.path))
    few = data.model_copy(update={"questions": 2})
    written = as_file(few, "mine", tmp_path / "cache")
    assert list(read_questions(written)) == rows()[:2]
    assert as_file(few, "mine", tmp_path / "cache") == written


def test_the_same_rows_have_the_same_digest_in_any_file_and_another_picture_has_another(tmp_path: Path) -> None:
    write_parquet(rows(), tmp_path / "a.parquet")
    write_jsonl(rows(), tmp_path / "b.jsonl")
    digests = {name: identify(QuestionData(path=str(tmp_path / name)), "mine") for name in ("a.parquet", "b.jsonl")}
    assert len(set(digests.values())) == 1
    picked = next(iter((tmp_path / "b-images").iterdir()))
    picked.write_bytes(picture(99))
    assert identify(QuestionData(path=str(tmp_path / "b.jsonl")), "mine") != digests["b.jsonl"]


def test_a_split_or_number_more_is_another_digest() -> None:
    def drawn(**more: object) -> str:
        told = {"dataset": "tvt/miniature", "config": "Jigsaw", "split": "train", "questions": 9, **more}
        return identify(QuestionData.model_validate(told), "Jigsaw")

    assert len({drawn(), drawn(split="select"), drawn(questions=10), drawn(config="Counting")}) == 4


def test_own_manifests_go_before_the_bundled_ones(tmp_path: Path) -> None:
    manifest(tmp_path, "Jigsaw", abbreviation="MY")
    found = find_manifests([str(tmp_path)])
    assert found["Jigsaw"].abbreviation == "MY"
    assert "Art_Style" in found
    assert list(find_manifests([str(tmp_path)], bundled=False)) == ["Jigsaw"]
    assert find_manifests(["miniature"])["Counting"].evaluation is not None


def test_all_faults_of_manifests_at_once(tmp_path: Path) -> None:
    manifest(tmp_path, "a", training={"path": "x", "dataset": "y"})
    manifest(tmp_path, "b", evaluation={"dataset": "tvt/miniature"})
    with pytest.raises(InputError) as caught:
        find_manifests([str(tmp_path), "nowhere"])
    text = "\n".join(caught.value.faults)
    assert "name either a path or a dataset" in text
    assert "needs config (the task) and questions (how many)" in text
    assert "nowhere: no such file or folder" in text


def test_choosing_by_abbreviation_and_unknown_names() -> None:
    known = find_manifests(["miniature"])
    assert list(choose(["JS", "Counting"], known, "sources")) == ["Jigsaw", "Counting"]
    with pytest.raises(InputError) as caught:
        choose(["Jigsau", "Jigsaw", "JS"], known, "sources")
    assert len(caught.value.faults) == 2
    assert "did you mean 'Jigsaw'?" in caught.value.faults[0]
    assert "stands twice" in caught.value.faults[1]


def test_what_a_manifest_does_not_say(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mine: its manifest has no 'training:'"):
        locate(load_manifest(manifest(tmp_path)), "training")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no questions of mine"):
        identify(QuestionData(path=str(tmp_path / "empty.jsonl")), "mine")


def test_bad_rows_are_found_by_their_digest(tmp_path: Path) -> None:
    write_jsonl(rows(3), tmp_path / "rows.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lines[0]["answer"], lines[2]["images"] = "Z", ["gone.png"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError) as caught:
        identify(QuestionData(path=str(tmp_path / "rows.jsonl")), "mine")
    assert len(caught.value.faults) == 2


def test_the_stream_is_lazy() -> None:
    data = QuestionData(dataset="tvt/miniature", config="Jigsaw", split="select", questions=10**9)
    assert len(list(islice(read(data, "Jigsaw"), 3))) == 3


def test_training_rows_that_are_scored_are_refused(tmp_path: Path) -> None:
    write_parquet(rows(6), tmp_path / "train.parquet")
    write_jsonl(rows(6)[4:], tmp_path / "val.jsonl")
    manifest(tmp_path, training={"path": "train.parquet"}, evaluation={"path": "val.jsonl"})
    recipe = Recipe.model_validate(
        {
            "name": "shared",
            "model": {"model_name_or_path": "any"},
            "manifests": [str(tmp_path / "mine.yaml")],
            "sources": ["mine"],
            "targets": ["mine"],
        }
    )
    with pytest.raises(InputError, match=r"the same question as .*val.jsonl:1, which is scored \(2 rows of mine are\)"):
        load_study_plan(recipe)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvt.data.task_questions.scan", lambda *_: pytest.fail("read again"))


def test_unchanged_parquet_is_read_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(rows(3), tmp_path / "train.parquet")
    write_parquet(rows(2, start=10), tmp_path / "val.parquet")
    data, scored = QuestionData(path=str(tmp_path / "train.parquet")), Forbidden([tmp_path / "val.parquet"])
    first = identify(data, "mine", scored)
    with monkeypatch.context() as patched:
        no_reading(patched)
        assert identify(data, "mine", Forbidden([tmp_path / "val.parquet"])) == first
    write_parquet(rows(4), tmp_path / "train.parquet")
    assert identify(data, "mine", scored) != first


def test_what_is_scored_now_is_found_in_rows_that_were_read_before(tmp_path: Path, own_cache: Path) -> None:
    write_parquet(rows(3), tmp_path / "train.parquet")
    write_parquet(rows(2, start=10), tmp_path / "val.parquet")
    data = QuestionData(path=str(tmp_path / "train.parquet"))
    identify(data, "mine", Forbidden([tmp_path / "val.parquet"]))
    write_parquet(rows(2, start=2), tmp_path / "val.parquet")
    with pytest.raises(InputError, match="the same question as"):
        identify(data, "mine", Forbidden([tmp_path / "val.parquet"]))


def test_json_lines_rest_on_their_images_and_are_read_each_time(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(rows(2), tmp_path / "train.jsonl")
    identify(QuestionData(path=str(tmp_path / "train.jsonl")), "mine")
    no_reading(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="read again"):
        identify(QuestionData(path=str(tmp_path / "train.jsonl")), "mine")


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "file"))
    write_parquet(rows(2), tmp_path / "train.parquet")
    data = QuestionData(path=str(tmp_path / "train.parquet"))
    assert identify(data, "mine") == identify(data, "mine")
