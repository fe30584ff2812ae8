"""Datasets of the hub, from local copies in its layout: the very same rows and bytes, every fault told, read once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import blink_copy
from blink_copy import NAME, SHAPES, picture
from commands import ENVIRONMENT
from tvt.core.choices import FORMATS
from tvt.core.question import Question
from tvt.core.recipe import Recipe
from tvt.data.hub.formats import BlinkRows, HubRow
from tvt.data.hub.questions import shown_questions, stored_questions
from tvt.data.hub.rows import content_of
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.questions.files import read_questions, write_jsonl, write_parquet
from tvt.data.task_data import resolve_data_paths
from tvt.data.task_questions import as_file, count, identify, locate, pinned, read
from tvt.data.tasks import QuestionData, TaskManifest, load_manifest, load_manifests
from tvt.errors import InputError, MissingPackageError
from tvt.io.digest import cache_folder
from tvt.study.plan import load_study_plan

pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def blink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blink_copy.write_copy(tmp_path_factory.mktemp("copy") / "BLINK")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def part(folder: Path, config: str = "Jigsaw", **more: Any) -> QuestionData:
    return QuestionData.model_validate({"dataset": NAME, "config": config, "folder": str(folder), "format": "blink", **more})


def faults(data: QuestionData) -> list[str]:
    with pytest.raises(InputError) as caught:
        list(read(data, "mine"))
    return list(caught.value.faults)


@pytest.mark.parametrize("config", SHAPES)
def test_every_row_of_every_configuration_is_the_question_that_the_hub_has(config: str, blink: Path) -> None:
    found = list(read(part(blink, config), config))
    assert len(found) == 3
    for question, row in zip(found, blink_copy.rows(config, "val", 3), strict=True):
        assert question == Question(
            id=row["idx"],
            task=config,
            prompt=row["prompt"],
            options=tuple(row["choices"]),
            answer=row["answer"].strip("()"),
            images=tuple(row[f"image_{n}"]["bytes"] for n in range(1, 1 + SHAPES[config][0])),
            question=row["question"],
        ), "images are the very bytes, PNG or JPEG"


def test_it_is_a_file_like_any_other(blink: Path, tmp_path: Path) -> None:
    data = part(blink)
    path = as_file(data, "Jigsaw", tmp_path / "rows")
    assert list(read_questions(path)) == list(read(data, "Jigsaw"))
    write_jsonl(read(data, "Jigsaw"), tmp_path / "saved.jsonl")
    assert identify(data, "Jigsaw") == identify(QuestionData(path=str(tmp_path / "saved.jsonl")), "Jigsaw")
    assert (count(data), count(part(blink, questions=2)), count(part(blink, questions=150))) == (3, 2, 3)
    assert len(list(read(part(blink, questions=2), "Jigsaw"))) == 2


def test_it_is_written_once_and_a_changed_file_is_another(blink: Path, tmp_path: Path, own_cache: Path) -> None:
    copy = Path(shutil.copytree(blink, tmp_path / "copy"))
    first = stored_questions(part(copy))
    assert own_cache in first.parents
    assert first.parts[-3:-1] == ("datasets", "BLINK-Benchmark--BLINK")
    state = first.stat()
    assert stored_questions(part(copy)) == first
    moved = Path(shutil.move(copy, tmp_path / "elsewhere"))
    assert stored_questions(part(moved)) == first, "where it lies changes nothing"
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    rows = blink_copy.rows("Jigsaw", "val", 3)
    rows[1]["image_2"]["bytes"] = picture(77)
    pq.write_table(pa.Table.from_pylist(rows, blink_copy.schema()), moved / "Jigsaw" / "val-00000-of-00001.parquet")
    other = stored_questions(part(moved))
    assert other != first
    assert next(q for k, q in enumerate(read_questions(other)) if k == 1).images[1] == picture(77)
    shutil.rmtree(own_cache / "datasets")
    assert stored_questions(part(moved)) == other, "the cache can be removed at any time"


def test_a_known_copy_needs_neither_datasets_nor_its_import(blink: Path, own_cache: Path) -> None:
    stored_questions(part(blink))
    code = (
        "import sys\nfrom tvt.data.tasks import QuestionData\nfrom tvt.data.task_questions import read\n"
        f"data = QuestionData.model_validate_json({part(blink).model_dump_json()!r})\n"
        "print(len(list(read(data, 'x'))), 'datasets' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**ENVIRONMENT, "TVT_CACHE": str(own_cache)},
    )
    assert told.stdout.split() == ["3", "False"]


def test_processes_at_once_write_it_once(blink: Path, own_cache: Path) -> None:
    code = (
        "from tvt.data.tasks import QuestionData\nfrom tvt.data.hub.questions import stored_questions\n"
        f"print(stored_questions(QuestionData.model_validate_json({part(blink).model_dump_json()!r})))"
    )
    environment = {**ENVIRONMENT, "TVT_CACHE": str(own_cache)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)
    ]
    paths = {process.communicate()[0].strip() for process in started}
    assert len(paths) == 1
    assert [path.name for path in own_cache.rglob("*.parquet")] == [Path(paths.pop()).name]
    assert not list(own_cache.rglob("*.unfinished"))


def test_hidden_answers_cannot_be_scored_but_can_be_looked_at(blink: Path) -> None:
    (line,) = faults(part(blink, split="test"))
    assert line == f"{NAME}, Jigsaw, test: its answers are hidden (row 0), so nothing can be scored; take another split"
    rows = blink_copy.rows("Jigsaw", "test", 3)
    assert [(item.id, item.prompt, item.images) for item in shown_questions(part(blink, split="test"))] == [
        (row["idx"], row["prompt"], tuple(row[f"image_{n}"]["bytes"] for n in (1, 2, 3))) for row in rows
    ]


def test_unknown_configurations_and_splits_name_those_that_there_are(blink: Path) -> None:
    (line,) = faults(part(blink, "Jigsaws"))
    assert line.startswith(f"{NAME}: no configuration 'Jigsaws' (did you mean 'Jigsaw'?); there are Art_Style, Counting, ")
    (line,) = faults(part(blink, split="train"))
    assert line == f"{NAME}, Jigsaw: no split 'train'; there are val, test"
    (line,) = faults(QuestionData(dataset=NAME, folder=str(blink), format="blink"))
    assert line.startswith(f"{NAME}: no 'config:', and it has several; there are Art_Style")


def test_a_folder_that_is_none_and_one_that_is_no_dataset(tmp_path: Path) -> None:
    assert faults(part(tmp_path / "gone")) == [f"{NAME}: {tmp_path}/gone: no such folder; name the folder of the local copy"]
    (tmp_path / "empty").mkdir()
    (line,) = faults(part(tmp_path / "empty"))
    assert line.startswith(f"{tmp_path}/empty: no files that datasets can read")


def test_a_damaged_file_is_told_in_one_line(blink: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(blink, tmp_path / "copy"))
    (copy / "Jigsaw" / "val-00000-of-00001.parquet").write_bytes(b"PAR1 and nothing")
    (line,) = faults(part(copy))
    assert line.startswith(f"{NAME}, Jigsaw, val: cannot be read (")
    assert line.endswith("; get the files anew")


def test_all_faults_of_the_rows_at_once(tmp_path: Path, own_cache: Path) -> None:
    def broken(config: str, split: str, rows: list[blink_copy.Row]) -> list[blink_copy.Row]:
        if (config, split) == ("Jigsaw", "val"):
            rows[0]["answer"] = "(Q)"
            rows[1]["image_2"] = {"bytes": b"no image", "path": None}
            rows[2]["image_1"] = {"bytes": None, "path": "gone.png"}
            rows[3]["prompt"] = None
        return rows

    lines = faults(part(blink_copy.write_copy(tmp_path / "copy", 5, broken)))
    label = f"{NAME}, Jigsaw, val: row"
    assert len(lines) == 4
    assert f"{label} 0: answer 'Q' is not one of A, B; give the right option's letter" in lines
    assert any(line.startswith(f"{label} 1: broken image: ") for line in lines)
    assert f"{label} 2: 'image_1' holds no image; it must have the image's bytes" in lines
    assert f"{label} 3: 'prompt' is empty; fill it in" in lines
    assert not list(own_cache.rglob("*.parquet")), "nothing faulty is kept"
    assert not list(own_cache.rglob("*.unfinished"))


def test_ids_that_stand_twice(tmp_path: Path) -> None:
    def double(config: str, split: str, rows: list[blink_copy.Row]) -> list[blink_copy.Row]:
        return [{**row, "idx": "same"} for row in rows[:2]] if (config, split) == ("Jigsaw", "val") else rows

    (line,) = faults(part(blink_copy.write_copy(tmp_path / "copy", 3, double)))
    assert line == f"{NAME}, Jigsaw, val: row 1: id 'same' stands already at {NAME}, Jigsaw, val: row 0; make ids unique"


def test_where_takes_some_rows(blink: Path) -> None:
    asked = part(blink, where={"idx": "val_Jigsaw_2"})
    assert [q.id for q in read(asked, "x")] == ["val_Jigsaw_2"]
    assert identify(asked, "x") != identify(part(blink), "x")
    assert faults(part(blink, where={"idx": "none"})) == [
        f"{NAME}, Jigsaw, val where idx = none: no rows; check 'split:' and 'where:'"
    ]
    (line,) = faults(part(blink, where={"sub_tasks": "Jigsaw"}))
    assert line.startswith(f"{NAME}, Jigsaw, val where sub_tasks = Jigsaw: no column 'sub_tasks' (did you mean 'sub_task'?)")


def own_dataset(folder: Path, **columns: list[Any]) -> QuestionData:
    """A dataset of a user's own, as ``push_to_hub`` would lay it out, without a configuration."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "data" / "val-00000-of-00001.parquet")
    return QuestionData(dataset=str(folder))


