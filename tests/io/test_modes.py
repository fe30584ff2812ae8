"""New files and folders have the modes that the umask gives; what is replaced keeps its mode."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adapter_weights import write_weights
from mixing_rows import mixture, question
from tvt.core.scores import Run
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.data.studies.folder import StudyManifest, read_study, write_study
from tvt.data.studies.load import bundled_folder
from tvt.io import atomic
from tvt.io.adapter_file import CONFIG, WEIGHTS, write_record
from tvt.io.atomic import attempted, exclusively
from tvt.io.yaml_files import save_mixture
from tvt.study.jobs import writing_to
from tvt.study.store import Store


@pytest.fixture(params=[0o077, 0o022, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes_fit(root: Path, umask: int) -> bool:
    """Whether all files and folders below have the modes of new ones, and there are some."""
    paths = [root, *root.rglob("*")]
    wrong = {
        str(path): oct(path.stat().st_mode & 0o777)
        for path in paths
        if path.stat().st_mode & 0o777 != (0o777 if path.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}
    return len(paths) > 1


def test_a_studys_files(umask: int, tmp_path: Path) -> None:
    study = read_study(bundled_folder("qwen2.5-vl-7b"))
    manifest = StudyManifest(name="s", tasks=study.manifest.tasks)
    write_study(tmp_path / "study", manifest, study.scores, study.masked)
    store = Store(tmp_path / "study")
    with (
        store.claim("abc", Run(label="A", counts={"A": 1})) as free,
        writing_to(tmp_path / "study" / "logs" / "a.events"),
        exclusively(tmp_path / "study" / ".l"),
    ):
        assert free
    store.fail("abc", "too bad")
    assert modes_fit(tmp_path / "study", umask)


def test_a_mix_and_its_sources(umask: int, tmp_path: Path) -> None:
    counts = {"One": 8, "Two": 4}
    rows = tmp_path / "rows"
    write_parquet([question(k) for k in range(5)], rows / "One.parquet")
    write_jsonl([question(100 + k) for k in range(5)], rows / "Two.jsonl")
    plan = plan_mix(mixture(counts), {"One": rows / "One.parquet", "Two": rows / "Two.jsonl"})
    write_mix(plan, tmp_path / "mixes" / "mix", messages=True)
    assert modes_fit(rows, umask)
    assert modes_fit(tmp_path / "mixes", umask)


def test_a_mixture(umask: int, tmp_path: Path) -> None:
    save_mixture(mixture(), tmp_path / "deep" / "mixture.yaml")
    assert modes_fit(tmp_path / "deep", umask)


def test_an_adapter_whose_weights_a_library_wrote_for_its_owner_alone(umask: int, tmp_path: Path) -> None:
    with atomic.new_folder(tmp_path / "runs" / "adapter") as folder:
        write_weights(folder / WEIGHTS, {"a": np.ones((2, 3), np.float32)})
        (folder / WEIGHTS).chmod(0o600)
        (folder / CONFIG).write_text(json.dumps({"r": 8, "target_modules": ["v"], "base_model_name_or_path": "base"}))
        write_record(folder, {"a": (2, 3)})
        assert (folder / WEIGHTS).stat().st_mode & 0o777 == 0o666 & ~umask
        (folder / "more").mkdir(0o700)
        (folder / "more" / "weights").touch(0o600)
    assert modes_fit(tmp_path / "runs", umask)


def test_what_is_replaced_keeps_its_mode(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    atomic.write_text(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_folder_with_a_group_of_its_own_gives_it_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    with atomic.new_folder(tmp_path / "new") as folder:
        (folder / "deep").mkdir()
    assert [path.stat().st_mode & 0o2000 for path in (tmp_path / "new", tmp_path / "new" / "deep")] == [0o2000, 0o2000]


def test_a_lock_that_another_made_is_taken_as_it_is(umask: int, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o664)
    with attempted(tmp_path / "lock") as free:
        assert free
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o664
