"""Training and evaluation show a model the same thing: token for token, pixel for pixel, in three families."""

# ruff: noqa: E402
from __future__ import annotations

import io
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from PIL import Image

import tiny_models
import tiny_vlm
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.evaluate.scorer import Scorer
from tvt.model.base import load_base
from tvt.model.inputs import IGNORED
from tvt.model.loading import load_processor
from tvt.train.batches import Collator


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_what_is_asked_is_what_was_trained_on(family: str, tmp_path: Path) -> None:
    config = ModelConfig(model_name_or_path=str(tiny_models.FAMILIES[family](tmp_path / family)), dtype="float32")
    scorer = Scorer(load_base(config), EvaluationConfig())
    collate = Collator(load_processor(config), picture_always=False)
    for question in tiny_vlm.questions("any", 6, images=(0, 1, 2)):
        example = {
            "images": [Image.open(io.BytesIO(image)).convert("RGB") for image in question.images],
            "prompt": [{"role": "user", "content": question.prompt}],
            "completion": [{"role": "assistant", "content": question.answer}],
        }
        trained, asked = collate([example]), scorer.prepare([question])
        start = int((trained["labels"][0] != IGNORED).nonzero()[0])
        assert trained["input_ids"][0, :start].tolist() == asked["input_ids"][0].tolist()
        letter = scorer.letter_tokens(question)[0]["ABCD".index(question.answer)]
        assert int(trained["labels"][0, start]) == letter, "the token that is scored is the one that was trained"
        assert ("pixel_values" in trained) == ("pixel_values" in asked) == bool(question.images)
        if question.images:
            assert torch.equal(trained["pixel_values"], asked["pixel_values"])


def test_a_photo_turned_by_its_exif_tag_is_turned_alike(tmp_path: Path) -> None:
    """A camera held sideways writes a tag instead of turning the pixels; both sides must read it."""
    from datasets import Dataset

    from tvt.core.question import Question
    from tvt.evaluate.scorer import _decode
    from tvt.train.rows import Examples

    picture, tag = Image.new("RGB", (20, 10), "white"), Image.Exif()
    tag[0x0112] = 6
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=tag)
    row = {"images": [{"bytes": stream.getvalue(), "path": None}], "prompt": [], "completion": [], "id": "x", "source": "s"}
    (trained,) = Examples(Dataset.from_list([row]), tmp_path)[0]["images"]
    asked = Question(id="x", task="s", prompt="?", options=("a", "b"), answer="A", images=(stream.getvalue(),))
    assert trained.size == _decode(asked, 0, None, None).size == (10, 20)
