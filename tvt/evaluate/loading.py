"""The base model as it is scored; adapters put on it and taken off."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, needs_train_extra
from tvt.evaluate.base_state import BaseState, TensorFact
from tvt.evaluate.identity import CheckedAdapter, check_adapter
from tvt.model.processor import load_processor
from tvt.model.weights import load_weights

_NAME = "scored"


def _silent(text: str) -> None:
    pass


@dataclass(kw_only=True)
class Loaded:
    """A base model ready to score, with its processor."""

    config: ModelConfig
    processor: Any
    device: Any
    reloads: int = field(default=0, init=False)
    """How often the model was loaded again, because an adapter had changed its own weights."""
    _model: Any = field(default=None, init=False, repr=False)
    _state: BaseState | None = field(default=None, init=False, repr=False)
    _first: list[TensorFact] | None = field(default=None, init=False, repr=False)

    @property
    def model(self) -> Any:
        """The base model, always as it was first loaded.

        Raises:
            InputError: no such model, or one that is none, or its files changed since it was first loaded.
        """
        self.load()
        return self._model

    def load(self) -> None:
        """Load the weights, if they are not there.

        Raises:
            InputError: as for ``model``.
        """
        if self._model is not None:
            return
        if self._first is not None:
            free_memory(self.device)
            self.reloads += 1
        model = _load_model(self.config, self.device)
        state = BaseState(model)
        if self._first not in (None, state.facts):
            raise InputError(
                f"{self.config.model_name_or_path}: its files changed since it was first loaded; start again, "
                "so that everything is scored with one base model"
            )
        self._model, self._state, self._first = model, state, state.facts

    def put_back(self) -> bool:
        """Take everything off that was put on the model; whether it is then what it was, bit for bit.

        If it is not, it is dropped here and loaded again when it is next used.
        """
        if self._state is None:
            return True
        self._state.put_back()
        if self._state.holds():
            return True
        self._model = self._state = None
        return False


def free_memory(device: Any) -> None:
    """Give memory back that no longer holds anything; layers and their wrappers refer to each other, so they are looked for."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


def load_base(config: ModelConfig) -> Loaded:
    """Load any AutoModelForImageTextToText on the GPU where there is one, else on the CPU.

    Raises:
        InputError: no such model, or one that is none.
    """
    with needs_train_extra():
        import torch
        import transformers
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = Loaded(config=config, processor=None, device=device)
    loaded.load()  # before the processor: that there is no model is the clearer error
    loaded.processor = load_processor(config)
    return loaded


def _load_model(config: ModelConfig, device: Any) -> Any:
    options: dict[str, Any] = {"device_map": {"": device}} if config.load_in_4bit else {}
    model = load_weights(config, **options)
    if config.load_in_4bit:
        _keep_packing(model)
    else:
        model.to(device)
    # PEFT freezes the base model, and frozen weights take other kernels, which round otherwise: so freeze it from the start,
    # else the base model's scores would depend on whether an adapter was there before.
    return model.eval().requires_grad_(False)


def _keep_packing(model: Any) -> None:
    """Keep 4-bit weights as they were packed: some CPUs repack them at the first pass, which fails for narrow layers."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def attached(loaded: Loaded, adapter: CheckedAdapter | None, note: Callable[[str], None] = _silent) -> Iterator[Any]:
    """Give the model with the adapter on it, as plain PEFT makes it of a fresh base model; ``None`` gives the base model.

    Afterwards the base model is put back, and it is proved that it is what it was. Where it is not, it is loaded again before
    anything else is scored.

    Args:
        loaded: the base model.
        adapter: what to put on it.
        note: told in a sentence if the model has to be loaded again.

    Raises:
        InputError: the adapter does not fit the model, or changed while it was read.
    """
    try:
        yield loaded.model if adapter is None else _put_on(loaded, adapter)
    finally:
        if not loaded.put_back() and adapter is not None:
            note(
                f"{adapter.name}: changes weights of the base model itself, which is therefore loaded again before the next one"
            )


def _put_on(loaded: Loaded, adapter: CheckedAdapter) -> Any:
    """The base model with an adapter on it, once every tensor is known to have arrived."""
    with needs_train_extra():
        import peft
        import torch
    base = loaded.model
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")  # about missing tensors: below that is an error, with its own line
            torch.manual_seed(0)  # some starts are random, such as PiSSA's with few iterations
            model = peft.PeftModel.from_pretrained(base, str(adapter.folder), adapter_name=_NAME, is_trainable=False)
            faults = _faults(model, adapter)
    except Exception as error:  # whatever PEFT's many kinds of adapters raise, the folder is the cause
        raise InputError(f"{adapter.name}: {_reason(error)}") from error
    if faults:
        raise InputError(*faults)
    if check_adapter(adapter.folder).digest != adapter.digest:
        raise InputError(f"{adapter.name}: changed while it was loaded; wait for its training to end, then start again")
    return model.eval()


def _reason(error: Exception) -> str:
    """Why an adapter cannot be put on the model, and what to do."""
    import torch

    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    line = f"{lines[0].rstrip(':')}: {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    if isinstance(error, torch.OutOfMemoryError):
        return "does not fit into the GPU's memory beside the base model; use --4bit or a larger GPU"
    if isinstance(error, ValueError | RuntimeError | KeyError):
        return f"does not fit this base model: {line}; name the model it was trained on"
    return f"PEFT cannot put it on the base model ({type(error).__name__}: {line}); install what its kind of adapter needs"


def _faults(model: Any, adapter: CheckedAdapter) -> list[str]:
    """Every tensor of the file must be in the model, and the model must want no other: PEFT would only warn.

    All that the adapter saves is filled with NaN and read once more. So PEFT itself says which name of the file belongs where,
    names of earlier versions of transformers included, and what the file lacks stays NaN.
    """
    import peft

    def saved() -> dict[str, Any]:
        found: dict[str, Any] = peft.get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
        return found

    before = {name: tensor.clone() for name, tensor in saved().items()}
    for tensor in saved().values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    file = peft.load_peft_weights(str(adapter.folder), device="cpu")
    foreign = sorted(
        name.replace(f".{_NAME}", "") for name in peft.set_peft_model_state_dict(model, file, _NAME).unexpected_keys
    )
    after = saved()
    missing = sorted(name for name, tensor in after.items() if bool(tensor.isnan().any()))
    faults = []
    if missing:
        faults.append(f"{adapter.name}: {len(missing)} tensors are missing, e.g. {missing[0]}; train the adapter anew")
    if foreign:
        faults.append(
            f"{adapter.name}: {len(foreign)} tensors have no place in this model, e.g. {foreign[0]}; "
            "name the model it was trained on"
        )
    return faults + [
        f"{adapter.name}: {name} did not arrive in the model as it is in the file; check the versions of peft and torch"
        for name in sorted(before.keys() - set(missing))
        if not _equal(after[name], before[name]) or (name in file and not _equal(after[name], file[name].to(after[name].dtype)))
    ]


def _equal(one: Any, other: Any) -> bool:
    import torch

    return torch.equal(one.cpu().float(), other.cpu().float())
