"""Rows of other trainers and tables as questions: each format in its tool's own layout, and all that is wrong with a file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tvt
from commands import tvt as run
from pictures import picture
from tvt.core.question import Question
from tvt.data.imports.importing import ImportReport
from tvt.data.questions.files import read_questions, write_jsonl
from tvt.data.questions.listed_options import letter_of, listed_options
from tvt.data.task_questions import as_file, as_stored, count, identify, read
from tvt.data.tasks import QuestionData, load_manifest
from tvt.errors import InputError

ASKED = "Which animal is it?\n(A) a cat\n(B) a dog"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[bytes]:
    """Two pictures, ``images/0.png`` and ``images/1.png`` in the test's folder."""
    found = [picture(40 + number, 40) for number in range(2)]
    (tmp_path / "images").mkdir()
    for number, content in enumerate(found):
        (tmp_path / "images" / f"{number}.png").write_bytes(content)
    return found


def imported(path: Path, **options: Any) -> tuple[list[Question], ImportReport]:
    report = tvt.import_rows([path], path.parent / "out" / "mine.parquet", **options)
    return list(read_questions(path.parent / "out" / "mine.parquet")), report


def only(path: Path, **options: Any) -> Question:
    questions, report = imported(path, **options)
    assert not report.unread
    assert len(questions) == 1
    return questions[0]


def as_json(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def as_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def faults(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        imported(path, **options)
    return "\n".join(caught.value.faults)


SHAREGPT = {
    "conversations": [{"from": "human", "value": f"<image>{ASKED}"}, {"from": "gpt", "value": "B"}],
    "images": ["images/0.png"],
}
"""As LLaMA-Factory's data/README.md has multimodal rows."""


def test_llama_factory_sharegpt(tmp_path: Path, pictures: list[bytes]) -> None:
    question = only(as_json(tmp_path / "train.json", [SHAREGPT]))
    assert (question.prompt, question.options, question.answer) == (ASKED, ("a cat", "a dog"), "B")
    assert question.images == (pictures[0],)
    assert question.task == "mine"
    assert question == only(as_lines(tmp_path / "train.jsonl", [SHAREGPT]), format="sharegpt")


def test_llama_factory_columns_and_tags_are_those_of_dataset_info(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "rows").mkdir()
    entry = {
        "file_name": "rows/train.json",
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "images": "shown", "system": "rule"},
        "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "me", "assistant_tag": "it"},
    }
    as_json(tmp_path / "dataset_info.json", {"other": {"file_name": "x.json"}, "mine": entry})
    talk = [{"who": "me", "said": f"<image><image>{ASKED}"}, {"who": "it", "said": "(A)"}]
    row = {"talk": talk, "shown": ["images/1.png", "images/0.png"], "rule": "Be brief."}
    path = as_json(tmp_path / "rows" / "train.json", [row])
    questions, report = imported(path)
    assert questions[0].prompt == f"Be brief.\n\n{ASKED}"
    assert questions[0].answer == "A"
    assert questions[0].images == (pictures[1], pictures[0]), "paths start at dataset_info.json's folder"
    assert report.formats == {"sharegpt": 1}
    assert set(report.notes) == {
        "a system prompt was put before the first question",
        "answers became the right option's letter",
    }
    other = {**row, "talk": [{"who": "user", "said": "?"}, {"who": "it", "said": "(A)"}]}
    assert "'user, which is no tag of mine in dataset_info.json'" in faults(as_json(path, [other]))


def test_llama_factory_refuses_two_descriptions_of_one_file(tmp_path: Path, pictures: list[bytes]) -> None:
    plain: dict[str, Any] = {"file_name": "train.json", "formatting": "sharegpt", "columns": {"images": "images"}}
    as_json(tmp_path / "dataset_info.json", {"one": plain, "two": {**plain, "columns": {"images": "shown"}}})
    path = as_json(tmp_path / "train.json", [SHAREGPT])
    assert "one, two describe train.json in different ways; name one with --config" in faults(path)
    assert only(path, config="one").images == (pictures[0],)


def test_llama_factory_alpaca(tmp_path: Path, pictures: list[bytes]) -> None:
    entry = {
        "file_name": "train.json",
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "images": "images"},
    }
    as_json(tmp_path / "dataset_info.json", {"mine": entry})
    row = {
        "instruction": "<image>Which animal is it?",
        "input": "(A) a cat\n(B) a dog",
        "output": "B",
        "images": ["images/0.png"],
    }
    question = only(as_json(tmp_path / "train.json", [row]))
    assert (question.prompt, question.answer, question.images) == (ASKED, "B", (pictures[0],))