def test_a_dataset_of_ones_own_columns(tmp_path: Path) -> None:
    plain: dict[str, list[Any]] = {
        "id": [1, 2],
        "prompt": ["p", "q"],
        "options": [["a", "b"], []],
        "answer": ["B", "4.5"],
    }
    found = list(read(own_dataset(tmp_path / "mine", **plain), "x"))
    assert [(q.id, q.task, q.prompt, q.options, q.answer, q.images) for q in found] == [
        ("1", "mine", "p", ("a", "b"), "B", ()),
        ("2", "mine", "q", (), "4.5", ()),
    ]
    image = {"bytes": picture(1), "path": None}
    listed = own_dataset(tmp_path / "listed", **plain, images=[[image, image], []], task=["t", "t"])
    assert [(q.task, q.images) for q in read(listed, "x")] == [("t", (picture(1), picture(1))), ("t", ())]
    numbered = own_dataset(tmp_path / "numbered", **plain, image_2=[None, image], image_1=[image, image])
    assert [len(q.images) for q in read(numbered, "x")] == [1, 2]


def test_a_dataset_written_by_datasets(tmp_path: Path) -> None:
    """Decoded images, encoded by ``datasets`` itself, in a list: the bytes that it wrote come out."""
    import datasets

    (tmp_path / "a.png").write_bytes(picture(5))
    rows = {"id": ["x"], "prompt": ["?"], "options": [["a", "b"]], "answer": ["A"], "images": [[str(tmp_path / "a.png")]]}
    made = datasets.Dataset.from_dict(rows).cast_column("images", datasets.List(datasets.Image()))
    (tmp_path / "mine" / "data").mkdir(parents=True)
    made.to_parquet(tmp_path / "mine" / "data" / "val-00000-of-00001.parquet")
    (question,) = read(QuestionData(dataset=str(tmp_path / "mine")), "x")
    assert question.images == (picture(5),)


