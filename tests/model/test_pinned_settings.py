"""What a model's files say of dates and of generation must not move a score: neither the day nor a penalty of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_chats
import tiny_vlm
from tiny_models import qwen3
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.scorer import Scorer
from tvt.model.base import load_base
from tvt.model.chat import Chat
from tvt.model.loading import load_processor

ASKED = tiny_vlm.questions("any", 4, images=(1,))
OWN = {
    "no_repeat_ngram_size": 1,
    "suppress_tokens": [65, 66, 67],
    "begin_suppress_tokens": [65, 66, 67, 68],
    "bad_words_ids": [[65]],
    "sequence_bias": [[[66], 50.0]],
    "forced_eos_token_id": 9,
    "exponential_decay_length_penalty": [1, 1.5],
    "stop_strings": ["A"],
    "return_dict_in_generate": True,
    "max_time": 0.0,
}


def test_a_template_with_todays_date_gives_the_same_prompt_on_any_day(tmp_path: Path) -> None:
    dated = "{{ strftime_now('%d %B %Y') }} " + tiny_chats.QWEN3_VL_THINKING
    folder = tiny_chats.with_template(tmp_path / "model", dated)
    chat = Chat(load_processor(ModelConfig(model_name_or_path=str(folder))))
    text = chat.prompt([{"role": "user", "content": "Which? A or B"}]).text
    assert text.startswith("01 January 2025 ")


def test_a_template_whose_date_cannot_be_pinned_is_refused(tmp_path: Path) -> None:
    dated = "{% set form = '%d' %}{{ strftime_now(form) }} " + tiny_chats.QWEN3_VL_THINKING
    folder = tiny_chats.with_template(tmp_path / "model", dated)
    with pytest.raises(InputError, match="writes today's date in a form that it works out itself"):
        load_processor(ModelConfig(model_name_or_path=str(folder)))


def test_a_models_own_generation_settings_change_no_answer(tmp_path: Path) -> None:
    folder = qwen3(tmp_path / "model")
    model = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    settings = EvaluationConfig(mode="generate", max_new_tokens=6)

    def answers() -> list[str | None]:
        loaded = load_base(model)
        own = loaded.model.generation_config
        found = [outcome.raw for outcome in Scorer(loaded, settings).score(loaded.model, ASKED)]
        assert loaded.model.generation_config is own
        return found

    plain = answers()
    path = folder / "generation_config.json"
    kept = json.loads(path.read_text())
    for name, value in OWN.items():
        path.write_text(json.dumps({**kept, name: value}))
        assert answers() == plain, name