@pytest.mark.parametrize("places", [0, 2, 3])
def test_placeholders_and_images_must_be_as_many(places: int, tmp_path: Path, pictures: list[bytes]) -> None:
    talk = [{"from": "human", "value": "<image>" * places + ASKED}, {"from": "gpt", "value": "B"}]
    path = as_json(tmp_path / "train.json", [{"conversations": talk, "images": ["images/0.png"]}])
    assert f"row 0: 1 image for {places} <image> in its text; give each image one place" in faults(path)


def test_placeholders_within_the_text_become_names_of_images(tmp_path: Path, pictures: list[bytes]) -> None:
    text = "Here is <image>and there <image>. Which is older?\n(A) the first\n(B) the second"
    row = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "A"}]}
    path = as_lines(tmp_path / "train.jsonl", [{**row, "images": ["images/0.png", "images/1.png"]}])
    questions, report = imported(path)
    assert questions[0].prompt.startswith("Here is (image 1) and there (image 2). Which is older?")
    assert questions[0].images == tuple(pictures)
    assert report.notes == {"placeholders within the text became (image 1), (image 2), ...": 1}


def test_ms_swift_messages(tmp_path: Path, pictures: list[bytes]) -> None:
    """As its custom-dataset page has them: paths, best absolute, and tags, which may be missing."""
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": "B"},
    ]
    path = as_lines(tmp_path / "train.jsonl", [{"messages": talk, "images": [str(tmp_path / "images" / "0.png")]}])
    question = only(path)
    assert question.prompt == f"Be brief.\n\n{ASKED}"
    assert question.images == (pictures[0],)
    query = {"query": f"<image>{ASKED}", "response": "A", "images": ["images/1.png"]}
    assert only(as_lines(path, [query])).images == (pictures[1],)
    talk = [{"human": f"<image>{ASKED}", "assistant": "A"}]
    assert only(as_lines(path, [{"conversation": talk, "images": ["images/1.png"]}])).answer == "A"


def test_openai_messages(tmp_path: Path, pictures: list[bytes]) -> None:
    """As its guide to vision fine-tuning has them: two messages of the user, the image as a data: URL."""
    url = f"data:image/png;base64,{base64.b64encode(pictures[0]).decode()}"
    talk = [
        {"role": "user", "content": ASKED},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]},
        {"role": "assistant", "content": "B"},
    ]
    question = only(as_lines(tmp_path / "train.jsonl", [{"messages": talk}]))
    assert (question.prompt, question.options, question.images) == (ASKED, ("a cat", "a dog"), (pictures[0],))
    talk[1]["content"] = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    assert "image 'https://example.org/a.png' has to be fetched" in faults(
        as_lines(tmp_path / "train.jsonl", [{"messages": talk}])
    )


def test_letters_words_and_turns_stand_in_one_file(tmp_path: Path, pictures: list[bytes]) -> None:
    """The rows of LLaMA-Factory's mllm_demo.json, with the placeholder that it needs now."""
    talk = [
        {"content": "<image>Who are they?", "role": "user"},
        {"content": "They're Kane and Gretzka.", "role": "assistant"},
        {"content": "What are they doing?", "role": "user"},
        {"content": "They are celebrating.", "role": "assistant"},
    ]
    words = {"messages": [talk[0], talk[1]], "images": ["images/1.png"]}
    letters = {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "A"}], "images": []}
    barked = {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "It barks."}], "images": []}
    path = as_json(tmp_path / "demo.json", [{"messages": talk, "images": ["images/0.png"]}, words, letters, barked])
    questions, report = imported(path)
    assert [(q.prompt, q.answer, q.turns, len(q.images)) for q in questions[:2]] == [
        ("What are they doing?", "They are celebrating.", (("Who are they?", "They're Kane and Gretzka."),), 1),
        ("Who are they?", "They're Kane and Gretzka.", (), 1),
    ]
    assert [(q.options, q.answer) for q in questions[2:]] == [(("a cat", "a dog"), "A"), ((), "It barks.")]
    assert report.kinds == {"text": 3, "turns": 1, "images": 2, "options": 1}


