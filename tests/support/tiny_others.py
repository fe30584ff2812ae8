"""Tiny models of the Idefics family, of Gemma's, Mllama and LFM2-VL."""

from __future__ import annotations

from pathlib import Path

from tiny_parts import byte_words, ends, llama_words, save, text_settings, tower, turns

_SQUARE = {"height": 56, "width": 56}


def idefics2(folder: Path) -> Path:
    """The tokenizer puts ``<s>`` first, the template does not."""
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration

    special = ["<s>", "</s>", "<pad>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    words = llama_words(special, end="<end_of_utterance>", pad="<pad>", begin="<s>")
    perceiver = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16}
    perceiver["initializer_range"] = 0.2
    config = Idefics2Config(
        vision_config=tower(),
        perceiver_config={"hidden_size": 64, "num_key_value_heads": 1, **perceiver},
        text_config={"model_type": "mistral", **text_settings(len(words), pad_token_id=words.pad_token_id)},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
        **ends(words),
    )
    return save(
        folder,
        Idefics2ForConditionalGeneration(config),
        words,
        processor="Idefics2Processor",
        template=_spoken(""),
        image={
            "image_processor_type": "Idefics2ImageProcessor",
            "size": {"shortest_edge": 28, "longest_edge": 56},
            "do_image_splitting": False,
        },
        settings={"image_seq_len": 4},
    )


def idefics3(folder: Path) -> Path:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    return _scaled(folder, Idefics3Config, Idefics3ForConditionalGeneration, "Idefics3")


def smolvlm(folder: Path) -> Path:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    return _scaled(folder, SmolVLMConfig, SmolVLMForConditionalGeneration, "SmolVLM")


def _scaled(folder: Path, config: type, model: type, name: str) -> Path:
    """Idefics3, and SmolVLM, which differs in its processor."""
    marks = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    words = byte_words(["<|endoftext|>", "<|im_start|>", *marks, *rows], end="<end_of_utterance>", pad="<|endoftext|>")
    made = config(
        vision_config=tower(),
        text_config={"model_type": "llama", **text_settings(len(words), pad_token_id=words.pad_token_id)},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
        **ends(words),
    )
    image = {
        "image_processor_type": f"{name}ImageProcessor",
        "size": {"longest_edge": 112},
        "max_image_size": {"longest_edge": 56},
        "do_image_splitting": True,
    }
    video = {
        "video_processor_type": "SmolVLMVideoProcessor",
        "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 56},
    }
    return save(
        folder,
        model(made),
        words,
        processor=f"{name}Processor",
        template=_spoken("<|im_start|>"),
        image=image,
        settings={"image_seq_len": 4},
        video=video if name == "SmolVLM" else None,
    )


def _spoken(before: str) -> str:
    return turns(
        before=before,
        user="User:",
        image="<image>",
        end="<end_of_utterance>\n",
        model="Assistant: ",
        answer="<end_of_utterance>\n",
        ask="Assistant:",
    )


