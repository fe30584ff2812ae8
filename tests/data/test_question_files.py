from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_rows import picture, question
from tvt.core.question import Question
from tvt.data.questions.batches import SCHEMA, image_fault, image_size
from tvt.data.questions.checks import EvaluationSet, scan
from tvt.data.questions.files import open_questions, read_questions, write_jsonl, write_parquet
from tvt.errors import InputError

MIXED = [question(0, 1), question(1, 3), question(2, 0), question(3, 2)]


def faults_of(path: Path) -> list[str]:
    with pytest.raises(InputError) as error:
        scan(open_questions(path))
    return list(error.value.faults)


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def record(**changes: Any) -> dict[str, Any]:
    return {"id": "q", "task": "T", "prompt": "p", "options": ["x", "y"], "answer": "A", "images": [], **changes}


@pytest.mark.parametrize("name", ["q.jsonl", "q.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    count = (write_jsonl if name.endswith("l") else write_parquet)(iter(MIXED), path)
    assert count == 4
    assert list(read_questions(path)) == MIXED
    source = open_questions(path)
    assert source.rows == 4
    assert list(source.questions([3, 0, 3])) == [MIXED[3], MIXED[0], MIXED[3]]


def test_both_kinds_have_one_digest_of_their_content(tmp_path: Path) -> None:
    write_jsonl(MIXED, tmp_path / "q.jsonl")
    write_parquet(MIXED, tmp_path / "q.parquet")
    pq.write_table(pq.read_table(tmp_path / "q.parquet"), tmp_path / "small.parquet", row_group_size=1, compression="none")
    found = {scan(open_questions(path)).digest for path in tmp_path.glob("*.*") if path.is_file()}
    assert len(found) == 1
    write_parquet([*MIXED[:3], question(3, 2, prompt="other")], tmp_path / "other.parquet")
    assert scan(open_questions(tmp_path / "other.parquet")).digest not in found


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def any_questions(draw: st.DrawFn) -> list[Question]:
    count = draw(st.integers(1, 6))
    made = []
    for k in range(count):
        task, prompt = draw(texts), draw(texts)
        options = tuple(draw(st.lists(texts, min_size=1, max_size=26)))
        answer = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[draw(st.integers(0, len(options) - 1))]
        images = tuple(picture(draw(st.integers(0, 999))) for _ in range(draw(st.integers(0, 3))))
        made.append(Question(id=f"{k}{draw(texts)}", task=task, prompt=prompt, options=options, answer=answer, images=images))
    return made


@given(any_questions())
@settings(max_examples=30, deadline=None)
def test_any_question_survives_both_kinds(tmp_path_factory: pytest.TempPathFactory, questions: list[Question]) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_jsonl(questions, folder / "q.jsonl")
    write_parquet(questions, folder / "q.parquet")
    assert list(read_questions(folder / "q.jsonl")) == questions == list(read_questions(folder / "q.parquet"))


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    write_parquet(MIXED[2:], tmp_path / "data" / "b.parquet")
    write_parquet(MIXED[:2], tmp_path / "data" / "a.parquet")
    source = open_questions(tmp_path)
    assert list(source.questions()) == MIXED
    assert list(source.questions([3, 1])) == [MIXED[3], MIXED[1]]
    assert source.where(2).endswith("b.parquet: row 0")


def test_only_wanted_row_groups_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet((question(k) for k in range(40)), tmp_path / "one.parquet")
    pq.write_table(pq.read_table(tmp_path / "one.parquet"), tmp_path / "q.parquet", row_group_size=5)
    seen: list[int] = []
    plain = pq.ParquetFile.iter_batches

    def spy(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        seen.extend(options["row_groups"])
        return plain(self, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert [q.id for q in open_questions(tmp_path / "q.parquet").questions([37, 6])] == ["q37", "q6"]
    assert seen == [1, 7]


def test_datasets_decodes_the_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_parquet(MIXED, tmp_path / "q.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "q.parquet"), split="train", cache_dir=tmp_path / "cache"
    )
    assert [[image.size for image in row] for row in loaded["images"]] == [[(9, 7)] * n for n in (1, 3, 0, 2)]
    assert loaded[1]["options"] == ["x", "y"]


def test_what_datasets_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            **{name: datasets.Value("large_string") for name in ("id", "task", "prompt", "answer")},
            "options": datasets.List(datasets.Value("string")),
            "images": datasets.List(datasets.Image()),
            "extra": datasets.Value("int64"),
        }
    )
    rows = [
        {
            **{name: getattr(q, name) for name in ("id", "task", "prompt", "answer")},
            "options": list(q.options),
            "images": [{"bytes": data, "path": "/somewhere/else.png"} for data in q.images],
            "extra": 1,
        }
        for q in MIXED
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "q.parquet")
    assert list(read_questions(tmp_path / "q.parquet")) == MIXED


def test_every_fault_of_a_jsonl_file_is_told_with_its_line(tmp_path: Path) -> None:
    whole = picture(1)
    (tmp_path / "cut.png").write_bytes(whole[:-5])
    (tmp_path / "wrong.png").write_bytes(whole[:45] + bytes([whole[45] ^ 1]) + whole[46:])
    (tmp_path / "cut.jpg").write_bytes(picture(1, "JPEG", (60, 60))[:-20])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    path = lines(
        tmp_path / "q.jsonl",
        record(id="fine"),
        record(id="1", images=["missing.png"]),
        "",
        record(id="2", images=["cut.png"]),
        record(id="3", images=["wrong.png"]),
        record(id="4", images=["cut.jpg"]),
        record(id="5", images=["text.png"]),
        record(id="6", images=["folder.png"]),
        record(id="7", answer="C"),
        record(id="8", answer="AB"),
        record(id="9", options=[], answer=" "),
        record(id="10", prompt=3),
        record(id="11", images="a.png"),
        {"id": "12", "task": "T", "prompts": "p", "options": ["x"], "answer": "A"},
        "{not json}",
        "[1]",
        record(id="13", prompt="\ud800"),
        record(id="", task="T"),
    )
    found = faults_of(path)
    expected = [
        (2, "no image 'missing.png'"),
        (4, "broken image: truncated PNG"),
        (5, "checksum"),
        (6, "truncated JPEG"),
        (7, "not an image"),
        (8, "'folder.png' is no file"),
        (9, "answer 'C' is not one of A, B"),
        (10, "answer 'AB'"),
        (11, "so is the list of options; fill one"),
        (12, "'prompt' is no text"),
        (13, "'images' is no list"),
        (14, "no 'prompt' (did you mean 'prompts'?)"),
        (15, "no JSON"),
        (16, "no JSON object"),
        (17, "'prompt' is no text"),
        (18, "'id' is empty"),
    ]
    assert len(found) == len(expected), found
    for fault, (line, what) in zip(found, expected, strict=True):
        assert fault.startswith(f"{path}:{line}: ")
        assert what in fault


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(json.dumps(record()).encode() + b"\n" + json.dumps(record(id="é"), ensure_ascii=False).encode("latin-1"))
    assert faults_of(path) == [f"{path}:2: not UTF-8; save the file as UTF-8"]


def test_repeated_ids_are_told_within_a_task_only(tmp_path: Path) -> None:
    write_jsonl([question(1), question(1, task="other"), question(2)], tmp_path / "q.jsonl")
    scan(open_questions(tmp_path / "q.jsonl"))
    write_parquet([question(1), question(2), question(1)], tmp_path / "q.parquet")
    assert faults_of(tmp_path / "q.parquet") == [
        f"{tmp_path}/q.parquet: row 2: id 'q1' stands already at {tmp_path}/q.parquet: row 0; make ids unique"
    ]


def test_many_faults_are_counted(tmp_path: Path) -> None:
    found = faults_of(lines(tmp_path / "q.jsonl", *(record(id=str(k), answer="Z") for k in range(100))))
    assert len(found) == 21
    assert "and 80 more" in found[-1]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "link.png", "deep/secret.png", "a\0b"])
