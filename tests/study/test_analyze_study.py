"""A study with doses, from training to what ``tvt analyze --adapters`` says of it."""

from __future__ import annotations

import json
import math
import re
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

import study_world
from study_world import done, specs
from tvt.cli.analyze import command
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.io.adapter_file import check_weights, write_record
from tvt.stats.ranks import rank_correlation
from tvt.study.outputs import study_adapters
from tvt.transfer.aggregates import transferability

SOURCES = ("Alpha", "Beta", "Gamma")
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources, two seeds, the whole budget and half of it; then moved away from its tasks and its model."""
    world = study_world.build(tmp_path_factory.mktemp("world"))
    made = world.folder / "study"
    recipe = study_world.write_recipe(world.folder, "doses.yaml", sources=list(SOURCES), seeds=[0, 1], doses=[1.0, 0.5])
    done(study_world.warm_tvt()("study", "run", recipe, "-o", made, "--workers", "2"))
    study = tmp_path_factory.mktemp("moved") / "study"
    shutil.move(made, study)
    shutil.rmtree(world.folder)
    return study


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def run(*args: object, width: int = 80) -> Any:
    found = CliRunner().invoke(command, [str(a) for a in args], env={"COLUMNS": str(width)}, catch_exceptions=True)
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def analysed(study: Path, *args: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run(study, *args, "--json").stdout)["studies"]["small"]
    return told


def adapter(study: Path, source: str, seed: int) -> Path:
    """The folder of a full-budget run's adapter."""
    (found,) = [run_id for run_id, told in specs(study).items() if told["counts"] == {source: 12} and told["seed"] == seed]
    return study / "runs" / found / "adapter"


def formed(folder: Path) -> np.ndarray:
    """All updates of an adapter, formed and laid end to end."""
    tensors, config = load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_text())
    scale = config["lora_alpha"] / config["r"]
    names = sorted(name for name in tensors if "lora_A" in name)
    return np.concatenate(
        [scale * (tensors[n.replace("lora_A", "lora_B")].astype(float) @ tensors[n].astype(float)).ravel() for n in names]
    )


def test_similarity_is_the_cosine_of_the_updates_themselves(finished: Path) -> None:
    told = analysed(finished, "--adapters")["adapters"]
    updates = {(s, k): formed(adapter(finished, s, k)) for s in SOURCES for k in (0, 1)}

    def cosine(a: tuple[str, int], b: tuple[str, int]) -> float:
        return float(updates[a] @ updates[b] / np.linalg.norm(updates[a]) / np.linalg.norm(updates[b]))

    assert told["sources"] == list(SOURCES)
    assert told["runs"] == ["seed_0", "seed_1"]
    assert told["modules"] == 7
    for s in SOURCES:
        assert told["similarity"][s][s] == pytest.approx(1)
        assert told["own_between_runs"][s] == pytest.approx(cosine((s, 0), (s, 1)))
        assert told["norm"][s] == pytest.approx(np.mean([np.linalg.norm(updates[s, k]) for k in (0, 1)]))
        for t in SOURCES:
            if s != t:
                pair = [cosine((s, k), (t, k)) for k in (0, 1)]
                assert told["similarity"][s][t] == pytest.approx(np.mean(pair))
                assert told["similarity_sd"][s][t] == pytest.approx(np.std(pair, ddof=1))
                assert told["between_runs"][s][t] == pytest.approx((cosine((s, 0), (t, 1)) + cosine((s, 1), (t, 0))) / 2)
    assert told["missing"] == []
    assert list(told["parts"]) == ["attention", "MLP"]  # of one layer


def test_similarity_is_held_against_the_symmetrised_pgf(finished: Path) -> None:
    told, matrix = analysed(finished, "--adapters")["adapters"], load_study(str(finished))
    alike = np.array([[told["similarity"][s][t] for t in SOURCES] for s in SOURCES])
    mean = matrix.mean
    pairs, at = (mean + mean.T) / 2, np.triu_indices(3, 1)
    rho = [rank_correlation(alike[np.ix_(p, p)][at], pairs[at]) for p in permutations(range(3))]
    assert told["pgf"]["spearman"] == pytest.approx(rho[0], nan_ok=True)
    if math.isfinite(rho[0]):
        assert told["pgf"]["p"] == pytest.approx(np.mean(np.abs(rho) >= abs(rho[0]) - 1e-9))
        assert (told["pgf"]["relabellings"], told["pgf"]["exact"], told["pgf"]["pairs"]) == (6, True, 3)


def test_doses_are_those_that_were_trained(finished: Path) -> None:
    told, matrix = analysed(finished)["doses"], load_study(str(finished))
    assert [point["dose"] for point in told] == [0.5, 1]
    assert [point["cells"] for point in told] == [6, 6]
    given = transferability(matrix)
    assert told[1]["positive"]["mean"] == pytest.approx(np.mean(given.positive))
    assert told[1]["negative"]["mean"] == pytest.approx(np.mean(given.negative))
    right = {
        (next(iter(spec["counts"])), spec["seed"]): {
            c["target"]: c["correct"] for c in json.loads((finished / "runs" / run_id / "scores.json").read_text())["cells"]
        }
        for run_id, spec in specs(finished).items()
        if sum(spec["counts"].values()) == 6
    }
    half = np.array([[np.mean([right[s, k][t] / 10 for k in (0, 1)]) for t in SOURCES] for s in SOURCES], dtype=float)
    pgf = (half - matrix.base[0]) / (1 - matrix.base[0])
    apart = ~np.eye(3, dtype=bool)
    worked = [
        (1 - math.exp(-p / 2)) / p * row[row > 1e-9].sum() if (p := (row > 1e-9).sum()) else 0.0
        for row in (pgf[i][apart[i]] for i in range(3))
    ]
    assert told[0]["positive"]["mean"] == pytest.approx(np.mean(worked))
    assert told[0]["pattern"]["mean"] == pytest.approx(rank_correlation(pgf[apart], matrix.mean[apart]), nan_ok=True)
    assert analysed(finished)["adapters"] is None  # only where asked for


