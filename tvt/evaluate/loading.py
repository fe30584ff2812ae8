"""The base model as it is scored; adapters put on it and taken off."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, needs_train_extra
from tvt.evaluate.identity import CheckedAdapter, check_adapter
from tvt.model.processor import load_processor
from tvt.model.weights import load_weights

_NAME = "scored"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A base model ready to score, with its processor."""

    model: Any
    processor: Any
    device: Any


def load_base(config: ModelConfig) -> Loaded:
    """Load any AutoModelForImageTextToText on the GPU where there is one, else on the CPU.

    Raises:
        InputError: no such model, or one that is none.
    """
    with needs_train_extra():
        import torch
        import transformers
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"device_map": {"": device}} if config.load_in_4bit else {}
    model = load_weights(config, **options)
    processor = load_processor(config)
    if config.load_in_4bit:
        _keep_packing(model)
    else:
        model.to(device)
    # PEFT freezes the base model, and frozen weights take other kernels, which round otherwise: so freeze it from the start,
    # else the base model's scores would depend on whether an adapter was there before.
    model.eval().requires_grad_(False)
    return Loaded(model=model, processor=processor, device=device)


def _keep_packing(model: Any) -> None:
    """Keep 4-bit weights as they were packed: some CPUs repack them at the first pass, which fails for narrow layers."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def attached(loaded: Loaded, adapter: CheckedAdapter | None) -> Iterator[Any]:
    """Give the model with the adapter on it, and take the adapter off afterwards; ``None`` gives the base model.

    The base model is never reloaded; its own weights are not touched.

    Raises:
        InputError: the adapter does not fit the model, or changed while it was read.
    """
    if adapter is None:
        yield loaded.model
        return
    with needs_train_extra():
        from peft import PeftModel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about missing tensors: below that is an error, with its own line
            model = PeftModel.from_pretrained(loaded.model, str(adapter.folder), adapter_name=_NAME, is_trainable=False)
    except (ValueError, RuntimeError, TypeError) as error:
        _take_off(loaded.model)
        line = str(error).strip().splitlines()[0]
        raise InputError(f"{adapter.name}: does not fit this base model: {line}; name the model it was trained on") from error
    try:
        _check_loaded(model, adapter)
        if check_adapter(adapter.folder).digest != adapter.digest:
            raise InputError(f"{adapter.name}: changed while it was loaded; wait for its training to end, then start again")
        model.eval()
        yield model
    finally:
        model.unload()


def _take_off(model: Any) -> None:
    """Put the base layers back where a load that failed half-way left adapter layers around them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())


def _check_loaded(model: Any, adapter: CheckedAdapter) -> None:
    """Every tensor of the file must be in the model, and the model must want no other: PEFT would only warn."""
    import torch
    from peft import get_peft_model_state_dict, load_peft_weights

    told = load_peft_weights(str(adapter.folder), device="cpu")
    found = get_peft_model_state_dict(model, adapter_name=_NAME)
    missing, foreign = sorted(found.keys() - told.keys()), sorted(told.keys() - found.keys())
    faults = []
    if missing:
        faults.append(f"{adapter.name}: {len(missing)} tensors are missing, e.g. {missing[0]}; train the adapter anew")
    if foreign:
        faults.append(
            f"{adapter.name}: {len(foreign)} tensors have no place in this model, e.g. {foreign[0]}; "
            "name the model it was trained on"
        )
    faults += [
        f"{adapter.name}: {name} did not arrive in the model as it is in the file; check the versions of peft and torch"
        for name in sorted(found.keys() & told.keys())
        if not torch.equal(found[name].cpu().float(), told[name].to(found[name].dtype).float())
    ]
    if faults:
        raise InputError(*faults)
