"""Placebo runs as real processes: trained, scored, resumed, merged, analysed, and arms of a comparison."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import tvt
from commands import ROOT
from study_world import QUESTIONS, TASKS, adapters, build, chunks, done, leftovers, specs, warm_tvt, write_recipe

pytestmark = pytest.mark.slow
KINDS = ("placebo-shuffled", "placebo-format")


@dataclass(frozen=True)
class Ran:
    """A study that ran without placebos first, and then with them."""

    recipe: Path
    folder: Path
    before: dict[str, str]
    """The digests of its adapters before the placebos."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    world = build(tmp_path_factory.mktemp("world"))
    folder = world.folder / "study"
    done(warm_tvt()("study", "run", world.recipe, "-o", folder))
    before = adapters(folder)
    recipe = write_recipe(world.folder, placebo=["shuffled", "format"])
    done(warm_tvt()("study", "run", recipe, "-o", folder, "--workers", "2"))
    return Ran(recipe, folder, before)


def placebos(folder: Path) -> dict[str, str]:
    """The digests of the placebos' adapters."""
    return {name: digest for name, digest in adapters(folder).items() if name.startswith("placebo-")}


def test_placebos_join_a_study_and_leave_its_runs_as_they_are(ran: Ran) -> None:
    assert ran.before.items() <= adapters(ran.folder).items()
    assert sorted(name.rsplit("-", 1)[0] for name in placebos(ran.folder)) == ["placebo-format-seed0", "placebo-shuffled-seed0"]
    assert len(set(adapters(ran.folder).values())) == 4  # each learnt something of its own
    told = {name: spec for name, spec in specs(ran.folder).items() if name.startswith("placebo-")}
    assert {spec["placebo"] for spec in told.values()} == {"shuffled", "format"}
    assert all(spec["counts"] == {"Alpha": 6, "Beta": 6} for spec in told.values())
    assert leftovers(ran.folder) == []


def test_the_matrix_carries_their_gains_and_has_no_more_sources(ran: Ran) -> None:
    matrix = tvt.load_study(ran.folder)
    assert matrix.sources == ("Alpha", "Beta")
    assert matrix.evidence is None
    assert matrix.placebo is not None
    assert (matrix.placebo.sources, matrix.placebo.targets, matrix.placebo.runs) == (KINDS, TASKS, ("seed_0",))
    header, *rows = (ran.folder / "placebos.csv").read_text().splitlines()
    assert header == "run,placebo,target,correct,total,both_correct"
    assert len(rows) == len(KINDS) * len(TASKS)
    study = json.loads(done(warm_tvt()("analyze", ran.folder, "--json")).stdout)["studies"]["small"]
    assert set(study["generic_from"].values()) == {"placebo"}
    for target in TASKS:
        mean = sum(study["placebo"][kind][target]["mean"] for kind in KINDS) / 2
        assert study["generic"][target]["mean"] == pytest.approx(mean, abs=1e-5)


def test_what_is_done_is_not_done_again_and_what_is_lost_is(ran: Ran, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ran.folder, folder)
    answers, trained = list(chunks(folder)), adapters(folder)
    done(warm_tvt()("study", "run", ran.recipe, "-o", folder))
    assert (list(chunks(folder)), adapters(folder)) == (answers, trained)
    (lost,) = folder.glob("runs/placebo-format-*")
    shutil.rmtree(lost)
    state = json.loads(done(warm_tvt()("study", "status", folder, "--json")).stdout)
    assert [run["label"] for run in state["runs"] if run["status"] != "done"] == ["placebo-format"]
    done(warm_tvt()("study", "run", ran.recipe, "-o", folder))
    assert adapters(folder) == trained  # the very same adapter