def test_images_of_later_turns_are_named(tmp_path: Path, pictures: list[bytes]) -> None:
    said = ["<image>\nWhat is it?", "a cat", "And <image>?", "a dog"]
    talk = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(said)]
    rows = [{"messages": talk, "images": ["images/0.png", "images/1.png"]}]
    question = only(as_lines(tmp_path / "train.jsonl", rows))
    assert (question.turns[0].prompt, question.prompt) == ("(image 1)\nWhat is it?", "And (image 2)?")
    assert question.images == tuple(pictures)


def test_several_accepted_answers(tmp_path: Path) -> None:
    """As the hub has VQAv2 and TextVQA: what ten people answered."""
    rows = [
        {"question": "Which brand?", "answers": ["nous", "nokia", "nokia"]},
        {"question": "?", "answers": [{"answer": "x"}]},
    ]
    first, second = imported(as_lines(tmp_path / "train.jsonl", rows))[0]
    assert (first.answer, first.answers) == ("nokia", ("nokia", "nokia", "nous"))
    assert (second.answer, second.answers) == ("x", ())


def test_trl_prompt_and_completion(tmp_path: Path, pictures: list[bytes]) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {
            "images": [{"bytes": pictures[0], "path": None}],
            "prompt": [{"role": "user", "content": ASKED}],
            "completion": [{"role": "assistant", "content": "B"}],
        }
    ]
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "prompt": datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")}),
            "completion": datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")}),
        }
    )
    dataset = datasets.Dataset.from_list(rows, features=features)
    dataset.to_parquet(tmp_path / "train.parquet")
    question = only(tmp_path / "train.parquet")
    assert (question.prompt, question.answer, question.images) == (ASKED, "B", (pictures[0],)), "the very bytes"
    dataset.save_to_disk(tmp_path / "saved")
    assert only(tmp_path / "saved", format="hf-folder") == question
    plain = {"prompt": ASKED, "completion": "B", "image": str(tmp_path / "images" / "0.png")}
    assert only(as_lines(tmp_path / "plain.jsonl", [plain]), format="trl") == question


def test_trl_blocks_stand_where_trl_puts_images(tmp_path: Path, pictures: list[bytes]) -> None:
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": ASKED}]
    talk = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "A"}]}]
    rows = [{"messages": talk, "images": ["images/0.png", "images/1.png"]}]
    question = only(as_lines(tmp_path / "train.jsonl", rows), format="trl")
    assert (question.prompt, question.images) == (ASKED, tuple(pictures))
    rows[0]["images"] = ["images/0.png"]
    assert "1 image for 2 <image> in its text" in faults(as_lines(tmp_path / "train.jsonl", rows), format="trl")


@pytest.mark.parametrize("blocks", [False, True])
def test_images_and_text_are_those_that_trl_itself_shows(blocks: bool, tmp_path: Path, pictures: list[bytes]) -> None:
    data_utils = pytest.importorskip("trl.data_utils")
    content: Any = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": ASKED}] if blocks else ASKED
    row = {"prompt": [{"role": "user", "content": content}], "images": ["images/1.png", "images/0.png"]}
    (shown,) = data_utils.prepare_multimodal_messages(row["prompt"], images=row["images"])
    completion = [{"role": "assistant", "content": "A"}]
    question = only(as_lines(tmp_path / "train.jsonl", [{**row, "completion": completion}]))
    trls = [(tmp_path / part["image"]).read_bytes() for part in shown["content"] if part["type"] == "image"]
    assert [part["type"] for part in shown["content"]] == ["image", "image", "text"], "images first, as tvt shows them"
    assert (list(question.images), question.prompt) == (trls, shown["content"][-1]["text"])


def test_llava(tmp_path: Path, pictures: list[bytes]) -> None:
    talk = [{"from": "human", "value": f"{ASKED}\n<image>"}, {"from": "gpt", "value": "The answer is B."}]
    row = {"id": "coco-1", "image": "1.png", "conversations": talk}
    text_only = {"id": "coco-1", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}
    path = as_json(tmp_path / "llava.json", [row, text_only])
    questions, report = imported(path, format="llava", image_folder=tmp_path / "images")
    assert [(q.id, q.prompt, q.answer, q.images) for q in questions] == [
        ("coco-1", ASKED, "B", (pictures[1],)),
        ("coco-1-2", "2 + 2?", "4", ()),
    ]
    assert (report.changed_ids, report.made_ids) == (1, 0)
    assert "no image '1.png'" in imported(path)[1].unread[0].message
    assert "name its folder with --image-folder" in imported(path)[1].unread[0].message


