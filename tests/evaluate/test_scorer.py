"""Scores of option letters and generated answers, on real models of two families."""

# ruff: noqa: E402
from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image

import tiny_models
import tiny_vlm
from tvt.core.question import LETTERS, Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.asking import TOKENS_PER_QUESTION, compose
from tvt.evaluate.readers import read_answer
from tvt.evaluate.scorer import RawAnswer, Scorer, StoredInputs, stored_bytes
from tvt.io import machine
from tvt.model.base import Loaded, load_base

OPTIONS = EvaluationConfig(mode="options")
ASKED = [*tiny_vlm.questions("one", 14), *tiny_vlm.questions("many", 12, images=(0, 2, 3, 0), options=3, seed=1)]


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tiny_vlm.save(tmp_path_factory.mktemp("model"), request.param)
    return load_base(ModelConfig(model_name_or_path=str(folder), dtype="float32"))


def in_batches(scorer: Scorer, loaded: Loaded, asked: list[Question], size: int) -> list[RawAnswer]:
    found: dict[int, RawAnswer] = {}
    for batch in compose(asked, size):
        found.update(zip(batch, scorer.score(loaded.model, [asked[k] for k in batch]), strict=True))
    return [found[k] for k in range(len(asked))]


def pixels(question: Question) -> list[Image.Image]:
    return [Image.open(io.BytesIO(image)).convert("RGB") for image in question.images]


def plain_inputs(loaded: Loaded, question: Question) -> Any:
    """One question as anybody would ask it, without tvt."""
    content = [*({"type": "image"} for _ in question.images), {"type": "text", "text": question.prompt}]
    text = loaded.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = {"images": [pixels(question)]} if question.images else {}
    return loaded.processor(text=[text], **images, return_tensors="pt")


def test_options_mode_equals_generation_one_by_one(loaded: Loaded) -> None:
    scored = in_batches(Scorer(loaded, OPTIONS), loaded, ASKED, 8)
    for question, outcome in zip(ASKED, scored, strict=True):
        inputs = plain_inputs(loaded, question)
        letters = loaded.processor.tokenizer.convert_tokens_to_ids(list(question.letters))
        with torch.inference_mode():
            step = loaded.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
            ).logits[0][0]
        expected = torch.log_softmax(step.float(), -1)[letters]
        assert torch.allclose(torch.tensor(outcome.scores), expected, atol=1e-5)
        assert outcome.scores is not None
        assert outcome.scores.index(max(outcome.scores)) == int(expected.argmax())


def test_padding_and_batch_size_change_nothing(loaded: Loaded) -> None:
    scorer = Scorer(loaded, OPTIONS)
    alone = [scorer.score(loaded.model, [question])[0].scores for question in ASKED]
    assert len({len(question.prompt) for question in ASKED}) > 3, "else nothing is padded"
    for size in (3, 16):
        together = [outcome.scores for outcome in in_batches(scorer, loaded, ASKED, size)]
        assert together == [pytest.approx(scores, abs=1e-5) for scores in alone]


def test_text_after_images_does_not_see_them(loaded: Loaded) -> None:
    """Qwen-VL keeps position offsets of its last batch; a text-only question must not get them."""
    scorer = Scorer(loaded, OPTIONS)
    text = [question for question in ASKED if not question.images][:2]
    before = scorer.score(loaded.model, text)
    scorer.score(loaded.model, [question for question in ASKED if len(question.images) == 3][:2])
    assert scorer.score(loaded.model, text) == before


def test_generation_in_batches_equals_one_by_one(loaded: Loaded) -> None:
    scorer = Scorer(loaded, EvaluationConfig(mode="generate", max_new_tokens=3))
    raw = [outcome.raw for outcome in in_batches(scorer, loaded, ASKED, 8)]
    for question, answer in zip(ASKED, raw, strict=True):
        inputs = plain_inputs(loaded, question)
        tokens = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer == loaded.processor.tokenizer.decode(tokens, skip_special_tokens=True)


def test_one_token_generated_is_the_letter_scored_highest(loaded: Loaded) -> None:
    letters = in_batches(Scorer(loaded, OPTIONS), loaded, ASKED, 8)
    answers = in_batches(Scorer(loaded, EvaluationConfig(mode="generate", max_new_tokens=1)), loaded, ASKED, 8)
    agreed = 0
    for question, scored, said in zip(ASKED, letters, answers, strict=True):
        assert scored.scores is not None
        assert said.raw is not None
        letter = read_answer(said.raw, question.options)
        if letter is not None:  # else another token is likelier than any letter
            assert letter == LETTERS[scored.scores.index(max(scored.scores))]
            agreed += 1
    assert agreed > len(ASKED) / 2


def test_both_spellings_of_a_letter_count(loaded: Loaded) -> None:
    class Words:
        chat_template, unk_token_id, bos_token, name_or_path = "x", 0, None, "words"
        all_special_ids, eos_token = (9,), "<end>"

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            known = {"A": [1], "B": [2], " A": [3], " B": [4], "C": [5], "<end>": [9], "": []}
            return known.get(text, [7, 8])

        def get_added_vocab(self) -> dict[str, int]:
            return {"<end>": 9}

    class Processor:
        chat_template, tokenizer = "x", Words()

        def apply_chat_template(self, messages: list[Any], tokenize: bool, add_generation_prompt: bool) -> str:
            return "".join(block["text"] for message in messages for block in message["content"] if "text" in block)

    scorer = Scorer(Loaded(config=loaded.config, processor=Processor(), device=loaded.device), OPTIONS)
    two, three, four = (tiny_vlm.questions("one", 1, options=options)[0] for options in (2, 3, 4))
    assert scorer.letter_tokens(two) == [[1, 2], [3, 4]]
    assert scorer.letter_tokens(three) == [[1, 2, 5]], "a spelling counts only if it has all letters"
    with pytest.raises(InputError, match="no single tokens for the letters A, B, C, D; use --mode generate"):
        scorer.letter_tokens(four)


