"""``python -m check_gpu.device`` prints as JSON what GPU torch sees here."""

from __future__ import annotations

import json
from importlib.util import find_spec

if __name__ == "__main__":
    told: dict[str, str | None] = {"torch": None, "gpu": None}
    if find_spec("torch") is not None:
        import torch

        told = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}
    print(f"\n{json.dumps(told)}")
