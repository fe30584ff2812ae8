"""Adapters that are scored: checked before, put on the base model, and taken off it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvt.errors import InputError, needs_train_extra
from tvt.evaluate.adapter_settings import refuse_endless_patterns, setting_faults
from tvt.io import digest, json_text
from tvt.io.adapter_file import CONFIG, RECORD, WEIGHTS, check_weights, is_full, read_config, verify_adapter
from tvt.io.lora_file import is_plain
from tvt.model.base import CHANGED, Loaded
from tvt.types import silent


@dataclass(frozen=True, kw_only=True)
class CheckedAdapter:
    """An adapter whose every tensor was checked."""

    name: str
    """As the request named it: its folder's path."""
    folder: Path
    digest: str
    caution: str | None = None
    """What must be known about its scores."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """What the record of an adapter of tvt says of the base model that it was trained on."""
    full: bool = False
    """Whether it is a whole model, finetuned from the base model."""

    def size_caution(self, max_pixels: int | None, min_pixels: int | None = None) -> str | None:
        """That it was trained on pictures of another size than those it is scored on."""
        limits, steps = [], []
        for name, words, given in (("max", "most", max_pixels), ("min", "least", min_pixels)):
            own = self.trained.get(f"{name}_pixels")
            if own != given:
                without = f"without a limit of pixels{' from below' * (name == 'min')}"
                limits.append(without if own is None else f"with pictures of at {words} {own:,} pixels")
                steps.append(f"leave --{name}-pixels out" if own is None else f"add --{name}-pixels {own}")
        if not self.trained or not limits:
            return None
        return f"was trained {' and '.join(limits)} and is scored otherwise; {', '.join(steps)} to score it as it was trained"


def check_adapter(folder: Path) -> CheckedAdapter:
    """Check an adapter before it is used; one of tvt against its record, another's for wholeness and finite values.

    Raises:
        InputError: missing, incomplete or damaged, or of a kind that cannot be scored; every fault, one line each.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the folder that holds {CONFIG}")
    for name in (CONFIG, WEIGHTS, RECORD):
        if (folder / name).exists() and not (folder / name).is_file():
            raise InputError(f"{folder / name}: is no regular file; name the folder of a PEFT adapter")
    if is_full(folder):
        whole = verify_adapter(folder)
        return CheckedAdapter(name=str(folder), folder=folder, digest=whole.digest, trained=_trained_on(folder), full=True)
    inside = folder / "adapter"
    if not (folder / CONFIG).exists() and is_full(inside):
        raise InputError(f"{folder}: holds no {CONFIG}, but {inside} holds a finetuned model; name that folder")
    if not (folder / CONFIG).exists() and (inside / CONFIG).exists():
        raise InputError(f"{folder}: holds no {CONFIG}, but {inside} does; name that folder")
    try:
        config = json_text.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings = {key: value for key, value in config.items() if key not in ("base_model_name_or_path", "revision")}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG}: missing or damaged; name the folder of a PEFT adapter") from error
    if faults := list(setting_faults(config)):
        raise InputError(*(f"{folder / CONFIG}: {fault}" for fault in faults))
    if reason := refusal(config):
        raise InputError(f"{folder}: {reason}")
    if (folder / RECORD).exists():
        content = verify_adapter(folder).digest
    else:
        check_weights(folder / WEIGHTS)
        if isinstance(settings.get("target_modules"), list):
            settings["target_modules"].sort()  # PEFT writes a set, in any order
        content = digest.of_value({"weights": digest.of_file(folder / WEIGHTS), "config": settings})
    return CheckedAdapter(name=str(folder), folder=folder, digest=content, caution=caution(config), trained=_trained_on(folder))


def _trained_on(folder: Path) -> dict[str, Any]:
    """What the record of an adapter of tvt says of the base model it was trained on; empty for those of others."""
    try:
        base = json_text.loads((folder / RECORD).read_text(encoding="utf-8")).get("base")
    except (OSError, ValueError, AttributeError):
        return {}
    return base if isinstance(base, dict) else {}


_PROMPTS = "puts tokens or keys before the question and no weights into the model; train LoRA or another kind that does"


REFUSED = {
    "PROMPT_TUNING": _PROMPTS,
    "MULTITASK_PROMPT_TUNING": _PROMPTS,
    "P_TUNING": _PROMPTS,
    "PREFIX_TUNING": _PROMPTS,
    "CPT": _PROMPTS,
    "CARTRIDGE": _PROMPTS,
    "ADAPTION_PROMPT": _PROMPTS,
    "XLORA": "mixes adapters that lie in other folders; score each of them, or merge them first",
    "POLY": "needs a task with each question, which no question states; train LoRA instead",
    "SHADOW": "runs a second model beside the base model; train LoRA instead",
}
"""Reasons by PEFT's name of the kind (``peft_type``)."""


