"""Vision-language models of some 100,000 parameters, built on the spot: the real code of four families, in a second each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

QWEN_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
_TURNS = (
    "{{% for message in messages %}}<|im_start|>{{{{ message['role'] }}}}\n{{% if message['content'] is string %}}"
    "{{{{ message['content'] }}}}{{% else %}}{{% for item in message['content'] %}}{{% if item['type'] == 'image' %}}{image}"
    "{{% elif item['type'] == 'text' %}}{{{{ item['text'] }}}}{{% endif %}}{{% endfor %}}{{% endif %}}"
    "<|im_end|>\n{{% endfor %}}"
    "{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)


def tokenizer(special: list[str]) -> Any:
    """Bytes and special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def _finish(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def text_settings(vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        **more,
    }


def qwen(folder: Path, seed: int = 0) -> Path:
    """A tiny Qwen2.5-VL."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = tokenizer(QWEN_TOKENS)
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config=text_settings(
            len(words), rope_parameters={"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
        ),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        **_qwen_marks(words),
    )
    return _finish_qwen(Qwen2_5_VLForConditionalGeneration(config), words, folder, "Qwen2_5_VL")


def qwen3(folder: Path, seed: int = 0) -> Path:
    """A tiny Qwen3-VL."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    words = tokenizer(QWEN_TOKENS)
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 10000.0}
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        text_config=text_settings(len(words), head_dim=16, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_marks(words),
    )
    return _finish_qwen(Qwen3VLForConditionalGeneration(config), words, folder, "Qwen3VL")


def _qwen_marks(words: Any) -> dict[str, Any]:
    ids = words.get_vocab()
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": False,
    }


def _finish_qwen(model: Any, words: Any, folder: Path, name: str) -> Path:
    """Save a model and the files of its processor, which cannot be made whole where torchvision is missing."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    model.save_pretrained(folder)
    words.chat_template = _TURNS.format(image="<|vision_start|><|image_pad|><|vision_end|>")
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(words.chat_template)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112).save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": f"{name}Processor"}))
    video = name.replace("2_5_", "2")
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": f"{video}VideoProcessor"}))
    return folder


def llava(folder: Path, seed: int = 0) -> Path:
    """A tiny LLaVA."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, Qwen2Config, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer([*QWEN_TOKENS, "<image>"])
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
        ),
        text_config=Qwen2Config(**text_settings(len(words))),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": 56, "width": 56}),
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token="<image>",
        chat_template=_TURNS.format(image="<image>"),
    )
    return _finish(LlavaForConditionalGeneration(config), processor, folder)


def lora(base: Path, folder: Path) -> Path:
    """An adapter of a tiny model as PEFT saves it, with random weights, on the language model's attention."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    layers = r".*language_model.*\.(q_proj|v_proj)"
    model = AutoModelForImageTextToText.from_pretrained(base)
    get_peft_model(model, LoraConfig(target_modules=layers, init_lora_weights=False)).save_pretrained(folder)
    return folder


def idefics(folder: Path, seed: int = 0) -> Path:
    """A tiny Idefics3."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    more = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    words = tokenizer([*QWEN_TOKENS, *more, *(f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3))])
    torch.manual_seed(seed)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        text_config={"model_type": "llama", **text_settings(len(words), pad_token_id=words.pad_token_id)},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 56}, max_image_size={"longest_edge": 56}, do_image_splitting=False
        ),
        tokenizer=words,
        image_seq_len=4,
        chat_template=_TURNS.format(image="<image>"),
    )
    return _finish(Idefics3ForConditionalGeneration(config), processor, folder)


FAMILIES = {"qwen": qwen, "qwen3": qwen3, "llava": llava, "idefics": idefics}


def picture(kind: int, size: int = 56) -> bytes:
    """A PNG: dark for 0, light for 1, with a little of its own."""
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(kind).integers(0, 40, (size, size, 3))
    stream = io.BytesIO()
    Image.fromarray((noise + (200 if kind % 2 else 10)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_rows(folder: Path, images: list[int], *, start: int = 0, shown: Callable[[int], bytes] = picture) -> Path:
    """A dataset as ``tvt mix`` writes it: row k has ``images[k]`` pictures; light ones are answered A, dark ones B.

    ``shown`` makes a picture: light for an odd number, dark for an even one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for k, count in enumerate(images, start):
        pictures = [{"bytes": shown(k + 2 * n), "path": None} for n in range(count)]
        question = f"{k}. Light or dark?" if count else f"{k}. Is {'this' if k % 2 else 'that'} so?"
        rows.append(
            {
                "images": pictures,
                "prompt": [{"role": "user", "content": f"{question} A or B?"}],
                "completion": [{"role": "assistant", "content": "A" if k % 2 else "B"}],
                "source": "Light" if count else "Text",
                "id": str(k),
            }
        )
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema(
        [
            ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
            *(("prompt", messages), ("completion", messages), ("source", pa.string()), ("id", pa.string())),
        ]
    )
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "data" / "train-00000-of-00001.parquet")
    return folder
