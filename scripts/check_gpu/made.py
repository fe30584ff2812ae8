"""What legs work on: a Qwen2.5-VL with random weights, rows and questions, all made here from a seed."""

from __future__ import annotations

import io
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from check_gpu.leg import Bench, Leg

ROOT = Path(__file__).resolve().parents[2]
TEXT = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 6,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
}
"""Qwen2.5-VL 7B's, with 6 of its 28 layers."""
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
}
"""Qwen2.5-VL's, whole."""
PIXELS = 2048 * 28 * 28
"""The most of a picture: none here is larger."""
QUESTION = "{}. Light or dark? A or B?"


def tests(name: str) -> Any:
    """A module of the tests: the builders of models and rows are theirs."""
    if str(ROOT / "tests" / "support") not in sys.path:
        sys.path.append(str(ROOT / "tests" / "support"))
    return import_module(name)


SMALL_VISION = {**VISION, "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
SMALL_VISION["fullatt_block_indexes"] = [3]


def tower(bench: Bench, dtype: str, attention: str) -> Any:
    """Qwen2.5-VL's vision tower alone, with random weights."""
    import torch
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as family

    config: Any = Qwen2_5_VLConfig(vision_config=SMALL_VISION if bench.small else VISION).vision_config
    kind: Any = family.Qwen2_5_VisionTransformerPretrainedModel
    return kind._from_config(config, attn_implementation=attention, dtype=getattr(torch, dtype))


def make_model(bench: Bench) -> None:
    """Make the model where it is used, and save it with its processor's files."""
    import torch

    folder = bench.folder / "made"
    device = "cuda" if bench.gpu else "cpu"
    widths = {} if bench.small else {"text": TEXT, "vision": VISION, "pixels": PIXELS}
    torch.manual_seed(0)
    started = time.monotonic()
    with torch.device(device):
        tests("tiny_qwen_like").qwen2_5_vl(folder, dtype=torch.bfloat16, **widths)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    bench.figure(gigabytes=size / 1e9, making_and_saving_seconds=time.monotonic() - started)
    bench.expect("a model that can be loaded", (folder / "config.json").is_file(), size > 0)


LEG = Leg(name="model", what="makes the model that other legs use", run=make_model, needs=("torch", "transformers"))


def size(bench: Bench, whole: tuple[int, int]) -> tuple[int, int]:
    """Width and height of pictures: ``whole`` ones, or for the tiny model 56 pixels."""
    return (56, 56) if bench.small else whole


def picture(kind: int, width: int, height: int) -> bytes:
    """A JPEG as a camera writes it: dark for even numbers, light for odd ones, with a little of its own."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(kind).integers(0, 40, (height // 8, width // 8, 3)) + (200 if kind % 2 else 10)
    stream = io.BytesIO()
    Image.fromarray(coarse.astype(np.uint8)).resize((width, height)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def rows(bench: Bench, images: list[int], shape: tuple[int, int] = (448, 448)) -> Path:
    """A dataset as ``tvt mix`` writes it; row k has ``images[k]`` pictures of a shape."""
    width, height = size(bench, shape)
    folder = bench.folder / f"rows-{len(images)}-{width}"
    if not folder.exists():
        tests("tiny_models").write_rows(folder, images, shown=partial(picture, width=width, height=height))
    return folder


def examples(bench: Bench, count: int, shape: tuple[int, int] = (448, 448)) -> list[dict[str, Any]]:
    """Rows as training decodes them, without a dataset."""
    from PIL import Image

    width, height = size(bench, shape)
    return [
        {
            "images": [Image.open(io.BytesIO(picture(k, width, height))).convert("RGB")],
            "prompt": [{"role": "user", "content": QUESTION.format(k)}],
            "completion": [{"role": "assistant", "content": "AB"[k % 2]}],
        }
        for k in range(count)
    ]


def questions(bench: Bench, count: int, shape: tuple[int, int] = (448, 448)) -> list[Any]:
    """Questions with a picture each and four options, of differing lengths."""
    from tvt.core.question import Question

    width, height = size(bench, shape)
    return [
        Question(
            id=str(k),
            task="check",
            prompt=f"{k}: {'which of these ' * (1 + k % 5)}is it?\n(A) {k} (B) light (C) dark (D) {k % 7}",
            options=(str(k), "light", "dark", str(k % 7)),
            answer="ABCD"[k % 4],
            images=(picture(k, width, height),),
        )
        for k in range(count)
    ]


def recipe(bench: Bench, training: dict[str, Any], **parts: dict[str, Any]) -> Any:
    """A recipe on the model; ``parts`` add to its other parts."""
    from tvt.core.recipe import Recipe

    rate = 1e-2 if bench.small else 1e-3
    given = {"global_batch_size": 4, "per_device_train_batch_size": 1, "logging_steps": 1, "learning_rate": rate}
    return Recipe.model_validate(
        {
            "name": "check",
            "sources": ["Light"],
            "targets": ["Light"],
            "model": {"model_name_or_path": str(bench.model), "dtype": "bfloat16", **parts.pop("model", {})},
            "training": {**given, **training},
            **parts,
        }
    )
