"""What read an answer stands beside the result, and another version of it reads stored answers anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

import study_world
import tvt.study.plan
from study_world import Tvt, World, done
from tvt.core.choices import READERS
from tvt.evaluate.readers import OLD_NAMES, Careful, find_reader, offered
from tvt.io.yaml_files import load_recipe
from tvt.study.plan import load_study_plan

WORDS = {"mode": "generate", "max_new_tokens": 3}


def keys(recipe: Path) -> dict[tuple[str, str], str]:
    return {(target, part): key for (target, part), key in load_study_plan(load_recipe(recipe)).questions.items()}


def test_a_new_version_changes_the_key_of_what_is_read_and_of_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = study_world.write_recipe(world.folder, "letters.yaml")
    words = study_world.write_recipe(world.folder, "words.yaml", evaluation=WORDS)
    before = keys(letters), keys(words)
    monkeypatch.setattr(tvt.study.plan, "find_reader", lambda _name: Careful(version=99))
    after = keys(letters), keys(words)
    assert after[0] == before[0], "scored option letters are not read from text"
    assert all(after[1][where] != key for where, key in before[1].items())


def test_cells_of_an_older_version_are_read_anew_and_nothing_is_asked(world: World, tvt: Tvt, tmp_path: Path) -> None:
    recipe = study_world.write_recipe(world.folder, "read.yaml", evaluation=WORDS, sources=["Alpha"], targets=["Beta"])
    study = tmp_path / "study"
    done(tvt("study", "run", recipe, "-o", study))
    asked = list(study_world.chunks(study))
    paths = sorted(study.glob("runs/*/scores.json"))
    fresh = [json.loads(path.read_text()) for path in paths]
    for path, told in zip(paths, fresh, strict=True):
        cells = [{**cell, "key": "of an older version", "correct": 0, "unparsed": cell["total"]} for cell in told["cells"]]
        path.write_text(json.dumps({**told, "cells": cells}))
    for path in study.glob("answers/*/*.json"):
        told = json.loads(path.read_text())
        if "reader" in told:
            path.write_text(json.dumps({**told, "reader": {"name": "careful", "version": 1}}))
    again = done(tvt("study", "run", recipe, "-o", study))
    assert f"the reader of answers (careful): version 1 before, {Careful().version} now" in again.stdout + again.stderr
    assert [json.loads(path.read_text())["cells"] for path in paths] == [told["cells"] for told in fresh]
    assert list(study_world.chunks(study)) == asked


def test_an_evaluation_tells_its_reader(world: World, tvt: Tvt, tmp_path: Path) -> None:
    asks = ("evaluate", "--model", world.folder / "model", "--dtype", "float32", "-o", tmp_path / "answers", "--json")
    asks = (*asks, "--questions", f"Alpha={world.questions('Alpha')}", "--mode", "generate", "--max-new-tokens", "3")
    for name in ("careful", "lmms-eval-0.7.3", "lmms-eval"):
        found = done(tvt(*asks, "--extract", name))
        told, reader = json.loads(found.stdout), find_reader(name)
        assert (told["extraction"], told["reader"]) == (reader.name, reader.identity)
        assert told["results"][0]["tasks"]["Alpha"]["reader"] == reader.identity
        record = json.loads((tmp_path / "answers" / told["results"][0]["answers"] / "Alpha.json").read_text())
        assert record["reader"] == reader.identity
        assert ("--extract lmms-eval means lmms-eval-0.7.2" in found.stderr) == (name == "lmms-eval")


def test_help_offers_every_reader_and_every_old_name() -> None:
    text = offered()
    assert [name for name in (*READERS.names, *OLD_NAMES) if f"{name} " not in text] == []
