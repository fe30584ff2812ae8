"""Processors and tiny models whose chat templates or tokenizers make it hard to say where an answer stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_models

LLAVA_15 = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
VIPLLAVA = (
    "{% for message in messages %}{{ '###Human: ' if message['role'] == 'user' else '###Assistant: ' }}"
    "{% for item in message['content'] %}{{ '<image>\n' if item['type'] == 'image' else item['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}###Assistant:{% endif %}"
)
IDEFICS2 = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{{ ':' if message['content'][0]['type'] == 'image' else ': ' }}"
    "{% for line in message['content'] %}{{ '<image>' if line['type'] == 'image' else line['text'] }}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_TEXTS = (
    "{% for item in message['content'] %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if item['type'] == 'image' else item['text'] }}{% endfor %}"
)
_TURN = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
QWEN3_VL_THINKING = (
    f"{_TURN}{{% if message['role'] == 'assistant' %}}{{{{ '<think>\n\n</think>\n\n' }}}}{{% endif %}}{_TEXTS}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""As Qwen3-VL-Thinking's: an assistant's turn without reasoning has an empty block, the generation prompt opens one."""
DROPPED_THINKING = (
    f"{_TURN}{_TEXTS}<|im_end|>\n{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n<think>\n{{% endif %}}"
)
"""As DeepSeek's: an assistant's turn has no block at all."""
NO_GENERATION_PROMPT = f"{_TURN}{_TEXTS}<|im_end|>\n{{% endfor %}}"
RESPONSE_MARK = (
    f"{_TURN}{{% if message['role'] == 'assistant' %}}<|box_start|>{{% endif %}}{_TEXTS}<|im_end|>\n{{% endfor %}}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Cohere's: an answer begins with a mark, which the generation prompt leaves to the model."""
PLAIN_ANSWERS = (
    f"{_TURN}{{% if message['role'] == 'assistant' %}}{{{{ message['content'] + '' }}}}{{% else %}}{_TEXTS}{{% endif %}}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""An answer must be a plain text."""


def qwen_35() -> str:
    """Qwen3.5's template, as TRL ships it."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / "qwen3_5_think.jinja").read_text(encoding="utf-8")


def llava_next() -> str:
    """LLaVA-NeXT's template, as TRL ships it."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / "llava_next.jinja").read_text(encoding="utf-8")


def with_template(folder: Path, template: str, family: str = "qwen3") -> Path:
    """A tiny model of a family with another chat template."""
    tiny_models.FAMILIES[family](folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def llama_words(*special: str) -> Any:
    """A tokenizer as Llama 2's: a token for the beginning, a space before every text, and letters that take a space along."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
    merges = [("▁", letter) for letter in letters if letter.isalnum()]
    vocabulary += ["".join(pair) for pair in merges]
    ids = {token: place for place, token in enumerate(vocabulary)}
    words = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    words.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", ids["<s>"])])
    words.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in ("<unk>", "<s>", "</s>", *special)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>", padding_side="left"
    )


def llava_15(folder: Path, template: str = LLAVA_15) -> Path:
    """A tiny LLaVA-1.5, or with another template a VipLLaVA as far as its processor goes."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = llama_words("<image>")
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            projection_dim=32,
        ),
        text_config=LlamaConfig(**tiny_models.text_settings(len(words), pad_token_id=0, bos_token_id=1, eos_token_id=2)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava_next_processor() -> Any:
    """LLaVA-NeXT's processor."""
    from transformers import LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, image_grid_pinpoints=[[56, 112], [112, 56]]
        ),
        tokenizer=llama_words("<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=llava_next(),
    )


def idefics2_processor() -> Any:
    """Idefics2's processor."""
    from transformers import Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    return Idefics2Processor(
        image_processor=Idefics2ImageProcessorPil(size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=False),
        tokenizer=llama_words("<fake_token_around_image>", "<image>", "<end_of_utterance>"),
        image_seq_len=4,
        chat_template=IDEFICS2,
    )
