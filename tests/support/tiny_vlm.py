"""The tiny models as the evaluator's tests want them: they mostly say letters; with questions and adapters for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

import tiny_models
from tvt.core.question import LETTERS, Question


def save(folder: Path, family: str = "llava", *, seed: int = 0, layers: int = 2, said: str = LETTERS[:4]) -> Path:
    """A tiny model of a family; ``layers`` are those of its language model, ``said`` is what it mostly says."""
    tiny_models.FAMILIES[family](folder, seed)
    if layers == 2:
        model = AutoModelForImageTextToText.from_pretrained(folder)
    else:
        config = AutoConfig.from_pretrained(folder)
        config.text_config.num_hidden_layers = layers
        config.text_config.layer_types = ["full_attention"] * layers
        model = AutoModelForImageTextToText.from_config(config)
    louder(model, AutoTokenizer.from_pretrained(folder), said)
    model.save_pretrained(folder)
    return folder


def louder(model: Any, words: Any, said: str = LETTERS[:4]) -> None:
    """Larger weights than at initialisation, so that answers differ between questions, and a head that mostly says letters."""
    letters = words.convert_tokens_to_ids(list(said))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4 if "vision" in name or "visual" in name or "projector" in name else 6)
        rest = torch.ones(len(model.lm_head.weight), dtype=torch.bool)
        rest[letters] = False
        model.lm_head.weight[rest] *= 0.05
        for one, other in zip(letters[::2], letters[1::2], strict=True):  # of two opposites one is always likely
            model.lm_head.weight[other] = -model.lm_head.weight[one]


def save_adapter(model: Path, folder: Path, seed: int, scale: float = 0.2) -> Path:
    """A LoRA adapter with random weights on the language model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    pattern = r".*(language_model|text_model).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    config = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", target_modules=pattern)
    tuned = get_peft_model(AutoModelForImageTextToText.from_pretrained(model), config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale)
    tuned.save_pretrained(folder)
    return folder


def picture(seed: int, width: int = 56, height: int = 56) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def questions(task: str, count: int, *, images: tuple[int, ...] = (1,), options: int = 4, seed: int = 0) -> list[Question]:
    """Questions of differing lengths; ``images`` are the counts of images, taken in turn."""
    rng = np.random.default_rng([seed, len(task), ord(task[0])])
    told = []
    for k in range(count):
        names = [f"thing {int(n)}" for n in rng.choice(100, options, replace=False)]
        lines = "\n".join(f"({letter}) {name}" for letter, name in zip(LETTERS, names, strict=False))
        about = " ".join(["which of these"] * int(rng.integers(1, 6)))
        shown = range(images[k % len(images)])
        pictures = tuple(picture(int(rng.integers(2**31)), 56 + 28 * int(rng.integers(2))) for _ in shown)
        told.append(
            Question(
                id=f"{task}-{k}",
                task=task,
                prompt=f"{k}: {about} is it?\nOptions:\n{lines}",
                options=tuple(names),
                answer=LETTERS[int(rng.integers(options))],
                images=pictures,
            )
        )
    return told
