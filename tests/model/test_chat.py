"""What is scored is what was trained, for every chat template and tokenizer: one place says where an answer stands."""

# ruff: noqa: E402
from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from PIL import Image
from transformers import AutoModelForImageTextToText
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

import tiny_chats
import tiny_models
import tiny_vlm
from tvt.core.question import Question, Turn
from tvt.core.recipe import EvaluationConfig, ModelConfig, Recipe
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.scorer import Scorer
from tvt.model.base import Loaded
from tvt.model.chat import Chat
from tvt.model.inputs import IGNORED, Sample, check_agreement
from tvt.model.loading import load_processor
from tvt.train.batches import Collator
from tvt.train.launch import train

ASKED = tiny_vlm.questions("any", 6, images=(0, 1, 2))
QUESTION = [{"role": "user", "content": "Which? A or B"}]


class NoModel:
    """A scorer that only prepares asks of a model what its forward pass takes."""

    def forward(self) -> None: ...


class Unloaded(Loaded):
    """Only its processor is asked for."""

    @property
    def model(self) -> NoModel:
        return NoModel()


def scorer(processor: Any) -> Scorer:
    none = ModelConfig(model_name_or_path="none")
    return Scorer(Unloaded(config=none, processor=processor, device=torch.device("cpu")), EvaluationConfig())


def example(question: Question, answer: str | None = None) -> dict[str, Any]:
    return {
        "images": [Image.open(io.BytesIO(image)).convert("RGB") for image in question.images],
        "prompt": [{"role": "user", "content": question.prompt}],
        "completion": [{"role": "assistant", "content": answer or question.answer}],
    }


def loaded(folder: Path) -> Any:
    return load_processor(ModelConfig(model_name_or_path=str(folder)))


def qwen(template: str | Callable[[], str]) -> Callable[[Path], Any]:
    return lambda folder: loaded(tiny_chats.with_template(folder, template if isinstance(template, str) else template()))


EMPTY = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
PROCESSORS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    # what follows the question, and what is trained after it
    "plain": (lambda folder: loaded(tiny_models.qwen3(folder)), "<|im_start|>assistant\n", "B<|im_end|>\n"),
    "Qwen3.5": (qwen(tiny_chats.qwen_35), EMPTY, "B<|im_end|>\n"),
    "Qwen3-VL-Thinking": (qwen(tiny_chats.QWEN3_VL_THINKING), EMPTY, "B<|im_end|>\n"),
    "thinking dropped": (qwen(tiny_chats.DROPPED_THINKING), EMPTY, "B<|im_end|>\n"),
    "no generation prompt": (qwen(tiny_chats.NO_GENERATION_PROMPT), "<|im_start|>assistant\n", "B<|im_end|>\n"),
    "mark before answers": (qwen(tiny_chats.RESPONSE_MARK), "<|im_start|>assistant\n<|box_start|>", "B<|im_end|>\n"),
    "plain answers": (qwen(tiny_chats.PLAIN_ANSWERS), "<|im_start|>assistant\n", "B<|im_end|>\n"),
    "LLaVA-1.5": (lambda folder: loaded(tiny_chats.llava_15(folder)), "ASSISTANT:", "B</s>"),
    "VipLLaVA": (lambda folder: loaded(tiny_chats.llava_15(folder, tiny_chats.VIPLLAVA)), "###Assistant:", "B</s>"),
    "LLaVA-NeXT": (lambda _: tiny_chats.llava_next_processor(), "[/INST]", "B</s> "),
    "Idefics2": (lambda _: tiny_chats.idefics2_processor(), "\nAssistant:", "B<end_of_utterance>\n"),
}


@pytest.fixture(scope="module", params=PROCESSORS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, str]:
    make, before, after = PROCESSORS[request.param]
    return make(tmp_path_factory.mktemp("model") / "model"), before, after


