"""Time ``tvt study run`` against a shell loop of plain train and evaluate scripts: the same tasks, seeds, rows and questions.

    python scripts/bench_study.py [--tasks 8] [--seeds 2] [--rows 320] [--questions 100]

The loop is what one writes without tvt: for each task and seed a TRL script, then a script that loads the adapter and asks
every question with ``generate``; told beside it is the same loop with scoring in batches. All on the miniature,
whole commands, process start-up included, one after the other on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tvt.core.mixture import Mixture
from tvt.data.miniature import MINIATURE_TASKS, generate
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import write_parquet
from tvt.io.yaml_files import model_path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **os.environ}
TRAINING = {"learning_rate": 1e-3, "global_batch_size": 32, "per_device_train_batch_size": 32, "gradient_checkpointing": False}

TRAIN = """
import sys, torch
from datasets import Image, List, load_dataset
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer
model, rows, out, seed = sys.argv[1:5]
data = load_dataset("parquet", data_files=f"{rows}/data/*.parquet", split="train", cache_dir=f"{out}/cache")
data = data.cast_column("images", List(Image()))
trainer = SFTTrainer(
    model=AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32),
    args=SFTConfig(output_dir=out, seed=int(seed), num_train_epochs=1, per_device_train_batch_size=32, learning_rate=1e-3,
        lr_scheduler_type="cosine", max_length=None, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to="none",
        dataloader_pin_memory=False, disable_tqdm=True),
    train_dataset=data, processing_class=AutoProcessor.from_pretrained(model),
    peft_config=LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM",
        target_modules=r".*language_model.*\\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"),
)
trainer.train()
trainer.save_model(out)
"""
EVALUATE = """
import io, json, sys, torch
from pathlib import Path
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from tvt.data.questions.files import read_questions
model, adapter, questions, out, batch = sys.argv[1:6]
words = AutoProcessor.from_pretrained(model)
base = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
net = (base if adapter == "base" else PeftModel.from_pretrained(base, adapter)).eval()
found = {}
for path in sorted(Path(questions).glob("*.parquet")):
    asked = list(read_questions(path))
    right = 0
    for start in range(0, len(asked), int(batch)):
        part = asked[start : start + int(batch)]
        talks = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q.prompt}]}] for q in part]
        texts = [words.apply_chat_template(talk, add_generation_prompt=True) for talk in talks]
        images = [[Image.open(io.BytesIO(q.images[0])).convert("RGB")] for q in part]
        given = words(images=images, text=texts, return_tensors="pt", padding=True, padding_side="left")
        with torch.inference_mode():
            made = net.generate(**given, max_new_tokens=4, do_sample=False)[:, given["input_ids"].shape[1]:]
        right += sum(said.strip()[:1] == q.answer
            for said, q in zip(words.tokenizer.batch_decode(made, skip_special_tokens=True), part, strict=True))
    found[path.stem] = right / len(asked)
json.dump(found, open(out, "w"))
"""


def command(*arguments: object) -> float:
    """Seconds of a command that must succeed."""
    started = time.monotonic()
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(list(map(str, arguments)), env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{arguments[:4]}: {result.stderr[-3000:]}")
    return time.monotonic() - started


def prepare(place: Path, tasks: list[str], args: argparse.Namespace) -> None:
    """Rows, questions, manifests and the recipe, outside of all timings."""
    for name in tasks:
        write_parquet(generate(name, args.rows * 2, seed=0, split="train"), place / "rows" / f"{name}.parquet")
        write_parquet(generate(name, args.questions, seed=0, split="select"), place / "questions" / f"{name}.parquet")
        manifest = {"name": name, "training": {"path": f"../rows/{name}.parquet"}}
        manifest["evaluation"] = {"path": f"../questions/{name}.parquet"}
        (place / "tasks").mkdir(exist_ok=True)
        (place / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
        for seed in range(args.seeds):
            mixture = Mixture.of_counts({name: args.rows})
            plan = plan_mix(mixture, {name: place / "rows" / f"{name}.parquet"}, seed=seed)
            write_mix(plan, place / "mixed" / f"{name}-{seed}")
    recipe = {
        "name": "bench",
        "model": {"model_name_or_path": "tvt/miniature", "dtype": "float32"},
        "manifests": ["tasks"],
        "sources": tasks,
        "targets": tasks,
        "budget": args.rows,
        "seeds": list(range(args.seeds)),
        "training": TRAINING,
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def loop(place: Path, tasks: list[str], args: argparse.Namespace, batch: int) -> tuple[float, float]:
    """Seconds of training and of evaluating, run by run."""
    model = model_path("tvt/miniature")
    (place / "train.py").write_text(TRAIN)
    (place / "evaluate.py").write_text(EVALUATE)
    evaluate = [sys.executable, place / "evaluate.py", model]
    training, scoring = 0.0, command(*evaluate, "base", place / "questions", place / "base.json", batch)
    for name in tasks:
        for seed in range(args.seeds):
            out = place / "plain" / f"{name}-{seed}"
            if not out.exists():
                training += command(sys.executable, place / "train.py", model, place / "mixed" / f"{name}-{seed}", out, seed)
            scoring += command(*evaluate, out, place / "questions", out / "scores.json", batch)
    return training, scoring


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    tasks = [task.name for task in MINIATURE_TASKS][: args.tasks]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        prepare(place, tasks, args)
        study = [sys.executable, "-m", "tvt", "study", "run", place / "recipe.yaml", "--workers"]
        times = {f"tvt study run, {args.workers} workers": command(*study, args.workers, "-o", place / "study")}
        times["tvt study run, 1 worker"] = command(*study, 1, "-o", place / "alone")
        training, scoring = loop(place, tasks, args, 1)
        times["shell loop, one by one"] = training + scoring
        times["shell loop, batches of 16"] = training + loop(place, tasks, args, 16)[1]
    best = next(iter(times.values()))
    print(f"{len(tasks)} tasks x {args.seeds} seeds, {args.rows} rows a run, {args.questions} questions a task")
    for label, seconds in times.items():
        print(f"{label:28} {seconds:7.1f} s   {seconds / best:5.2f} x")
    print(json.dumps({label: round(seconds, 1) for label, seconds in times.items()}))


if __name__ == "__main__":
    main()
