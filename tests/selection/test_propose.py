"""Proposals keep to every limit, are different mixtures, say when to stop, and find good mixtures sooner than chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tvt as package
from commands import assert_refused, tvt
from problems import random_matrix
from tvt.core.mixture import FailedSelection
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.proposal import Proposals
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.io.yaml_files import load_mixture
from tvt.selection.pool import Candidates
from tvt.selection.propose import propose

SOURCES = tuple("ABCDE")


def table(weights: np.ndarray, scores: np.ndarray, **more: object) -> MixtureRuns:
    scores = scores.reshape(len(weights), -1)
    return MixtureRuns(
        ids=tuple(f"run {k}" for k in range(len(weights))),
        sources=SOURCES[: weights.shape[1]],
        targets=tuple(f"t{j}" for j in range(scores.shape[1])),
        weights=weights,
        scores=scores,
        **more,
    )


def world(seed: int, rows: int = 16, noise: float = 0.02, targets: int = 1) -> MixtureRuns:
    """Two sources help with diminishing returns, one harms."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(5), rows)
    scores = truth(weights)[:, None] * np.ones(targets) + noise * rng.standard_normal((rows, targets))
    return table(weights, scores)


def truth(weights: np.ndarray) -> np.ndarray:
    return 0.4 + 0.2 * np.sqrt(weights[:, 0] * weights[:, 1]) + 0.1 * weights[:, 2] - 0.2 * weights[:, 4]


def candidates(weights: np.ndarray) -> Candidates:
    return Candidates(ids=tuple(f"c{k}" for k in range(len(weights))), sources=SOURCES, weights=weights)


def proposed(runs: object, batch: int = 4, **options: object) -> Proposals:
    more = {name: options.pop(name) for name in ("candidates", "pending", "most_runs") if name in options}
    found = propose(runs, SelectionSpec(**options), batch, **more)
    assert isinstance(found, Proposals)
    return found


specs = st.fixed_dictionaries(
    {
        "caps": st.one_of(st.just({}), st.floats(0.3, 0.9).map(lambda cap: {"all": cap})),
        "floors": st.one_of(st.just({}), st.floats(0.0, 0.25).map(lambda floor: {"C": floor})),
        "constraints": st.sampled_from([(), ("A + B <= 50%",), ("A >= 0.1", "D + E >= 0.2")]),
        "exclude": st.sampled_from([(), ("D",)]),
        "max_sources": st.sampled_from([None, None, 4]),
        "budget": st.sampled_from([97, 1000, 20_000]),
        "sizes": st.sampled_from([{}, {"A": 40}]),
        "beyond": st.booleans(),
        "objective": st.sampled_from(["gain", "worst"]),
        "protect": st.sampled_from([{}, {"t1": 0.41}]),
    }
)


@settings(max_examples=8, deadline=None)
@given(specs, st.integers(0, 5), st.booleans())
def test_every_proposal_keeps_to_every_limit(options: dict[str, object], seed: int, offered: bool) -> None:
    runs = world(seed, targets=2)
    rows = np.random.default_rng(seed + 100).dirichlet(np.full(5, 0.7), 60)
    rows[:30, 3] = 0
    rows /= rows.sum(axis=1, keepdims=True)
    spec = SelectionSpec(**options, hard=bool(options["protect"]))
    found = propose(runs, spec, 3, candidates=candidates(rows) if offered else None)
    if isinstance(found, FailedSelection):
        assert found.status == "infeasible"
        return
    assert offered or len(found.proposals) == 3
    for proposal in found.proposals:
        weights, counts = proposal.weights, proposal.counts
        assert sum(weights.values()) == pytest.approx(1, abs=1e-6)
        assert sum(counts.values()) == spec.budget
        assert min(weights.values()) >= 0
        cap = min(spec.caps.get("all", 1.0), 1.0)
        assert max(weights.values()) <= cap + 1e-5
        assert max(counts.values()) <= cap * spec.budget + 1
        assert weights["C"] >= spec.floors.get("C", 0.0) - 1e-5
        if spec.sizes:
            assert counts["A"] <= 40
        if spec.exclude:
            assert counts["D"] == 0
        if spec.max_sources:
            assert sum(w > 1e-9 for w in weights.values()) <= spec.max_sources
        if "A + B <= 50%" in spec.constraints:
            assert weights["A"] + weights["B"] <= 0.5 + 1e-5
        if "A >= 0.1" in spec.constraints:
            assert weights["A"] >= 0.1 - 1e-5
            assert weights["D"] + weights["E"] >= 0.2 - 1e-5
        if spec.protect:
            value = proposal.predicted["t1"].value
            assert value is not None
            assert value >= 0.41 - 1e-4


