"""What is kept on disk of a vision tower: found by any process, never more than the limit, and damage is only a miss."""

# ruff: noqa: E402
from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import ENVIRONMENT

from tvt.model.vision.space import Space
from tvt.model.vision.store import Store

LARGE = 10**9


def features(key: str, rows: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(key.encode()))
    made = torch.randn(rows, 8, generator=generator)
    return {"pooler_output": made, "deepstack_features.0": made.to(torch.bfloat16)}


def about(key: str) -> dict[str, list[list[int]]]:
    return {"image_grid_thw": [[1, 2, len(key)]]}


def store(root: Path, name: str = "one", limit: int = LARGE, shard_bytes: int = 10**6) -> Store:
    return Store(Space(root, name, limit), shard_bytes)


def fill(root: Path, keys: str, name: str = "one", limit: int = LARGE) -> None:
    filled = store(root, name, limit)
    for key in keys:
        filled.put(key, features(key), about(key))
    filled.close()


def same(found: dict[str, torch.Tensor] | None, key: str) -> bool:
    expected = features(key)
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in expected)
    )


def taken(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def shards(root: Path, name: str = "one") -> list[Path]:
    return sorted((root / name).glob("*.safetensors"))


def test_what_is_put_is_found_at_once_and_by_others_once_it_is_written(tmp_path: Path) -> None:
    mine, other = store(tmp_path), store(tmp_path)
    assert other.about("a") is None
    assert mine.put("a", features("a"), about("a"))
    assert mine.about("a") == about("a")
    assert same(mine.get("a"), "a")
    assert other.get("a") is None
    mine.flush()
    assert same(other.get("a"), "a"), "found by a reader that looked before"
    assert other.about("a") == about("a")
    mine.flush()
    assert len(shards(tmp_path)) == 1, "nothing is written twice"
    other.put("a", features("a"), about("a"))
    other.flush()
    assert len(shards(tmp_path)) == 1, "nor by another"


def test_another_process_gets_a_copy_that_reads_what_is_on_disk(tmp_path: Path) -> None:
    mine = store(tmp_path)
    mine.put("a", features("a"), about("a"))
    mine.flush()
    mine.put("b", features("b"), about("b"))
    copy = pickle.loads(pickle.dumps(mine))  # as processes that load batches get it
    assert same(copy.get("a"), "a")
    assert copy.about("b") is None
    copy.close()
    mine.flush()
    assert same(copy.get("b"), "b")


def test_a_shard_is_written_when_enough_waits(tmp_path: Path) -> None:
    mine = store(tmp_path, shard_bytes=2 * sum(tensor.nbytes for tensor in features("a").values()))
    mine.put("a", features("a"), about("a"))
    assert not shards(tmp_path)
    mine.put("b", features("b"), about("b"))
    assert len(shards(tmp_path)) == 1
    assert same(mine.get("a"), "a")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_gives_wrong_tensors(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("damaged")
    fill(root, "ab")
    shard = shards(root)[0]
    content = bytearray(shard.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        place = data.draw(st.integers(0, len(content) - 1), "place")
        content[place] ^= data.draw(st.integers(1, 255), "flip")
    shard.write_bytes(bytes(content))
    reader = store(root)
    for key in "ab":
        found = reader.get(key)
        if found is None:
            continue
        assert same(found, key)
        assert reader.about(key) == about(key)


def test_a_damaged_shard_is_deleted_and_what_it_held_can_be_kept_anew(tmp_path: Path) -> None:
    fill(tmp_path, "ab")
    shard = shards(tmp_path)[0]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(bytes(content))
    reader = store(tmp_path)
    found = {key: reader.get(key) for key in "ab"}
    assert None in found.values()
    assert not shard.exists()
    for key in "ab":
        reader.put(key, features(key), about(key))
    reader.flush()
    assert all(same(store(tmp_path).get(key), key) for key in "ab")


def test_the_namespace_opened_longest_ago_goes_first_and_one_in_use_stays(tmp_path: Path) -> None:
    fill(tmp_path, "abc", "old")
    fill(tmp_path, "abc", "held")
    fill(tmp_path, "abc", "young")
    held = store(tmp_path, "held")
    size = len(shards(tmp_path, "old")[0].read_bytes())
    fill(tmp_path, "abc", "new", limit=3 * size + size // 2)
    assert not (tmp_path / "old").exists(), "opened before all others"
    assert same(held.get("a"), "a")
    assert shards(tmp_path, "young")
    assert shards(tmp_path, "new")
    full = store(tmp_path, "another", limit=2 * size)  # young and new go, held cannot
    assert full.put("x", features("x"), about("x"))
    full.flush()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["another", "held"]
    for key in "abcdef":
        full.put(key, features(key, 40), about(key))
    full.flush()
    assert full.full
    assert not full.put("y", features("y"), about("y"))
    assert full.get("a") is None, "what had no room is forgotten"
    assert same(full.get("x"), "x")
    assert taken(tmp_path) <= 2 * size


@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(0, 6000),
    steps=st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("abcdefgh"), st.integers(1, 60)), max_size=25),
)
def test_never_above_the_limit_and_never_wrong(
    tmp_path_factory: pytest.TempPathFactory, limit: int, steps: list[tuple[str, str, int]]
) -> None:
    root = tmp_path_factory.mktemp("limit")
    kept: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, key, rows in steps:
        used = store(root, name, limit, shard_bytes=1500)
        found = used.get(key)
        if found is not None:
            assert all(torch.equal(found[part], kept[name, key][part]) for part in found)
        else:
            kept[name, key] = features(key, rows)
            used.put(key, kept[name, key], about(key))
        used.close()
        assert taken(root) <= limit


def test_a_lower_limit_holds_from_the_start_and_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    for keys in ("abc", "def"):
        fill(tmp_path, keys)
    (tmp_path / "one" / ".half.tmp").write_bytes(b"0" * 5000)
    size = shards(tmp_path)[0].stat().st_size
    again = store(tmp_path, limit=size + 100)
    assert taken(tmp_path) <= size + 100
    assert again.get("a") is None, "the oldest went"
    assert same(again.get("d"), "d")


def test_processes_fill_one_namespace_at_once(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[3])
        from test_vision_store import about, features, same, store
        mine = store(Path(sys.argv[1]), limit=10**6, shard_bytes=2000)
        for key in sys.argv[2]:
            if mine.about(key) is None:
                mine.put(key, features(key), about(key))
            assert same(mine.get(key), key)
        mine.close()
    """)
    letters = "abcdefghijklmnopqrstuvwxyz"
    orders = (letters, letters[::-1], letters[13:] + letters[:13])
    command = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*command, order, str(Path(__file__).parent)], env=ENVIRONMENT) for order in orders]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    reader = store(tmp_path)
    assert all(same(reader.get(key), key) for key in letters)
    assert not list(tmp_path.rglob("*.tmp"))
