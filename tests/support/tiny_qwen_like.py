"""Tiny models whose pictures keep their shape and whose positions have three parts, and InternVL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_parts import Values, byte_words, ends, save, text_settings, tower, turns

QWEN_TOKENS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
_SYSTEM = "<|im_start|>system\nYou answer.<|im_end|>\n"
_QWEN = {
    "user": "<|im_start|>user\n",
    "image": "<|vision_start|><|image_pad|><|vision_end|>",
    "end": "<|im_end|>\n",
    "model": "<|im_start|>assistant\n",
    "answer": "<|im_end|>\n",
    "ask": "<|im_start|>assistant\n",
}
_THINKING = _QWEN | {
    "model": "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "ask": "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}",
}
_VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
_PATCHES = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}


def _words(*more: str) -> Any:
    return byte_words([*QWEN_TOKENS, *more], end="<|im_end|>", pad="<|endoftext|>")


def _marks(words: Any) -> Values:
    ids = words.get_vocab()
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
        **ends(words),
    }


def _finish(
    model: Any, words: Any, folder: Path, name: str, template: Values, patch: int, before: str = "", pixels: int | None = None
) -> Path:
    video = "Qwen3VL" if name == "Qwen3VL" else "Qwen2VL"
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": {"shortest_edge": (2 * patch) ** 2, "longest_edge": pixels or (8 * patch) ** 2},
        **_PATCHES,
        "patch_size": patch,
        "merge_size": 2,
    }
    return save(
        folder,
        model,
        words,
        processor=f"{name}Processor",
        template=turns(before=before, **template),
        image=image,
        video={"video_processor_type": f"{video}VideoProcessor"},
    )


def qwen2_vl(folder: Path) -> Path:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    words = _words()
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, **_PATCHES}
    text = text_settings(len(words), rope_parameters=rope)
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **_marks(words))
    return _finish(Qwen2VLForConditionalGeneration(config), words, folder, "Qwen2VL", _QWEN, 14, _SYSTEM)


def qwen2_5_vl(
    folder: Path, *, text: Values | None = None, vision: Values | None = None, pixels: int | None = None, dtype: Any = None
) -> Path:
    """A tiny one, unless ``text`` and ``vision`` give it other widths.

    Args:
        folder: where to.
        text: more of the language model's configuration,
        vision: and of the vision tower's.
        pixels: the most of a picture, if they are not few.
        dtype: the weights'; default: torch's.
    """
    from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

    words = _words()
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    tower = {**_VISION, **_PATCHES, "depth": 2, "window_size": 56, "fullatt_block_indexes": [1], **(vision or {})}
    told = text_settings(len(words), **{"rope_parameters": rope, **(text or {})})
    config = Qwen2_5_VLConfig(text_config=told, vision_config=tower, **_marks(words))
    model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    return _finish(model, words, folder, "Qwen2_5_VL", _QWEN, 14, _SYSTEM, pixels)


def qwen3_vl(folder: Path) -> Path:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    words = _words("<think>", "</think>")
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 10000.0}
    vision = {**_VISION, **_PATCHES, "depth": 2, "patch_size": 16}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    text = text_settings(len(words), head_dim=16, rope_parameters=rope)
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_marks(words))
    return _finish(Qwen3VLForConditionalGeneration(config), words, folder, "Qwen3VL", _QWEN, 16)


def qwen3_5(folder: Path) -> Path:
    """Layers of linear and of full attention, and a template that thinks."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    words = _words("<think>", "</think>")
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 10000.0}
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    text = text_settings(len(words), head_dim=32, layer_types=["linear_attention", "full_attention"], **linear)
    text["rope_parameters"] = {**rope, "partial_rotary_factor": 0.25}
    vision = {**_VISION, **_PATCHES, "patch_size": 16, "num_position_embeddings": 64}
    config = Qwen3_5Config(text_config=text, vision_config=vision, **_marks(words))
    return _finish(Qwen3_5ForConditionalGeneration(config), words, folder, "Qwen3VL", _THINKING, 16)


def glm4v(folder: Path) -> Path:
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration

    pairs = [f"<|{edge}_of_{kind}|>" for kind in ("image", "video") for edge in ("begin", "end")]
    special = ["<|endoftext|>", "[MASK]", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
    words = byte_words([*special, *pairs, "<|image|>", "<|video|>"], end="<|user|>", pad="<|endoftext|>")
    ids = words.get_vocab()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    vision = {**_VISION, **_PATCHES, "image_size": 56}
    config = Glm4vConfig(
        text_config=text_settings(len(words), rope_parameters=rope, **ends(words)),
        vision_config=vision,
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
        tie_word_embeddings=False,
        **ends(words),
    )
    size = {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 112 * 112}
    return save(
        folder,
        Glm4vForConditionalGeneration(config),
        words,
        processor="Glm4vProcessor",
        template=turns(
            before="[gMASK]<sop>",
            user="<|user|>\n",
            image="<|begin_of_image|><|image|><|end_of_image|>",
            end="",
            model="<|assistant|>\n",
            answer="<|user|>",
            ask="<|assistant|>\n",
        ),
        image={"image_processor_type": "Glm4vImageProcessor", "size": size, **_PATCHES, "merge_size": 2},
        video={"video_processor_type": "Glm4vVideoProcessor"},
    )


def internvl(folder: Path) -> Path:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    marks = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *marks.values()]
    words = byte_words(special, end="<|im_end|>", pad="<|endoftext|>", **marks)
    config = InternVLConfig(
        vision_config=tower(image_size=[56, 56], patch_size=[14, 14]),
        text_config={"model_type": "qwen2", **text_settings(len(words))},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
        **ends(words),
    )
    chat = _QWEN | {"image": "<IMG_CONTEXT>\n"}
    size = {"height": 56, "width": 56}
    image = {"image_processor_type": "GotOcr2ImageProcessor", "size": size, "crop_to_patches": False, "max_patches": 3}
    return save(
        folder,
        InternVLForConditionalGeneration(config),
        words,
        processor="InternVLProcessor",
        template=turns(**chat),
        image=image,
        settings={"image_seq_length": 4},
        video={"video_processor_type": "InternVLVideoProcessor", "size": size},
    )
