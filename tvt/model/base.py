"""The base model, loaded once: after training or scoring with it, it is put back as it was, bit for bit, or loaded again.

PEFT's ``unload()`` leaves behind trained copies of ``modules_to_save``, trained biases, and whatever a start such as PiSSA or
OLoRA wrote into the base weights. So what PEFT does is not undone step by step. The state of the model is recorded: which
objects stand where (modules, tensors, hooks, flags, configuration), and a fingerprint of every tensor's content. Objects are
put back where they stood. Content could only be put back from a second copy of the weights, so a model with other fingerprints
has to be loaded again.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, needs_train_extra
from tvt.model.loading import load_processor, load_weights
from tvt.types import silent

_LOG = logging.getLogger(__name__)

CHANGED = "{name}: changes weights of the base model itself, which is therefore loaded again before the next one"


@dataclass(kw_only=True)
class Loaded:
    """A base model with its processor. Both are loaded when they are first used, and stay until they are released."""

    config: ModelConfig
    processor: Any = None
    device: Any = None
    """Where the model is, once it was loaded."""
    note: Callable[[str], None] = silent
    """Called with a sentence if the model has to be loaded again."""
    loads: int = field(default=0, init=False)
    """How often the weights were loaded."""
    _model: Any = field(default=None, init=False, repr=False)
    _state: BaseState | None = field(default=None, init=False, repr=False)
    _first: list[TensorFact] | None = field(default=None, init=False, repr=False)

    @property
    def model(self) -> Any:
        """The base model, always as it was first loaded.

        Raises:
            InputError: no such model, or no model in it, or its files changed since it was first loaded.
        """
        self.load()
        return self._model

    @property
    def reloads(self) -> int:
        """How often the model was loaded again, because it was released, or its own weights had been changed."""
        return max(self.loads - 1, 0)

    def load(self) -> None:
        """Load the weights and the processor, unless they are loaded already.

        Raises:
            InputError: as for ``model``.
        """
        if self._model is None:
            started = time.monotonic()
            self._load_weights()
            _LOG.debug("%s: loaded in %.1f s", self.config.model_name_or_path, time.monotonic() - started)
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
        """Release the weights and their memory; they are loaded again when they are next used."""
        if self._model is not None:
            self._model = self._state = None
            self._free()

    @contextmanager
    def replaced(self, folder: Path) -> Iterator[Any]:
        """Give the model of a folder in the place of this one, say one finetuned as a whole, with the same settings.

        The base model is released before, so that one of both is in memory, and is loaded again when it is next used.

        Raises:
            InputError: see :func:`tvt.model.loading.load_weights`.
        """
        self.release()
        self.processor = self.processor or load_processor(self.config)
        config = self.config.model_copy(update={"model_name_or_path": str(folder), "revision": None})
        try:
            self._model = load_model(config)
            self.device = self._model.device
            yield self._model
        finally:
            self._model = self._state = None
            self._free()

    @contextmanager
    def lent(self, name: str, *, whole: bool = False) -> Iterator[None]:
        """Let the model be changed, say by training. Afterwards what is on it is taken off, and its memory is released.

        Where that does not make it what it was, and after every error, it is loaded again before it is next used.

        Args:
            name: what it is lent for, for the note that the model itself was changed though nothing failed.
            whole: whether its own weights are to change, so that it is loaded again before it is next used, without a note.
        """
        try:
            yield
        except BaseException:
            # The traceback may hold the model's parts until the error has been handled; loading again frees them first.
            self._model = self._state = None
            raise
        if whole:
            self._model = self._state = None
        elif not self.put_back():
            self.note(CHANGED.format(name=name))
        self._free()

    def _free(self) -> None:
        """Release memory that nothing uses any more; layers and their wrappers refer to each other, so collect them first."""
        gc.collect()
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def load_base(config: ModelConfig) -> Loaded:
    """Load any AutoModelForImageTextToText on the GPU where there is one, else on the CPU.

    Raises:
        InputError: no such model, or no model in it.
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
        InputError: see :func:`tvt.model.loading.load_weights`.
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


_WORDS = {"cpu": 1 << 16}
_MOST_WORDS = 1 << 22
"""32-bit words that are fingerprinted at once: what stays in a CPU's cache, and on a GPU what takes some 100 MiB."""
_LIBRARIES = {"transformers", "bitsandbytes"}
"""Objects of these packages that hang on a module hold state too: configurations, quantisation constants."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One object that holds others, and what it holds."""

    holder: Any
    kind: type
    content: dict[Any, Any] | list[Any] | set[Any]

    def put_back(self) -> None:
        """Make the holder hold what it held; it stays the same object."""
        if type(self.holder) is not self.kind:  # torch's parametrisations give a module another class
            self.holder.__class__ = self.kind
        if self.same_as(_place(self.holder)):
            return
        if isinstance(self.content, list):
            self.holder[:] = self.content
            return
        held = self.holder if isinstance(self.holder, dict | set) else vars(self.holder)
        held.clear()
        held.update(self.content)

    def same_as(self, other: _Place | None) -> bool:
        """Whether the same holder holds the very same objects under the same names, in the same order."""
        if other is None or other.holder is not self.holder or other.kind is not self.kind:
            return False
        mine, others = self.content, other.content
        if isinstance(mine, set) or isinstance(others, set):
            return mine == others
        if len(mine) != len(others):
            return False
        if isinstance(mine, dict) and isinstance(others, dict):
            return all(a is b or a == b for a, b in zip(mine, others, strict=True)) and all(
                a is b for a, b in zip(mine.values(), others.values(), strict=True)
            )
        return all(a is b for a, b in zip(mine, others, strict=True))