def test_missing_columns_are_all_told(tmp_path: Path) -> None:
    lines = faults(own_dataset(tmp_path / "mine", id=["1"], Prompt=["p"], answer=["A"]))
    needed = "format 'questions' needs id, prompt, options, answer"
    assert lines == [
        f"{tmp_path}/mine, val: no column 'prompt' (did you mean 'Prompt'?); {needed}",
        f"{tmp_path}/mine, val: no column 'options'; {needed}",
    ]


def test_columns_of_other_kinds(tmp_path: Path) -> None:
    data = own_dataset(tmp_path / "mine", id=["1", "2"], prompt=[["p"], ["q"]], options=["a", "b"], answer=["A", "B"])
    lines = faults(data)
    assert len(lines) == 2
    assert all("'prompt' is a list; it must be text" in line for line in lines)


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_without_a_network_one_line_says_what_to_do(revision: str | None, own_cache: Path) -> None:
    data = QuestionData(dataset=NAME, config="Jigsaw", format="blink", revision=revision)
    code = (
        "from tvt.data.tasks import QuestionData\nfrom tvt.data.task_questions import read\nfrom tvt.errors import InputError\n"
        f"data = QuestionData.model_validate_json({data.model_dump_json()!r})\n"
        "try:\n    list(read(data, 'x'))\nexcept InputError as error:\n    print(error)"
    )
    environment = {**ENVIRONMENT, "TVT_CACHE": str(own_cache), "HF_HUB_OFFLINE": "1", "HF_HOME": str(own_cache / "hf")}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    (line,) = told.stdout.splitlines()
    assert line.startswith(f"{NAME}: the hub cannot be reached (")
    assert f"or name a local copy (recipe: 'datasets:', tvt evaluate: --dataset {NAME}=DIR)" in line


