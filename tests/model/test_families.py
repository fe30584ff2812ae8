"""What tvt says of a model by its family, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import docs_tables
import family_capabilities
import tiny_families
from commands import ROOT, SUPPORT
from tvt.core.recipe import ModelConfig
from tvt.errors import Check
from tvt.model.families import FAMILIES, family_checks, family_of, model_checks

PAGE = (ROOT / "tvt" / "docs" / "models.md").read_text()


def model(folder: Path, **config: Any) -> ModelConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return ModelConfig(model_name_or_path=str(folder))


def found(config: ModelConfig) -> Sequence[Check]:
    return list(family_checks(config))


def test_families_have_names_and_kinds_of_their_own() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert len({(family.model_type, family.vision) for family in FAMILIES}) == len(FAMILIES)


def test_the_page_lists_every_family_in_order() -> None:
    rows = docs_tables.between(PAGE, "families")
    assert rows[:2] == family_capabilities.heads()
    assert [row.split("|")[1].strip() for row in rows[2:]] == [family.name for family in FAMILIES]


def test_every_family_is_made_and_tested() -> None:
    assert set(tiny_families.BUILDERS) == {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_config_is_of_its_family(family: Any, tmp_path: Path) -> None:
    vision = {"vision_config": {"model_type": family.vision}} if family.vision else {}
    assert family_of(model(tmp_path, model_type=family.model_type, **vision)) == family


def test_a_needed_package_is_named_unless_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = model(tmp_path, model_type="lfm2_vl")
    (check,) = found(config)
    assert (check.status, check.package, check.step) == ("fail", "torchvision", "pip install torchvision")
    assert check in list(model_checks(config))
    monkeypatch.syspath_prepend(str(SUPPORT / "stand_ins"))
    assert found(config) == []


def test_another_family_is_untested_and_no_error(tmp_path: Path) -> None:
    (check,) = found(model(tmp_path, model_type="kosmos-2"))
    assert check.status == "warn"
    assert "models of type 'kosmos-2' are untested with tvt" in check.found


def test_nothing_is_said_of_a_model_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    named = ModelConfig(model_name_or_path="Some/VL-1B")
    assert found(named) == []
    snapshot = tmp_path / "models--Some--VL-1B" / "snapshots" / "main"
    model(snapshot, model_type="mistral3")
    assert [check.package for check in found(named)] == ["torchvision"]
