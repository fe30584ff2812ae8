"""The facts about the published figures (CVPR 2026, arXiv 2511.18787) that the analysis must reproduce."""

from __future__ import annotations

import pytest

from tvt.data.studies.load import load_study
from tvt.transfer.analysis import Analysis, analyze

SIZES = ("3b", "7b", "32b")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze([load_study(f"qwen2.5-vl-{size}") for size in SIZES])


def cliques(analysis: Analysis, size: str, word: str) -> set[frozenset[str]]:
    study = analysis.studies[SIZES.index(size)]
    return {frozenset(study.matrix.short(task) for task in clique) for clique in study.cliques[word].members}


def sets(text: str) -> set[frozenset[str]]:
    return {frozenset(group.split()) for group in text.split(";")}


def test_shape(analysis):
    for study in analysis.studies:
        assert study.matrix.values.shape == (4, 13, 13)
        assert study.noise.missing == 0


def test_cliques_at_32b(analysis):
    assert cliques(analysis, "32b", "positive") == sets("AS CN FC JG RD RR SR VC VS")
    assert cliques(analysis, "32b", "negative") == sets("FD MR OL SC")


def test_cliques_at_7b(analysis):
    assert cliques(analysis, "7b", "positive") == sets("MR RD RR VS")
    found = cliques(analysis, "7b", "negative")
    assert found == sets("CN FC JG; CN JG SC; CN SC VS; FD JG SC; FD SC VS")


def test_cliques_at_3b(analysis):
    positive, negative = cliques(analysis, "3b", "positive"), cliques(analysis, "3b", "negative")
    assert (len(positive), {len(c) for c in positive}) == (7, {3})
    assert (len(negative), {len(c) for c in negative}) == (3, {4})
    assert negative == sets("AS CN OL SR; CN FD JG SR; CN FD OL SR")


def test_cliques_in_every_run_at_32b(analysis):
    """The one that the reference names, and one more of the same size, with RR for RD."""
    assert cliques(analysis, "32b", "positive_every_seed") == sets("AS CN JG RD SR VC VS; AS CN JG RR SR VC VS")


def test_no_clique_by_test_with_four_runs(analysis):
    for size in SIZES:
        assert cliques(analysis, size, "positive_test") == set()
    assert sum("0.0625" in note for note in analysis.notes) == 3


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("donor", {"Semantic_Correspondence": 0.0002}),
        ("pirate", {"Functional_Correspondence": 0.0034}),
        ("sponge", {"Visual_Similarity": 0.0002, "Relative_Depth": 0.0002, "Relative_Reflectance": 0.0046}),
        ("sieve", {"Forensic_Detection": 0.0007}),
    ],
)
def test_personas(analysis, kind, wanted):
    assert {task: round(p, 4) for task, p in analysis.personas.passing(kind).items()} == wanted
    assert {len(t.values) for t in analysis.personas.of(kind)} == {12}


def test_scale_trend(analysis):
    trend = [t for t in analysis.trend if t.sign == "positive"]
    assert [t.parameters for t in trend] == [3, 7, 32]
    given, taken = [t.transferability for t in trend], [t.malleability for t in trend]
    assert [round(of.value, 3) for of in given] == [0.043, 0.045, 0.127]
    assert all(of.low < of.value < of.high for of in given)
    assert given[1].high < given[2].low
    assert taken[0].value < taken[1].value < taken[1].high < taken[2].low  # malleability grows with size, as the paper finds


def test_noise(analysis):
    found = [s.noise for s in analysis.studies]
    assert [round(n.run_sd_median, 3) for n in found] == [0.030, 0.037, 0.032]
    assert [round(n.run_sd_max, 2) for n in found] == [0.13, 0.61, 0.18]
    assert [len(n.sign_flips) for n in found] == [23, 32, 13]
    assert [n.cells for n in found] == [169] * 3


def test_questions_rather_than_runs_are_the_larger_noise(analysis):
    assert all(s.noise.item_share > 0.9 for s in analysis.studies)


def test_scale_does_not_transfer(analysis):
    found = {tuple(name.rpartition("-")[2] for name in pair): rho for pair, (rho, _) in analysis.agreement.items()}
    assert {pair: round(rho, 2) for pair, rho in found.items()} == {
        ("3b", "7b"): 0.21,
        ("3b", "32b"): 0.13,
        ("7b", "32b"): 0.12,
    }
    assert {cells for _, cells in analysis.agreement.values()} == {156}
