"""The tiny vision-language model of the miniature world with random weights, and its questions as tensors.

For ``train_miniature_base.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from tvt.core.question import LETTERS
from tvt.data.miniature import MINIATURE_TASKS, Split, generate, scene_of
from tvt.data.miniature.scene import SIZE, Scene, Shape, Texture, render

PATCH = 16
TOKENS = 512
IMAGE, PAD, USER, ASSISTANT, END = "<image>", "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<image>{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

SHAPES: tuple[Shape, ...] = get_args(Shape)
TEXTURES: tuple[Texture, ...] = get_args(Texture)


class Pool(NamedTuple):
    """Questions of one task, ready for the model."""

    pictures: NDArray[np.uint8]
    prompt: list[int]
    answers: NDArray[np.int64]
    labels: NDArray[np.float32]
    """What each patch shows; see ``patch_labels``."""


def build_processor() -> Any:
    """The tokenizer, trained on the miniature's own prompts with single bytes as fallback, and the image processor."""
    bpe = Tokenizer(models.BPE())
    # Merges may cross words but not lines: prompts of a dozen tokens, phrases shared between tasks.
    lines = pre_tokenizers.Split("\n", "merged_with_next")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([lines, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=[PAD, USER, ASSISTANT, "<|system|>", END, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = [next(generate(task.name, 1, seed=0, split="train")).prompt for task in MINIATURE_TASKS]
    bpe.train_from_iterator(prompts, trainer)
    # transformers leaves these untyped.
    tokenizer_class: Any = PreTrainedTokenizerFast
    processor_class: Any = LlavaProcessor
    tokenizer = tokenizer_class(
        tokenizer_object=bpe, pad_token=PAD, eos_token=END, padding_side="left", extra_special_tokens={"image_token": IMAGE}
    )
    tokenizer.chat_template = TEMPLATE
    images = SiglipImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_resize=True, resample=2
    )
    return processor_class(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE,
        chat_template=TEMPLATE,
    )


def build_model(processor: Any) -> LlavaForConditionalGeneration:
    """A LLaVA of some half a million parameters with random weights."""
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (IMAGE, PAD, END)}
    vision = SiglipVisionConfig(
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,
        pad_token_id=ids[PAD],
        eos_token_id=ids[END],
        bos_token_id=None,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=(SIZE // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = ids[PAD], ids[END]
    return model


def make_pool(processor: Any, task: str, count: int, split: Split, seed: int, *, fog: bool) -> Pool:
    """Render ``count`` questions of a task, without their fog unless ``fog``."""
    scenes = [scene_of(task, index, seed=seed, split=split) for index in range(count)]
    if not fog:
        scenes = [replace(scene, fog=0.0) for scene in scenes]
    prompt = next(generate(task, 1, seed=seed, split=split)).prompt
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    text = text.replace(IMAGE, IMAGE * (SIZE // PATCH) ** 2)
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    letters = processor.tokenizer.convert_tokens_to_ids(list(LETTERS[:4]))
    pictures = np.stack([render(scene) for scene in scenes])
    labels = np.stack([patch_labels(scene) for scene in scenes])
    return Pool(pictures, ids, np.array([letters[scene.answer] for scene in scenes]), labels)


def patch_labels(scene: Scene) -> NDArray[np.float32]:
    """What each patch shows: how many centres of each shape, where in it and how large, and how much of each texture."""
    side = SIZE // PATCH
    found = np.zeros((side, side, len(SHAPES) + 3 + len(TEXTURES)), dtype=np.float32)
    edges = np.arange(side) * PATCH
    for tile in scene.tiles:
        down = np.clip(np.minimum(edges + PATCH, tile.bottom) - np.maximum(edges, tile.top), 0, None)
        across = np.clip(np.minimum(edges + PATCH, tile.right) - np.maximum(edges, tile.left), 0, None)
        found[..., len(SHAPES) + 3 + TEXTURES.index(tile.texture)] += np.outer(down, across) / PATCH**2
    for figure in scene.figures:
        row, column = int(figure.y / PATCH), int(figure.x / PATCH)
        found[row, column, SHAPES.index(figure.shape)] += 1
        place = (figure.x / PATCH - column - 0.5, figure.y / PATCH - row - 0.5, figure.size / PATCH)
        found[row, column, len(SHAPES) : len(SHAPES) + 3] = place
    return found.reshape(side * side, -1)


def to_pixels(picks: list[tuple[Pool, int]]) -> torch.Tensor:
    """Pictures as the image processor gives them: in [-1, 1], channels first."""
    pictures = torch.from_numpy(np.stack([pool.pictures[index] for pool, index in picks]))
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def batch_of(picks: list[tuple[Pool, int]], pad: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Left-padded inputs up to the point where the answer is due, and the answers."""
    width = max(len(pool.prompt) for pool, _ in picks)
    ids = torch.tensor([[pad] * (width - len(pool.prompt)) + pool.prompt for pool, _ in picks])
    inputs = {"input_ids": ids, "attention_mask": (ids != pad).long(), "pixel_values": to_pixels(picks)}
    return inputs, torch.tensor([pool.answers[index] for pool, index in picks])