REFUSED_STARTS = {
    "lora_ga": "LoRA-GA",
    "corda": "CorDA",
}
"""LoRA that began by changing the base model in a way that its files don't say, by the start of ``init_lora_weights``."""


_RANDOM_START = "pissa_niter"


def refusal(config: Mapping[str, Any]) -> str | None:
    """Why an adapter with this configuration cannot be scored, and what to do; ``None`` if nothing is known against it."""
    kind = str(config.get("peft_type"))
    if kind in REFUSED:
        return f"is a {kind} adapter, which {REFUSED[kind]}"
    start = str(config.get("init_lora_weights"))
    for beginning, name in REFUSED_STARTS.items():
        if start.startswith(beginning):
            return (
                f"was started by {name} (init_lora_weights={start}), which changed the base model, and these files do not say "
                "how; save it anew with PEFT's path_initial_model_for_weight_conversion"
            )
    return None


def caution(config: Mapping[str, Any]) -> str | None:
    """What else must be known about the scores of an adapter with this configuration."""
    start = str(config.get("init_lora_weights"))
    if start.startswith(_RANDOM_START):
        return (
            f"was started by a random decomposition (init_lora_weights={start}), which PEFT repeats with other random numbers "
            "than in training, so its scores can differ from those of the trained model; save it with PEFT's "
            "path_initial_model_for_weight_conversion, which keeps it exactly"
        )
    return None


_NAME = "scored"


@contextmanager
def attached(loaded: Loaded, adapter: CheckedAdapter | None, note: Callable[[str], None] = silent) -> Iterator[Any]:
    """Yield the model with the adapter on it, as plain PEFT makes it of a fresh base model; ``None`` yields the base model.

    Afterwards the base model is put back, and it is proved that it is what it was. Where it is not, it is loaded again before
    anything else is scored.

    Args:
        loaded: the base model.
        adapter: what to put on it.
        note: called with a sentence if the model has to be loaded again.

    Raises:
        InputError: the adapter does not fit the model, or changed while it was read.
    """
    if adapter is not None and adapter.full:
        with loaded.replaced(adapter.folder) as model:
            if check_adapter(adapter.folder).digest != adapter.digest:
                raise InputError(f"{adapter.name}: changed while it was loaded; wait for its training to end, then start again")
            yield model
        return
    try:
        yield loaded.model if adapter is None else _put_on(loaded, adapter)
    finally:
        if not loaded.put_back() and adapter is not None:
            note(CHANGED.format(name=adapter.name))


def _put_on(loaded: Loaded, adapter: CheckedAdapter) -> Any:
    """The base model with an adapter on it, once every tensor is known to have arrived."""
    with needs_train_extra():
        import peft
        import torch
    base, plain = loaded.model, is_plain(adapter.folder)
    try:
        refuse_endless_patterns(read_config(adapter.folder), (name for name, _ in base.named_modules()))
    except InputError as error:
        raise InputError(*(f"{adapter.name}: {fault}" for fault in error.faults)) from error
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")  # about missing tensors: below that is an error, with its own line
            torch.manual_seed(0)  # some starts are random, such as PiSSA's with few iterations
            options: Any = {"adapter_name": _NAME, "is_trainable": False, "autocast_adapter_dtype": not plain}
            model = peft.PeftModel.from_pretrained(base, str(adapter.folder), **options)
            if plain:
                _cast_plain(model, loaded.config.dtype)
            faults = _faults(model, adapter)
    except Exception as error:  # whatever PEFT's many kinds of adapters raise, the folder is the cause
        raise InputError(f"{adapter.name}: {_reason(error)}") from error
    if faults:
        raise InputError(*faults)
    if check_adapter(adapter.folder).digest != adapter.digest:
        raise InputError(f"{adapter.name}: changed while it was loaded; wait for its training to end, then start again")
    return model.eval()


def _cast_plain(model: Any, dtype: str) -> None:
    """Have plain LoRA computed in the model's precision, as training computes it from its float32 weights.

    In 4 bits PEFT leaves it in float32, whatever its options: it cannot take the type of the base weights there.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for part in (layer.lora_A, layer.lora_B):
                if _NAME in part:
                    part[_NAME].to(getattr(torch, dtype))


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
    """Every tensor of the file must be in the model, and the model must need no other: PEFT would only warn.

    All that the adapter saves is filled with NaN and read once more. So PEFT itself says which name of the file belongs where,
    names of earlier versions of transformers included, and what the file lacks stays NaN.
    """
    import peft

    def saved() -> dict[str, Any]:
        state: dict[str, Any] = peft.get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
        return state

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
