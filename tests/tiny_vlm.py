"""Tiny vision-language models of two families, built in a second with random weights, and questions and adapters for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
)
from transformers.processing_utils import ProcessorMixin

from tvt.core.question import LETTERS, Question

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>", "<image>",
]  # fmt: skip
TEXTS = ["Which is nearer? Options: (A) left (B) right (C) up (D) down", "The answer is (A).", "user assistant system\n"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator(TEXTS * 4, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")


class ImageOnlyQwenProcessor(Qwen2_5_VLProcessor):
    """Names no video processor, so that none is loaded: it would need torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **kwargs: Any) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


ImageOnlyQwenProcessor.__name__ = "Qwen2_5_VLProcessor"


def save_qwen(folder: Path, seed: int = 0) -> Path:
    words = tokenizer()
    ids = words.convert_tokens_to_ids
    text = {
        "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        "bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    louder(model, words)
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112})
    model.save_pretrained(folder)
    ImageOnlyQwenProcessor(images, words, chat_template=template).save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    return folder


def save_llava(folder: Path, seed: int = 0, layers: int = 2) -> Path:
    words = tokenizer()
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=None, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    louder(model, words)
    size = {"height": 56, "width": 56}
    images = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    processor = LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        image_token="<image>", chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )  # fmt: skip
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def louder(model: Any, words: PreTrainedTokenizerFast) -> None:
    """Larger weights than at initialisation, so that answers differ between questions, and a head that mostly says letters."""
    letters = words.convert_tokens_to_ids(list(LETTERS[:4]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4 if "vision" in name or "visual" in name or "projector" in name else 6)
        rest = torch.ones(len(model.lm_head.weight), dtype=torch.bool)
        rest[letters] = False
        model.lm_head.weight[rest] *= 0.05


def save_adapter(model: Path, folder: Path, seed: int, scale: float = 0.2) -> Path:
    """A LoRA adapter with random weights on the language model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    pattern = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
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
