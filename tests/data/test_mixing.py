from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from commands import ROOT, SUPPORT
from mixing_rows import COUNTS, mixture, picture, question
from tvt.data.mixing import dataset as mix_dataset
from tvt.data.mixing import dataset as mixed_dataset
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import read_questions, write_jsonl, write_parquet
from tvt.errors import InputError
from tvt.io.yaml_files import load_mixture

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}
SIZES = {"One": 20, "Many": 10, "Text": 6, "Unused": 3}
IMAGES = {"One": 1, "Many": 3, "Text": 0, "Unused": 1}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for k, (name, size) in enumerate(SIZES.items()):
        rows = [question(1000 * (k + 1) + i, IMAGES[name], task=name) for i in range(size)]
        paths[name] = tmp_path / "rows" / f"{name}.{'jsonl' if k % 2 else 'parquet'}"
        (write_jsonl if k % 2 else write_parquet)(rows, paths[name])
    return paths


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# The dataset


def test_the_dataset_is_what_the_manifest_says(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    mixed = write_mix(plan_mix(mixture(), sources), out)
    assert mixed.written
    assert sorted(files(out)) == ["README.md", "data/train-00000-of-00001.parquet", "manifest.csv", "mix.json", "mixture.yaml"]
    rows = pq.read_table(out / "data").to_pylist()
    assert Counter(row["source"] for row in rows) == {name: count for name, count in COUNTS.items() if count}
    questions = {name: list(read_questions(path)) for name, path in sources.items()}
    manifest = pyarrow.csv.read_csv(out / "manifest.csv").to_pylist()
    assert len(manifest) == len(rows) == 43
    for row, line in zip(rows, manifest, strict=True):
        asked = questions[line["source"]][line["row"]]
        assert (row["source"], row["id"]) == (line["source"], line["id"]) == (asked.task, asked.id)
        assert [image["bytes"] for image in row["images"]] == list(asked.images)
        assert row["prompt"] == [{"role": "user", "content": asked.prompt}]
        assert row["completion"] == [{"role": "assistant", "content": asked.answer}]
    assert Counter(line["pass"] for line in manifest if line["source"] == "Many") == {0: 10, 1: 10, 2: 5}
    assert load_mixture(out / "mixture.yaml") == mixture()
    assert mixed.record["sources"]["Many"]["epochs"] == 2.5
    assert "| Many | 0.5814 | 25 | 10 | 2.50 | 0 |" in (out / "README.md").read_text()


def test_datasets_loads_the_folder(sources: dict[str, Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write_mix(plan_mix(mixture(), sources), tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    rows = loaded["train"]
    assert rows.column_names == ["images", "prompt", "completion", "source", "id"]
    assert isinstance(rows.features["images"].feature, datasets.Image)
    for row in rows:
        assert [image.size for image in row["images"]] == [(9, 7)] * IMAGES[row["source"]]
    streamed = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert [row["id"] for row in streamed] == rows["id"][:]


def test_datasets_3_knows_every_type_that_the_files_name(sources: dict[str, Path], tmp_path: Path) -> None:
    """It has no "List", and a "Sequence" of a dict is a dict of lists in every version: messages are a plain JSON list."""
    write_mix(plan_mix(mixture(), sources), tmp_path / "out")
    write_parquet(read_questions(sources["One"]), tmp_path / "questions.parquet")
    known = {"Value", "Image", "Sequence"}
    for path in (*(tmp_path / "out" / "data").iterdir(), tmp_path / "questions.parquet"):
        told = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
        assert types_in(told) <= known
        assert told["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
        if "prompt" in told and path.parent.name == "data":
            assert isinstance(told["prompt"], list)


def types_in(feature: Any) -> set[str]:
    """All type names in a feature of the metadata."""
    if isinstance(feature, list):
        return set().union(*map(types_in, feature))
    if isinstance(feature, dict):
        own = {feature["_type"]} if isinstance(feature.get("_type"), str) else set()
        return own.union(*(types_in(value) for value in feature.values() if isinstance(value, dict | list)))
    return set()


def test_trl_takes_the_rows(sources: dict[str, Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    from trl.data_utils import prepare_multimodal_messages

    write_mix(plan_mix(mixture(), sources), tmp_path / "out")
    for row in datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")):
        assert trl.is_conversational(row)
        content = prepare_multimodal_messages(row["prompt"], images=row["images"])[0]["content"]
        assert [part["type"] for part in content] == ["image"] * IMAGES[row["source"]] + ["text"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mix(plan_mix(mixture(), sources, seed=3), tmp_path / "a")
    write_mix(plan_mix(mixture(), dict(reversed(sources.items())), seed=3), tmp_path / "b")
    # Whether rows waited in memory or on disk must not show.
    monkeypatch.setattr(mix_dataset, "HELD_BYTES", 1)
    write_mix(plan_mix(mixture(), sources, seed=3), tmp_path / "c")
    write_mix(plan_mix(mixture(), sources, seed=4), tmp_path / "d")
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")
    other = files(tmp_path / "d")
    assert other["manifest.csv"] != files(tmp_path / "a")["manifest.csv"]
    assert other["data/train-00000-of-00001.parquet"] != files(tmp_path / "a")["data/train-00000-of-00001.parquet"]


def test_the_kind_of_file_does_not_show(sources: dict[str, Path], tmp_path: Path) -> None:
    changed = dict(sources)
    changed["Many"] = tmp_path / "many.parquet"
    write_parquet(read_questions(sources["Many"]), changed["Many"])
    write_mix(plan_mix(mixture(), sources), tmp_path / "a")
    write_mix(plan_mix(mixture(), changed), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_many_shards_hold_the_same_rows(sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mix(plan_mix(mixture(), sources), tmp_path / "one")
    for name, value in (("SHARD_BYTES", 1000), ("GROUP_BYTES", 500), ("PIECE_BYTES", 300)):
        monkeypatch.setattr(mixed_dataset, name, value)
    monkeypatch.setattr(mix_dataset, "HELD_BYTES", 2000)
    mixed = write_mix(plan_mix(mixture(), sources), tmp_path / "many")
    shards = sorted((tmp_path / "many" / "data").iterdir())
    assert len(shards) > 5
    assert shards[0].name == f"train-00000-of-{len(shards):05d}.parquet"
    found = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert found == pq.read_table(tmp_path / "one" / "data").to_pylist()
    assert sum(file.get("rows", 0) for file in mixed.record["files"].values()) == 43
    assert (tmp_path / "many" / "manifest.csv").read_bytes() == (tmp_path / "one" / "manifest.csv").read_bytes()


def test_messages_hold_the_same_rows_with_their_images(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_mix(plan_mix(mixture(), sources), out, messages=True)
    lines = [json.loads(line)["messages"] for line in (out / "messages.jsonl").read_text().splitlines()]
    for row, (asked, answered) in zip(pq.read_table(out / "data").to_pylist(), lines, strict=True):
        *images, text = asked["content"]
        assert [base64.b64decode(image["image"].split("base64,")[1]) for image in images] == [
            image["bytes"] for image in row["images"]
        ]
        assert text == {"type": "text", "text": row["prompt"][0]["content"]}
        assert answered == {"role": "assistant", "content": [{"type": "text", "text": row["completion"][0]["content"]}]}
    with pytest.raises(InputError, match="holds another mix"):
        write_mix(plan_mix(mixture(), sources), out)


def test_nothing_names_this_machine(sources: dict[str, Path], tmp_path: Path) -> None:
    write_mix(plan_mix(mixture(), sources), tmp_path / "out")
    assert not [name for name, data in files(tmp_path / "out").items() if str(tmp_path).encode() in data]


def test_an_evaluation_set_is_kept_out(sources: dict[str, Path], tmp_path: Path) -> None:
    many, text = list(read_questions(sources["Many"])), list(read_questions(sources["Text"]))
    other = question(7, pictures=(many[5].images[0], picture(77)))
    write_parquet([many[2], many[4], text[1], other], tmp_path / "eval.parquet")
    with pytest.raises(InputError) as error:
        plan_mix(mixture(), sources, evaluation=[tmp_path / "eval.parquet"])
    where = f"{tmp_path}/eval.parquet: row"
    assert error.value.faults == (
        f"{sources['Many']}:3: the same question as {where} 0",
        f"{sources['Many']}:5: the same question as {where} 1",
        f"{sources['Text']}: row 1: the same question as {where} 2",
        "3 rows are shared with an evaluation set (Many 2 of 10, Text 1 of 6); "
        "remove them, or leave them out with --drop-shared",
    )
    with pytest.raises(InputError, match="Many 3 of 10"):
        plan_mix(mixture(), sources, evaluation=[tmp_path / "eval.parquet"], overlap="image")
    plan = plan_mix(mixture(), sources, evaluation=[tmp_path / "eval.parquet"], drop_shared=True)
    mixed = write_mix(plan, tmp_path / "out")
    assert mixed.record["sources"]["Many"]["available"] == 8
    assert mixed.record["sources"]["Many"]["left_out"] == 2
    lines = pyarrow.csv.read_csv(tmp_path / "out" / "manifest.csv").to_pylist()
    used = Counter(line["row"] for line in lines if line["source"] == "Many")
    assert sorted(used) == [0, 1, 3, 5, 6, 7, 8, 9]
    assert set(used.values()) == {3, 4}
    assert all(many[line["row"]].id == line["id"] for line in lines if line["source"] == "Many")


def test_many_shared_rows_are_counted(tmp_path: Path) -> None:
    write_parquet((question(k) for k in range(50)), tmp_path / "a.parquet")
    with pytest.raises(InputError) as error:
        plan_mix(mixture({"A": 5}), {"A": tmp_path / "a.parquet"}, evaluation=[tmp_path / "a.parquet"])
    assert len(error.value.faults) == 21
    assert "50 rows are shared" in error.value.faults[-1]
    with pytest.raises(InputError, match="no row is left for A"):
        plan_mix(mixture({"A": 5}), {"A": tmp_path / "a.parquet"}, evaluation=[tmp_path / "a.parquet"], drop_shared=True)


def test_the_faults_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / f"{name}.jsonl").write_text('{"id": 1}\n')
    paths = {name: tmp_path / f"{name}.jsonl" for name in "AB"}
    with pytest.raises(InputError) as error:
        plan_mix(mixture({"A": 1, "B": 1}), paths)
    assert {fault.partition(".jsonl")[0][-1] for fault in error.value.faults} == {"A", "B"}


def test_nothing_to_mix(sources: dict[str, Path]) -> None:
    nothing = mixture(dict.fromkeys(COUNTS, 0), verdict="nothing_helps")
    with pytest.raises(InputError, match="the base model is the answer"):
        plan_mix(nothing, sources)


def test_a_mix_that_is_there_is_not_written_again(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_mix(plan_mix(mixture(), sources), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = write_mix(plan_mix(mixture(), sources), out)
    assert not again.written
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(InputError, match="holds another mix"):
        write_mix(plan_mix(mixture(), sources, seed=1), out)
    shard = out / "data" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match="files were changed"):
        write_mix(plan_mix(mixture(), sources), out)
    shard.unlink()
    with pytest.raises(InputError, match="no whole dataset"):
        write_mix(plan_mix(mixture(), sources), out)


def test_a_folder_with_something_else_is_left_alone(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        write_mix(plan_mix(mixture(), sources), out)
    assert files(out) == {"thesis.tex": b"precious"}
    with pytest.raises(InputError, match="is a file"):
        write_mix(plan_mix(mixture(), sources), out / "thesis.tex")
    (out / "thesis.tex").unlink()
    assert write_mix(plan_mix(mixture(), sources), out).written  # an empty folder is free


def test_a_full_disk_is_told_before_and_leaves_nothing(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_mix(mixture(), sources)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
        with pytest.raises(InputError, match="name another disk"):
            write_mix(plan, tmp_path / "new" / "out")
    with monkeypatch.context() as patch:
        patch.setattr(mixed_dataset, "card", _no_space)
        with pytest.raises(InputError, match="No space left on device; nothing was left behind"):
            write_mix(plan, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def _no_space(record: object, mixture: object) -> str:
    raise OSError(28, "No space left on device")


# Interruption and size, in processes of their own

KILLED = """
import sys, time
from pathlib import Path
from typing import Any
from mixing_rows import mixture
from tvt.data.mixing.plan import plan_mix
from tvt.data.mixing.dataset import write_mix
rows, out, stop = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def pause(what, done, total):
    if what == stop:
        print(what, flush=True)
        time.sleep(600)
paths = {path.stem: path for path in rows.iterdir() if path.is_file()}
write_mix(plan_mix(mixture(), paths, progress=pause), out, pause)
"""


@pytest.mark.parametrize("stop", ["checking rows", "mixing", "writing"])
def test_a_killed_mix_leaves_no_folder_and_the_next_one_cleans_up(sources: dict[str, Path], tmp_path: Path, stop: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(sources["One"].parent), str(out), stop]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == stop
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists()
    left = [path.name for path in tmp_path.iterdir() if path.name.endswith(".unfinished")]
    assert len(left) == (stop != "checking rows")
    assert write_mix(plan_mix(mixture(), sources), out).written
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".unfinished")]
    assert write_mix(plan_mix(mixture(), sources), tmp_path / "again").written
    assert files(out) == files(tmp_path / "again")


def test_a_living_neighbour_is_left_alone(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(sources["One"].parent), str(out), "writing"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    process.stdout.readline()
    write_mix(plan_mix(mixture(), sources), out)
    assert len([path for path in tmp_path.iterdir() if path.name.endswith(".unfinished")]) == 1
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_million_rows_in_bounded_memory(tmp_path: Path) -> None:
    """The figures of scripts/bench_mix.py: far below the gigabytes that holding rows as objects takes."""
    command = [sys.executable, "scripts/bench_mix.py", "--work", str(tmp_path), "--plain", "--as-json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=ENVIRONMENT)
    figures = json.loads(done.stdout)
    assert figures["rows"] == 1_000_000
    assert figures["peak_mib"] < 600, figures