def test_out_of_memory_halves_the_batch(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(loaded, OPTIONS)
    asked = ASKED[:6]
    whole = [outcome.scores for outcome in scorer.score(loaded.model, asked)]
    once, sizes = scorer._options, []

    def small(model: Any, inputs: Any, questions: list[Question]) -> list[RawAnswer]:
        sizes.append(len(questions))
        if len(questions) > 2:
            raise torch.OutOfMemoryError("no")
        return once(model, inputs, questions)

    monkeypatch.setattr(scorer, "_options", small)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    halves = [outcome.scores for outcome in scorer.score(loaded.model, asked)]
    assert halves == [pytest.approx(scores, abs=1e-5) for scores in whole]
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    monkeypatch.setattr(scorer, "_options", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(InputError, match="question one-0: does not fit into the GPU's memory even alone"):
        scorer.score(loaded.model, asked)


def test_batches_hold_every_question_once_and_are_bounded() -> None:
    asked = [*tiny_vlm.questions("m", 40, images=(0, 1, 2)), tiny_vlm.questions("big", 1)[0]]
    huge = Question(id="huge", task="t", prompt="x", options=("a", "b"), answer="A", images=(tiny_vlm.picture(0, 2800, 2800),))
    batches = compose([*asked, huge], 4)
    assert sorted(k for batch in batches for k in batch) == list(range(len(asked) + 1))
    assert all(len(batch) <= 4 and len({len(asked[k].images) for k in batch if k < len(asked)}) <= 1 for batch in batches)
    assert [len(asked)] in batches, f"10,000 tokens stay alone at 4 x {TOKENS_PER_QUESTION}"


def test_broken_images_are_all_named() -> None:
    broken = [Question(id=str(k), task="t", prompt="x", options=("a", "b"), answer="A", images=(b"no",)) for k in range(2)]
    with pytest.raises(InputError) as error:
        compose(broken, 4)
    said = "image 1 cannot be read (not an image that Pillow can read; use PNG or JPEG); replace the file"
    assert error.value.faults == tuple(f"t, question {k}: {said}" for k in range(2))


def test_letters_are_looked_up_while_the_next_batches_are_prepared(loaded: Loaded) -> None:
    """A tokenizer keeps the padding it was last asked for, so it may serve only one thread at a time."""
    scorer = Scorer(loaded, OPTIONS)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            prepared = [pool.submit(scorer._inputs, ASKED[:14:3], ()) for _ in range(40)]
            while not all(future.done() for future in prepared):
                scorer._letters.clear()
                scorer.letter_tokens(ASKED[0])
    finally:
        sys.setswitchinterval(before)
    assert len({future.result()["input_ids"].shape for future in prepared}) == 1


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how many bytes prepared inputs may take."""

    def give(size: float) -> None:
        monkeypatch.setattr(StoredInputs, "_room", lambda self, more: self.bytes + more <= size)

    return give


def turn(scorer: Scorer, loaded: Loaded, asked: list[Question]) -> list[RawAnswer]:
    """All questions once, as for an adapter."""
    batches = [([asked[k] for k in batch], [asked[k].id for k in batch]) for batch in compose(asked, 2)]
    return [outcome for outcomes in scorer.score_all(loaded.model, batches) for outcome in outcomes]


def test_of_more_than_there_is_room_for_a_fixed_part_is_kept(loaded: Loaded, room: Callable[[float], None]) -> None:
    scorer, asked = Scorer(loaded, OPTIONS), ASKED[:14]
    room(math.inf)
    first = turn(scorer, loaded, asked)
    whole, batches = scorer.stored.bytes, scorer.stored.misses
    assert turn(scorer, loaded, asked) == first
    assert (batches, scorer.stored.hits) == (7, 7), "all of them are stored"
    room(0.6 * whole)
    scorer = Scorer(loaded, OPTIONS)
    for _ in range(4):
        assert turn(scorer, loaded, asked) == first
    kept, each = scorer.stored.bytes, scorer.stored.hits / 3
    assert 3 <= each < 7
    assert kept <= 0.6 * whole
    assert each == pytest.approx(7 * kept / whole, abs=1), "as many hits as there is room for, in every turn"


def test_what_a_whole_turn_did_not_ask_for_makes_room(loaded: Loaded, room: Callable[[float], None]) -> None:
    scorer = Scorer(loaded, OPTIONS)
    room(math.inf)
    turn(scorer, loaded, ASKED[:6])
    room(scorer.stored.bytes)
    for _ in range(3):
        turn(scorer, loaded, ASKED[6:10])
    assert scorer.stored.hits == 2, "two turns after the others were asked, there is room"


def test_what_is_kept_is_bounded_by_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = StoredInputs()
    for number in range(100):
        monkeypatch.setattr(machine, "memory", lambda: (1e6 - kept.bytes, 1e6))
        kept.get(number, lambda: {"pixel_values": torch.zeros(2500)})
    assert kept.bytes == 25 * 10_000, "a quarter of what was free"


def test_bytes_are_those_of_memory() -> None:
    whole = torch.zeros(1000)
    assert stored_bytes({"a": whole[:10], "b": whole[5:], "text": ["x"]}) == 4000


def test_threads_that_prepare_change_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = turn(Scorer(loaded, OPTIONS), loaded, ASKED)
    monkeypatch.setattr("tvt.evaluate.scorer.preparing_threads", lambda device: 3)
    assert turn(Scorer(loaded, OPTIONS), loaded, ASKED) == plain
