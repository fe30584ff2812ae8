"""The base model's processor, also where torchvision is missing, which some families need for videos alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, MissingPackageError, needs_train_extra
from tvt.model.weights import load_fault


def load_processor(config: ModelConfig) -> Any:
    """Load the model's processor; without its video part where that would need a package which is not there.

    Raises:
        InputError: not there, none for images and text, or it has no chat template.
        MissingPackageError: a package that it needs is missing.
    """
    with needs_train_extra():
        import transformers
    library: Any = transformers
    name, options = config.model_name_or_path, {"revision": config.revision, "trust_remote_code": False}
    try:
        try:
            processor = library.AutoProcessor.from_pretrained(name, **options)
        except ImportError as error:
            kind = _video_class(config) if "torchvision" in str(error).lower() else None
            if kind is None:
                reason = str(error).strip().splitlines()[0]
                raise MissingPackageError(f"{name}: its processor needs a package that is missing: {reason}") from error
            processor = _without_video(kind).from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise load_fault(config, error) from error
    if not isinstance(processor, library.ProcessorMixin):
        raise InputError(f"{name}: has no processor for images and text; name a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise InputError(f"{name}: its processor has no chat template; name an instruction-tuned model")
    return processor


def _video_class(config: ModelConfig) -> Any:
    """The transformers class that the model's files name as its processor, if it knows videos."""
    import transformers
    from transformers.utils.hub import cached_file

    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        try:
            path = cached_file(config.model_name_or_path, file, revision=config.revision)
            name = json.loads(Path(str(path)).read_text(encoding="utf-8")).get("processor_class")
        except (OSError, ValueError):
            continue
        kind = getattr(transformers, name, None) if name else None
        if kind is not None:
            return kind if "video_processor" in kind.get_attributes() else None
    return None


def _without_video(kind: Any) -> Any:
    """A subclass whose ``__init__`` names no video processor: what it names decides what is loaded.

    It has the same name, so that a saved processor can be loaded as the original where torchvision is there.
    """
    from transformers.processing_utils import ProcessorMixin

    mixin: Any = ProcessorMixin

    class ImageOnly(kind):  # type: ignore[misc]
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any) -> None:
            marks = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
            for part, mark in marks.items():
                token = getattr(tokenizer, f"{part}_token", None) or f"<|{mark}|>"
                setattr(self, f"{part}_token", token)
                setattr(self, f"{part}_token_id", tokenizer.convert_tokens_to_ids(token))
            mixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    ImageOnly.__name__ = kind.__name__
    return ImageOnly
