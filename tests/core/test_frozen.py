"""A value stays as it was made, and so does the digest that names it."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import pickle
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from pydantic import BaseModel

import tvt
from tvt.core.values import Frozen, FrozenDict, FrozenModel, frozen
from tvt.io.yaml_files import load_mixture, save_mixture

STUDY = tvt.load_study("qwen2.5-vl-7b")
ROOT = Path(tvt.__file__).parent
PRIVATE_OR_WORKING = {
    "LowRank",
    # A fit's working values, remade by each fit and never handed out: copies of their arrays would cost more than they save.
    *("Process", "Features", "Bumps", "Prior", "Target", "TablePosterior", "Rows"),
}


def mixture() -> tvt.Mixture:
    return tvt.Mixture(weights={"A": 0.5, "B": 0.5}, counts={"A": 5, "B": 5}, budget=10, provenance={"runs": [{"seed": 0}]})


@pytest.mark.parametrize("field", ["values", "item_errors", "base", "after"])
def test_arrays_of_a_study_refuse_changes(field: str) -> None:
    digest = STUDY.digest()
    with pytest.raises(ValueError, match="read-only"):
        getattr(STUDY, field)[...] = 99.0
    assert STUDY.digest() == digest


def test_the_caller_s_array_is_copied_and_stays_writable() -> None:
    mine = np.array([[0.1, 0.2]])
    study = tvt.TransferMatrix.from_values(mine, sources=["A"], targets=["A", "B"])
    digest = study.digest()
    mine[0, 0] = 9.0
    assert study.digest() == digest
    assert study.values[0, 0, 0] == 0.1


def test_a_read_only_view_of_a_writable_array_is_copied() -> None:
    mine = np.zeros(3)
    view = mine[:]
    view.setflags(write=False)
    assert not np.shares_memory(frozen(view), mine)
    own = frozen(mine)
    assert frozen(own) is own


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_equal_and_frozen_too(how: Any) -> None:
    study, mixed = how(STUDY), how(mixture())
    assert study.digest() == STUDY.digest()
    assert not study.values.flags.writeable
    assert mixed == mixture()
    with pytest.raises(TypeError, match="cannot be changed"):
        mixed.weights["A"] = 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(A=1),
        lambda d: d.pop("A"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.setdefault("C", 1),
        lambda d: d.__setitem__("A", 1),
        lambda d: d.__delitem__("A"),
        lambda d: d.__ior__({"A": 1}),
    ],
)
def test_mappings_of_a_mixture_refuse_every_change(change: Any) -> None:
    mixed = mixture()
    with pytest.raises(TypeError, match="cannot be changed"):
        change(mixed.weights)
    assert mixed == mixture()


def test_what_a_mapping_holds_is_frozen_too() -> None:
    mixed = mixture()
    with pytest.raises(TypeError, match="cannot be changed"):
        mixed.provenance["runs"].append({})
    with pytest.raises(TypeError, match="cannot be changed"):
        mixed.provenance["runs"][0]["seed"] = 1
    for value in (mixed.model_copy(update={"weights": {"A": 1.0}}), tvt.SelectionSpec(goals={"A": 0.1})):
        with pytest.raises(TypeError, match="cannot be changed"):
            getattr(value, "weights", getattr(value, "goals", None))["A"] = 2.0
    with pytest.raises(TypeError, match="cannot be changed"):
        tvt.SelectionSpec().goals["A"] = 2.0


def test_a_frozen_mapping_is_a_dict_for_json_files_and_dumps(tmp_path: Path) -> None:
    mixed = mixture()
    assert isinstance(mixed.weights, dict)
    assert json.dumps(mixed.weights) == '{"A": 0.5, "B": 0.5}'
    assert type(mixed.model_dump()["weights"]) is dict
    assert tvt.Mixture.model_validate(mixed.model_dump()) == mixed
    assert tvt.Mixture.model_validate_json(mixed.model_dump_json()) == mixed
    save_mixture(mixed, tmp_path / "mixture.yaml")
    assert load_mixture(tmp_path / "mixture.yaml") == mixed
    assert type(mixed.weights.copy()) is dict
    assert mixed.weights | {"C": 1.0} == {"A": 0.5, "B": 0.5, "C": 1.0}
    assert frozen({"a": [1]}) == {"a": [1]}
    assert isinstance(frozen({"a": {}})["a"], FrozenDict)


def test_runs_on_mixtures_are_frozen() -> None:
    runs = tvt.MixtureRuns(
        ids=("1",), sources=("A",), targets=("A",), weights=np.ones((1, 1)), scores=np.ones((1, 1)), errors=np.ones((1, 1))
    )
    for array in (runs.weights, runs.scores, runs.errors):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 2.0


def holds_what_changes(kind: type) -> bool:
    texts = [str(hint) for hint in get_type_hints(kind).values()]
    return any(word in text for text in texts for word in ("dict[", "Mapping[", "ndarray"))


@pytest.mark.parametrize("package", ["core", "evidence", "selection", "transfer"])
def test_every_value_with_arrays_or_mappings_freezes_them(package: str) -> None:
    faults = []
    for file in sorted((ROOT / package).glob("*.py")):
        module = importlib.import_module(f"tvt.{package}.{file.stem}" if file.stem != "__init__" else f"tvt.{package}")
        for name, kind in vars(module).items():
            if not isinstance(kind, type) or kind.__module__ != module.__name__ or name.startswith("_"):
                continue
            if issubclass(kind, BaseModel):
                faults += [] if issubclass(kind, FrozenModel) else [name]
            elif dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen and name not in PRIVATE_OR_WORKING:
                faults += [name] if holds_what_changes(kind) and not issubclass(kind, Frozen) else []
    assert not faults


def test_arrays_cannot_be_made_writable_again() -> None:
    digest = STUDY.digest()
    for array in (STUDY.values, STUDY.values[0], STUDY.base):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert STUDY.digest() == digest


@pytest.mark.parametrize("name", ["mean", "error", "seed_error", "item_error", "run_error", "run_variance", "run_count"])
def test_computed_arrays_are_read_only_too(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(STUDY, name)[...] = 0.0


def test_empty_arrays_and_arrays_of_objects_are_frozen() -> None:
    assert frozen(np.zeros((0, 3))).shape == (0, 3)
    assert not frozen(np.array(["a", None], dtype=object)).flags.writeable
