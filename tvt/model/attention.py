"""The attention of vision towers that cut pictures into windows: windows of equal length in one call.

Towers of the Qwen-VL kind and their like in transformers see only within windows, or within one picture. Without flash
attention their code calls attention once for each window, in Python, and asks the device for the windows' lengths in every
layer: 3,928 calls for two photographs of 1024 x 768 in Qwen2.5-VL. To an implementation with "flash" in its name they hand all
windows over at once. So one is put into transformers' public registry that computes as ``sdpa`` does. Results are the same
within rounding.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

WRITTEN_AGAINST = "5.24"
"""The transformers whose code this was written against; other code that says the same works too."""
STACKED = "tvt_stacked_like_flash"
"""The implementation's name in transformers' registry."""
_PLAIN = "sdpa"
_EXPECTED = (
    "if is_flash_attention_requested(self.config):",
    "cu_seq_lens_q=cu_seqlens,",
    "torch.split(tensor, lengths.tolist(), dim=2) for tensor in (query_states, key_states, value_states)",
    "attn_output = attn_output.reshape(seq_length, -1).contiguous()",
)
"""What a layer's code must say for its windows to be stacked."""
_CHOICES = ("_attn_implementation", "attention_interface", "_mask(")
"""What the code of modules says that depend on the implementation in their configuration."""


def stack_windows(model: Any) -> bool:
    """From now on, compute windows of equal length in one call, in every tower that would compute them one by one.

    A tower whose code is not as expected, or which uses another attention than ``sdpa``, stays as it is.

    Returns:
        Whether there is such a tower.
    """
    towers = list(_towers(model))
    if towers:
        from transformers import AttentionInterface

        AttentionInterface.register(STACKED, _attend)
    for config in towers:
        config._attn_implementation = STACKED
    _LOG.debug("towers whose windows are computed in one call: %d", len(towers))
    return bool(towers)


def windows_at_once(model_type: str) -> bool | None:
    """Whether windows are stacked in a type of model by the installed transformers; ``None`` where it cuts none.

    Its code is read, nothing is loaded.
    """
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    code = Path(spec.origin).parent / "models" / model_type / f"modeling_{model_type}.py"
    try:
        text = code.read_text(encoding="utf-8")
    except OSError:
        return None
    return _as_expected(text) if "cu_seqlens" in text else None


def _towers(model: Any) -> Iterator[Any]:
    """Configurations of the towers that cut windows as expected and use ``sdpa``."""
    users: dict[int, list[Any]] = {}
    for module in model.modules():
        users.setdefault(id(getattr(module, "config", None)), []).append(module)
    users.pop(id(None), None)
    for modules in users.values():
        config = modules[0].config
        if getattr(config, "_attn_implementation", None) != _PLAIN:
            continue
        choosing = [
            code for code in {_code(type(module).forward) for module in modules} if any(word in code for word in _CHOICES)
        ]
        if choosing and all(_as_expected(code) for code in choosing):
            yield config


@cache
def _code(forward: Any) -> str:
    """What a module does in its forward pass; empty where its source is not available."""
    try:
        return inspect.getsource(inspect.unwrap(forward))
    except (OSError, TypeError):
        return ""


def _as_expected(code: str) -> bool:
    words = " ".join(code.split())
    return all(part in words for part in _EXPECTED)


@dataclass(frozen=True, kw_only=True)
class _Stacks:
    """How the windows of a forward pass are stacked."""

    groups: tuple[tuple[int, int], ...]
    """How many windows of which length, in tokens."""
    order: Any
    """The tokens' indices, window after window of the first group, then of the next; ``None`` where they are in this order."""
    back: Any
    """The inverse of ``order``."""

    @classmethod
    def of(cls, ends: Any) -> _Stacks:
        """Of windows that end where ``ends`` (shape: windows + 1, first is 0) say. The device is waited for once."""
        import torch

        bounds = ends.tolist()
        starts: dict[int, list[int]] = {}
        for start, end in pairwise(bounds):
            if end > start:
                starts.setdefault(end - start, []).append(start)
        groups = tuple((len(firsts), length) for length, firsts in starts.items())
        if len(starts) < 2:
            return cls(groups=groups, order=None, back=None)
        order = torch.cat(
            [(torch.tensor(firsts)[:, None] + torch.arange(length)).flatten() for length, firsts in starts.items()]
        )
        order = order.to(ends.device)
        return cls(groups=groups, order=order, back=torch.argsort(order))


def _stacks(ends: Any) -> _Stacks:
    """Of the windows of this forward pass; the layers share the tensor that says where they end, and what was made of it."""
    known = getattr(ends, "_tvt_stacks", None)
    if known is None:
        known = ends._tvt_stacks = _Stacks.of(ends)
    return known


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, cu_seq_lens_q: Any = None, **options: Any
) -> tuple[Any, None]:
    """Attention within windows.

    Args:
        module: the layer.
        query: shape (1, heads, tokens, size).
        key: likewise.
        value: likewise.
        attention_mask: ``None``: every token of a window sees all of it.
        cu_seq_lens_q: where windows end, shape (windows + 1,), the first is 0; default: all tokens see each other.
        options: as transformers gives them to implementations.

    Returns:
        Shape (1, tokens, heads, size), and no weights.
    """
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    within = ALL_ATTENTION_FUNCTIONS[_PLAIN]
    for name in ("cu_seq_lens_k", "max_length_q", "max_length_k"):
        options.pop(name, None)
    if cu_seq_lens_q is None:
        result: tuple[Any, None] = within(module, query, key, value, attention_mask, **options)
        return result
    stacks = _stacks(cu_seq_lens_q)
    tokens = [states.squeeze(0).transpose(0, 1) for states in (query, key, value)]  # tokens, heads, size
    if stacks.order is not None:
        tokens = [states.index_select(0, stacks.order) for states in tokens]
    split = [states.split([count * length for count, length in stacks.groups]) for states in tokens]
    done = []
    for (count, length), *parts in zip(stacks.groups, *split, strict=True):
        windows = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)  # windows, heads, length, size
        done.append(within(module, *windows, None, **options)[0].flatten(0, 1))
    joined = torch.cat(done) if len(done) > 1 else done[0]
    return (joined if stacks.back is None else joined.index_select(0, stacks.back)).unsqueeze(0), None
