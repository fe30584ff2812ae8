"""The base model, loaded once: whoever scores or trains with it gives it back as it was, bit for bit, or it is loaded again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, needs_train_extra
from tvt.model.base_state import BaseState, TensorFact
from tvt.model.processor import load_processor
from tvt.model.weights import load_weights

CHANGED = "{name}: changes weights of the base model itself, which is therefore loaded again before the next one"


def _silent(text: str) -> None:
    pass


@dataclass(kw_only=True)
class Loaded:
    """A base model with its processor. Both are loaded when they are first asked for, and stay until they are let go."""

    config: ModelConfig
    processor: Any = None
    device: Any = None
    """Where the model is, once it was loaded."""
    note: Callable[[str], None] = _silent
    """Told in a sentence if the model has to be loaded again."""
    loads: int = field(default=0, init=False)
    """How often the weights were loaded."""
    seconds: float = field(default=0.0, init=False)
    """How long that took."""
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

    @property
    def reloads(self) -> int:
        """How often the model was loaded again, because it was let go, or its own weights had been changed."""
        return max(self.loads - 1, 0)

    def load(self) -> None:
        """Load the weights and the processor, as far as they are not there.

        Raises:
            InputError: as for ``model``.
        """
        if self._model is None:
            started = time.monotonic()
            self._load_weights()
            self.seconds += time.monotonic() - started
        if self.processor is None:  # after the model: that there is none is the clearer error
            self.processor = load_processor(self.config)

    def _load_weights(self) -> None:
        if self.loads:
            self._free()
        model = load_model(self.config)
        state = BaseState(model)
        if self._first not in (None, state.facts):
            raise InputError(
                f"{self.config.model_name_or_path}: its files changed since it was first loaded; start again, "
                "so that everything is scored with one base model"
            )
        self._model, self._state, self._first = model, state, state.facts
        self.device = model.device
        self.loads += 1

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

    def release(self) -> None:
        """Let the weights go and give their memory back; they are loaded again when they are next used."""
        if self._model is not None:
            self._model = self._state = None
            self._free()

    @contextmanager
    def lent(self, name: str) -> Iterator[None]:
        """Let the model be changed, say by training. What is on it afterwards is taken off, and its memory given back.

        Where that does not make it what it was, and after every error, it is loaded again before it is next used.

        Args:
            name: what it is lent for, for the note that the model itself was changed though nothing failed.
        """
        try:
            yield
        except BaseException:
            # Its parts may be held by what failed until that has been dealt with; loading again frees them first.
            self._model = self._state = None
            raise
        if not self.put_back():
            self.note(CHANGED.format(name=name))
        self._free()

    def _free(self) -> None:
        """Give memory back that no longer holds anything; layers and their wrappers refer to each other, so look for them."""
        gc.collect()
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def load_base(config: ModelConfig) -> Loaded:
    """Load any AutoModelForImageTextToText on the GPU where there is one, else on the CPU.

    Raises:
        InputError: no such model, or one that is none.
    """
    loaded = Loaded(config=config)
    loaded.load()
    return loaded


def load_model(config: ModelConfig, *, sharded: bool = False) -> Any:
    """Load a base model where it works, frozen. All that trains and scores is loaded here, so that it is one model.

    Args:
        config: which model, and how.
        sharded: whether ZeRO-3 divides the weights while they load, so that no device may be named.

    Raises:
        InputError: see :func:`tvt.model.weights.load_weights`.
    """
    with needs_train_extra():
        import torch
        import transformers
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    model = load_weights(config, device=None if sharded else device)
    if config.load_in_4bit:
        _keep_packing(model)
    # PEFT freezes the base model, and frozen weights take other kernels, which round otherwise: so freeze it from the start,
    # else the base model's scores would depend on whether an adapter was there before.
    return model.eval().requires_grad_(False)


def _keep_packing(model: Any) -> None:
    """Keep 4-bit weights as they were packed: some CPUs repack them at the first pass, which fails for narrow layers."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
