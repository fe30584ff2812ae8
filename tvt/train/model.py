"""The base model, its processor, and where the adapter goes."""

from __future__ import annotations

import re
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, MissingPackageError, TrainingError

VIDEO_MODELS = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
"""Processors that need torchvision for videos alone."""


def check_dtype(config: ModelConfig) -> None:
    """Refuse a precision that the hardware does not have, rather than train in another.

    Raises:
        TrainingError: bfloat16 on a GPU without it, float16 without a GPU.
    """
    if config.dtype == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise TrainingError("this GPU has no bfloat16; train with --set model.dtype=float16 or float32")
    if config.dtype == "float16" and not torch.cuda.is_available():
        raise TrainingError("float16 needs a GPU; train with --set model.dtype=bfloat16 or float32")


def load_model(config: ModelConfig, *, sharded: bool) -> PreTrainedModel:
    """Load the base model; safetensors only, never with code of its own.

    Args:
        config: which model, and how.
        sharded: whether ZeRO-3 divides the weights while they load, so that no device may be named.

    Raises:
        InputError: not there, not safetensors, or no image-text-to-text model.
        MissingPackageError: 4-bit without bitsandbytes.
    """
    dtype = getattr(torch, config.dtype)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": config.attn_implementation}
    if config.load_in_4bit:
        options["quantization_config"] = _four_bit(dtype)
        if not sharded:
            options["device_map"] = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    try:
        model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(
            config.model_name_or_path, revision=config.revision, trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise InputError(_load_fault(config, error)) from error
    return model


def _four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("4-bit training needs bitsandbytes: pip install 'tvt[train]'") from error
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # DeepSpeed divides weights by their storage type, which must then be a floating one.
        bnb_4bit_quant_storage=dtype,
    )


def load_processor(config: ModelConfig) -> ProcessorMixin:
    """Load the model's processor; where torchvision is not there, without the part for videos, which would need it.

    Raises:
        InputError: not there, or it has no chat template.
    """
    source, revision = config.model_name_or_path, config.revision
    try:
        load: Any = AutoProcessor.from_pretrained
        processor = load(source, revision=revision, trust_remote_code=False)
    except ImportError as error:
        processor = _image_only(source, revision, error)
    except (OSError, ValueError) as error:
        raise InputError(_load_fault(config, error)) from error
    if not isinstance(processor, ProcessorMixin):
        raise InputError(f"{source}: has no processor for images and text; name a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise InputError(f"{source}: its processor has no chat template; name an instruction-tuned model")
    return processor


def _image_only(source: str, revision: str | None, error: ImportError) -> ProcessorMixin:
    """The processor of a Qwen-VL model for images only."""
    import transformers

    kind = transformers.AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False).model_type
    name = VIDEO_MODELS.get(kind)
    if name is None:
        raise MissingPackageError(
            f"{source}: its processor needs a package that is missing: {str(error).splitlines()[0]}"
        ) from error
    original = getattr(transformers, name)

    def __init__(  # noqa: N807 - becomes a class's; transformers reads this signature to decide which parts to load
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        for mark in ("vision_start_token", "vision_end_token"):
            token = {"vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>"}[mark]
            setattr(self, mark, token)
            setattr(self, f"{mark}_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

    # The same name, so that a saved processor can be loaded as the original where torchvision is there.
    restricted = type(name, (original,), {"__init__": __init__})
    processor: ProcessorMixin = restricted.from_pretrained(source, revision=revision, trust_remote_code=False)  # type: ignore[attr-defined]
    return processor


def lora_config(model: PreTrainedModel, recipe: Recipe) -> LoraConfig:
    """The adapter's configuration, with every module it goes into by its full name.

    Raises:
        InputError: no module fits what the recipe names.
    """
    settings = recipe.lora
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_modules(model, settings.lora_target_modules, freeze_vision=recipe.model.freeze_vision),
        task_type="CAUSAL_LM",
    )


def target_modules(model: PreTrainedModel, wanted: str | tuple[str, ...] | None, *, freeze_vision: bool) -> list[str]:
    """Names of the linear layers that get an adapter: the language model's only, unless the vision tower is trained too."""
    whole: Any = model
    decoder, head = whole.get_decoder(), whole.get_output_embeddings()
    inside = {id(module) for module in decoder.modules()} if freeze_vision and decoder is not model else None
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and (inside is None or id(module) in inside)
    ]
    if freeze_vision and inside is None:  # a model that names no decoder
        linear = [name for name in linear if not re.search(r"vision|visual|image|projector|connector", name)]
    found = [name for name in linear if _wanted(name, wanted)]
    if not found:
        where = "the language model" if freeze_vision else "the model"
        known = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise InputError(f"lora.lora_target_modules: nothing in {where} fits {wanted!r}; its linear layers: {', '.join(known)}")
    return found


def _wanted(name: str, wanted: str | tuple[str, ...] | None) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None or name.rsplit(".", 1)[-1] == wanted
    return any(name == item or name.endswith(f".{item}") for item in wanted)


def _load_fault(config: ModelConfig, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    where = f"model.model_name_or_path: {config.model_name_or_path}"
    return f"{where}: cannot be loaded ({reason}); name a folder or hub model with safetensors"
