"""A base model's weights, configuration and processor, loaded from its files: safetensors only, and never code of its own.

tvt shows models pictures; frames of a video are pictures, too. So where torchvision is missing, a processor is loaded without
its video part, and its image part is the one that uses Pillow.

Some processors enlarge every picture to tiles, or choose tiles by its shape, so that a smaller picture takes no fewer tokens:
Idefics3 and SmolVLM enlarge the longest edge to four tiles (of a picture of 364 x 364 pixels they make 17 tiles), InternVL and
Aya Vision choose up to twelve tiles by the sides' ratio, and LFM2-VL up to ten. With ``model.max_pixels`` they may make no more
tiles than have so many pixels together, one at least; the overview that most add comes on top. The other families of the table
make fewer tokens or tiles of smaller pictures (or always the same number), and need nothing here.
"""

from __future__ import annotations

import inspect
import logging
import math
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, MissingPackageError, needs_train_extra, reason_of, refuse
from tvt.io import json_text
from tvt.io.model_folder import snapshot
from tvt.model.attention import stack_windows
from tvt.model.chat import Chat
from tvt.model.families import family_checks, family_of, model_checks
from tvt.model.inputs import prompt_inputs

_LOG = logging.getLogger(__name__)

_TEXTS = ("*.json", "*.jinja", "*.txt", "*.model")
"""Files of a model that are no weights; of these its tokenizer and processor are made."""


def copy_texts(config: ModelConfig, folder: Path) -> None:
    """Put a model's own files of tokenizer, processor and generation beside weights that were finetuned from its.

    Saved anew they would differ: what was set for this machine, or left out on it, would be written as well.

    Args:
        config: which model; it was loaded before, so that its files are here.
        folder: of the weights, with its config.json.
    """
    place = Path(config.model_name_or_path)
    place = place if place.is_dir() else snapshot(config.model_name_or_path, config.revision)
    for path in (path for pattern in _TEXTS for path in place.glob(pattern)):
        if path.name != "config.json" and not path.name.startswith(("model", "adapter")):
            shutil.copyfile(path, folder / path.name)


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
            _LOG.debug("%s: its processor is loaded without its video part: %s", name, error)
            processor = _without_video(config, kind)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        # An image processor or a tokenizer of another family lacks what the processor requires of it.
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
            name = json_text.loads(Path(str(path)).read_text(encoding="utf-8")).get("processor_class")
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
    """In the place of a video processor, for code that reads its settings before it checks whether there is a video."""

    num_frames = fps = None


def _no_words(*_: Any) -> str:
    raise MissingPackageError("videos need num2words; pip install num2words")


_SIDE = 64
"""Pixels: above the least that any family takes."""
_QUESTION = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]},)
_TOKEN = ("image_token_id", "image_token_index")
"""The names under which a model's configuration has the token for a piece of an image."""


def check_fit(config: ModelConfig, processor: Any) -> None:
    """Put a grey picture and a question through a processor.

    Args:
        config: which model.
        processor: its processor.

    Raises:
        InputError: the processor cannot take an image, or the model would not see it.
    """
    from PIL import Image

    name = config.model_name_or_path
    picture = Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128))
    prompt = Chat(processor).prompt(_QUESTION)
    try:
        inputs = prompt_inputs(processor, [prompt.text], [[picture]])
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = reason_of(error)
        line = f"{name}: its processor cannot take an image ({type(error).__name__}: {reason})"
        raise InputError(f"{line}; get the files of its processor anew, and check that all are of one model") from error
    if family_of(config) is None:
        return  # others may name it differently
    loaded = load_config(config)
    token = next((number for key in _TOKEN if (number := getattr(loaded, key, None)) is not None), None)
    if token is not None and int(token) not in inputs["input_ids"][0].tolist():
        raise InputError(
            f"{name}: config.json has {token} for the token of an image, and its processor or chat template writes none; get "
            "its files anew, and check that all are of one model"
        )


