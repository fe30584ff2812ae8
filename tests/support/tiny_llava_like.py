"""Tiny models whose pictures become tokens of a fixed grid: LLaVA and its kin, Aya Vision, Pixtral and Mistral3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_parts import Values, byte_words, ends, llama_words, save, text_settings, tower, turns

_SQUARE = {"height": 56, "width": 56}
_CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_CHATML_TURNS = {
    "user": "<|im_start|>user\n",
    "end": "<|im_end|>\n",
    "model": "<|im_start|>assistant\n",
    "answer": "<|im_end|>\n",
    "ask": "<|im_start|>assistant\n",
}
_VICUNA_TURNS = {"user": "USER: ", "text": "{text} ", "end": "", "model": "ASSISTANT: ", "answer": "</s>", "ask": "ASSISTANT:"}
_INST_TURNS = {"user": "[INST] ", "end": " [/INST]", "model": " ", "answer": "</s>", "ask": ""}
"""The template has no generation prompt."""
_CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 56}, "crop_size": _SQUARE}


def _llama_2(*more: str) -> Any:
    return llama_words(["<s>", "</s>", "<pad>", *more], end="</s>", pad="<pad>", begin="<s>")


def _clip() -> Values:
    return {"model_type": "clip_vision_model", **tower(projection_dim=16)}


def llava(folder: Path) -> Path:
    """SigLIP and Qwen2, as in several LLaVA models of 2024."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words = byte_words([*_CHATML, "<image>"], end="<|im_end|>", pad="<|endoftext|>")
    config = LlavaConfig(
        vision_config={"model_type": "siglip_vision_model", **tower()},
        text_config={"model_type": "qwen2", **text_settings(len(words))},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        **ends(words),
    )
    return save(
        folder,
        LlavaForConditionalGeneration(config),
        words,
        processor="LlavaProcessor",
        template=turns(image="<image>", **_CHATML_TURNS),
        image={"image_processor_type": "SiglipImageProcessor", "size": _SQUARE},
        settings={"patch_size": 14, "vision_feature_select_strategy": "full", "image_token": "<image>"},
    )


def llava_1_5(folder: Path) -> Path:
    """CLIP and Llama 2: the tokenizer puts ``<s>`` first, the template does not."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    return _vicuna(folder, LlavaForConditionalGeneration, LlavaConfig, vision_feature_layer=-2)


def vipllava(folder: Path) -> Path:
    from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

    return _vicuna(folder, VipLlavaForConditionalGeneration, VipLlavaConfig, vision_feature_layers=[-2, -1])


def _vicuna(folder: Path, model: Any, config: Any, **layers: Any) -> Path:
    words = _llama_2("<image>")
    made = config(
        vision_config=_clip(),
        text_config={"model_type": "llama", **text_settings(len(words))},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
        **layers,
        **ends(words),
    )
    return save(
        folder,
        model(made),
        words,
        processor="LlavaProcessor",
        template=turns(image="<image>\n", **_VICUNA_TURNS),
        image=_CLIP,
        settings={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
        },
    )


def llava_next(folder: Path) -> Path:
    """CLIP and Mistral, with a template that ignores ``add_generation_prompt``."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    words = _llama_2("<image>")
    grid = [[56, 112], [112, 56], [112, 112]]
    config = LlavaNextConfig(
        vision_config=_clip(),
        text_config={"model_type": "mistral", **text_settings(len(words))},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
        tie_word_embeddings=False,
        **ends(words),
    )
    image = {**_CLIP, "image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": grid}
    return save(
        folder,
        LlavaNextForConditionalGeneration(config),
        words,
        processor="LlavaNextProcessor",
        template=turns(image="<image>\n", **_INST_TURNS),
        image=image,
        settings={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
        },
    )


def llava_onevision(folder: Path) -> Path:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    words = byte_words([*_CHATML, "<image>", "<video>"], end="<|im_end|>", pad="<|endoftext|>")
    grid = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **tower(vision_use_head=False)},
        text_config={"model_type": "qwen2", **text_settings(len(words))},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        tie_word_embeddings=False,
        **ends(words),
    )
    image = {"image_processor_type": "LlavaOnevisionImageProcessor", "size": _SQUARE, "image_grid_pinpoints": grid}
    return save(
        folder,
        LlavaOnevisionForConditionalGeneration(config),
        words,
        processor="LlavaOnevisionProcessor",
        template=turns(image="<image>\n", **_CHATML_TURNS),
        image=image,
        settings={"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
        video={"video_processor_type": "LlavaOnevisionVideoProcessor", "size": _SQUARE},
    )


def aya_vision(folder: Path) -> Path:
    from transformers import AyaVisionConfig, AyaVisionForConditionalGeneration

    marks = ["<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL", "TILE"]
    speakers = ["<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"]
    special = ["<PAD>", "<BOS_TOKEN>", *speakers, "<|START_RESPONSE|>", "<|END_RESPONSE|>", *marks]
    words = byte_words(special, end="<|END_OF_TURN_TOKEN|>", pad="<PAD>", begin="<BOS_TOKEN>")
    text = {"model_type": "cohere2", **text_settings(len(words), sliding_window=64, **ends(words))}
    config = AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **tower(vision_use_head=False)},
        text_config=text,
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
        tie_word_embeddings=False,
        **ends(words),
    )
    model = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>"
    return save(
        folder,
        AyaVisionForConditionalGeneration(config),
        words,
        processor="AyaVisionProcessor",
        template=turns(
            before="<BOS_TOKEN>",
            user="<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
            image="<image>",
            end="<|END_OF_TURN_TOKEN|>",
            model=model,
            answer="<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
            ask=model,
        ),
        image={"image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE, "crop_to_patches": True, "max_patches": 2},
        settings={"patch_size": 14, "img_size": 56, "downsample_factor": 2, "image_token": "<image>"},
    )


def mistral3(folder: Path) -> Path:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    words = _tekken()
    config = Mistral3Config(
        vision_config=_pixtral_tower(),
        text_config={"model_type": "mistral", **text_settings(len(words), head_dim=16)},
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
        **ends(words),
    )
    return _finish_pixtral(folder, Mistral3ForConditionalGeneration(config), words, merge=2)


def pixtral(folder: Path) -> Path:
    """Pixtral's tower in LLaVA's frame, as Pixtral 12B is on hubs."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words = _tekken()
    config = LlavaConfig(
        vision_config=_pixtral_tower(),
        text_config={"model_type": "mistral", **text_settings(len(words), head_dim=16)},
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        **ends(words),
    )
    return _finish_pixtral(folder, LlavaForConditionalGeneration(config), words, merge=1)


def _tekken() -> Any:
    special = ["<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    return byte_words(special, end="</s>", pad="<pad>", begin="<s>")


def _pixtral_tower() -> Values:
    return {"model_type": "pixtral", **tower(head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})}


def _finish_pixtral(folder: Path, model: Any, words: Any, merge: int) -> Path:
    return save(
        folder,
        model,
        words,
        processor="PixtralProcessor",
        template=turns(before="<s>", user="[INST]", image="[IMG]", end="[/INST]", model="", answer="</s>", ask=""),
        image={"image_processor_type": "PixtralImageProcessor", "patch_size": 14, "size": {"longest_edge": 56}},
        settings={"patch_size": 14, "spatial_merge_size": merge, "image_token": "[IMG]"},
    )
