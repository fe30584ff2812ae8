"""Transfer from gradients: their product predicts what a small step does, an estimate goes on where it was killed, and every
command takes it for what it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

import torch

import study_world
import tiny_vlm
from study_world import done
from tvt.core.mixture import Mixture
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.studies.gradient_file import read_gradients
from tvt.evaluate.scored_quantity import LETTERS, LIKELIHOOD, ScoredQuantity
from tvt.evaluate.scorer import Scorer
from tvt.io.yaml_files import load_recipe
from tvt.model.base import Loaded
from tvt.study.gradients import Sketch, cells_of
from tvt.train.gradients import AdapterGradients, RowLoss, fresh_adapter

STEP = 1e-2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> study_world.World:
    return study_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def estimated(world: study_world.World) -> Path:
    """A folder with the base model's scores and the estimate."""
    folder = world.folder / "study"
    done(study_world.warm_tvt()("study", "run", world.recipe, "-o", folder, "--estimate", "gradients"))
    return folder


@pytest.mark.parametrize(
    ("family", "kind"), [("llava", LETTERS), ("llava", LIKELIHOOD), ("qwen", LETTERS), ("qwen3", LETTERS), ("idefics", LETTERS)]
)
def test_the_product_predicts_what_a_tiny_step_does(world: study_world.World, tmp_path: Path, family: str, kind: str) -> None:
    """Of gradient descent on the loss of a source's rows, to the score of a target's questions."""
    model = tiny_vlm.save(tmp_path / "model", family)
    recipe = load_recipe(world.recipe, [f"model.model_name_or_path={model}"])
    base = Loaded(config=recipe.model)
    base.load()
    write_mix(plan_mix(Mixture.of_counts({"Alpha": 8}), {"Alpha": world.rows("Alpha")}, seed=0), tmp_path / "mixed")
    questions = study_world.drawn("Beta", 6, seed=5)[::2]  # with a picture each
    quantity = ScoredQuantity(Scorer(base, recipe.evaluation))
    loss = RowLoss(tmp_path / "mixed", tmp_path / "cache", base)
    with fresh_adapter(base, recipe, seed=0) as gradients:

        def score() -> float:
            with torch.no_grad():
                return float(quantity.of(kind)(gradients.model, questions)[0]) / len(questions)

        g = gradients.of(loss, [list(range(4)), list(range(4, 8))])
        h = gradients.of(quantity.of(kind), [questions])
        before, at = score(), 0
        with torch.no_grad():
            for weight in gradients.weights:
                weight.sub_(STEP * torch.from_numpy(g[at : at + weight.numel()]).reshape(weight.shape))
                at += weight.numel()
        assert at == len(g) == gradients.numbers
        expected = -STEP * float(g @ h)
        assert abs(expected) > 1e-6
        assert score() - before == pytest.approx(expected, rel=0.05)
    assert base.put_back()


def test_batches_do_not_matter(world: study_world.World, tmp_path: Path) -> None:
    recipe = load_recipe(world.recipe)
    base = Loaded(config=recipe.model)
    base.load()
    write_mix(plan_mix(Mixture.of_counts({"Beta": 6}), {"Beta": world.rows("Beta")}, seed=0), tmp_path / "mixed")
    loss = RowLoss(tmp_path / "mixed", tmp_path / "cache", base)
    with fresh_adapter(base, recipe, seed=0) as gradients:
        whole, parts = (gradients.of(loss, batches) for batches in ([[0, 1, 2, 3, 4, 5]], [[0], [1, 2], [3, 4, 5]]))
    assert parts == pytest.approx(whole, rel=1e-3, abs=1e-5 * float(np.abs(whole).max()))