class OnTheFly(BlinkRows):
    materialise = False

    def content(self, row: HubRow, data: QuestionData) -> str:
        return f"{row['idx']} {data.frames}"


def test_formats_that_are_not_stored_are_read_from_their_rows(blink: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = list(read(part(blink), "x"))
    monkeypatch.setitem(FORMATS.own, "vsi-bench", f"{__name__}:OnTheFly")
    data = part(blink, format="vsi-bench")
    assert list(read(data, "x")) == stored
    assert (count(data), count(part(blink, format="vsi-bench", questions=2))) == (3, 2)
    digests = {
        identify(part(blink, format="vsi-bench", **more), "x")
        for more in ({}, {"frames": 4}, {"questions": 2}, {"where": {"idx": "val_Jigsaw_1"}})
    }
    assert len(digests) == 4
    assert faults(part(blink, format="vsi-bench", split="test"))[0].startswith(f"{NAME}, Jigsaw, test: its answers are hidden")


def test_a_format_that_nobody_knows(blink: Path) -> None:
    with pytest.raises(ValueError, match=r"no format 'blnk' \(did you mean 'blink'\?\); there are questions, blink, vsi-bench"):
        part(blink, format="blnk")


def test_unchecked_questions_have_the_fields_of_questions() -> None:
    told = UncheckedQuestion(id="1", task="t", prompt="p", options=("a", "b"), answer="C")
    with pytest.raises(ValueError, match="none of its 2 options"):
        told.checked()
    assert UncheckedQuestion(id="1", task="t", prompt="p", options=("a",), answer="A", question="q").checked().question == "q"


# Where they are found


def test_the_bundled_manifests_find_a_local_copy(blink: Path) -> None:
    manifests = {m.name: m for m in load_manifests() if m.evaluation is not None and m.evaluation.dataset == NAME}
    assert len(manifests) >= 13
    for name, manifest in resolve_data_paths(manifests, datasets={NAME: str(blink)}).items():
        assert locate(manifest, "evaluation").folder == str(blink), name


@pytest.mark.parametrize("name", ["copy[1]", "a*b", "what?", "zip::here", "{a,b}", "a#b"])
def test_a_local_copy_in_a_folder_of_any_name(name: str, blink: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(blink, tmp_path / name / "copy"))
    assert list(read(part(folder), "Jigsaw")) == list(read(part(blink), "Jigsaw"))
    assert content_of(part(folder)) == content_of(part(blink))


def test_a_manifest_names_a_folder_near_it(blink: Path, tmp_path: Path) -> None:
    shutil.copytree(blink, tmp_path / "copy")
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({"name": "a", "evaluation": {"dataset": "copy", "config": "Jigsaw", "format": "blink"}})
    )
    (tmp_path / "b.yaml").write_text(
        yaml.safe_dump({"name": "b", "evaluation": {"dataset": NAME, "folder": "copy", "config": "Jigsaw", "format": "blink"}})
    )
    for name in "ab":
        assert count(locate(load_manifest(tmp_path / f"{name}.yaml"), "evaluation")) == 3
    told = pinned(locate(load_manifest(tmp_path / "a.yaml"), "evaluation"))
    assert told.folder == str(tmp_path / "copy")


