"""The bundled swarm: mixture runs of a tiny model beside its single-source study."""

from __future__ import annotations

import numpy as np

import tvt
from commands import ROOT
from tvt.data.studies.load import bundled_folder
from tvt.io.yaml_files import load_recipe

SWARM = tvt.load_study("miniature-swarm")


def test_it_has_some_two_hundred_mixture_runs_of_the_worlds_sources() -> None:
    recipe = load_recipe(ROOT / "recipes" / "world.yaml")
    assert set(SWARM.sources) == set(recipe.sources)
    assert set(SWARM.targets) == set(recipe.targets)
    assert SWARM.evidence is not None
    assert len(SWARM.evidence.ids) == 200
    assert np.abs(SWARM.evidence.weights.sum(axis=1) - 1).max() < 1e-9
    assert np.isfinite(SWARM.evidence.scores).all()


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in bundled_folder("miniature-swarm").iterdir()) < 1_000_000


def test_wrong_labels_harm_and_near_duplicates_do_the_same() -> None:
    gains = {source: SWARM.mean[i].mean() for i, source in enumerate(SWARM.sources)}
    for task in ("Relative_Depth", "Visual_Similarity", "Count_Comparison"):
        assert gains[f"{task}_wrong"] < gains[task] - 0.05
    first, again = (SWARM.mean[SWARM.sources.index(f"Visual_Similarity{end}")] for end in ("", "_again"))
    assert np.corrcoef(first, again)[0, 1] > 0.8


def test_small_own_data_was_measured_at_a_dose() -> None:
    assert {s: round(dose, 6) for s, dose in SWARM.dose.items() if dose < 1} == {
        "Jigsaw": 0.1,
        "Correspondence": 0.2,
        "Nearest_Post": 0.5,
    }


def test_select_works_on_it_at_once() -> None:
    found = tvt.select("miniature-swarm", targets={"Jigsaw": 1.0}, without_direct=True)
    assert isinstance(found, tvt.Mixture)
    assert found.verdict == "train"
    assert found.budget == 3200
    assert found.weights["Visual_Similarity"] + found.weights["Visual_Similarity_again"] > 0.5