def test_products_of_projections_are_right_on_average() -> None:
    model = torch.nn.Linear(50, 40)
    a, b = (torch.randn(2040, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    b = b + a / 2

    def value(of: torch.Tensor) -> Any:
        return lambda model, batch: (sum((w * p).sum() for w, p in zip(model.parameters(), _split(of), strict=True)), 1)

    products = []
    for seed in range(30):
        gradients = AdapterGradients(model, None, seed, exact=100, dimensions=128)
        assert (gradients.projected, gradients.length) == (True, 128)
        one, other = (gradients.of(value(of), [[0]]) for of in (a, b))
        assert one.shape == (128,)
        products.append(float(one @ other))
    exact = float(a @ b)
    sd = float(torch.sqrt(2 * (a @ a) * (b @ b) / 128))
    assert np.mean(products) == pytest.approx(exact, abs=3 * sd / np.sqrt(30))
    assert np.std(products) < 1.5 * sd


def _split(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return flat[:2000].reshape(40, 50), flat[2000:]


def test_errors_are_those_of_rows_and_of_questions() -> None:
    """Against the spread of the estimate over draws of new rows and questions."""
    rng = np.random.default_rng(0)
    g, h = rng.normal(size=5), rng.normal(size=5)

    def sketch(mean: Any, noise: float) -> Sketch:
        chunks = mean + noise * rng.normal(size=(8, 5))
        return Sketch(chunks=chunks, sizes=np.full(8, 4), numbers=5, quantity="letters")

    found = [cells_of({"S": sketch(g, 0.5)}, {"T": sketch(h, 0.3)}, masked={}, identity="") for _ in range(400)]
    spread = np.std([cells.change[0, 0] for cells in found])
    assert np.mean([cells.change[0, 0] for cells in found]) == pytest.approx(-g @ h, abs=0.05)
    assert np.sqrt(np.mean([cells.error[0, 0] ** 2 for cells in found])) == pytest.approx(spread, rel=0.15)
    assert all(cells.projection_error[0, 0] == 0 for cells in found)


def test_an_interrupted_estimate_goes_on_to_the_same_bytes(estimated: Path, world: study_world.World) -> None:
    files = {path.name: path.read_bytes() for path in (*estimated.glob("gradients/*.npz"), estimated / "gradients.json")}
    assert len(files) == 6  # two sources, three targets
    for path in (*sorted(estimated.glob("gradients/*.npz"))[1::2], estimated / "gradients.json"):
        path.unlink()
    run = study_world.warm_tvt()
    again = json.loads(done(run("study", "run", world.recipe, "-o", estimated, "--estimate", "gradients", "--json")).stdout)
    assert again["gradients"] == {"rows": 32, "questions": 30, "computed": 2, "masked": {}}
    assert {p.name: p.read_bytes() for p in (*estimated.glob("gradients/*.npz"), estimated / "gradients.json")} == files
    assert study_world.leftovers(estimated) == []


def test_analyze_shows_an_estimate_where_nothing_was_run(estimated: Path) -> None:
    told = json.loads(done(study_world.warm_tvt()("analyze", estimated, "--json")).stdout)["studies"]["small"]
    assert set(told["gradients"]) == {"Alpha", "Beta"}
    for row in told["gradients"].values():
        assert set(row) == set(study_world.TASKS)
        assert all(np.isfinite(cell["mean"]) and cell["se"] > 0.1 for cell in row.values())
    assert told["gradients_calibration"]["calibrated"] is False
    assert told["cliques"]["positive_every_seed"] == []
    assert "five are needed" in done(study_world.warm_tvt()("analyze", estimated)).stdout.replace("\n", " ")


def test_an_estimate_alone_makes_no_gain_credible(estimated: Path) -> None:
    answer = done(study_world.warm_tvt()("select", estimated, "--target", "Gamma", "--budget", "100", "--json")).stdout
    told = json.loads(answer)
    assert told["verdict"] == "nothing_helps"
    assert told["provenance"]["evidence"]["gradient_cells"] == 6


def test_a_study_goes_on_where_an_estimate_was(estimated: Path, world: study_world.World) -> None:
    before = read_gradients(estimated)
    done(study_world.warm_tvt()("study", "run", world.recipe, "-o", estimated))
    told = json.loads(done(study_world.warm_tvt()("analyze", estimated, "--json")).stdout)["studies"]["small"]
    assert told["pgf"]["Alpha"]["Beta"]["mean"] is not None
    assert told["gradients_calibration"]["runs"] == 2
    after = read_gradients(estimated)
    assert before is not None
    assert after is not None
    assert after.digest() == before.digest()


def test_estimating_and_choosing_runs_exclude_each_other(world: study_world.World, tmp_path: Path) -> None:
    options = ("--estimate", "gradients", "--adaptive", "--target", "Gamma")
    result = study_world.warm_tvt()("study", "run", world.recipe, "-o", tmp_path / "s", *options)
    assert result.returncode == 2
    assert "drop one of them" in result.stderr