def test_trained_tokens_begin_with_the_scored_prompt(case: tuple[Any, str, str]) -> None:
    processor, _, _ = case
    asks, collate = scorer(processor), Collator(processor, picture_always=False)
    together = collate([example(question) for question in ASKED])
    for place, question in enumerate(ASKED):
        asked, alone = asks.prepare([question]), collate([example(question)])
        for batch, row in ((together, place), (alone, 0)):
            ids = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
            start = int((batch["labels"][row] != IGNORED).nonzero()[0])
            assert ids[:start] == asked["input_ids"][0].tolist()
            assert batch["labels"][row][batch["labels"][row] != IGNORED].tolist() == ids[start:]
            letter = asks.letter_tokens(question)[0]["ABCD".index(question.answer)]
            assert ids[start] == letter, "the token that is scored first is the one that was trained"
        if question.images:
            assert torch.equal(alone["pixel_values"], asked["pixel_values"])


def test_the_loss_is_on_the_answer_and_the_end_of_the_turn(case: tuple[Any, str, str]) -> None:
    processor, before, after = case
    for question in ASKED[:2]:
        ids, labels = (
            Collator(processor, picture_always=False)([example(question, "B")])[key][0] for key in ("input_ids", "labels")
        )
        start = int((labels != IGNORED).nonzero()[0])
        assert processor.tokenizer.decode(ids[:start]).endswith(before)
        assert "".join(processor.tokenizer.decode(ids[start:]).split()) == "".join(after.split())


TALK = {
    "prompt": [{"role": "user", "content": "What is it?"}],
    "completion": [
        {"role": "assistant", "content": "A red car."},
        {"role": "user", "content": "Which make is it?"},
        {"role": "assistant", "content": "Fiat"},
        {"role": "user", "content": "And its age?"},
        {"role": "assistant", "content": "7"},
    ],
}


def test_of_a_conversation_every_answer_is_learnt_as_it_is_scored(case: tuple[Any, str, str]) -> None:
    """The tokens before each answer are those of the question with its earlier turns; nothing that the user says is learnt."""
    processor, _, _ = case
    row = {**TALK, "images": example(ASKED[1])["images"]}
    turns = (Turn("What is it?", "A red car."), Turn("Which make is it?", "Fiat"))
    last = replace(ASKED[1], prompt="And its age?", options=(), answer="7", turns=turns)
    check_agreement(processor, [Sample(name="talk", **row)])
    batch = Collator(processor, picture_always=False)([row])
    assert len(batch["input_ids"]) == (3 if drops_reasoning(processor) else 1), "else all answers stand in one row"
    spans = []
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        learnt = (labels != IGNORED).tolist()
        spans += [(ids, list(span)) for key, span in groupby(range(len(ids)), learnt.__getitem__) if key]
    said = [processor.tokenizer.decode(ids[span], skip_special_tokens=True) for ids, span in spans]
    assert ["".join(text.split()) for text in said] == ["Aredcar.", "Fiat", "7"]
    asked = [replace(last, prompt=p, answer=a, turns=turns[:k]) for k, (p, a) in enumerate([*turns, ("And its age?", "7")])]
    for (ids, span), question in zip(spans, asked, strict=True):
        assert ids[: span[0]].tolist() == scorer(processor).prepare([question])["input_ids"][0].tolist()
    scorer(processor).check([last])


def drops_reasoning(processor: Any) -> bool:
    """Whether the template writes an empty block of reasoning before the last answer alone."""
    return processor.chat_template in (tiny_chats.DROPPED_THINKING, tiny_chats.qwen_35())


def test_there_is_one_token_for_the_beginning(case: tuple[Any, str, str]) -> None:
    processor, _, _ = case
    start = processor.tokenizer.bos_token_id
    ids = Collator(processor, picture_always=False)([example(ASKED[1])])["input_ids"][0].tolist()
    assert ids.count(start) == (0 if start is None else 1)
    assert start is None or ids[0] == start


def test_a_check_before_a_run_finds_nothing(case: tuple[Any, str, str]) -> None:
    processor, _, _ = case
    check_agreement(processor, [Sample(name=question.id, **example(question)) for question in ASKED])
    scorer(processor).check(ASKED)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_plain_templates_are_trained_on_as_trl_trains_on_them(family: str, tmp_path: Path) -> None:
    processor = loaded(tiny_models.FAMILIES[family](tmp_path / "model"))
    rows = [example(question) for question in tiny_vlm.questions("any", 9, images=(0, 1, 2))]
    plain = DataCollatorForVisionLanguageModeling(processor=processor, max_length=None, completion_only_loss=True)
    ours, theirs = Collator(processor, picture_always=False)(rows), plain([dict(row) for row in rows])
    assert ours.keys() == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_plain_templates_are_scored_after_their_own_generation_prompt(family: str, tmp_path: Path) -> None:
    processor = loaded(tiny_models.FAMILIES[family](tmp_path / "model"))
    for question in ASKED:
        content = [*({"type": "image"} for _ in question.images), {"type": "text", "text": question.prompt}]
        messages = [{"role": "user", "content": content}]
        assert Chat(processor).prompt(messages).text == processor.apply_chat_template(messages, add_generation_prompt=True)


