"""The base model's processor, also where a package is missing that its family needs for videos alone.

tvt shows models pictures; frames of a video are pictures, too. So where torchvision is missing, a processor is loaded without
its video part, and its image part is the one that stands on Pillow.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, MissingPackageError, needs_train_extra, refuse
from tvt.model.families import family_checks
from tvt.model.fit import check_fit
from tvt.model.tiles import limit_tiles
from tvt.model.weights import load_fault, missing_package

_VIDEO = "video_processor"
_NAMING_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load_processor(config: ModelConfig) -> Any:
    """Load the model's processor; without its video part where that would need a package which is not there.

    Raises:
        InputError: not there, none for images and text, parts are missing or of another model, or it has no chat template.
        MissingPackageError: a package that it needs is missing.
    """
    with needs_train_extra():
        import transformers
    refuse(family_checks(config))
    library: Any = transformers
    name = config.model_name_or_path
    try:
        try:
            processor = library.AutoProcessor.from_pretrained(name, revision=config.revision, trust_remote_code=False)
        except ImportError as error:
            kind = _video_class(config)
            if kind is None:
                raise missing_package(config, "processor", error) from error
            processor = _without_video(config, kind)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        # An image processor or a tokenizer of another family lacks what the processor asks it for.
        lacking = "torchvision" in str(error)
        raise (missing_package(config, "processor", error) if lacking else load_fault(config, error, "processor")) from error
    if not isinstance(processor, library.ProcessorMixin):
        raise InputError(f"{name}: has no processor for images and text; name a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise InputError(f"{name}: its processor has no chat template; name an instruction-tuned model")
    limit_tiles(processor, config.max_pixels)
    check_fit(config, processor)
    return processor


def _video_class(config: ModelConfig) -> Any:
    """The transformers class that the model's files name as its processor, if it knows videos."""
    import transformers
    from transformers.utils.hub import cached_file

    for file in _NAMING_FILES:
        try:
            path = cached_file(config.model_name_or_path, file, revision=config.revision)
            name = json.loads(Path(str(path)).read_text(encoding="utf-8")).get("processor_class")
        except (OSError, ValueError):
            continue
        try:
            kind = getattr(transformers, name, None) if name else None
        except ImportError:  # what its module needs is not there, or does not load
            return None
        if kind is not None:
            return kind if _VIDEO in kind.get_attributes() else None
    return None


def _without_video(config: ModelConfig, kind: Any) -> Any:
    """The model's processor without its video part."""
    import transformers

    library: Any = transformers
    made = _class_without_video(kind)
    name, options = config.model_name_or_path, {"revision": config.revision, "trust_remote_code": False}
    settings = kind.get_processor_dict(name, **options)[0]
    known = inspect.signature(kind.__init__).parameters.keys() - kind.get_attributes()
    return made(
        image_processor=library.AutoImageProcessor.from_pretrained(name, **options),
        tokenizer=library.AutoTokenizer.from_pretrained(name, **options),
        video_processor=None,
        **{key: value for key, value in settings.items() if key in known},
    )


def _class_without_video(kind: Any) -> Any:
    """A processor class without its video part.

    It has the class name of the original, so that a saved processor can be loaded as it where torchvision is there.
    """
    from transformers.processing_utils import ProcessorMixin

    mixin: Any = ProcessorMixin

    class WithoutVideo(mixin):  # type: ignore[misc]
        """Stands between a processor class and ProcessorMixin, and keeps the video part from it."""

        video_processor = _NoVideos()

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != _VIDEO]

        def __init__(self, *parts: Any, **options: Any) -> None:
            options |= dict(zip(super().get_attributes(), parts, strict=False))
            options.pop(_VIDEO, None)
            super().__init__(**options)

        def __reduce__(self) -> Any:  # for workers of the data loader: pickle does not find this class by its name
            return _unfilled, (kind,), vars(self)

    module = sys.modules[kind.__module__]
    if getattr(module, "num2words", module) is None:  # SmolVLM's processor spells the number of a video's frames with it
        module.num2words = _no_words  # type: ignore[attr-defined]
    return type(kind.__name__, (kind, WithoutVideo), {"__module__": kind.__module__})


def _unfilled(kind: Any) -> Any:
    """A processor of a class without its video part, whose fields are filled next."""
    made = _class_without_video(kind)
    return made.__new__(made)


class _NoVideos:
    """In the place of a video processor, for code that asks for its settings before it knows whether there is a video."""

    num_frames = fps = None


def _no_words(*_: Any) -> str:
    raise MissingPackageError("videos need num2words; pip install num2words")