def test_csv_with_paths(tmp_path: Path, pictures: list[bytes]) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        "id,image,question,choices,answer\n"
        "1,images/0.png,Which?,\"['a cat', 'a dog']\",a dog\n"
        "2,images/1.png,Which?,a cat|a dog|a cow,C\n"
        '3,images/1.png,How many?,,"3"\n'
        "4,images/1.png,Which?,a cat|a dog,E\n"
        "5,images/1.png,Which?\n"
    )
    questions, report = imported(path)
    assert [(q.id, q.options, q.answer) for q in questions] == [
        ("1", ("a cat", "a dog"), "B"),
        ("2", ("a cat", "a dog", "a cow"), "C"),
        ("3", (), "3"),
    ]
    assert questions[0].prompt == "Which?\nSelect from the following choices.\n(A) a cat\n(B) a dog"
    assert questions[0].question == "Which?"
    assert [(row.where, row.kind) for row in report.unread] == [
        ("line 5", "answers that are no option"),
        ("line 6", "ragged rows"),
    ]


def test_columns_by_name(tmp_path: Path, pictures: list[bytes]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("photo;text;A;B;right\nimages/0.png;Which?;a cat;a dog;B\n")
    named = {"image": "photo", "question": "text", "answer": "right"}
    question = only(path, columns=named)
    assert (question.options, question.answer, question.images) == (("a cat", "a dog"), "B", (pictures[0],))
    assert "no column 'phto' (did you mean 'photo'?); there are photo, text, A, B, right" in faults(
        path, columns={**named, "image": "phto"}
    )
    assert "it has photo, text, A, B, right; name the format with --from, or columns" in faults(path)


def test_parquet_with_image_structs(tmp_path: Path, pictures: list[bytes]) -> None:
    """As the hub has ScienceQA: the answer is a place in the list of choices, counted from 0."""
    table = pa.table(
        {
            "image": pa.array([{"bytes": pictures[0], "path": "0.png"}, {"bytes": pictures[1], "path": None}]),
            "question": ["Which?", "Which?"],
            "choices": [["a cat", "a dog"], ["a cat", "a dog"]],
            "answer": pa.array([1, 2], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    questions, report = imported(tmp_path / "train.parquet", format="parquet")
    assert [(q.answer, q.images) for q in questions] == [("B", (pictures[0],))]
    assert report.unread[0].message == (
        "the answer 2 is no place of one of 2 options, counted from 0; write the right option's letter"
    )


def test_saved_folder_with_splits_and_classes(tmp_path: Path, pictures: list[bytes]) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "options": datasets.List(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["a cat", "a dog"]),
        }
    )
    row = {"image": {"bytes": pictures[1], "path": None}, "question": "Which?", "options": ["a cat", "a dog"], "label": 1}
    dataset = datasets.Dataset.from_list([row], features=features)
    datasets.DatasetDict({"train": dataset, "test": dataset.select([])}).save_to_disk(tmp_path / "saved")
    question = only(tmp_path / "saved")
    assert (question.options, question.answer, question.images) == (("a cat", "a dog"), "B", (pictures[1],))
    assert "no split 'tst' (did you mean 'test'?); there are train, test" in faults(tmp_path / "saved", split="tst")


def test_frames_of_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    import numbered_video

    numbered_video.write(tmp_path / "a.mp4", 12)
    talk = [{"from": "human", "value": f"<image>\n{ASKED}"}, {"from": "gpt", "value": "B"}]
    path = as_json(tmp_path / "llava.json", [{"id": "1", "video": "a.mp4", "conversations": talk}])
    question = only(path, frames=4)
    assert len(question.images) == 4
    assert question.prompt == f"These are frames of a video.\n{ASKED}"
    assert "it has a video; say how many frames are shown with --frames N" in faults(path)
    talk[0]["value"] = f"<video>{ASKED}"
    path = as_json(tmp_path / "mllm_video_demo.json", [{"conversations": talk, "videos": ["a.mp4"]}])  # LLaMA-Factory's
    assert (only(path, frames=4).images, only(path, frames=4).prompt) == (question.images, question.prompt)
    messages = [{"role": "user", "content": f"What is in <video>? {ASKED}"}, {"role": "assistant", "content": "B"}]
    found = only(as_lines(tmp_path / "swift.jsonl", [{"messages": messages, "videos": ["a.mp4"]}]), frames=4)  # ms-swift's
    assert found.images == question.images
    assert found.prompt.startswith("These are frames of a video.\nWhat is in (images 1 to 4)?")
    assert "no video 'b.mp4'" in faults(as_lines(path, [{"messages": messages, "videos": ["b.mp4"]}]), frames=4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"role": "user", "content": "2 + 2?"}]}, "it ends without an answer of the assistant"),
        ({"messages": [{"role": "assistant", "content": "4"}]}, "it does not begin with a question of the user"),
        ({"messages": []}, "'messages' is no list of messages"),
        ({"messages": [{"role": "user", "content": "?"}, {"role": "tool", "content": "4"}]}, "a turn is of 'tool'"),
        (
            {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": " "}]},
            "an answer (turn 2) is empty",
        ),
        ({"messages": [{"role": "user", "content": "<audio>?"}, {"role": "assistant", "content": "4"}]}, "it has sound"),
        ({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "4", "weight": 0}]}, "weight 0"),
        ({"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "C"}]}, "'C' is none of A, B"),
        (
            {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<image>"}], "images": ["a"]},
            "holds an image",
        ),
        (
            {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "4"}], "rejected_response": "5"},
            "a rejected answer",
        ),
        ({"name": "x"}, "it has name; name the format with --from"),
        ([1], "it is a list; write an object"),
    ],
)
def test_rows_that_are_no_questions_say_why(row: Any, message: str, tmp_path: Path) -> None:
    found = faults(as_lines(tmp_path / "train.jsonl", [row]))
    assert "none of 1 rows became a question" in found
    assert f"line 1: {message}" in found or message in found
    assert not (tmp_path / "out" / "mine.parquet").exists()


