"""Files of adapter weights, whole and damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

CODES = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16"}  # numpy has no bfloat16; its bits will do
Tensors = dict[str, npt.NDArray[np.generic]]


def write_weights(path: Path, tensors: Tensors) -> None:
    header, place = {}, 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": CODES[str(tensor.dtype)],
            "shape": tensor.shape,
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values()))
