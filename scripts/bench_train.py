"""Time ``tvt train`` against a plain TRL script on the same model and rows, in turn; the ratio of medians is what counts.

    OMP_NUM_THREADS=1 python scripts/bench_train.py [--model DIR] [--rows 512] [--repeat 5]

Without ``--model``, a tiny LLaVA of the tests. Both sides train the same LoRA with the same settings, each in a process of its
own; told are the whole command and the training loop alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"learning_rate": 1e-3, "global_batch_size": 32, "per_device_train_batch_size": 8, "gradient_checkpointing": False}

PLAIN = """
import json, sys, time
import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

model, rows, out, dtype = sys.argv[1:5]
gpu = torch.cuda.is_available()
dataset = load_dataset("parquet", data_files=f"{rows}/data/*.parquet", split="train", cache_dir=f"{out}/cache")
from datasets import Image, List
dataset = dataset.cast_column("images", List(Image()))
arguments = SFTConfig(
    output_dir=out, seed=1, num_train_epochs=1, per_device_train_batch_size=8, gradient_accumulation_steps=4,
    learning_rate=1e-3, lr_scheduler_type="cosine",
    max_length=None, bf16=dtype == "bfloat16", use_cpu=not gpu, gradient_checkpointing=False,
    report_to="none",
    dataloader_pin_memory=gpu, logging_steps=10, save_steps=200, disable_tqdm=True, max_grad_norm=1.0,
)
trainer = SFTTrainer(
    model=AutoModelForImageTextToText.from_pretrained(model, dtype=getattr(torch, dtype)),
    args=arguments, train_dataset=dataset,
    processing_class=AutoProcessor.from_pretrained(model),
    peft_config=LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM",
        target_modules=r".*language_model.*\\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"),
)
started = time.monotonic()
trainer.train()
seconds = time.monotonic() - started
trainer.save_model(out)
json.dump({"seconds": seconds}, open(f"{out}/result.json", "w"))
"""


def timed(command: Sequence[str]) -> float:
    """Seconds of a command that must succeed."""
    environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command[:4])}: {result.stderr[-3000:]}")
    return time.monotonic() - started


def once(kind: str, model: Path, rows: Path, folder: Path, dtype: str) -> tuple[float, float]:
    """Whole time and time of the training loop of one run."""
    if kind == "plain":
        (folder / "plain.py").write_text(PLAIN)
        whole = timed([sys.executable, str(folder / "plain.py"), str(model), str(rows), str(folder / "out"), dtype])
        return whole, float(json.loads((folder / "out" / "result.json").read_text())["seconds"])
    recipe = {
        "name": "bench",
        "model": {"model_name_or_path": str(model), "dtype": dtype},
        "sources": ["bench"],
        "targets": ["bench"],
        "training": SETTINGS,
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    command = [
        sys.executable,
        "-m",
        "tvt",
        "train",
        str(rows),
        "--recipe",
        str(folder / "recipe.yaml"),
        "-o",
        str(folder / "out"),
    ]
    whole = timed([*command, "--seed", "1"])
    return whole, float(json.loads((folder / "out" / "training.json").read_text())["seconds"])


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a vision-language model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from tiny_models import llava, write_rows  # type: ignore[import-not-found]

    seconds: dict[str, list[tuple[float, float]]] = {"tvt": [], "plain": []}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        rows = write_rows(place / "rows", [1] * options.rows)
        model = options.model or llava(place / "model")
        for turn in range(options.repeat):
            for kind in ("tvt", "plain") if turn % 2 else ("plain", "tvt"):
                folder = place / f"{kind}-{turn}"
                folder.mkdir()
                seconds[kind].append(once(kind, model, rows, folder, options.dtype))
    print(f"{options.rows} rows, {options.repeat} runs each in turn; median seconds")
    for column, label in enumerate(("whole command", "training loop")):
        tvt, plain = (statistics.median(run[column] for run in seconds[kind]) for kind in ("tvt", "plain"))
        print(f"{label:14}  tvt {tvt:7.2f}  plain TRL {plain:7.2f}  ratio {tvt / plain:.3f}")


if __name__ == "__main__":
    main()