def test_broken_images_and_lines_are_rows_like_others(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "images" / "1.png").write_bytes(pictures[1][:-20])
    rows = [json.dumps({**SHAREGPT, "images": [f"images/{number}.png"]}) for number in (0, 1, 2)]
    (tmp_path / "train.jsonl").write_text("\n".join([*rows, "{", rows[0]]))
    questions, report = imported(tmp_path / "train.jsonl")
    assert len(questions) == 2
    assert [(row.where, row.kind) for row in report.unread] == [
        ("line 2", "broken images"),
        ("line 3", "missing images"),
        ("line 4", "lines that are no JSON"),
    ]


def test_made_ids_follow_from_content(tmp_path: Path, pictures: list[bytes]) -> None:
    other = {**SHAREGPT, "images": ["images/1.png"]}
    first, _ = imported(as_json(tmp_path / "train.json", [SHAREGPT, other, SHAREGPT]))
    second, report = imported(as_json(tmp_path / "train.json", [other, SHAREGPT]))
    assert [q.id for q in first[:2]] == [q.id for q in reversed(second)], "wherever a row stands"
    assert first[2].id == f"{first[0].id}-2"
    assert report.made_ids == 2


def test_rows_of_evaluation_sets_are_left_out(tmp_path: Path, pictures: list[bytes]) -> None:
    pytest.importorskip("imagehash")
    scored = [
        Question(id="1", task="T", prompt="?", options=("a", "b"), answer="A", images=(pictures[0],)),
        Question(id="2", task="T", prompt="2 +  2?", options=(), answer="4"),
    ]
    write_jsonl(scored, tmp_path / "val.jsonl")
    text = {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}
    rows = [SHAREGPT, {**SHAREGPT, "images": ["images/1.png"]}, text]
    questions, report = imported(as_json(tmp_path / "train.json", rows), exclude=[str(tmp_path / "val.jsonl")])
    assert [q.images for q in questions] == [(pictures[1],)]
    assert [(row.where, row.message.split(str(tmp_path))[0]) for row in report.shared] == [
        ("row 0", "shows "),
        ("row 2", "asks what "),
    ]