@dataclass(frozen=True, slots=True)
class TensorFact:
    """What a tensor is: layout and content."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    device: str
    content: int


class BaseState:
    """Remembers a model's state.

    Args:
        model: freshly loaded, with no adapter on it.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._places, self._tensors = _walk(model)
        self._gradients = [tensor.requires_grad for tensor in self._tensors]
        self.facts = _facts(self._tensors)
        """Layout and content of every tensor, in a fixed order."""

    def put_back(self) -> None:
        """Put every module, tensor, hook, flag and setting where it was; the tensors' content is as it is now."""
        for place in self._places:
            place.put_back()
        for tensor, required in zip(self._tensors, self._gradients, strict=True):
            tensor.grad = None
            if tensor.requires_grad != required:
                tensor.requires_grad_(required)

    def holds(self) -> bool:
        """Whether the model is what it was, bit for bit: the same objects in the same places, with the same content."""
        places, tensors = _walk(self._model)
        if len(places) != len(self._places) or len(tensors) != len(self._tensors):
            return False
        return (
            all(was.same_as(now) for was, now in zip(self._places, places, strict=True))
            and all(was is now for was, now in zip(self._tensors, tensors, strict=True))
            and [tensor.requires_grad for tensor in tensors] == self._gradients
            and _facts(tensors) == self.facts
        )


def _walk(model: Any) -> tuple[list[_Place], list[Any]]:
    """Everything that can be reached from a model: what holds something, and all tensors."""
    import torch

    places, tensors = [], []
    visited: set[int] = set()
    pending = [model]
    while pending:
        value = pending.pop()
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        place = _place(value)
        if place is not None:
            places.append(place)
        pending.extend(reversed(list(_held(value, place))))
    return places, tensors


def _held(value: Any, place: _Place | None) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    elif place is not None and not isinstance(place.content, set):  # sets are of names
        yield from place.content.values() if isinstance(place.content, dict) else place.content


def _place(value: Any) -> _Place | None:
    """What an object holds, if it is one that can be changed."""
    import torch

    kind = type(value)
    if isinstance(value, dict):
        return _Place(value, kind, dict(value))
    if isinstance(value, list):
        return _Place(value, kind, list(value))
    if isinstance(value, set):
        return _Place(value, kind, set(value))
    known = isinstance(value, torch.nn.Module | torch.Tensor) or kind.__module__.partition(".")[0] in _LIBRARIES
    if known and not isinstance(value, type | Enum) and hasattr(value, "__dict__"):
        return _Place(value, kind, dict(vars(value)))
    return None


def _facts(tensors: list[Any]) -> list[TensorFact]:
    """Layouts and fingerprints; the device is waited for once, not once for each tensor."""
    import torch

    sums = [_fingerprint(tensor) for tensor in tensors]
    contents = torch.stack([value.to(sums[0].device) for value in sums]).tolist() if sums else []
    return [
        TensorFact(tuple(t.shape), tuple(t.stride()), str(t.dtype), str(t.device), content)
        for t, content in zip(tensors, contents, strict=True)
    ]


def _fingerprint(tensor: Any) -> Any:
    """The sum over a tensor's 32-bit words, each times a random odd 64-bit number of its own, modulo 2^64.

    A change of a single word always changes it, another change goes unseen with a probability of some 2^-32. It is computed
    where the tensor lies, at about the speed of its memory.
    """
    import torch

    with torch.no_grad():
        octets = tensor.detach().as_subclass(torch.Tensor).reshape(-1).view(torch.uint8)
        if octets.numel() % 4:
            octets = torch.nn.functional.pad(octets, (0, -octets.numel() % 4))
        elif octets.storage_offset() % 4:
            octets = octets.clone()
        words = octets.view(torch.int32)
        factors = _factors(words.device)
        total = torch.zeros((), dtype=torch.int64, device=words.device)
        for number, start in enumerate(range(0, words.numel(), len(factors))):
            piece = words[start : start + len(factors)].to(torch.int64)
            total += (piece * factors[: piece.numel()]).sum() * _odd(number)
        return total


def _odd(number: int) -> int:
    """An odd 64-bit number for each piece of a tensor, so that equal pieces cannot be exchanged unseen."""
    odd = 0x9E3779B97F4A7C15 * (2 * number + 1) % 2**64  # 2^64 divided by the golden ratio, as in Knuth's hashing
    return odd - 2**64 if odd >= 2**63 else odd


@cache
def _factors(device: Any) -> Any:
    """Random odd numbers, one for each word of a piece."""
    import torch

    count = _WORDS.get(device.type, _MOST_WORDS)
    drawn = torch.randint(-(2**63), 2**63 - 1, (count,), generator=torch.Generator().manual_seed(0))
    return (drawn | 1).to(device)