def gemma3(folder: Path) -> Path:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    marks = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *marks.values()]
    words = byte_words(special, end="<end_of_turn>", pad="<pad>", begin="<bos>", **marks)
    config = Gemma3Config(
        vision_config={"model_type": "siglip_vision_model", **tower(vision_use_head=False)},
        text_config={
            **text_settings(len(words), head_dim=16, sliding_window=32, query_pre_attn_scalar=16, **ends(words)),
            "layer_types": ["sliding_attention", "full_attention"],
        },
        mm_tokens_per_image=4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        tie_word_embeddings=False,
        **ends(words),
    )
    return save(
        folder,
        Gemma3ForConditionalGeneration(config),
        words,
        processor="Gemma3Processor",
        template=turns(
            before="<bos>",
            user="<start_of_turn>user\n",
            image="<start_of_image>",
            end="<end_of_turn>\n",
            model="<start_of_turn>model\n",
            answer="<end_of_turn>\n",
            ask="<start_of_turn>model\n",
        ),
        image={"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE},
        settings={"image_seq_length": 4},
    )


def paligemma(folder: Path) -> Path:
    """Hubs have it without a chat template; this one has the plainest."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    words = byte_words(["<pad>", "<eos>", "<bos>", "<image>"], end="<eos>", pad="<pad>", begin="<bos>", image_token="<image>")
    words.add_tokens([*(f"<loc{place:0>4}>" for place in range(1024)), *(f"<seg{place:0>3}>" for place in range(128))])
    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **tower(vision_use_head=False, projection_dim=64)},
        text_config={"model_type": "gemma", **text_settings(len(words), head_dim=16, **ends(words))},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        hidden_size=64,
        tie_word_embeddings=False,
        **ends(words),
    )
    return save(
        folder,
        PaliGemmaForConditionalGeneration(config),
        words,
        processor="PaliGemmaProcessor",
        template=turns(user="", image="<image>", end="", model="", answer="<eos>", ask=""),
        image={"image_processor_type": "SiglipImageProcessor", "size": _SQUARE, "image_seq_length": 16},
    )


def mllama(folder: Path) -> Path:
    """A layer of self-attention, then one of cross-attention to the picture."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    headers = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>"]
    special = ["<|begin_of_text|>", "<|end_of_text|>", *headers, "<|image|>"]
    words = byte_words(special, end="<|eot_id|>", pad="<|finetune_right_pad_id|>", begin="<|begin_of_text|>")
    vision = {
        **tower(attention_heads=2, num_global_layers=1, max_num_tiles=2, vision_output_dim=64),
        "intermediate_layers_indices": [0],
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }
    text = text_settings(len(words) - 1, num_hidden_layers=3, cross_attention_layers=[1], **ends(words))
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    config = MllamaConfig(vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>"))
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    return save(
        folder,
        MllamaForConditionalGeneration(config),
        words,
        processor="MllamaProcessor",
        template=turns(
            before="<|begin_of_text|>",
            user=head.format("user"),
            image="<|image|>",
            end="<|eot_id|>",
            model=head.format("assistant"),
            answer="<|eot_id|>",
            ask=head.format("assistant"),
        ),
        image={"image_processor_type": "MllamaImageProcessor", "size": _SQUARE, "max_image_tiles": 2},
    )


def lfm2_vl(folder: Path) -> Path:
    """A layer of convolution and one of attention; its image processor is torchvision's alone."""
    from transformers import Lfm2VlConfig, Lfm2VlForConditionalGeneration

    marks = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    }
    special = ["<|pad|>", "<|startoftext|>", "<|im_start|>", "<|im_end|>", *marks.values()]
    words = byte_words(special, end="<|im_end|>", pad="<|pad|>", begin="<|startoftext|>", **marks)
    vision = {name: value for name, value in tower().items() if name != "image_size"}
    text = text_settings(len(words), layer_types=["conv", "full_attention"], block_multiple_of=8, **ends(words))
    config = Lfm2VlConfig(
        vision_config={"model_type": "siglip2_vision_model", **vision, "num_patches": 16, "vision_use_head": False},
        text_config={"model_type": "lfm2", **text},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        projector_hidden_size=64,
        tie_word_embeddings=False,
        **ends(words),
    )
    sizes = {"encoder_patch_size": 14, "tile_size": 56, "max_num_patches": 64, "min_image_tokens": 1, "max_image_tokens": 16}
    return save(
        folder,
        Lfm2VlForConditionalGeneration(config),
        words,
        processor="Lfm2VlProcessor",
        template=turns(
            before="<|startoftext|>",
            user="<|im_start|>user\n",
            image="<image>",
            end="<|im_end|>\n",
            model="<|im_start|>assistant\n",
            answer="<|im_end|>\n",
            ask="<|im_start|>assistant\n",
        ),
        image={"image_processor_type": "Lfm2VlImageProcessor", "do_image_splitting": False, "downsample_factor": 2, **sizes},
    )
