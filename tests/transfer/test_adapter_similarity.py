"""How alike adapters are: against updates that are formed, worked by hand, and whatever makes the same updates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tvt.core.matrix import TransferMatrix
from tvt.io.lora_file import LowRank
from tvt.stats.ranks import SAMPLED, mantel
from tvt.transfer.adapter_similarity import (
    AdapterKey,
    adapter_similarity,
    beside_pgf,
    inner_products,
    module_kind,
    module_layer,
    symmetrised,
)

ATTENTION, MLP = "model.layers.{}.self_attn.q_proj", "model.layers.{}.mlp.up_proj"


def update(rng: np.random.Generator, rank: int, outputs: int, inputs: int) -> LowRank:
    return LowRank(a=rng.normal(size=(rank, inputs)), b=rng.normal(size=(outputs, rank)), scale=float(rng.uniform(0.1, 4)))


def formed(of: LowRank | None, outputs: int, inputs: int) -> np.ndarray:
    return np.zeros((outputs, inputs)) if of is None else of.scale * of.b @ of.a


def world(keys: list[AdapterKey], seed: int = 0, layers: int = 2) -> list[tuple[str, list[LowRank | None]]]:
    """Attention and MLP modules of some layers; every adapter has its own ranks."""
    rng = np.random.default_rng(seed)
    names = [name.format(k) for k in range(layers) for name in (ATTENTION, MLP)]
    return [(name, [update(rng, 1 + n % 3, 5, 7) for n in range(len(keys))]) for name in names]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def flat(modules: list[tuple[str, list[LowRank | None]]], at: int) -> np.ndarray:
    return np.concatenate([formed(updates[at], 5, 7).ravel() for _, updates in modules])


def test_worked_by_hand() -> None:
    """Updates [[2, 0], [0, 0]], [[3, 3], [0, 0]] and [[0, 0], [0, -1]]."""
    one = LowRank(a=np.array([[1.0, 0.0]]), b=np.array([[1.0], [0.0]]), scale=2)
    two = LowRank(a=np.array([[1.0, 1.0], [0.0, 1.0]]), b=np.array([[3.0, 0.0], [0.0, 0.0]]), scale=1)
    three = LowRank(a=np.array([[0.0, -2.0]]), b=np.array([[0.0], [1.0]]), scale=0.5)
    assert inner_products([one, two, three]).tolist() == [[4, 6, 0], [6, 18, 0], [0, 0, 1]]
    found = adapter_similarity([("A", "0"), ("B", "0"), ("C", "0")], [("m", [one, two, three])])
    assert found.mean[0, 1] == pytest.approx(1 / np.sqrt(2))
    assert found.mean[0, 2] == 0
    assert found.norms[0].tolist() == pytest.approx([2, np.sqrt(18), 1])


@given(seed=st.integers(0, 2**32 - 1), ranks=st.lists(st.integers(0, 4), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_inner_products_are_those_of_the_formed_updates(seed: int, ranks: list[int]) -> None:
    rng = np.random.default_rng(seed)
    updates = [update(rng, rank, 3, 6) if rank else None for rank in ranks]
    wanted = [[float((formed(a, 3, 6) * formed(b, 3, 6)).sum()) for b in updates] for a in updates]
    assert inner_products(updates) == pytest.approx(np.array(wanted), abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_what_makes_the_same_update_is_the_same_adapter(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = update(rng, rank, 5, 7), update(rng, 2, 5, 7)
    turn = np.linalg.qr(rng.normal(size=(rank, rank)))[0] * rng.uniform(0.5, 2, rank)  # well away from singular
    same = LowRank(a=np.linalg.solve(turn, one.a), b=one.b @ turn, scale=one.scale)
    keys = [("A", "0"), ("B", "0"), ("C", "0")]
    found = adapter_similarity(keys, [("m", [one, same, other])]).mean
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] == pytest.approx(found[1, 2])
    moved = LowRank(a=one.a, b=one.b, scale=-3 * one.scale)
    assert adapter_similarity(keys, [("m", [one, moved, other])]).mean[1, 2] == pytest.approx(-found[0, 2])


def test_cosines_over_all_modules_within_and_between_runs() -> None:
    keys = [(source, run) for run in ("seed_0", "seed_1", "seed_2") for source in ("A", "B")]
    del keys[3]  # B has no adapter of seed 1
    modules = world(keys)
    modules[1][1][2] = None  # an adapter may leave a module as it is
    found = adapter_similarity(keys, iter(modules))
    whole = {key: flat(modules, at) for at, key in enumerate(keys)}
    within = [cosine(whole["A", f"seed_{k}"], whole["B", f"seed_{k}"]) for k in (0, 2)]
    assert found.sources == ("A", "B")
    assert found.per_run.shape == (3, 2, 2)
    assert found.mean[0, 1] == pytest.approx(np.mean(within))
    assert found.spread[0, 1] == pytest.approx(np.std(within, ddof=1))
    assert np.isnan(found.per_run[1, 0, 1])
    runs = [f"seed_{k}" for k in range(3)]
    apart = [(one, other) for one in runs for other in runs if one != other and ("B", other) in keys]
    assert found.between[0, 1] == pytest.approx(np.mean([cosine(whole["A", one], whole["B", other]) for one, other in apart]))
    assert found.between[1, 0] == found.between[0, 1]
    own = [cosine(whole["A", one], whole["A", other]) for one, other in itertools.combinations(runs, 2)]
    assert found.own == pytest.approx([np.mean(own), cosine(whole["B", "seed_0"], whole["B", "seed_2"])])
    assert found.norms[2] == pytest.approx([np.linalg.norm(whole["A", "seed_2"]), np.linalg.norm(whole["B", "seed_2"])])


def test_order_of_adapters_and_modules_does_not_matter() -> None:
    keys = [(source, run) for run in ("0", "1") for source in ("A", "B", "C")]
    modules = world(keys)
    found = adapter_similarity(keys, modules)
    order = [2, 0, 1, 5, 3, 4]
    turned = adapter_similarity([keys[k] for k in order], [(n, [u[k] for k in order]) for n, u in reversed(modules)])
    assert turned.sources == ("C", "A", "B")
    assert turned.mean == pytest.approx(found.mean[np.ix_([2, 0, 1], [2, 0, 1])])
    assert turned.own == pytest.approx(found.own[[2, 0, 1]])


def test_parts_are_the_same_over_some_modules() -> None:
    keys = [(source, run) for run in ("0", "1") for source in ("A", "B", "C")]
    modules = world(keys, layers=6)
    found = {part.name: part for part in adapter_similarity(keys, modules).parts}
    assert list(found) == ["attention", "MLP", "layers 0-1", "layers 2-3", "layer 4", "layer 5"]
    assert [part.modules for part in found.values()] == [6, 6, 4, 4, 2, 2]
    assert found["attention"].share + found["MLP"].share == pytest.approx(1)
    assert sum(part.share for name, part in found.items() if "layer" in name) == pytest.approx(1)
    alone = adapter_similarity(keys, [pair for pair in modules if ".mlp." in pair[0]])
    assert found["MLP"].same_run == pytest.approx(np.mean(alone.mean[alone.apart]))
    assert found["MLP"].own == pytest.approx(np.mean(alone.own))
    assert alone.parts[0].name == "layers 0-1"  # of one kind alone, the kinds are not told


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("model.language_model.layers.17.self_attn.o_proj", "attention", 17),
        ("model.language_model.layers.3.mlp.gate_proj", "MLP", 3),
        ("model.visual.blocks.3.attn.qkv", "vision", None),
        ("model.vision_tower.encoder.layers.2.mlp.fc1", "vision", None),
        ("transformer.h.5.attn.c_proj", "attention", 5),
        ("model.connector.proj", "other", None),
    ],
)
def test_modules_are_told_apart_by_name(name: str, kind: str, layer: int | None) -> None:
    assert (module_kind(name), module_layer(name)) == (kind, layer)


def test_an_adapter_that_adds_nothing_is_like_no_other() -> None:
    rng = np.random.default_rng(0)
    still = LowRank(a=rng.normal(size=(2, 7)), b=np.zeros((5, 2)), scale=1)
    found = adapter_similarity([("A", "0"), ("B", "0")], [("m", [update(rng, 2, 5, 7), still])])
    assert np.isnan(found.mean[0, 1])
    assert np.isnan(found.mean[1, 1])
    assert found.mean[0, 0] == 1
    assert found.to_json()["similarity"]["A"] == {"A": 1.0, "B": None}


def test_updates_of_other_shapes_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"\(5, 7\), \(5, 8\)"):
        inner_products([update(rng, 2, 5, 7), update(rng, 2, 5, 8)])


def test_one_gradient_from_two_starts_is_hardly_alike() -> None:
    """The first steps give ``dW = G A'A``: the same for the same A, and a cosine near rank / inputs for another."""
    rng = np.random.default_rng(0)
    rank, inputs, gradient = 8, 256, rng.normal(size=(64, 256))
    found = []
    for _ in range(20):
        starts = [rng.normal(size=(rank, inputs)) for _ in range(2)]
        updates = [LowRank(a=a, b=gradient @ a.T, scale=1) for a in starts]
        found.append(adapter_similarity([("A", "0"), ("A", "1")], [("m", updates)]).own[0])
    assert np.mean(found) == pytest.approx(rank / inputs, rel=0.3)