def test_training_rows_from_a_folder(tmp_path: Path) -> None:
    rows = [Question(id="1", task="t", prompt="p", options=("a", "b"), answer="A")]
    write_parquet(rows, tmp_path / "one.parquet")
    write_jsonl(rows, tmp_path / "two.jsonl")
    write_parquet(rows, tmp_path / "three" / "data" / "x.parquet")
    own = QuestionData(path="own.jsonl")
    manifests = {n: TaskManifest(name=n, training=own if n == "own" else None) for n in ("one", "two", "three", "four", "own")}
    found = resolve_data_paths(manifests, data_dir=str(tmp_path))
    paths = {name: m.training.path if m.training else None for name, m in found.items()}
    expected = {"one": "one.parquet", "two": "two.jsonl", "three": "three"}
    assert paths == {**{n: str(tmp_path / f) for n, f in expected.items()}, "four": None, "own": "own.jsonl"}


def test_copies_that_nobody_speaks_of_are_all_told(tmp_path: Path) -> None:
    manifests = {"a": TaskManifest(name="a", evaluation=QuestionData(dataset=NAME, config="Jigsaw"))}
    with pytest.raises(InputError) as caught:
        resolve_data_paths(manifests, datasets={"BLINK-Benchmark/Blink": str(tmp_path), NAME: "gone", "x/y": "z"})
    assert caught.value.faults == (
        f"datasets: BLINK-Benchmark/Blink: no manifest names it (did you mean '{NAME}'?); check the name",
        "datasets: x/y: no manifest names it; check the name",
    )


def test_training_rows_that_a_dataset_scores_are_refused(blink: Path, tmp_path: Path) -> None:
    rows = list(read(part(blink), "Jigsaw"))
    write_parquet([*rows[1:2], *read(part(blink, "Visual_Similarity"), "x")], tmp_path / "Jigsaw.parquet")
    recipe = Recipe.model_validate(
        {
            "name": "shared",
            "model": {"model_name_or_path": "any"},
            "sources": ["Jigsaw"],
            "targets": ["Jigsaw"],
            "datasets": {NAME: str(blink)},
            "data_dir": str(tmp_path),
        }
    )
    with pytest.raises(
        InputError, match=r"the same question as .*Jigsaw-val-.*row 1, which is scored \(1 rows of Jigsaw are\)"
    ):
        load_study_plan(recipe)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == Path(os.environ["TVT_CACHE"])
    monkeypatch.delenv("TVT_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tvt"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "tvt"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "home" / "Library" / "Caches" / "tvt"


def test_without_datasets_the_extra_is_named(blink: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"datasets is not installed, .*; pip install .*\[data\]'"):
        list(read(part(blink), "x"))