def limit_tiles(processor: Any, max_pixels: int | None) -> None:
    """Set a processor's own settings of tiles so that a picture takes at most about ``max_pixels``.

    Args:
        processor: of any family; changed in place where it makes tiles as above.
        max_pixels: at most so many in all tiles of a picture; ``None`` changes nothing.
    """
    images = processor.image_processor
    if max_pixels is None:
        return
    if isinstance(longest := _edge(images, "max_image_size"), int) and _edge(images, "size"):  # Idefics3, SmolVLM
        images.size["longest_edge"] = min(_edge(images, "size"), longest * max(1, int(math.sqrt(max_pixels) / longest)))
    elif getattr(images, "crop_to_patches", False):  # InternVL, Aya Vision
        tile = images.size["height"] * images.size["width"]
        images.max_patches = min(images.max_patches, max(images.min_patches, max_pixels // tile))
    elif getattr(images, "do_image_splitting", False) and hasattr(images, "max_tiles"):  # LFM2-VL
        images.max_tiles = min(images.max_tiles, max(images.min_tiles, max_pixels // images.tile_size**2))


def _edge(images: Any, name: str) -> Any:
    size = getattr(images, name, None)
    return None if size is None else size.get("longest_edge")


def load_weights(config: ModelConfig, *, device: Any) -> Any:
    """Load any AutoModelForImageTextToText, tensor by tensor from its files to where it is used.

    Args:
        config: which model, and how.
        device: where it is used. Without one, every process of a machine would first hold a whole model in the host's memory.
            ``None`` where ZeRO-3 divides the weights while they load, which places them itself.

    Raises:
        InputError: not there, not safetensors, or no image-text-to-text model.
        MissingPackageError: torch and transformers are missing, or what the model or its settings need.
    """
    refuse(model_checks(config))
    with needs_train_extra():
        import torch
        import transformers
    library: Any = transformers
    load_config(config)  # its faults, in a line
    dtype = getattr(torch, config.dtype)
    options: dict[str, Any] = {} if device is None else {"device_map": {"": device}}
    if config.load_in_4bit:
        options["quantization_config"] = library.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,  # the same bytes in the model's precision, so that DeepSpeed can divide them
        )
    try:
        model, report = library.AutoModelForImageTextToText.from_pretrained(
            config.model_name_or_path,
            revision=config.revision,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            attn_implementation=config.attn_implementation,
            output_loading_info=True,
            **options,
        )
    except ImportError as error:
        raise missing_package(config, "model", error) from error
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, LookupError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise load_fault(config, error) from error
    if missing := sorted(report["missing_keys"]):  # transformers would draw them at random, anew with every load
        fault = f"{len(missing)} of the model's tensors are in none of its files, e.g. {missing[0]}"
        step = "get the files anew, and check that config.json and weights are of one model"
        raise InputError(f"{config.model_name_or_path}: {fault}; {step}")
    stack_windows(model)
    return model


def load_config(config: ModelConfig) -> Any:
    """A model's transformers configuration.

    Raises:
        InputError: not there, or of a type that transformers does not know.
        MissingPackageError: transformers is not installed.
    """
    with needs_train_extra():
        import transformers
    library: Any = transformers
    name, revision = config.model_name_or_path, config.revision
    try:
        return library.AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except ImportError as error:
        raise missing_package(config, "configuration", error) from error
    except Exception as error:  # a config.json can hold anything, and what its fields are checked by raises its own kinds
        raise load_fault(config, error) from error


def missing_package(config: ModelConfig, part: str, error: Exception) -> MissingPackageError:
    """Which package a model, or its processor, lacks or cannot use, in one line."""
    name, text = config.model_name_or_path, " ".join(str(error).split())
    if (reason := _torchvision_fault()) is not None:
        return MissingPackageError(
            f"{name}: the installed torchvision does not work with this torch ({reason}); install both from one index, see "
            "https://pytorch.org/get-started/locally"
        )
    if "torchvision" in text.lower():
        return MissingPackageError(f"{name}: its {part} needs torchvision, which is not installed; pip install torchvision")
    return MissingPackageError(f"{name}: its {part} needs a package that is missing: {text}")


def _torchvision_fault() -> str | None:
    """Why torchvision cannot be loaded; ``None`` where it can, or is not installed."""
    if find_spec("torchvision") is None:
        return None
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return reason_of(error)
    return None


def load_fault(config: ModelConfig, error: Exception, part: str = "model") -> InputError:
    """That the model, or another part of it, cannot be loaded, in one line."""
    reason = reason_of(error).rstrip(":")
    what, step = {
        "model": ("cannot be loaded", "name a folder or hub model with safetensors, of a type that this transformers knows"),
        "processor": ("its processor cannot be loaded", "name a vision-language model with the files of its processor"),
    }[part]
    return InputError(f"{config.model_name_or_path}: {what} ({reason}); {step}")
