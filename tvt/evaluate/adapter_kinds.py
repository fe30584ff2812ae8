"""Which kinds of adapters cannot be scored, as their configuration says, before any model is loaded; why, and what to do.

All others are left to PEFT: what its ``PeftModel.from_pretrained`` makes of a fresh base model is what is scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
