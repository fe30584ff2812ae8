"""Questions answered by a number, on a real model: generated whatever the mode, apart from the others; and trained on."""

# ruff: noqa: E402
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import pyarrow.parquet as pq

import tiny_models
import tiny_vlm
from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.core.scores import mean_relative_accuracy
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import read_questions, write_jsonl, write_parquet
from tvt.evaluate.asking import compose
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.readers import find_reader
from tvt.evaluate.results import CellResult
from tvt.evaluate.scorer import Scorer
from tvt.evaluate.store import item_digest
from tvt.io import digest
from tvt.model.base import load_base
from tvt.model.loading import load_processor
from tvt.train.batches import Collator
from tvt.train.rows import Examples, check_rows, load_rows

SETTINGS = EvaluationConfig(mode="options", batch_size=4, max_new_tokens=2)


def numbers(count: int, *, images: tuple[int, ...] = (1, 2), seed: int = 0) -> list[Question]:
    """Questions whose answer is a number."""
    rng = np.random.default_rng(seed)
    return [
        Question(
            id=f"n{k}",
            task="Size",
            prompt=f"{k}: {'how ' * int(rng.integers(1, 5))}large is it?",
            options=(),
            answer=str(round(float(rng.uniform(1, 90)), 1)),
            images=tuple(tiny_vlm.picture(1000 * seed + 10 * k + n) for n in range(images[k % len(images)])),
        )
        for k in range(count)
    ]


LETTERS = tiny_vlm.questions("one", 8, images=(1, 2))
MIXED = [question for pair in zip(LETTERS, numbers(8), strict=True) for question in pair]