def test_tables_and_plots(finished: Path, tmp_path: Path) -> None:
    for width in (80, 120):
        out = run(finished, "--adapters", "--plots", tmp_path / str(width), width=width)
        flat = " ".join(out.stdout.split())
        assert max(map(len, out.stdout.splitlines())) <= width
        assert not re.search(r"\bnan\b", flat, re.IGNORECASE)
        assert "Mean transferability by dose (95% interval from the runs)" in flat
        assert "Similarity of adapters: cosine x 100, same seed; diagonal: the task itself with another seed" in flat
        assert "With symmetrised PGF:" in flat
        assert "Between seeds, which share no start: with itself" in flat
        names = {f"{name}-small.{suffix}" for name in ("doses", "adapters") for suffix in ("svg", "png")}
        assert names <= {path.name for path in (tmp_path / str(width)).iterdir()}
    assert (tmp_path / "80" / "adapters-small.svg").read_bytes() == (tmp_path / "120" / "adapters-small.svg").read_bytes()


def test_a_run_without_an_adapter_is_left_out_and_told(study: Path) -> None:
    folder = adapter(study, "Beta", 1).parent
    (folder / "training.json").unlink()
    (folder / "failure.json").write_text(json.dumps({"schema": 1, "reason": "the loss was not finite", "at": ""}))
    out = json.loads(run(study, "--adapters", "--json").stdout)
    told = out["studies"]["small"]["adapters"]
    assert told["missing"] == ["Beta, seed 1: the loss was not finite"]
    assert told["own_between_runs"]["Beta"] is None
    assert told["similarity_sd"]["Alpha"]["Beta"] is None
    assert told["similarity"]["Alpha"]["Beta"] is not None
    assert "small: no adapter of Beta, seed 1: the loss was not finite" in out["notes"]


def test_one_seed_has_no_yardstick(study: Path) -> None:
    for source in SOURCES:
        (adapter(study, source, 1).parent / "training.json").unlink()
    out = run(study, "--adapters")
    assert "Similarity of adapters: cosine x 100, same seed\n" in out.stdout
    assert "Between seeds" not in out.stdout
    told = analysed(study, "--adapters")["adapters"]
    assert told["pgf_between_runs"] is None
    assert told["runs"] == ["seed_0"]


def test_too_few_adapters(study: Path) -> None:
    for source in ("Alpha", "Gamma"):
        for seed in (0, 1):
            (adapter(study, source, seed).parent / "training.json").unlink()
    with pytest.raises(InputError, match=r"adapters of 1 of 3 sources, and comparing takes two \(Alpha, seed 0: not trained"):
        study_adapters(study)


def test_damaged_and_unfit_adapters_are_all_told(study: Path) -> None:
    cut = adapter(study, "Alpha", 0) / WEIGHTS
    cut.write_bytes(cut.read_bytes()[:-8])
    folder = adapter(study, "Beta", 1)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "use_dora": True}))
    write_record(folder, check_weights(folder / WEIGHTS))
    with pytest.raises(InputError) as error:
        run(study, "--adapters")
    first, second = error.value.faults
    assert str(cut) in first
    assert f"{folder}: is a DoRA adapter" in second


def test_adapters_of_another_width_are_refused(study: Path) -> None:
    folder = adapter(study, "Gamma", 0)
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = np.concatenate([tensors[name], tensors[name]], axis=1)
    save_file(tensors, folder / WEIGHTS)
    write_record(folder, check_weights(folder / WEIGHTS))
    with pytest.raises(InputError, match=re.escape(f"{folder}: ") + ".* has another width than in .*; compare adapters of one"):
        run(study, "--adapters")


def test_runs_of_an_earlier_recipe_are_not_taken(study: Path) -> None:
    """A run with another learning rate is none of the study's; two that only differ in their rows are not guessed between."""
    folder = adapter(study, "Alpha", 0).parent
    shutil.copytree(folder, folder.parent / "0123", ignore=shutil.ignore_patterns(".id"))
    spec = json.loads((folder / "spec.json").read_text())
    spec["identity"]["training"]["learning_rate"] = 0.5
    (folder.parent / "0123" / "spec.json").write_text(json.dumps(spec))
    before = analysed(study, "--adapters")["adapters"]
    assert before["missing"] == []
    spec = json.loads((folder / "spec.json").read_text())
    spec["identity"]["data"]["Alpha"] = "other rows"
    (folder.parent / "0123" / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(InputError, match="both are Alpha, seed 0; delete the one that"):
        run(study, "--adapters")


def test_studies_without_adapters_say_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("source,target,pgf\nA,B,0.1\nB,A,0.2\n")
    with pytest.raises(InputError) as error:
        run("qwen2.5-vl-3b", path, "--adapters")
    first, second = error.value.faults
    assert "qwen2.5-vl-3b: holds no adapters" in first
    assert second == (
        f"{path}: holds no adapters (recipe.yaml and runs/ are missing); name the folder of a study that tvt study run made, "
        "or leave out --adapters"
    )
