"""The base model as it was loaded: put back after every adapter, and proved to be the same before anything else is scored.

PEFT's ``unload()`` leaves behind trained copies of ``modules_to_save``, trained biases, and whatever a start such as PiSSA or
OLoRA wrote into the base weights. So what PEFT does is not undone step by step. The state of the model is remembered: which
objects stand where (modules, tensors, hooks, flags, configuration), and a fingerprint of every tensor's content. Objects are
put back where they stood. Content could only be put back from a second copy of the weights, so a model with other fingerprints
has to be loaded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

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
        for tensor, wanted in zip(self._tensors, self._gradients, strict=True):
            tensor.grad = None
            if tensor.requires_grad != wanted:
                tensor.requires_grad_(wanted)

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
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        place = _place(value)
        if place is not None:
            places.append(place)
        waiting.extend(reversed(list(_held(value, place))))
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
    found = 0x9E3779B97F4A7C15 * (2 * number + 1) % 2**64  # 2^64 divided by the golden ratio, as in Knuth's hashing
    return found - 2**64 if found >= 2**63 else found


@cache
def _factors(device: Any) -> Any:
    """Random odd numbers, one for each word of a piece."""
    import torch

    count = _WORDS.get(device.type, _MOST_WORDS)
    drawn = torch.randint(-(2**63), 2**63 - 1, (count,), generator=torch.Generator().manual_seed(0))
    return (drawn | 1).to(device)