@pytest.fixture(scope="module", params=["llava", "qwen"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that mostly says digits."""
    return tiny_vlm.save(tmp_path_factory.mktemp("base"), request.param, said="12345678")


def config(model: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(model), dtype="float32")


def evaluate(model: Path, folder: Path, asked: list[Question], settings: EvaluationConfig = SETTINGS) -> CellResult:
    return Evaluator(config(model), settings, folder).evaluate([None], {"mixed": asked})[0]["mixed"]


def test_batches_hold_numbers_or_letters_and_letters_as_if_alone() -> None:
    batches = compose(MIXED, 4)
    assert sorted(k for batch in batches for k in batch) == list(range(16))
    assert all(len({MIXED[k].numeric for k in batch}) == 1 for batch in batches)
    alone = [[LETTERS[k].id for k in batch] for batch in compose(LETTERS, 4)]
    assert [[MIXED[k].id for k in batch] for batch in batches][: len(alone)] == alone


def test_numbers_are_generated_and_letters_scored_as_if_alone(base: Path, tmp_path: Path) -> None:
    found = {item.id: item for item in evaluate(base, tmp_path / "e", MIXED).items}
    loaded = load_base(config(base))
    words = Scorer(loaded, SETTINGS.model_copy(update={"mode": "generate"}))
    for question in MIXED:
        outcome = found[question.id].outcome
        if question.numeric:
            assert outcome.scores is None
            assert outcome.raw == words.score(loaded.model, [question])[0].raw, "one by one"
            number = find_reader("careful").read_number(outcome.raw or "")
            assert found[question.id].score == mean_relative_accuracy(number, float(question.answer))
        else:
            assert outcome.raw is None
    letters = {item.id: item.outcome for item in evaluate(base, tmp_path / "letters", LETTERS).items}
    assert {name: found[name].outcome for name in letters} == letters, "bit for bit"
    assert any(0 < item.score < 1 for item in found.values()), "else nothing is graded here"


def test_length_matters_to_numbers_alone(base: Path, tmp_path: Path) -> None:
    first = evaluate(base, tmp_path, MIXED)
    assert first.asked == 16
    assert evaluate(base, tmp_path, MIXED).asked == 0
    longer = evaluate(base, tmp_path, MIXED, SETTINGS.model_copy(update={"max_new_tokens": 1}))
    assert longer.asked == 8
    assert evaluate(base, tmp_path, MIXED, SETTINGS.model_copy(update={"batch_size": 2})).asked == 0


def test_items_and_records_tell_credits(base: Path, tmp_path: Path) -> None:
    cell = evaluate(base, tmp_path, MIXED)
    folder = tmp_path / cell.key
    items = [json.loads(line) for line in (folder / "mixed.items.jsonl").read_text().splitlines()]
    assert [item.get("credit") for item in items[::2]] == [None] * 8, "letters are as they were"
    assert [item["credit"] for item in items[1::2]] == [item.score for item in cell.items[1::2]]
    assert [item["correct"] for item in items] == [item.correct for item in cell.items]
    record = json.loads((folder / "mixed.json").read_text())
    assert (record["correct"], record["total"], record["metric"]) == (cell.correct, 16, "accuracy and mra")


def test_another_reader_asks_nothing_again(base: Path, tmp_path: Path) -> None:
    asked = numbers(8)
    Evaluator(config(base), SETTINGS, tmp_path).evaluate([None], {"Size": asked})
    other = Evaluator(config(base), SETTINGS, tmp_path, reader="lmms-eval-0.7.3").evaluate([None], {"Size": asked})[0]["Size"]
    assert other.asked == 0
    assert other.metric == "mra"


def test_credits_are_paired_with_the_base_models(base: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(base, tmp_path / "a", 1)
    asked = numbers(12)
    plain, tuned = Evaluator(config(base), SETTINGS, tmp_path / "e").evaluate([None, adapter], {"Size": asked})
    score = tuned["Size"].score(run="seed_0", source="Depth", base=plain["Size"])
    both = sum(a.score * b.score for a, b in zip(tuned["Size"].items, plain["Size"].items, strict=True))
    assert score.both_correct == pytest.approx(both)


def test_rows_with_numbers_are_trained_on(tmp_path: Path) -> None:
    """The completion is the number, and the loss is on it alone; also beside rows with letters."""
    written = numbers(6)
    write_parquet(written, tmp_path / "size.parquet")
    write_jsonl(tiny_vlm.questions("one", 6), tmp_path / "one.jsonl")
    assert list(read_questions(tmp_path / "size.parquet")) == written
    paths = {"Size": tmp_path / "size.parquet", "one": tmp_path / "one.jsonl"}
    folder = write_mix(plan_mix(Mixture.of_counts({"Size": 6, "one": 6}), paths, seed=0), tmp_path / "mix").folder
    rows = pq.read_table(folder / "data").to_pylist()
    answers = {question.id: question.answer for question in written}
    told = {row["id"]: row["completion"][0]["content"] for row in rows if row["source"] == "Size"}
    assert told == answers
    assert check_rows(folder).rows == 12
    model = tiny_models.qwen(tmp_path / "model")
    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    examples = Examples(load_rows(folder, tmp_path / "cache"), folder)
    batch = Collator(processor, picture_always=True)(examples.__getitems__(range(12)))
    for labels, row in zip(batch["labels"], rows, strict=True):
        said = processor.tokenizer.decode(labels[labels != -100])
        assert said == f"{row['completion'][0]['content']}<|im_end|>\n"


def test_letters_keep_the_names_that_their_answers_had() -> None:
    """Answers that were kept before numbers could be asked are found again."""
    question = LETTERS[0]
    images = [hashlib.sha256(image).hexdigest() for image in question.images]
    before = digest.of_value({"prompt": question.prompt, "letters": question.letters, "images": images})
    for length in (1, 16):
        settings = SETTINGS.model_copy(update={"max_new_tokens": length})
        assert item_digest(question, settings, read_profile("dataset"), {}) == before


def test_images_that_questions_share_are_digested_once() -> None:
    known: dict[bytes, str] = {}
    first = LETTERS[1]
    one = item_digest(first, SETTINGS, read_profile("dataset"), known)
    assert len(known) == len(first.images)
    poisoned = dict.fromkeys(first.images, "another")
    assert item_digest(first, SETTINGS, read_profile("dataset"), poisoned) != one, "what is known is taken"