def test_a_manifest_takes_a_file_as_it_is(tmp_path: Path, pictures: list[bytes]) -> None:
    as_json(tmp_path / "train.json", [SHAREGPT])
    (tmp_path / "task.yaml").write_text("name: Mine\ntraining: {path: train.json, format: sharegpt}\n")
    data = load_manifest(tmp_path / "task.yaml").training
    assert data is not None
    question = next(read(data, "Mine"))
    assert (question.prompt, question.images) == (ASKED, (pictures[0],))
    assert count(data) == 1
    stored = as_stored(data)
    assert as_stored(data) == stored, "read once"
    assert identify(data, "Mine") == identify(stored, "Mine")
    assert as_file(data, "Mine", tmp_path) == Path(str(stored.path))
    (tmp_path / "images" / "0.png").write_bytes(pictures[1])
    assert next(read(data, "Mine")).images == (pictures[1],), "an image that changed is read anew"
    entry = {"file_name": "train.json", "formatting": "sharegpt", "columns": {"images": "images", "system": "rule"}}
    as_json(tmp_path / "dataset_info.json", {"mine": entry})
    as_json(tmp_path / "train.json", [{**SHAREGPT, "rule": "Be brief."}])
    assert next(read(data, "Mine")).prompt == f"Be brief.\n\n{ASKED}"
    as_json(tmp_path / "dataset_info.json", {"mine": {**entry, "columns": {"images": "images"}}})
    assert next(read(data, "Mine")).prompt == ASKED, "so is a file whose description changed"


def test_a_manifest_refuses_a_file_with_rows_that_cannot_be_read(tmp_path: Path, pictures: list[bytes]) -> None:
    bad = {**SHAREGPT, "images": []}
    data = QuestionData(path=str(as_json(tmp_path / "train.json", [bad, SHAREGPT, bad])), format="auto")
    with pytest.raises(InputError) as caught:
        as_stored(data)
    assert "2 of 3 rows cannot be read; mend or drop these rows" in caught.value.faults[0]
    assert sum("0 images for 1 <image>" in line for line in caught.value.faults) == 2
    with pytest.raises(ValueError, match="columns: no picture; there are image, question, answer, options"):
        QuestionData(path="x.csv", format="csv", columns={"picture": "x"})


def test_the_cauldron(tmp_path: Path, pictures: list[bytes]) -> None:
    """As its card has them: questions about the same images, without placeholders."""
    texts = [{"user": ASKED, "assistant": "Answer: B", "source": "x"}]
    table = pa.table({"images": [[{"bytes": pictures[0], "path": None}]], "texts": [texts]})
    pq.write_table(table, tmp_path / "train.parquet")
    question = only(tmp_path / "train.parquet")
    assert (question.prompt, question.answer, question.images) == (ASKED, "B", (pictures[0],))


def test_a_manifest_of_an_evaluation_set_is_kept_clear_of(tmp_path: Path, pictures: list[bytes]) -> None:
    pytest.importorskip("imagehash")
    as_json(tmp_path / "val.json", [SHAREGPT])
    (tmp_path / "scored.yaml").write_text("name: Scored\nevaluation: {path: val.json, format: sharegpt}\n")
    path = as_json(tmp_path / "train.json", [SHAREGPT, {**SHAREGPT, "images": ["images/1.png"]}])
    questions, report = imported(path, exclude=[str(tmp_path / "scored.yaml")])
    assert [q.images for q in questions] == [(pictures[1],)]
    assert len(report.shared) == 1


