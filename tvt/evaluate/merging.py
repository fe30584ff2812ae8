"""The weighted sum of adapters as one adapter: exact, straight from their files, without loading the base model.

A LoRA adapter adds ``s B A`` to each weight that it adapts, with ``s = alpha / r`` (``alpha / sqrt(r)`` with rsLoRA). A sum
``sum_i w_i s_i B_i A_i`` is one adapter again: the ``A_i`` below one another, the ``w_i s_i B_i`` beside one another, its rank
the sum of the ranks, its scale 1. PEFT's ``add_weighted_adapter(..., combination_type="cat")`` computes the same on a loaded
model, but keeps rsLoRA's scale on top of it and takes what cannot be summed (biases, DoRA's magnitudes) from one of them.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, needs_train_extra
from tvt.evaluate.adapters import CheckedAdapter, check_adapter
from tvt.io import atomic
from tvt.io.adapter_file import CONFIG, WEIGHTS, check_weights, read_config, write_record
from tvt.io.lora_file import LoraFile, open_lora, tensor_names


@dataclass(frozen=True, kw_only=True)
class _Summand:
    """One adapter of a merge."""

    adapter: CheckedAdapter
    weight: float
    lora: LoraFile
    task_type: str | None


def merge_adapters(base: ModelConfig, adapters: Mapping[Path, float], output: Path) -> Path:
    """Write the adapter that adds ``sum_i weight_i * (what adapter i adds)`` to every weight of the base model.

    The order of ``adapters`` does not matter: the same adapters and weights give the same bytes. One adapter with weight 1 is
    copied and keeps its digest. Otherwise tensors are float32, rounded once.

    Args:
        base: the model that all adapters were trained on; it is named in the result and not looked at.
        adapters: folders of adapters with their weights, not negative; those with weight 0 are left out.
        output: the new adapter's folder, which must not exist.

    Returns:
        ``output``, once it is complete and checked.

    Raises:
        InputError: an adapter is damaged or cannot be summed exactly (not plain LoRA, other layers or shapes); all faults.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; name a new folder for the merged adapter")
    parts = _together(_check(adapters))
    with atomic.new_folder(output) as fresh:
        if len(parts) == 1 and parts[0][1] == 1:
            expected = _copy(parts[0][0], fresh)
        else:
            expected = _write(base, [_read(adapter, weight) for adapter, weight in parts], fresh)
        sources = [{"digest": adapter.digest, "weight": weight} for adapter, weight in parts]
        write_record(fresh, expected, merged=sources)
    return output


def _check(adapters: Mapping[Path, float]) -> list[tuple[CheckedAdapter, float]]:
    """Check every adapter with a weight; all faults in one go."""
    faults = [
        f"{folder}: weight {weight:g}; give a finite weight that is not negative"
        for folder, weight in adapters.items()
        if not (math.isfinite(weight) and weight >= 0)
    ]
    if not faults and not any(adapters.values()):
        faults.append("nothing to merge: no adapter has a positive weight; give at least one")
    checked = []
    for folder in [folder for folder, weight in adapters.items() if weight > 0]:
        try:
            checked.append((check_adapter(folder), float(adapters[folder])))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return checked


def _together(parts: Sequence[tuple[CheckedAdapter, float]]) -> list[tuple[CheckedAdapter, float]]:
    """In the order of their digests, equal adapters as one: what is written must not depend on names or order."""
    first: dict[str, CheckedAdapter] = {}
    weights: dict[str, list[float]] = {}
    for adapter, weight in parts:
        first.setdefault(adapter.digest, adapter)
        weights.setdefault(adapter.digest, []).append(weight)
    return [(first[digest], math.fsum(weights[digest])) for digest in sorted(first)]


def _copy(adapter: CheckedAdapter, fresh: Path) -> dict[str, tuple[int, ...]]:
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(adapter.folder / name, fresh / name)
    return check_weights(fresh / WEIGHTS)


def _read(adapter: CheckedAdapter, weight: float) -> _Summand:
    """An adapter's header, if a sum with it can be exact."""
    check_weights(adapter.folder / WEIGHTS)
    config = read_config(adapter.folder)
    if config.get("fan_in_fan_out"):
        raise InputError(f"{adapter.name}: adapts layers whose weights lie transposed; merge adapters of linear layers only")
    return _Summand(adapter=adapter, weight=weight, lora=open_lora(adapter.folder), task_type=config.get("task_type"))


def _write(base: ModelConfig, parts: Sequence[_Summand], fresh: Path) -> dict[str, tuple[int, ...]]:
    """The merged tensors and their configuration; returns the shapes written."""
    _check_fit(parts)
    with needs_train_extra():
        import torch
        from safetensors import safe_open
        from safetensors.torch import save_file
    opener: Any = safe_open
    tensors = {}
    with ExitStack() as stack:
        files = [stack.enter_context(opener(str(p.adapter.folder / WEIGHTS), "pt")) for p in parts]
        for module in parts[0].lora.modules:
            a, b = tensor_names(module)
            below = [file.get_tensor(a).float() for file in files]
            beside = [
                (file.get_tensor(b).double() * (p.weight * p.lora.scales[module])).float()
                for p, file in zip(parts, files, strict=True)
            ]
            tensors[a], tensors[b] = torch.cat(below, 0), torch.cat(beside, 1)
    save_file(tensors, str(fresh / WEIGHTS), metadata={"format": "pt"})
    atomic.write_text(fresh / CONFIG, json.dumps(_config(base, parts), indent=2, sort_keys=True) + "\n")
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _check_fit(parts: Sequence[_Summand]) -> None:
    """All adapters must adapt the same layers of the same widths."""
    first, faults = parts[0], []
    for part in parts[1:]:
        name, other = part.adapter.name, first.adapter.name
        apart = sorted({*part.lora.modules} ^ {*first.lora.modules})
        if apart:
            faults.append(
                f"{name}: adapts other layers than {other}, e.g. {apart[0]}; merge adapters with the same target modules"
            )
            continue
        wider = [module for module in part.lora.modules if part.lora.shape(module) != first.lora.shape(module)]
        if wider:
            faults.append(f"{name}: {wider[0]} has another width than in {other}; merge adapters of the same base model")
    if faults:
        raise InputError(*faults)


def _config(base: ModelConfig, parts: Sequence[_Summand]) -> dict[str, Any]:
    """Only what defines the adapter: versions of PEFT in it would make the same merge another adapter."""
    ranks = {module: sum(part.lora.rank(module) for part in parts) for module in parts[0].lora.modules}
    rank = max(ranks.values())
    others = {module: own for module, own in ranks.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": parts[0].task_type,
        "base_model_name_or_path": base.model_name_or_path,
        "revision": base.revision,
        "r": rank,
        "lora_alpha": rank,
        **({"rank_pattern": others, "alpha_pattern": others} if others else {}),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": list(parts[0].lora.modules),
    }
