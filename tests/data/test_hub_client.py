"""Datasets through the hub's own client, from a hub on this machine: what is asked for, fetched once, pinned and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import blink_copy
import hub_server
from blink_copy import NAME, TASKS
from commands import ENVIRONMENT
from hub_server import COMMIT

pytest.importorskip("datasets")

_READ = """
import json, sys
from tvt.data.hub.questions import shown_questions
from tvt.data.task_questions import identify, pinned, read
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
for line in json.loads(sys.argv[1]):
    data = QuestionData.model_validate(line)
    try:
        found = list(read(data, "x"))
        told = {"ids": [q.id for q in found], "images": [[len(i) for i in q.images] for q in found],
                "digest": identify(data, "x"), "revision": pinned(data).revision}
    except InputError as error:
        told = {"faults": error.faults}
    if data.split == "test":
        told["shown"] = [item.id for item in shown_questions(data)]
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blink_copy.write_copy(tmp_path_factory.mktemp("hub") / "BLINK", 2)


@pytest.fixture(scope="module")
def hub(copy: Path) -> Iterator[tuple[str, list[str]]]:
    with hub_server.serve(copy, NAME) as found:
        yield found


def part(**fields: Any) -> dict[str, Any]:
    return {"dataset": NAME, "config": "Jigsaw", "format": "blink", **fields}


def told(cache: Path, parts: list[dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
    """What another process reads, whose caches are in ``cache``."""
    result = subprocess.run(
        [sys.executable, "-c", _READ, json.dumps(parts)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **ENVIRONMENT,
            "TVT_CACHE": str(cache / "tvt"),
            "HF_HOME": str(cache / "hf"),
            "HF_HUB_OFFLINE": "0",
            **environment,
        },
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_the_hub_gives_is_what_a_local_copy_gives(hub: tuple[str, list[str]], copy: Path, tmp_path: Path) -> None:
    configs = [part(config=config) for config in (TASKS[0], "Multi-view_Reasoning")]
    remote = told(tmp_path / "remote", configs, HF_ENDPOINT=hub[0])
    local = told(tmp_path / "local", [{**one, "folder": str(copy)} for one in configs])
    assert [one["revision"] for one in remote] == [COMMIT, COMMIT]
    assert [{**one, "revision": None} for one in remote] == local
    assert remote[0]["ids"] == ["val_Art_Style_1", "val_Art_Style_2"]


def test_it_is_fetched_once_and_a_pinned_one_needs_no_hub_then(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = hub
    first = told(tmp_path, [part()], HF_ENDPOINT=address)
    before = len(asked)
    assert told(tmp_path, [part()], HF_ENDPOINT=address) == first
    since = [line for line in asked[before:] if NAME in line]  # the client also asks for things of its own
    assert since == [f"GET /api/datasets/{NAME}"], "only which commit it is at now"
    assert told(tmp_path, [part(revision=COMMIT)], HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1") == first


def test_faults_of_the_hub_are_one_line_each(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    asked = [
        part(config="Jigsaws"),
        part(split="no"),
        part(revision="no-branch"),
        part(revision="d" * 40),
        part(dataset="no/such"),
        part(split="test"),
    ]
    lines = [one["faults"] for one in told(tmp_path, asked, HF_ENDPOINT=hub[0])]
    assert all(len(faults) == 1 for faults in lines)
    assert lines[0][0].startswith(f"{NAME}: no configuration 'Jigsaws' (did you mean 'Jigsaw'?); there are Art_Style, Counting")
    assert [faults[0] for faults in lines[1:]] == [
        f"{NAME}, Jigsaw: no split 'no'; there are val, test",
        f"{NAME}: no revision 'no-branch' on the hub; pin an existing commit",
        f"{NAME}: no revision '{'d' * 40}' on the hub; pin an existing commit",
        "no/such: no such dataset on the hub, or a closed one; check the name, or log in with hf auth login",
        f"{NAME}, Jigsaw, test: its answers are hidden (row 0), so nothing can be scored; take another split",
    ]


def test_hidden_answers_can_be_looked_at(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    (found,) = told(tmp_path, [part(split="test", revision=COMMIT)], HF_ENDPOINT=hub[0])
    assert found["shown"] == ["test_Jigsaw_1", "test_Jigsaw_2"]