def test_rows_of_others_are_told_apart_from_rows_of_tvt(tmp_path: Path, pictures: list[bytes]) -> None:
    path = as_lines(tmp_path / "train.jsonl", [{"messages": [], "images": []}])
    with pytest.raises(InputError, match="has 'messages', as rows of other trainers have; tvt data import reads such files"):
        list(read_questions(path))
    pq.write_table(pa.table({"messages": [["x"]]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="has 'messages', as rows of other trainers have; tvt data import reads such files"):
        list(read_questions(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r"train\.json -o train\.parquet makes one"):
        list(read_questions(as_json(tmp_path / "train.json", [])))
    write_jsonl([Question(id="1", task="T", prompt="?", options=(), answer="4")], path)
    assert "it is a question in tvt's own columns already" in faults(path)
    assert "no format 'sharegtp' (did you mean 'sharegpt'?)" in faults(path, format="sharegtp")


def test_formats_of_datasets_are_read_of_files_too(tmp_path: Path, pictures: list[bytes]) -> None:
    columns = {
        "idx": ["val_1"],
        "question": ["Which?"],
        "choices": [["a cat", "a dog"]],
        "answer": ["(B)"],
        "prompt": [ASKED],
        "sub_task": ["T"],
    }
    table = pa.table({**columns, "image_1": pa.array([{"bytes": pictures[0], "path": None}])})
    pq.write_table(table, tmp_path / "blink.parquet")
    assert only(tmp_path / "blink.parquet", format="blink").answer == "B"
    pq.write_table(table.drop_columns(["idx"]), tmp_path / "blink.parquet")
    assert "no column 'idx'; format 'blink' needs idx, question" in faults(tmp_path / "blink.parquet", format="blink")
    assert "'frames:' is missing" in faults(tmp_path / "blink.parquet", format="vsi-bench")


def test_a_dataset_in_the_hubs_layout_has_these_formats_too(tmp_path: Path, pictures: list[bytes]) -> None:
    datasets = pytest.importorskip("datasets")
    talk = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "B"}]
    rows = [{"messages": talk, "images": [{"bytes": pictures[0], "path": None}]}]
    features = datasets.Features(
        {
            "messages": datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")}),
            "images": datasets.List(datasets.Image()),
        }
    )
    (tmp_path / "copy").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "copy" / "train.parquet")
    data = QuestionData(dataset="some/talks", folder=str(tmp_path / "copy"), split="train", format="messages")
    question = next(read(data, "Mine"))
    assert (question.prompt, question.answer, question.images, question.task) == (ASKED, "B", (pictures[0],), "talks")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Which?\n(A) a cat\n(B) a dog", ("a cat", "a dog")),
        ("Which?\nA. a cat\nB. a dog\nAnswer with the letter.", ("a cat", "a dog")),
        ("Which?\nA) a cat,\nor two\nB) a dog\n", ("a cat,\nor two", "a dog")),
        ("Which? (A) a cat (B) a dog", ("a cat", "a dog")),
        ("As in (A) x (B) y.\nWhich?\nA: red\nB: blue\nC: green", ("red", "blue", "green")),
        ("Which of (A) and no other?", ()),
        ("A. Smith wrote it.", ()),
        ("Which?\nB. a\nC. b", ()),
    ],
)
def test_options_of_a_text(text: str, options: tuple[str, ...]) -> None:
    assert listed_options(text) == options


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("B.", "B"),
        ("B. a dog", "B"),
        ("A dog.", "B"),
        ("The answer is (B).", "B"),
        ("it barks", None),
    ],
)
def test_answers_that_name_an_option(answer: str, letter: str | None) -> None:
    assert letter_of(answer, ["a cat", "a dog"]) == letter


def test_command(tmp_path: Path, pictures: list[bytes]) -> None:
    bad = {**SHAREGPT, "images": []}
    path = str(as_json(tmp_path / "train.json", [SHAREGPT, *[bad] * 5]))
    importing = ("data", "import", path, "-o", str(tmp_path / "mine.jsonl"))
    done = run(*importing)
    assert done.returncode == 0, done.stderr
    assert f"{path}: 1 of 6 rows understood (sharegpt)" in done.stdout
    assert "images that do not fit their placeholders: 5 rows" in done.stdout
    assert "... and 2 more (--all lists them)" in done.stdout
    every = run(*importing, "--all")
    assert all(f"row {number}: 0 images for 1 <image>" in every.stdout for number in range(1, 6))
    record = json.loads(run(*importing, "--json").stdout)
    assert (record["understood"], len(record["unread"]), record["examples"][0]["answer"]) == (1, 5, "B")
    assert run("data", "check", str(tmp_path / "mine.jsonl")).returncode == 0
    as_json(tmp_path / "train.json", [bad] * 5)
    assert "row 4: 0 images" in run(*importing, "--all").stderr
    refused = run("data", "import", str(tmp_path / "mine.jsonl"), "-o", str(tmp_path / "mine.jsonl"))
    assert (refused.returncode, "is a file that is read" in refused.stderr) == (2, True)
