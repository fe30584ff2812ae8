"""What a result depends on, as digests: the question as it is asked, the adapter, the base model, and how it is scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig, identity
from tvt.errors import InputError, needs_train_extra, refuse
from tvt.evaluate.prompts import Profile
from tvt.io import atomic, digest
from tvt.io.adapter_file import CONFIG, RECORD, WEIGHTS, check_weights, verify_adapter
from tvt.model.checks import model_checks

SCORER_VERSION = 2
"""Raise it whenever the same model could get other scores for the same question; all earlier results are then misses.

2: the base is proved unchanged after every adapter, the scored prompt is the trained one, letters are scored in every
spelling, and pictures with an alpha channel or more than 8 bits are shown as they look.
"""

_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_REMEMBERED_BYTES = 50 * 2**20
"""Digests of base model files beyond this size are kept beside the results: a large model takes minutes to read."""


@dataclass(frozen=True, kw_only=True)
class CheckedAdapter:
    """An adapter whose every tensor was looked at."""

    name: str
    """As it was named by whoever asks: its folder's path."""
    folder: Path
    digest: str
    caution: str | None = None
    """What must be known about its scores."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """What the record of an adapter of tvt says of the base model that it was trained on."""

    def size_caution(self, max_pixels: int | None) -> str | None:
        """That it was trained on pictures of another size than those it is scored on."""
        own = self.trained.get("max_pixels")
        if not self.trained or own == max_pixels:
            return None
        told = "without a limit of pixels" if own is None else f"with pictures of at most {own:,} pixels"
        step = "leave --max-pixels out" if own is None else f"add --max-pixels {own}"
        return f"was trained {told} and is scored otherwise; {step} to score it as it was trained"


def check_adapter(folder: Path) -> CheckedAdapter:
    """Check an adapter before it is used; one of tvt against its record, another's for wholeness and finite values.

    Raises:
        InputError: missing, incomplete or damaged, or of a kind that cannot be scored; every fault, one line each.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the folder that holds {CONFIG}")
    inside = folder / "adapter"
    if not (folder / CONFIG).exists() and (inside / CONFIG).exists():
        raise InputError(f"{folder}: holds no {CONFIG}, but {inside} does; name that folder")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        told = {key: value for key, value in config.items() if key not in ("base_model_name_or_path", "revision")}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG}: missing or damaged; name the folder of a PEFT adapter") from error
    if reason := refusal(config):
        raise InputError(f"{folder}: {reason}")
    if (folder / RECORD).exists():
        found = verify_adapter(folder).digest
    else:
        check_weights(folder / WEIGHTS)
        if isinstance(told.get("target_modules"), list):
            told["target_modules"].sort()  # PEFT writes a set, in any order
        found = digest.of_value({"weights": digest.of_file(folder / WEIGHTS), "config": told})
    return CheckedAdapter(name=str(folder), folder=folder, digest=found, caution=caution(config), trained=_trained_on(folder))


def _trained_on(folder: Path) -> dict[str, Any]:
    """What the record of an adapter of tvt says of the base model it was trained on; empty for those of others."""
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("base")
    except (OSError, ValueError, AttributeError):
        return {}
    return told if isinstance(told, dict) else {}


def item_digest(question: Question, settings: EvaluationConfig, profile: Profile, images: dict[bytes, str]) -> str:
    """sha256 of what the model is shown: prompt, option letters and images. The right answer is no part of it.

    Args:
        question: what is asked.
        settings: how. Where letters are scored, an answer by a number is generated all the same, and depends on how long it may
            be.
        profile: how it is put.
        images: digests of the images so far, which are added to: questions may share them.
    """
    told: dict[str, Any] = {"prompt": profile.shown(question), "letters": question.letters}
    for image in question.images:
        if image not in images:
            images[image] = hashlib.sha256(image).hexdigest()
    told["images"] = [images[image] for image in question.images]
    if question.numeric and settings.mode == "options":
        told["max_new_tokens"] = settings.max_new_tokens
    return digest.of_value(told)


def run_identity(
    model: ModelConfig, base: dict[str, Any], settings: EvaluationConfig, profile: Profile, adapter: str | None
) -> dict[str, Any]:
    """What decides the answer to a question: plain values for a digest.

    Args:
        model: the base model; where it lies is no part of it, since ``base`` says what it is.
        base: from :func:`model_identity`.
        settings: how to score.
        profile: how questions are put.
        adapter: the adapter's digest, ``None`` for the base model alone.
    """
    loading = {name: value for name, value in identity(model).items() if name not in ("model_name_or_path", "freeze_vision")}
    scoring: dict[str, Any] = {"mode": settings.mode, **profile.identity}
    if settings.mode == "generate":
        scoring |= {"max_new_tokens": settings.max_new_tokens, "decoding": "greedy"}
    return {"scorer": SCORER_VERSION, "base": base, "loading": loading, "scoring": scoring, "adapter": adapter}


def model_identity(model: ModelConfig, memory: Path) -> dict[str, Any]:
    """The base model by its content: digests of its files, or the commit of a hub model, which names its content.

    Args:
        model: which model.
        memory: a JSON file that remembers digests of large files by size and time of change.

    Raises:
        InputError: no model, or one that is not whole; see :mod:`tvt.io.model_folder`.
    """
    refuse(model_checks(model))
    folder = Path(model.model_name_or_path)
    if not folder.is_dir():
        return {"hub": model.model_name_or_path, "commit": _hub_commit(model)}
    files = sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    return {"files": digest.of_value(_file_digests(files, memory))}


def _hub_commit(model: ModelConfig) -> str:
    """The commit that the name and revision stand for, as the hub or its local cache says."""
    with needs_train_extra():
        from transformers.utils.hub import cached_file, extract_commit_hash
    name = model.model_name_or_path
    try:
        path = cached_file(name, "config.json", revision=model.revision)
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{name}: neither a folder nor a model that can be reached ({line}); check the name") from error
    commit = extract_commit_hash(path, None)
    if not commit:
        raise InputError(f"{name}: its commit cannot be told; pin --revision or name a folder")
    return str(commit)


def _file_digests(files: list[Path], memory: Path) -> dict[str, str]:
    """sha256 of every file by name."""
    try:
        known: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found, learnt = {}, False
    for path in files:
        state = path.stat()
        place, stamp = str(path.resolve()), [state.st_size, state.st_mtime_ns, state.st_ino]
        entry = known.get(place, {})
        if state.st_size < _REMEMBERED_BYTES or entry.get("stamp") != stamp:
            entry = {"stamp": stamp, "sha256": digest.of_file(path)}
            if state.st_size >= _REMEMBERED_BYTES:
                known[place], learnt = entry, True
        found[path.name] = entry["sha256"]
    if learnt:
        atomic.write_text(memory, json.dumps(known, indent=1) + "\n")
    return found


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
    "POLY": "needs to be told a task with each question, which no question says; train LoRA instead",
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