def table(seed: int, tasks: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(tasks, tasks))
    return values + values.T


def test_mantel_looks_at_every_relabelling_of_few_tasks() -> None:
    first, second = table(0, 5), table(1, 5)
    at = np.triu_indices(5, 1)
    rho = [spearmanr(first[np.ix_(p, p)][at], second[at]).statistic for p in itertools.permutations(range(5))]
    found = mantel(first, second)
    assert found.rho == pytest.approx(rho[0])
    assert found.p == pytest.approx(np.mean(np.abs(rho) >= abs(rho[0]) - 1e-9))
    assert (found.relabellings, found.exact, found.tasks, found.pairs) == (120, True, 5, 10)


def test_mantel_samples_relabellings_of_many() -> None:
    first = table(0, 9)
    found = mantel(first, first**3)
    assert found.rho == pytest.approx(1)
    assert (found.relabellings, found.exact, found.pairs) == (SAMPLED + 1, False, 36)
    assert found.p == 1 / (SAMPLED + 1)  # 9! labels; hardly another one is as good as the true one
    assert mantel(first, -first).rho == pytest.approx(-1)
    noise = mantel(first, table(5, 9))
    assert noise == mantel(first, table(5, 9))
    assert noise.p == pytest.approx(mantel(first, table(5, 9), seed=1).p, abs=0.02)