def test_candidates_are_proposed_by_name_each_once() -> None:
    rows = np.random.default_rng(3).dirichlet(np.ones(5), 30)
    found = proposed(world(1), batch=6, candidates=candidates(rows))
    names = [p.mixture for p in found.proposals]
    assert len({*names}) == 6
    for p in found.proposals:
        assert p.mixture is not None
        assert list(p.weights.values()) == pytest.approx(list(rows[int(p.mixture[1:])]))
    assert found.proposals[0].why == "best predicted"


def test_what_is_measured_or_under_way_is_not_proposed_while_others_are_left() -> None:
    runs, rows = world(1), np.random.default_rng(3).dirichlet(np.ones(5), 5)
    every = candidates(np.concatenate([runs.weights, rows]))
    first = proposed(runs, candidates=every)
    assert {p.mixture for p in first.proposals} <= {f"c{k}" for k in range(16, 21)}
    waiting = Candidates(ids=("w",), sources=SOURCES, weights=np.array([list(first.proposals[0].weights.values())]))
    again = proposed(runs, candidates=every, pending=waiting)
    assert first.proposals[0].mixture not in {p.mixture for p in again.proposals}
    more = proposed(runs, batch=8, candidates=every)
    assert [p.why for p in more.proposals][5:] == ["replicate"] * 3
    assert len({p.mixture for p in more.proposals}) == 8


def test_pending_mixtures_count_as_known_where_mixtures_are_made() -> None:
    runs = world(2)
    first = proposed(runs)
    rows = np.array([list(p.weights.values()) for p in first.proposals])
    waiting = Candidates(ids=tuple("1234"), sources=SOURCES, weights=rows)
    new = np.array([list(p.weights.values()) for p in proposed(runs, pending=waiting).proposals if p.why != "replicate"])
    for row in new:
        assert 0.5 * np.abs(rows - row).sum(axis=1).min() > 1e-3


def test_made_proposals_differ_from_each_other() -> None:
    rows = np.array([list(p.weights.values()) for p in proposed(world(4)).proposals])
    apart = 0.5 * np.abs(rows[:, None] - rows[None]).sum(axis=2) + np.eye(4)
    assert apart.min() > 0.02


def test_a_clear_winner_is_decided() -> None:
    rng = np.random.default_rng(5)
    rows = rng.dirichlet(np.ones(5), 40)
    values = truth(rows) + 0.001 * rng.standard_normal(40)
    best = int(values.argmax())
    measured = [best, *(k for k in range(30) if k != best)]
    found = proposed(table(rows[measured], values[measured]), candidates=candidates(rows))
    assert found.stop is not None
    assert found.stop.reason == "decided"
    assert found.stop.expected == found.expected < 0.005
    assert found.chance is not None
    assert found.chance > 0.9
    assert len(found.proposals) == 4  # for whoever goes on all the same


def test_pure_noise_is_not_worth_more_runs_and_a_promising_table_is() -> None:
    rng = np.random.default_rng(6)
    rows = rng.dirichlet(np.full(5, 8.0), 40)
    noise = proposed(table(rows, 0.5 + 0.05 * rng.standard_normal(40)))
    assert noise.stop is not None
    assert noise.stop.reason == "expected improvement below the noise"
    assert noise.expected < noise.noise == pytest.approx(0.05, rel=0.5)
    rising = proposed(table(rows, rows[:, 0] + 0.001 * rng.standard_normal(40)), beyond=True)
    assert rising.stop is None
    assert rising.expected > rising.noise


def test_the_runs_that_were_wanted_are_an_end() -> None:
    found = proposed(world(7), most_runs=16)
    assert found.stop is not None
    assert found.stop.reason == "budget spent"
    assert proposed(world(7), most_runs=40).stop != found.stop
    none_left = proposed(world(7), candidates=candidates(world(7).weights[:2]), batch=4)
    assert [p.why for p in none_left.proposals] == ["replicate"] * 2


def test_a_seed_fixes_the_answer_and_the_names_of_sources_do_not_matter() -> None:
    assert proposed(world(8), seed=3) == proposed(world(8), seed=3)
    rows = np.random.default_rng(9).dirichlet(np.ones(5), 30)
    runs, order = world(8), [4, 2, 0, 1, 3]
    turned = MixtureRuns(
        ids=runs.ids,
        sources=tuple(SOURCES[k] for k in order),
        targets=runs.targets,
        weights=runs.weights[:, order],
        scores=runs.scores,
    )
    plain = proposed(runs, candidates=candidates(rows))
    other = proposed(turned, candidates=candidates(rows))
    assert [p.mixture for p in plain.proposals] == [p.mixture for p in other.proposals]