def test_llama_tokenizers_are_scored_on_both_spellings() -> None:
    chat = Chat(tiny_chats.idefics2_processor())
    names = [chat.tokenizer.convert_ids_to_tokens(ids) for ids in chat.letters(chat.prompt([QUESTION_BLOCKS]), "AB")]
    assert names == [["▁A", "▁B"], ["A", "B"]]


QUESTION_BLOCKS = {"role": "user", "content": [{"type": "text", "text": "Which? A or B"}]}


def test_a_space_that_is_a_token_of_its_own_belongs_to_the_prompt(tmp_path: Path) -> None:
    """Scored where the letters are told apart: behind the space, where a tokenizer of bytes puts it alone."""
    template = tiny_chats.IDEFICS2.replace("<end_of_utterance>", "<|im_end|>")
    template = template.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = loaded(tiny_chats.with_template(tmp_path / "model", template))
    prompt = Chat(processor).prompt(QUESTION)
    assert prompt.text.endswith("Assistant: ")
    assert prompt.lead == ""


def test_earlier_turns_and_system_messages_stay(tmp_path: Path) -> None:
    processor = loaded(tiny_models.qwen3(tmp_path / "model"))
    row = example(ASKED[1])
    before = [{"role": "system", "content": "Be short."}, *row["prompt"], {"role": "assistant", "content": "A"}]
    row["prompt"] = [*before, {"role": "user", "content": "And now?"}]
    row["completion"] += [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes"}]
    ours = Collator(processor, picture_always=False)([row])
    plain = DataCollatorForVisionLanguageModeling(processor=processor, max_length=None, completion_only_loss=True)
    assert torch.equal(ours["input_ids"], plain([dict(row)])["input_ids"])
    assert processor.tokenizer.decode(ours["input_ids"][0]).count("<|vision_start|>") == 1


def test_a_model_without_an_end_of_turn_learns_its_own_end(tmp_path: Path) -> None:
    processor = loaded(tiny_chats.llava_15(tmp_path / "model"))
    assert (
        Collator(processor, picture_always=False)([example(ASKED[0])])["input_ids"][0, -1] == processor.tokenizer.eos_token_id
    )


UNKNOWN = {
    "says no": ("{{ raise_exception('no answers here') }}", "no answers here"),
    "repeats": (tiny_chats.NO_GENERATION_PROMPT * 2, "an answer is not shown as it is"),
    "lower case": (
        tiny_chats.NO_GENERATION_PROMPT.replace("item['text']", "item['text'].lower()"),
        "an answer is not shown as it is",
    ),
    "no blocks": ("{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}", "writes out a list of texts and images"),
    "no question": (
        "{% for m in messages %}{{ m['content'][0]['text'] if m['role'] == 'assistant' }}{% endfor %}",
        "a question is not shown as it is",
    ),
    "other answers": (
        tiny_chats.NO_GENERATION_PROMPT.replace("item['text']", "{'B': 'Option B'}.get(item['text'], item['text'])"),
        "the chat template changes the answer",
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_template_that_nobody_knows_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    template, reason = UNKNOWN[kind]
    folder = tiny_chats.with_template(tmp_path / "model", template)
    row = Sample(name="row 0", images=[], prompt=QUESTION, completion=[{"role": "assistant", "content": "B"}])
    with pytest.raises(InputError) as error:
        check_agreement(loaded(folder), [row])
    assert len(error.value.faults) == 1
    assert reason in error.value.faults[0]
    assert str(folder) in error.value.faults[0]


def test_a_processor_that_tokenises_otherwise_each_time_is_refused(tmp_path: Path) -> None:
    processor = loaded(tiny_models.qwen3(tmp_path / "model"))

    class Restless:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(processor, name)

        def __call__(self, text: list[str], **options: Any) -> Any:
            self.calls += 1
            return processor(text=[f"{one}{self.calls}" for one in text], **options)

    row = Sample(name="row 0", images=[], prompt=QUESTION, completion=[{"role": "assistant", "content": "B"}])
    with pytest.raises(
        InputError, match=r"row 0: .*: the tokens that are trained do not begin with the .* of the scored prompt"
    ):
        check_agreement(Restless(), [row])


def recipe(model: Path, **training: Any) -> Recipe:
    settings = {
        "learning_rate": 1e-2,
        "global_batch_size": 8,
        "per_device_train_batch_size": 8,
        "gradient_checkpointing": False,
        "save_steps": 1000,
        **training,
    }
    return Recipe.model_validate(
        {
            "name": "chat",
            "model": {"model_name_or_path": str(model), "dtype": "float32"},
            "sources": ["Light"],
            "targets": ["Light"],
            "training": settings,
        }
    )


def test_training_ends_before_it_starts_where_a_template_cannot_be_used(tmp_path: Path) -> None:
    folder = tiny_chats.with_template(tmp_path / "model", UNKNOWN["other answers"][0])
    rows = tiny_models.write_rows(tmp_path / "rows", [0, 1, 1, 0])
    with pytest.raises(InputError) as error:
        train(recipe(folder), rows, tmp_path / "run", seed=1)
    assert len(error.value.faults) == 1, "of Light the first row is answered A, which this template leaves alone"
    assert "row 0 (Text, id 0)" in error.value.faults[0]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_scoring_ends_before_the_first_question_where_a_template_cannot_be_used(tmp_path: Path) -> None:
    folder = tiny_chats.with_template(tmp_path / "model", UNKNOWN["lower case"][0])
    judge = Evaluator(ModelConfig(model_name_or_path=str(folder), dtype="float32"), EvaluationConfig(), tmp_path / "answers")
    with pytest.raises(InputError, match="an answer is not shown as it is"):
        judge.evaluate([None], {"any": ASKED})


@pytest.mark.parametrize("template", [tiny_chats.qwen_35, lambda: tiny_chats.QWEN3_VL_THINKING], ids=["3.5", "3-VL-Thinking"])
def test_what_answers_all_by_generation_scores_all_by_options(template: Callable[[], str], tmp_path: Path) -> None:
    """A thinking model, trained until it knows its rows."""
    folder = tiny_chats.with_template(tmp_path / "model", template())
    model = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.no_grad():  # as it is at initialisation, its logits are too small to learn much in a few steps
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    model.save_pretrained(folder)
    rows = tiny_models.write_rows(tmp_path / "rows", [0] * 8)
    adapter = train(recipe(folder, num_train_epochs=15), rows, tmp_path / "run", seed=1).adapter
    asked = [
        Question(
            id=str(k),
            task="Text",
            prompt=f"{k}. Is {'this' if k % 2 else 'that'} so? A or B?",
            options=("yes", "no"),
            answer="A" if k % 2 else "B",
            images=(),
        )
        for k in range(8)
    ]
    model = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    right = {
        mode: Evaluator(model, EvaluationConfig.model_validate({"mode": mode, "max_new_tokens": 8}), tmp_path / "answers")
        .evaluate([adapter], {"Text": asked})[0]["Text"]
        .correct
        for mode in ("generate", "options")
    }
    assert right == {"generate": 8, "options": 8}


def test_a_llava_15_is_trained_and_scored_with_its_beginning(tmp_path: Path) -> None:
    """One step of generation gives the letter that is scored highest, where a letter is what it gives."""
    folder = tiny_chats.llava_15(tmp_path / "model")
    rows = tiny_models.write_rows(tmp_path / "rows", [1] * 8)
    adapter = train(recipe(folder, num_train_epochs=10), rows, tmp_path / "run", seed=1).adapter
    asked = tiny_vlm.questions("any", 8, options=2)
    model = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    scored, said = (
        Evaluator(model, EvaluationConfig.model_validate({"mode": mode, "max_new_tokens": 1}), tmp_path / "answers")
        .evaluate([adapter], {"any": asked})[0]["any"]
        .items
        for mode in ("options", "generate")
    )
    assert {item.predicted for item in said} <= {"A", "B"}, "it has learnt to say letters"
    assert [item.predicted for item in scored] == [item.predicted for item in said]
