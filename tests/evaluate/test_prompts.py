"""How questions are put: each profile's text and images in order, templates in a sandbox, and what names a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from hypothesis import given
from hypothesis import strategies as st

import study_world
import tiny_models
import tiny_vlm
from tvt.core.choices import PROMPTS
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.prompts import Profile, Template, read_profile
from tvt.evaluate.scorer import Scorer
from tvt.io.yaml_files import load_recipe
from tvt.model.base import load_base
from tvt.study.plan import Study, load_study_plan

IMAGE = {"type": "image"}


def asked(**fields: Any) -> Question:
    told: dict[str, Any] = {
        "id": "7",
        "task": "Counting",
        "prompt": "How many?\n(A) 1\n(B) 2",
        "options": ("1", "2"),
        "answer": "A",
        "images": (tiny_models.picture(0), tiny_models.picture(1)),
        "question": "How many?",
    }
    return Question(**{**told, **fields})


def text(told: str) -> dict[str, str]:
    return {"type": "text", "text": told}


def template(folder: Path, written: str, name: str = "template.jinja") -> Path:
    path = folder / name
    path.write_text(written)
    return path


def put(profile: str | Path, question: Question) -> list[dict[str, str]]:
    return read_profile(str(profile)).content(question)


def test_dataset_is_images_and_then_the_prompt() -> None:
    assert put("dataset", asked()) == [IMAGE, IMAGE, text("How many?\n(A) 1\n(B) 2")]
    assert put("dataset", asked(images=())) == [text("How many?\n(A) 1\n(B) 2")]


@pytest.mark.parametrize("task", ["Forensic_Detection", "Forensic Detection", "Jigsaw", "Art_Style"])
def test_official_is_text_first_with_a_disclaimer_for_three_tasks(task: str) -> None:
    """As eval/test_benchmark.py and eval/query_model.py of zeyofu/BLINK_Benchmark put it."""
    first, *rest = put("official", asked(task=task))
    assert rest == [IMAGE, IMAGE]
    assert first["text"].startswith("Disclaimer: This is not to make unfair assumptions about the people in the image and you")
    assert first["text"].endswith("analyze based on the information I gave you.\n\nHow many?\n(A) 1\n(B) 2")


def test_official_without_a_disclaimer() -> None:
    assert put("official", asked()) == [text("How many?\n(A) 1\n(B) 2"), IMAGE, IMAGE]


def test_letter_asks_for_a_letter_or_a_number_alone() -> None:
    *images, told = put("letter", asked())
    assert images == [IMAGE, IMAGE]
    assert told["text"] == "Answer with one letter alone, A or B, without any other words.\nHow many?\n(A) 1\n(B) 2"
    assert "A, B, C or D" in put("letter", asked(options=("1", "2", "3", "4")))[-1]["text"]
    assert put("letter", asked(options=(), answer="4"))[-1]["text"].startswith("Answer with a number alone, without")


def test_a_template_has_all_that_there_is(tmp_path: Path) -> None:
    path = template(
        tmp_path,
        "{{ task }} {{ images }}: {{ question }}\n"
        "{% for letter in letters %}{{ letter }}. {{ options[loop.index0] }}\n{% endfor %}({{ prompt }})",
    )
    told = text("Counting 2: How many?\nA. 1\nB. 2\n(How many?\n(A) 1\n(B) 2)")
    assert put(path, asked()) == [IMAGE, IMAGE, told], "no image is placed, so they come first"


def test_a_template_places_images(tmp_path: Path) -> None:
    path = template(tmp_path, "First {{ image }} then {{ image }}\n{{ prompt }}")
    assert put(path, asked(prompt="?")) == [text("First "), IMAGE, text(" then "), IMAGE, text("\n?")]
    path = template(tmp_path, "{{ prompt }}{% for _ in range(images) %}{{ image }}{% endfor %}")
    assert put(path, asked(prompt="<image> & {{ image }}")) == [text("<image> & {{ image }}"), IMAGE, IMAGE]


def test_as_many_images_as_the_question_has(tmp_path: Path) -> None:
    path = template(tmp_path, "{{ image }}{{ prompt }}")
    with pytest.raises(InputError, match="Counting, question 7: the template puts 1 images, and the question has 2; write"):
        put(path, asked())


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("{{ prompt }}\n{{ promt }}", ["2: no variable 'promt' (did you mean 'prompt'?); there are task, question, options"]),
        ("{{ a }}\n\n{{ b }}", ["1: no variable 'a'", "3: no variable 'b'"]),
        ("{{ prompt }}\n{% for x in options %}", ["2: "]),
        ("{{ prompt | nofilter }}", ["1: No filter named 'nofilter'"]),
        ("{{ options | random }}", ["1: No filter named 'random'"]),
        ("{{ lipsum() }}", ["1: no variable 'lipsum'"]),
        ("x\n{% include 'other' %}", [": Counting, question 7: no loader for this environment specified"]),
        ("{{ prompt.nothing }}", [": Counting, question 7: 'str object' has no attribute 'nothing'"]),
        ("{{ options[9] }}", [": Counting, question 7: "]),
        ("{{ prompt.__class__.__mro__ }}", [": Counting, question 7: access to attribute '__class__'"]),
        ("{{ options.append(1) }}", [": Counting, question 7: "]),
        ("{{ 1 // 0 }}", [": Counting, question 7: "]),
    ],
)
def test_bad_templates_are_told_where_they_are_bad(written: str, lines: list[str], tmp_path: Path) -> None:
    path = template(tmp_path, written)
    with pytest.raises(InputError) as caught:
        put(path, asked())
    assert len(caught.value.faults) == len(lines)
    for fault, line in zip(caught.value.faults, lines, strict=True):
        assert fault.startswith(f"{path}:"), fault
        assert line in fault


def test_the_bare_question_must_be_there_to_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="question 7: the row has no bare question; use 'prompt'"):
        put(template(tmp_path, "{{ question }}"), asked(question=None))


def test_no_profile_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"prompt: 'leter' is no file \(did you mean 'letter'\?\); name dataset, official, letter"
    ):
        read_profile("leter")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_profile(str(tmp_path / "binary"))


def profiles(folder: Path) -> list[Profile]:
    return [*map(read_profile, PROMPTS.names), Template(template(folder, "{{ prompt }}"))]


def test_identities_differ_and_a_template_is_its_content(tmp_path: Path) -> None:
    found = profiles(tmp_path)
    assert found[0].identity == {}, "results of before there were profiles are still the dataset's"
    assert len({json.dumps(profile.identity, sort_keys=True) for profile in found}) == 4
    moved = Template(template(tmp_path, "{{ prompt }}", "moved.txt"))
    assert moved.identity == found[3].identity
    assert Template(template(tmp_path, "{{ prompt }}!")).identity != found[3].identity


@given(
    prompt=st.text(max_size=20),
    options=st.lists(st.text(max_size=5), min_size=1, max_size=4).map(tuple),
    images=st.integers(0, 3),
)
def test_every_profile_shows_every_image_once_and_the_whole_prompt(prompt: str, options: tuple[str, ...], images: int) -> None:
    question = asked(prompt=prompt, options=options, images=(b"x",) * images)
    for name in PROMPTS.names:
        content = put(name, question)
        assert content.count(IMAGE) == images
        assert "".join(piece.get("text", "") for piece in content).endswith(prompt)


# Through a model


@pytest.mark.parametrize("family", ["qwen", "llava", "idefics"])
def test_a_model_is_shown_what_the_profile_says(family: str, tmp_path: Path) -> None:
    config = ModelConfig(model_name_or_path=str(tiny_models.FAMILIES[family](tmp_path / "model")), dtype="float32")
    loaded = load_base(config)
    question = asked(prompt="the prompt", images=(tiny_models.picture(0),))

    def told(prompt: str) -> str:
        inputs = Scorer(loaded, EvaluationConfig(prompt=prompt)).prepare([question])
        assert "pixel_values" in inputs
        text: str = loaded.processor.batch_decode(inputs["input_ids"])[0]
        return text.partition("user\n")[2].partition("<|im_end|>")[0]

    image_first, text_first = told("dataset"), told("official")
    assert image_first.endswith("the prompt")
    assert text_first.startswith("the prompt")
    image = image_first.removesuffix("the prompt")
    assert text_first == f"the prompt{image}"
    assert told("letter") == f"{image}Answer with one letter alone, A or B, without any other words.\nthe prompt"
    path = template(tmp_path, "before {{ image }} after")
    assert told(str(path)) == f"before {image} after"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("model")
    tiny_vlm.save(folder)
    return ModelConfig(model_name_or_path=str(folder), dtype="float32")


def test_another_prompt_is_asked_anew_and_a_moved_template_is_not(model: ModelConfig, tmp_path: Path) -> None:
    questions = {"one": tiny_vlm.questions("one", 6)}

    def scored(prompt: str | Path) -> int:
        settings = EvaluationConfig(prompt=str(prompt), batch_size=6)
        return Evaluator(model, settings, tmp_path / "answers").evaluate([None], questions)[0]["one"].asked

    (tmp_path / "elsewhere").mkdir()
    same = "Well: {{ prompt }}"
    assert [scored("dataset"), scored("letter"), scored("official")] == [6, 6, 6]
    assert [scored(template(tmp_path, same)), scored(template(tmp_path / "elsewhere", same))] == [6, 0]
    assert scored(template(tmp_path, same + "!")) == 6
    assert [scored("dataset"), scored("letter"), scored("official")] == [0, 0, 0]


def test_questions_that_look_alike_to_a_template_of_the_task_do_not_share_an_answer(model: ModelConfig, tmp_path: Path) -> None:
    one = tiny_vlm.questions("one", 3)
    two = [Question(id=q.id, task="two", prompt=q.prompt, options=q.options, answer=q.answer, images=q.images) for q in one]
    asked_of = {}
    for name, written in (("plain", "{{ prompt }}"), ("task", "{{ task }} {{ prompt }}")):
        settings = EvaluationConfig(prompt=str(template(tmp_path, written)))
        cells = Evaluator(model, settings, tmp_path / name).evaluate([None], {"one": one, "two": two})[0]
        asked_of[name] = [cell.asked for cell in cells.values()]
    assert asked_of == {"plain": [3, 0], "task": [3, 3]}


def test_a_question_that_cannot_be_put_is_refused_before_anything_is_asked(model: ModelConfig, tmp_path: Path) -> None:
    settings = EvaluationConfig(prompt=str(template(tmp_path, "{{ image }}{{ image }}{{ image }}")))
    with pytest.raises(InputError) as caught:
        Evaluator(model, settings, tmp_path / "answers").evaluate(
            [None], {"one": tiny_vlm.questions("one", 3), "two": tiny_vlm.questions("two", 3)}
        )
    assert len(caught.value.faults) == 2
    assert not (tmp_path / "answers").exists()


# In a study


def planned(recipe: Path, prompt: str) -> Study:
    return load_study_plan(load_recipe(recipe, [f"evaluation.prompt={prompt}"]))


def test_a_study_with_another_prompt_scores_anew_and_trains_nothing_anew(tmp_path: Path) -> None:
    world = study_world.build(tmp_path)
    template(tmp_path, "{{ prompt }}", "mine.jinja")
    template(tmp_path, "{{ prompt }}", "copy.jinja")
    before = load_study_plan(load_recipe(world.recipe))
    names = ["dataset", "official", "letter", "mine.jinja", "copy.jinja"]
    studies = {name: planned(world.recipe, name) for name in names}
    assert studies["dataset"].questions == before.questions
    assert studies["mine.jinja"].questions == studies["copy.jinja"].questions
    assert len({study.questions["Alpha", "evaluation"] for study in studies.values()}) == 4
    for study in studies.values():
        assert [study.run_id(run) for run in study.runs()] == [before.run_id(run) for run in before.runs()]
    template(tmp_path, "{{ prompt }} ", "mine.jinja")
    assert planned(world.recipe, "mine.jinja").questions != studies["mine.jinja"].questions


def test_a_bad_template_stops_a_study_before_it_starts(tmp_path: Path) -> None:
    world = study_world.build(tmp_path)
    path = template(tmp_path, "{{ promt }}", "mine.jinja")
    with pytest.raises(InputError, match=f"{path}:1: no variable 'promt'"):
        planned(world.recipe, "mine.jinja")
    with pytest.raises(InputError, match=r"prompt: 'gone\.jinja' is no file"):
        planned(world.recipe, "gone.jinja")