def test_a_study_proposes_from_its_single_sources() -> None:
    matrix = random_matrix(10, sources=5, targets=3, centre=0.1)
    found = proposed(matrix, goals={"target_0": 0.1})
    assert found.best_measured is not None
    assert len(found.proposals) == 4
    assert any(len([w for w in p.weights.values() if w > 0.01]) > 1 for p in found.proposals)


def test_proposals_beat_chance_on_a_generated_table() -> None:
    short: dict[str, list[float]] = {"proposed": [], "random": []}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = rng.dirichlet(np.full(5, 0.8), 90)
        values = truth(rows) + 0.005 * rng.standard_normal(90)
        done = [int(k) for k in rng.permutation(90)[:12]]
        chance = done + [int(k) for k in rng.permutation([k for k in range(90) if k not in done])[:12]]
        for _ in range(3):
            left = [k for k in range(90) if k not in done]
            found = proposed(table(rows[done], values[done]), candidates=candidates(rows[left]))
            done = done + [left[int(str(p.mixture)[1:])] for p in found.proposals]
        short["proposed"].append(values.max() - values[done].max())
        short["random"].append(values.max() - values[chance].max())
    assert np.mean(short["proposed"]) < 0.5 * np.mean(short["random"])


def test_faults_are_told() -> None:
    with pytest.raises(InputError, match="at least 1"):
        propose(world(0), SelectionSpec(), 0)
    foreign = Candidates(ids=("x",), sources=("A", "Z"), weights=np.array([[0.5, 0.5]]))
    with pytest.raises(InputError, match="Z"):
        propose(world(0), SelectionSpec(), candidates=foreign)
    none = propose(world(0), SelectionSpec(caps={"A": 0.0}), candidates=candidates(np.eye(5)[:1]))
    assert isinstance(none, FailedSelection)
    assert "none of the 1 candidates" in none.reason


def write(path: Path, runs: MixtureRuns, scores: bool = True) -> Path:
    header = ["id", *(f"w:{s}" for s in runs.sources), *(f"score:{t}" for t in runs.targets if scores)]
    rows = np.concatenate([runs.weights, runs.scores], axis=1) if scores else runs.weights
    lines = [",".join([name, *map(repr, row.tolist())]) for name, row in zip(runs.ids, rows, strict=True)]
    path.write_text("\n".join([",".join(header), *lines]) + "\n")
    return path


def test_the_command_prints_the_contract_and_writes_mixtures(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs.csv", world(11))
    offered = write(tmp_path / "offered.csv", world(12, rows=20), scores=False)
    done = tvt(
        "propose", "--runs", str(runs), "--candidates", str(offered), "--batch", "3", "-o", str(tmp_path / "next"), "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1
    assert {"proposals", "stop", "best_measured"} <= {*answer}
    assert len(answer["proposals"]) == 3
    for proposal in answer["proposals"]:
        assert {*proposal} == {"weights", "counts", "why", "predicted", "mixture"}
        assert proposal["why"] in ("best predicted", "explore", "replicate")
        assert {"gain", "low", "high", "se"} <= {*proposal["predicted"]["t0"]}
    assert answer["stop"] is None or {*answer["stop"]} == {"reason", "expected"}
    assert answer["best_measured"]["mixture"].startswith("run ")
    files = sorted((tmp_path / "next").glob("*.yaml"))
    assert len(files) == 3
    assert load_mixture(files[0]).counts == answer["proposals"][0]["counts"]
    shown = tvt("propose", "--runs", str(runs), "--cap", "0.5")
    assert shown.returncode == 0, shown.stderr
    assert "What to train next" in shown.stdout
    assert "mixture" not in json.loads(tvt("propose", "--runs", str(runs), "--json").stdout)["proposals"][0]
    refused = tvt("propose", "--runs", str(runs), "--candidates", str(offered), "--floor", "A=1.0")
    assert refused.returncode == 3
    assert_refused(tvt("propose", "--runs", str(runs), "--batch", "0"))


def test_from_python() -> None:
    runs = world(13)
    found = package.propose(runs, caps={"all": 0.5}, batch=2, candidates={"A": 0.5, "B": 0.5})
    assert isinstance(found, Proposals)
    assert found.proposals[0].mixture == "mixture_1"
    assert "stop" in found.json_value()