def test_mantel_leaves_out_what_is_missing() -> None:
    first, second = table(0, 6), table(1, 6)
    gone = first.copy()
    gone[2, :] = gone[:, 2] = np.nan
    keep = [0, 1, 3, 4, 5]
    both = np.ix_(keep, keep)
    assert mantel(gone, second) == mantel(first[both], second[both])
    second[0, 1] = second[1, 0] = np.nan
    found = mantel(first, second)
    assert found.pairs == 14
    at = np.triu_indices(6, 1)
    there = np.isfinite(second[at])
    assert found.rho == pytest.approx(spearmanr(first[at][there], second[at][there]).statistic)


@pytest.mark.parametrize(("first", "second"), [(table(0, 2), table(1, 2)), (table(0, 4), np.ones((4, 4)))])
def test_mantel_of_too_little(first: np.ndarray, second: np.ndarray) -> None:
    found = mantel(first, second)
    assert np.isnan(found.rho)
    assert np.isnan(found.p)


def test_mantel_is_no_more_often_small_than_it_says() -> None:
    found = [mantel(table(2 * k, 5), table(2 * k + 1, 5)).p for k in range(200)]
    assert np.mean([p <= 0.1 for p in found]) < 0.17
    assert 0.4 < np.mean(found) < 0.62


def test_beside_pgf_takes_tasks_that_are_sources_and_targets() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 5))
    matrix = TransferMatrix.from_values(values, sources=list("ABCDE"), targets=list("EDCBX"), runs=["0", "1"])
    mean = values.mean(axis=0)
    pairs = symmetrised(matrix, ["B", "C"])
    assert pairs[0, 1] == pytest.approx((mean[1, 2] + mean[2, 3]) / 2)  # B to C, C to B
    assert pairs[1, 0] == pairs[0, 1]
    keys = [(source, run) for run in ("0", "1") for source in "ABCD"]
    found = beside_pgf(adapter_similarity(keys, world(keys)), matrix)
    assert found.pgf is not None
    assert (found.pgf.tasks, found.pgf.pairs, found.pgf.relabellings) == (3, 3, 6)
    assert found.pgf == mantel(found.mean[1:, 1:], symmetrised(matrix, list("BCD")))
    assert found.pgf_between == mantel(found.between[1:, 1:], symmetrised(matrix, list("BCD")))
