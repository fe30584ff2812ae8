"""The vision side of a loaded model: what it is, whether it is untouched, and what it makes of one image.

That transformers' models take features in place of pixels (``mm_encoder_outputs``), and what they use of them, was read in
transformers 5.24: of the model types in :data:`TYPES` the forward pass uses ``pooler_output``, a list of tensors that it puts
one after the other, and Qwen3-VL's also ``deepstack_features``, such a list for each layer.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tvt.io import digest

TYPES = ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "idefics3", "smolvlm")
_FORMAT = 1
"""Of what a namespace holds; raised when the same inputs would give other features."""
_POOLED, _DEEP = "pooler_output", "deepstack_features"
_SETTINGS = re.compile(r"vision|image|projector|multimodal|scale_factor|spatial|downsample")


class Tower:
    """All of a model but its language model.

    Args:
        model: a transformers model for images and text, also one that PEFT put adapter layers into.
        processor: its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self._modules = self._outside()

    def fault(self) -> str | None:
        """Why features cannot be kept, as the end of a sentence; ``None`` if they can."""
        kind = getattr(self.model.config, "model_type", "")
        takes = "mm_encoder_outputs" in inspect.signature(self.model.forward).parameters
        if kind not in TYPES or not takes or not hasattr(self.model.base_model, "get_image_features"):
            return f"it is not known how a model of the type '{kind}' takes features in place of images"
        if any(weight.requires_grad for _, weight in self._weights()):
            return "the vision tower is trained"
        return None

    @property
    def untouched(self) -> bool:
        """Whether the vision side has the modules that it had at first, and no adapter's layers."""
        return self._outside().keys() == self._modules.keys()

    @property
    def device(self) -> Any:
        """Where features are wanted."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> Any:
        """The precision in which the language model takes features."""
        return self.model.get_input_embeddings().weight.dtype

    def features(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the vision side makes of an image processor's output, in whatever state torch is; tensors (tokens, width)."""
        import torch

        function = self.model.base_model.get_image_features
        taken = {name: inputs[name].to(self.device) for name in inspect.signature(function).parameters if name in inputs}
        given = function(**taken, return_dict=True)
        parts = {_POOLED: given.pooler_output}
        parts |= {f"{_DEEP}.{layer}": part for layer, part in enumerate(getattr(given, _DEEP, None) or ())}
        return {name: torch.cat(tuple(part)).to(self.dtype) for name, part in parts.items()}

    def features_alone(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The features of one image, always computed in the same way: without gradients, in the model's own precision."""
        import torch

        # Not in inference mode, whose tensors cannot take part in training.
        with torch.inference_mode(mode=False), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.features(inputs)

    def identity(self) -> dict[str, Any]:
        """What decides the bits of features, beside the image: plain values for a digest."""
        import PIL
        import torch
        import transformers

        config, processor, device = self.model.config, self.processor.image_processor, self.device
        where: dict[str, Any] = {"device": device.type}
        if device.type == "cuda":
            where |= {"name": torch.cuda.get_device_name(device), "tf32": torch.get_float32_matmul_precision()}
        else:
            where |= {"name": platform.machine(), "instructions": torch.backends.cpu.get_cpu_capability()}
            where["threads"] = torch.get_num_threads()
        return {
            "format": _FORMAT,
            "model": type(self.model).__name__,
            "settings": {name: value for name, value in config.to_dict().items() if _SETTINGS.match(name)},
            "attention": config.vision_config._attn_implementation,
            "weights": self._weights_digest(),
            "processor": [type(processor).__name__, json.loads(processor.to_json_string())],
            "dtype": str(self.dtype),
            "where": where,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "pillow": PIL.__version__},
        }

    def _outside(self) -> dict[int, Any]:
        """The modules that are no part of the language model, by what tells them apart."""
        language = (self.model.get_decoder(), self.model.get_output_embeddings())
        inside = {id(module) for part in language for module in part.modules()}
        return {id(module): module for module in self.model.modules() if id(module) not in inside}

    def _weights(self) -> list[tuple[str, Any]]:
        outside = self._outside()
        return [
            (f"{place}.{name}", weight)
            for place, module in self.model.named_modules()
            if id(module) in outside
            for name, weight in module.named_parameters(recurse=False)
        ]

    def _weights_digest(self) -> str:
        import torch

        found = hashlib.sha256()
        for name, weight in self._weights():
            found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()


def as_outputs(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Features of a batch's images, in order, as a model takes them: ``mm_encoder_outputs``."""
    from transformers.utils.generic import ModelOutput

    parts: dict[str, Any] = {_POOLED: [image[_POOLED] for image in images]}
    layers = sum(name.startswith(_DEEP) for name in images[0])
    if layers:
        parts[_DEEP] = [[image[f"{_DEEP}.{layer}"] for image in images] for layer in range(layers)]
    return {"image": ModelOutput(**parts)}  # type: ignore[no-untyped-call]


def namespace(identity: Mapping[str, Any]) -> str:
    """The name of the folder of these features."""
    return digest.of_value(dict(identity))[:24]
