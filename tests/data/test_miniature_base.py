"""The shipped base model of the miniature: loads offline like any other, is tiny, and sees."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers
from PIL import Image

import tvt.data.miniature
from tvt.core.question import LETTERS, Question
from tvt.data.miniature import MINIATURE_TASKS, generate

FOLDER = Path(tvt.data.miniature.__file__).parent / "base"
QUESTIONS = 60


@pytest.fixture(scope="module")
def processor() -> Any:
    return transformers.AutoProcessor.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(1)
    return transformers.AutoModelForImageTextToText.from_pretrained(FOLDER, local_files_only=True, dtype=torch.float32).eval()


def inputs(processor: Any, items: list[Question]) -> Any:
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": item.prompt}]}],
            add_generation_prompt=True,
        )
        for item in items
    ]
    pictures = [[Image.open(io.BytesIO(item.images[0]))] for item in items]
    return processor(images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt")


def accuracy(model: Any, processor: Any, items: list[Question]) -> float:
    letters = processor.tokenizer.convert_tokens_to_ids(list(items[0].letters))
    with torch.no_grad():
        scores = model(**inputs(processor, items), logits_to_keep=1).logits[:, -1, letters]
    return sum(LETTERS[int(best)] == item.answer for best, item in zip(scores.argmax(-1), items, strict=True)) / len(items)


def stated() -> dict[str, float]:
    rows = re.findall(r"^\| (\w+) \| \d \| \d+% \| ([\d.]+)% \| [\d.]+% \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    return {name: float(value) / 100 for name, value in rows}


def test_it_is_tiny(model: Any) -> None:
    assert sum(weight.numel() for weight in model.parameters()) < 2_000_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert not list(FOLDER.glob("*.bin")), "safetensors only"


def test_it_is_above_chance_and_as_its_readme_says(model: Any, processor: Any) -> None:
    assert list(stated()) == [task.name for task in MINIATURE_TASKS]
    found = {
        task.name: accuracy(model, processor, list(generate(task.name, QUESTIONS, seed=5, split="select")))
        for task in MINIATURE_TASKS
    }
    chance = {task.name: 1 / (task.options or 2) for task in MINIATURE_TASKS}
    mean = sum(found.values()) / len(found)
    assert mean > sum(chance.values()) / len(chance) + 0.1
    # 60 questions a task: a standard error of at most 6.5 points a task, under 2 points over all.
    assert abs(mean - sum(stated().values()) / len(found)) < 0.06
    assert max(abs(found[name] - stated()[name]) for name in found) < 0.25


def test_pictures_go_in_unchanged(processor: Any) -> None:
    """The size it was trained on, scaled to [-1, 1]: what the training script fed it."""
    (item,) = generate("Jigsaw", 1, seed=0, split="select")
    pixels = torch.tensor(list(Image.open(io.BytesIO(item.images[0])).tobytes())).reshape(64, 64, 3).permute(2, 0, 1)
    given = inputs(processor, [item])["pixel_values"][0]
    assert torch.allclose(given, pixels / 127.5 - 1, atol=1e-5)


def test_it_generates_a_letter_and_stops(model: Any, processor: Any) -> None:
    items = [next(generate(task.name, 1, seed=6, split="select")) for task in MINIATURE_TASKS]
    given = inputs(processor, items)
    with torch.no_grad():
        tokens = model.generate(**given, max_new_tokens=4, do_sample=False)[:, given["input_ids"].shape[1] :]
    for said, item in zip(processor.tokenizer.batch_decode(tokens, skip_special_tokens=True), items, strict=True):
        assert said in item.letters


def test_the_conversation_starts_with_its_prompt(processor: Any) -> None:
    """What TRL relies on to train on the answer only."""
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?\nA. left"}]}]
    whole = processor.apply_chat_template([*prompt, {"role": "assistant", "content": "B"}])
    begun = processor.apply_chat_template(prompt, add_generation_prompt=True)
    assert whole == begun + "B<|end|>"
    ids = processor.tokenizer(whole)["input_ids"]
    assert ids[: len(processor.tokenizer(begun)["input_ids"])] == processor.tokenizer(begun)["input_ids"]


def test_any_text_survives_its_tokenizer(processor: Any) -> None:
    text = "Größe? 多 — 42\n\tA. left"
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text