def test_images_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "deep").symlink_to(tmp_path)
    found = faults_of(lines(folder / "q.jsonl", record(images=[name])))
    assert len(found) == 1
    assert "outside the file's folder" in found[0]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is no file" in faults_of(lines(tmp_path / "q.jsonl", record(images=["pipe.png"])))[0]
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match="not a regular file"):
        open_questions(tmp_path / "pipe.jsonl")


def test_faults_of_parquet(tmp_path: Path) -> None:
    table = pq.read_table(_written(tmp_path))
    images = [[{"bytes": None, "path": "somewhere.png"}], [{"bytes": b"nothing", "path": None}], [], []]
    table = table.set_column(4, "answer", pa.array(["A", None, "b", "B"]))
    table = table.set_column(5, "images", pa.array(images, SCHEMA.field("images").type))
    pq.write_table(table, tmp_path / "bad.parquet")
    found = faults_of(tmp_path / "bad.parquet")
    assert [fault.partition("bad.parquet: ")[2].partition(";")[0] for fault in found] == [
        "row 1: 'answer' is empty",
        "row 2: answer 'b' is not one of A, B",
        "row 0: broken image: no bytes (only a path?)",
        "row 1: broken image: not an image that Pillow can read",
    ]


def _written(folder: Path) -> Path:
    write_parquet(MIXED, folder / "good.parquet")
    return folder / "good.parquet"


