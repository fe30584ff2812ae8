"""A Qwen2.5-VL of some thousand weights, with the token ids, the chat template and the processor files of the published models.

ms-swift knows the picture's token by its id in Qwen's vocabulary alone, so the vocabulary has that size; the tokenizer writes
few of its entries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIAL = (
    *(
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
    ),
    *(
        "<|quad_start|>",
        "<|quad_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ),
)
FIRST_SPECIAL = 151643
"""The id of ``<|endoftext|>`` in Qwen's vocabulary; the others follow."""
IMAGE, BEGIN_IMAGE, END_TURN = "<|image_pad|>", "<|vision_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIXELS = (4 * 28 * 28, 64 * 28 * 28)
"""The least and most of a picture: small, so that a step takes seconds."""


def build(folder: Path) -> Path:
    """Write the model, its tokenizer and its processor; returns the folder."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = _tokenizer()
    ids = words.get_vocab()
    text = {
        "vocab_size": FIRST_SPECIAL + len(SPECIAL) + 7,  # a multiple of 8
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    marks = {
        "image_token_id": ids[IMAGE],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids[BEGIN_IMAGE],
        "vision_end_token_id": ids["<|vision_end|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids[END_TURN],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": True,
    }
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **marks)).save_pretrained(
        folder
    )
    words.chat_template = TEMPLATE
    words.save_pretrained(folder)
    _write_processor(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    unused = [f"unused-{index}" for index in range(FIRST_SPECIAL - len(letters))]
    vocabulary = {token: index for index, token in enumerate([*letters, *unused, *SPECIAL])}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(list(SPECIAL))
    loaded: Any = PreTrainedTokenizerFast
    return loaded(tokenizer_object=bpe, eos_token=END_TURN, pad_token="<|endoftext|>")


def _write_processor(folder: Path) -> None:
    """As the hub has these files, for every version of transformers that a trainer pins."""
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": PIXELS[0],
        "max_pixels": PIXELS[1],
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(image, indent=2))
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": "Qwen2VLVideoProcessor"}))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
