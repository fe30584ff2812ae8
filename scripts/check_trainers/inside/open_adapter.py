"""Run in a trainer's environment: open an adapter with its own PEFT and transformers, and pass some tokens through it."""

from __future__ import annotations

import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText


def main(model: str, adapter: str) -> None:
    """Print how far the adapter moves the model's output; 0 would mean that it was not applied."""
    loaded: Any = AutoModelForImageTextToText
    base = loaded.from_pretrained(model, dtype=torch.float32).eval()
    tokens = torch.arange(40, 60)[None]
    with torch.no_grad():
        before = base(input_ids=tokens).logits
        after = PeftModel.from_pretrained(base, adapter).eval()(input_ids=tokens).logits
    print(f"moved {float((after - before).abs().max()):.3e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
