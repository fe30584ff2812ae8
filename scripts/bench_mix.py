"""Rate and peak memory of `tvt mix`, run in a process of its own on rows with tiny images.

python scripts/bench_mix.py                     1,000,000 rows of 4 sources, parquet
python scripts/bench_mix.py --rows 100000 --jsonl
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tvt.core.mixture import Audit, Mixture, SolverRecord
from tvt.core.question import Question
from tvt.data.questions.batches import SCHEMA, batch_of
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.io.yaml_files import save_mixture

SHARES = {"Counting": 0.4, "Jigsaw": 0.3, "Depth": 0.2, "Forensic": 0.1}
EPOCHS = {"Counting": 1, "Jigsaw": 2, "Depth": 1, "Forensic": 4}
"""How often each source's rows are used, so that repeats are part of what is measured."""

MEASURED = """
import json, resource, sys, time
from tvt.cli.main import cli
start = time.perf_counter()
cli.main(sys.argv[1:], prog_name="tvt", standalone_mode=False)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def questions(task: str, count: int, pixels: int) -> Iterator[Question]:
    """Questions with an image each, all images different."""
    import io

    import numpy as np
    from PIL import Image

    colours = np.random.default_rng(len(task)).integers(0, 256, (count, 2, 3), dtype=np.uint8)
    for k, (left, right) in enumerate(colours):
        field = np.empty((pixels, pixels, 3), np.uint8)
        field[:, : pixels // 2], field[:, pixels // 2 :] = left, right
        stream = io.BytesIO()
        Image.fromarray(field).save(stream, "PNG", compress_level=1)
        yield Question(
            id=f"{task}-{k}",
            task=task,
            prompt=f"Which half of picture {k} is brighter?\nOptions:\nA. left\nB. right",
            options=("left", "right"),
            answer="AB"[int(left.sum() < right.sum())],
            images=(stream.getvalue(),),
        )


def write_plain(task: str, count: int, pixels: int, path: Path) -> None:
    """Write the first question ``count`` times under different ids, a thousand a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    batch = batch_of(list(questions(task, 1, pixels)) * 1000)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, count, 1000):
            rows = min(1000, count - start)
            ids = pa.array([f"{task}-{start + k}" for k in range(rows)])
            writer.write_batch(pa.RecordBatch.from_arrays([ids, *batch.slice(0, rows).columns[1:]], schema=SCHEMA))


def make(folder: Path, rows: int, pixels: int, *, plain: bool, jsonl: bool) -> Path:
    """Write the sources and the mixture that takes ``rows`` of them; returns the mixture's file."""
    counts = {name: round(rows * share) for name, share in SHARES.items()}
    for name, count in counts.items():
        needed = -(-count // EPOCHS[name])
        if jsonl:
            write_jsonl(questions(name, needed, pixels), folder / f"{name}.jsonl")
        elif plain:
            write_plain(name, needed, pixels, folder / f"{name}.parquet")
        else:
            write_parquet(questions(name, needed, pixels), folder / f"{name}.parquet")
    mixture = Mixture(
        objective=0.0,
        weights=SHARES,
        counts=counts,
        budget=sum(counts.values()),
        predicted={},
        prices={},
        audit=Audit(passed=True, worst_violation=0.0),
        solver=SolverRecord(name="none", status="optimal", seconds=0.0),
    )
    save_mixture(mixture, folder / "mixture.yaml")
    return folder / "mixture.yaml"


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the mixed dataset.")
@click.option("--pixels", default=8, show_default=True, help="Width and height of the images.")
@click.option("--plain", is_flag=True, help="One image for all rows, to have the sources sooner (parquet only).")
@click.option("--jsonl", is_flag=True, help="Sources as JSON Lines with image files instead of parquet.")
@click.option("--work", type=click.Path(path_type=Path), help="Where to write.  [default: the system's temporary folder]")
@click.option("--as-json", is_flag=True, help="Print the figures as JSON.")
def main(*, rows: int, pixels: int, plain: bool, jsonl: bool, work: Path | None, as_json: bool) -> None:
    """Measure `tvt mix` of ROWS rows."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        start = time.perf_counter()
        mixture = make(folder, rows, pixels, plain=plain, jsonl=jsonl)
        made = time.perf_counter() - start
        command = [sys.executable, "-c", MEASURED, "mix", str(mixture), "--data-dir", name, "-o", str(folder / "mixed")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        size = sum(file.stat().st_size for file in (folder / "mixed").rglob("*") if file.is_file())
    figures = {
        "rows": rows,
        "seconds": round(found["seconds"], 1),
        "rows_per_second": round(rows / found["seconds"]),
        "peak_mib": round(found["peak_kib"] / 1024),
        "dataset_mb": round(size / 1e6),
    }
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo(f"sources written in {made:.0f} s")
    click.echo(
        f"tvt mix: {rows:,} rows in {figures['seconds']} s, {figures['rows_per_second']:,} rows/s, "
        f"peak memory {figures['peak_mib']:,} MiB, dataset {figures['dataset_mb']:,} MB"
    )


if __name__ == "__main__":
    main()