def test_columns_missing_or_of_another_type(tmp_path: Path) -> None:
    table = pq.read_table(_written(tmp_path)).drop_columns(["task"]).rename_columns({"prompt": "prompts"})
    table = table.set_column(table.schema.get_field_index("images"), "images", pa.array([[1]] * 4))
    pq.write_table(table, tmp_path / "bad.parquet")
    with pytest.raises(InputError) as error:
        open_questions(tmp_path / "bad.parquet")
    told = "\n".join(error.value.faults)
    assert "no column 'task'" in told
    assert "no column 'prompt' (did you mean 'prompts'?)" in told
    assert "column 'images' is list<" in told


@pytest.mark.parametrize("cut", [4, 100, -40, -1])
def test_damaged_parquet_is_refused_without_a_traceback(tmp_path: Path, cut: int) -> None:
    data = _written(tmp_path).read_bytes()
    (tmp_path / "bad.parquet").write_bytes(data[:cut])
    with pytest.raises(InputError, match=r"bad\.parquet"):
        open_questions(tmp_path / "bad.parquet")


def test_flipped_bytes_of_parquet_never_end_in_a_traceback(tmp_path: Path) -> None:
    data = bytearray(_written(tmp_path).read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 150):
        damaged = bytes(data[:at]) + bytes([data[at] ^ int(rng.integers(1, 256))]) + bytes(data[at + 1 :])
        (tmp_path / "bad.parquet").write_bytes(damaged)
        try:
            scan(open_questions(tmp_path / "bad.parquet"))
        except InputError:
            continue


@pytest.mark.parametrize("name", ["q.csv", "none.jsonl", "none.parquet"])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "q.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=name):
        open_questions(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="in this folder"):
        open_questions(tmp_path / "empty")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@given(width=st.integers(1, 70), height=st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_sizes_are_read_from_the_bytes(kind: str, width: int, height: int) -> None:
    assert image_size(picture(3, kind, (width, height))) == (width, height)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_image_check_fail(data: bytes) -> None:
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        assert image_fault(start + data) is None or isinstance(image_fault(start + data), str)


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Question]:
        yield from MIXED
        raise KeyboardInterrupt

    for write, name in ((write_jsonl, "q.jsonl"), (write_parquet, "q.parquet")):
        with pytest.raises(KeyboardInterrupt):
            write(failing(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_what_an_evaluation_set_shares(tmp_path: Path) -> None:
    write_parquet(MIXED, tmp_path / "eval.parquet")
    rows = [
        question(90),
        question(91, prompt=MIXED[0].prompt.replace(" ", "  "), pictures=MIXED[0].images),  # white space does not count
        question(92, pictures=(picture(999), MIXED[1].images[2])),
        question(93, pictures=MIXED[1].images[::-1], prompt=MIXED[1].prompt),
    ]
    write_jsonl(rows, tmp_path / "rows.jsonl")
    source = open_questions(tmp_path / "rows.jsonl")
    evaluation = EvaluationSet("question")
    evaluation.add(tmp_path / "eval.parquet")
    assert [(item.row, item.what) for item in scan(source, evaluation).shared] == [(1, "question")]
    evaluation = EvaluationSet("image")
    evaluation.add(tmp_path / "eval.parquet")
    assert [(item.row, item.what) for item in scan(source, evaluation).shared] == [(1, "question"), (2, "image"), (3, "image")]
