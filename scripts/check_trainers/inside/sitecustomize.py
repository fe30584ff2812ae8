"""Loaded by Python at its start in the trainer's environment: keeps every batch that a training step is given.

``TVT_CAPTURE`` names the folder. All of them train through ``transformers.Trainer``, so its ``training_step`` sees what each
made of the rows. Nothing of what the trainer does is changed by it.

The compiled parts of torchvision and torchaudio do not load where they were built for CUDA and torch is a build for CPUs. There
``TVT_FORGIVE_OPERATORS`` lets their Python parts be imported all the same. Pictures need one function more,
which reads files; Pillow does that in its place.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any

FOLDER = os.environ.get("TVT_CAPTURE")
KEPT = ("input_ids", "attention_mask", "labels", "pixel_values", "image_grid_thw")


class After(importlib.abc.MetaPathFinder):
    """Calls a function on a module once it is loaded."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module's own spec, with a loader that calls the function after it."""
        if name not in self.names:
            return None
        call = self.names[name]  # stays there: a module may be looked for before it is imported
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def loaded(module: ModuleType) -> None:
            load(module)
            call(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def capture(module: Any) -> None:
    """Write each batch before the step is done with it."""
    step = module.Trainer.training_step
    written = [0]

    def training_step(self: Any, model: Any, inputs: dict[str, Any], *more: Any, **options: Any) -> Any:
        import torch

        batch = {name: value.detach().cpu() for name, value in inputs.items() if name in KEPT and hasattr(value, "detach")}
        torch.save(batch, os.path.join(str(FOLDER), f"batch-{written[0]:04d}.pt"))
        written[0] += 1
        return step(self, model, inputs, *more, **options)

    module.Trainer.training_step = training_step


def forgive_operators(module: Any) -> None:
    """Let torchvision describe operators that its compiled part would have named; calling one still fails."""
    describe = module.library.register_fake

    def register_fake(name: Any, *more: Any, **options: Any) -> Any:
        try:
            described = describe(name, *more, **options)
        except RuntimeError:
            return lambda function: function

        def decorator(function: Any) -> Any:
            try:
                return described(function)
            except RuntimeError:
                if not str(name).startswith("torchvision::"):
                    raise
                return function

        return decorator

    module.library.register_fake = register_fake


def forgive_library(module: Any) -> None:
    """Let torchaudio do without its compiled part where that does not load; no row has a sound."""
    load = module._load_lib

    def _load_lib(name: str) -> bool:
        try:
            return bool(load(name))
        except OSError:
            return False

    module._load_lib = _load_lib


def decode_with_pillow(module: Any) -> None:
    """Let torchvision's decoder do without its compiled part: transformers reads files of pictures with it."""
    decode = module.decode_image

    def decode_image(data: Any, *more: Any, **options: Any) -> Any:
        try:
            return decode(data, *more, **options)
        except RuntimeError:
            import io

            import numpy as np
            import torch
            from PIL import Image

            stream = io.BytesIO(bytes(data.numpy())) if hasattr(data, "numpy") else data
            return torch.from_numpy(np.array(Image.open(stream).convert("RGB"))).permute(2, 0, 1).contiguous()

    module.decode_image = decode_image


hooks: dict[str, Any] = {}
if FOLDER:
    hooks["transformers.trainer"] = capture
if os.environ.get("TVT_FORGIVE_OPERATORS"):
    hooks["torch"] = forgive_operators
    hooks["torchvision.io.image"] = decode_with_pillow
    hooks["torchaudio._extension.utils"] = forgive_library
if hooks:
    sys.meta_path.insert(0, After(hooks))