def test_a_kill_in_the_middle_of_a_placebo_is_made_good(ran: Ran, tmp_path: Path) -> None:
    """Rows mixed and a run begun, as a killed process leaves them."""
    folder = tmp_path / "study"
    shutil.copytree(ran.folder, folder)
    (run,) = folder.glob("runs/placebo-shuffled-*")
    for name in ("training.json", "scores.json"):
        (run / name).unlink()
    shutil.rmtree(run / "adapter")
    done(warm_tvt()("study", "run", ran.recipe, "-o", folder))
    assert adapters(folder) == adapters(ran.folder)


def test_merging_checks_and_takes_them(ran: Ran, tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    (told,) = json.loads(done(warm_tvt()("study", "merge", joined, ran.folder, "--json")).stdout)["from"]
    assert len(told["copied"]) == 5
    assert told["refused"] == {}
    assert (joined / "placebos.csv").read_text() == (ran.folder / "placebos.csv").read_text()
    assert placebos(joined) == placebos(ran.folder)
    (run,) = joined.glob("runs/placebo-format-*")
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps({**spec, "identity": {**spec["identity"], "seed": 1}}))
    refused = warm_tvt()("study", "merge", tmp_path / "again", joined, "--dry-run")
    assert refused.returncode == 2
    assert "describes another run than its folder is of" in refused.stderr


def test_a_comparison_has_them_as_arms_without_training_them_anew(ran: Ran, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ran.folder, folder)
    before = placebos(folder)
    mixture = tmp_path / "mixture.yaml"
    done(warm_tvt()("select", folder, "--target", "Gamma", "--anyway", "-o", mixture))
    found = json.loads(done(warm_tvt()("compare", folder, mixture, "--randoms", "1", "--run", "--json")).stdout)
    arms = {arm["label"]: arm for arm in found["entries"]}
    assert [label for label, arm in arms.items() if arm["kind"] == "placebo"] == list(KINDS)
    assert arms["placebo-format"]["counts"] == {"Alpha": 6, "Beta": 6} == arms["uniform"]["counts"]
    assert "placebo-format" not in found["same"]  # the same counts as uniform, of other rows
    assert set(KINDS) <= {contrast["entry"] for contrast in found["gains"]}
    predicted = {point["label"] for point in found["promise"]["points"]}
    assert predicted
    assert not predicted & set(KINDS)  # nobody predicts what rows teach that teach nothing
    assert placebos(folder) == before
    # Scored on what comparisons report on, beside the questions of the study.
    (run,) = folder.glob("runs/placebo-format-*")
    cells = json.loads((run / "scores.json").read_text())["cells"]
    assert {cell["part"] for cell in cells} == {"evaluation", "report"}
    assert all(cell["total"] == QUESTIONS for cell in cells)
    # Runs of a comparison are evidence for the study; placebos are none.
    matrix = tvt.load_study(folder)
    assert matrix.placebo is not None
    assert matrix.evidence is None or not any("placebo" in name for name in matrix.evidence.ids)


def test_on_a_base_without_a_letter_habit_placebos_bring_nothing(tmp_path: Path) -> None:
    """Real training of the tiny model. Measured: own data +0.00, the placebos -0.36 (shuffled) and -0.22 (format)."""
    settings = [
        "model.model_name_or_path=tvt/miniature-balanced", "sources=[Relative_Reflectance,Nearest_Post]",
        "targets=[Nearest_Post]", "seeds=[0]", "budget=960", "placebo=[shuffled,format]",
    ]  # fmt: skip
    options = [part for setting in settings for part in ("--set", setting)]
    done(warm_tvt()("study", "run", ROOT / "recipes" / "miniature.yaml", "-o", tmp_path / "study", *options))
    (study,) = tvt.analyze(tmp_path / "study").studies
    placebo = study.matrix.placebo
    assert placebo is not None
    own = study.matrix.mean[study.matrix.sources.index("Nearest_Post"), 0]
    assert placebo.mean.max() < min(own, 0.05)
    assert study.split.origins == ("placebo",)
    assert study.split.specific[1, 0] == pytest.approx(own - placebo.mean.mean())
