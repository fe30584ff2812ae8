"""The base model's weights: safetensors only, never with code of its own."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, MissingPackageError, needs_train_extra, refuse
from tvt.model.attention import stack_windows
from tvt.model.checks import model_checks


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
        found = f"{len(missing)} of the model's tensors are in none of its files, e.g. {missing[0]}"
        step = "get the files anew, and see that config.json and weights are of one model"
        raise InputError(f"{config.model_name_or_path}: {found}; {step}")
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
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def load_fault(config: ModelConfig, error: Exception, part: str = "model") -> InputError:
    """That the model, or another part of it, cannot be loaded, in one line."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")
    what, step = {
        "model": ("cannot be loaded", "name a folder or hub model with safetensors, of a type that this transformers knows"),
        "processor": ("its processor cannot be loaded", "name a vision-language model with the files of its processor"),
    }[part]
    return InputError(f"{config.model_name_or_path}: {what} ({reason}); {step}")
