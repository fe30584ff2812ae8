"""Previews: merged adapters are scored as runs are, ranked by the request, and held against what training gave."""

# ruff: noqa: E402
from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

import yaml
from rich.console import Console

import tiny_vlm
from commands import tvt
from tvt.api.mixtures import open_previewed, preview_selection
from tvt.compare.baselines import candidates, distinct
from tvt.core.arms import Candidate
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.scores import Run, perfection_gap_factor
from tvt.core.selection import SelectionSpec
from tvt.core.values import encode
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.data.studies.load import load_study
from tvt.data.task_questions import locate, read
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.merging import merge_adapters
from tvt.io.adapter_file import WEIGHTS, Adapter, check_weights, write_record
from tvt.io.yaml_files import load_recipe
from tvt.report.selection_tables import preview_report
from tvt.selection.engine import Prepared, finish, prepare
from tvt.study.jobs import RunTask, make_job
from tvt.study.preview import preview, trained_candidates
from tvt.study.previewed import Gain, Preview, Previewed, agreements, judged
from tvt.study.runner import Runner
from tvt.study.session import Session, open_session, save_recipe
from tvt.study.views import write_views
from tvt.train.record import TrainingRecord, save_training_record

TASKS = ("Alpha", "Beta", "Gamma")
MIXED = {"even": {"Alpha": 4, "Beta": 4, "Gamma": 4}, "pair": {"Alpha": 9, "Beta": 3}}
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: a tiny model, random adapters in place of training, two mixtures among them, all really scored."""
    folder = tmp_path_factory.mktemp("world")
    tiny_vlm.save(folder / "model", layers=1)
    for k, task in enumerate(TASKS):
        write_jsonl(tiny_vlm.questions(task, 12, images=(0,), seed=k), folder / f"{task}-train.jsonl")
        write_parquet(tiny_vlm.questions(task, 30, images=(1, 0), seed=10 + k), folder / f"{task}.parquet")
        told: dict[str, Any] = {"training": f"{task}-train.jsonl", "evaluation": f"{task}.parquet"}
        manifest = {"name": task, "options": 4, **{part: {"path": path} for part, path in told.items()}}
        (folder / f"{task.lower()}.yaml").write_text(yaml.safe_dump(manifest))
    recipe = {
        "name": "small",
        "model": {"model_name_or_path": str(folder / "model"), "dtype": "float32"},
        "manifests": [str(folder)],
        "sources": list(TASKS),
        "targets": list(TASKS),
        "budget": 12,
        "seeds": list(SEEDS),
        "evaluation": {"batch_size": 10},
    }
    (folder / "recipe").mkdir()
    (folder / "recipe" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    session = open_session(load_recipe(folder / "recipe" / "recipe.yaml"), folder / "study")
    runs = [Run(label=label, counts=counts, seed=seed) for label, counts in MIXED.items() for seed in SEEDS]
    tasks = [*session.tasks(), *session.comparison_tasks(runs, [])]
    for k, task in enumerate(tasks):
        place = session.store.run_folder(task.run_id)
        if not task.run.is_base and not (place / "adapter").exists():
            adapter = tiny_vlm.save_adapter(folder / "model", place / "adapter", k, scale=0.5)
            written = write_record(adapter, check_weights(adapter / WEIGHTS))
            save_training_record(trained(written, task), place)
    executor = Runner(job=make_job(session.study, session.store.folder, tasks), note=print)
    for task in tasks:
        executor.do(task, lambda *_: None)
    save_recipe(session.study.recipe, session.store.folder)
    write_views(session.study, session.store)
    return session.store.folder


def trained(adapter: Adapter, task: RunTask) -> TrainingRecord:
    """The record of a run that nobody trained."""
    return TrainingRecord(
        adapter=adapter.folder,
        identity=task.run_id,
        adapter_digest=adapter.digest,
        seed=task.run.seed,
        dataset_digest="",
        rows=12,
        steps=1,
        epochs=1.0,
        losses=((1, 1.0),),
        seconds=1.0,
        rows_per_second=12.0,
        peak_memory_bytes=None,
        num_processes=1,
        resumed_from=None,
        versions={},
    )


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Session:
    """A copy of the study for a test to change."""
    shutil.copytree(made, tmp_path / "study")
    return open_previewed([str(tmp_path / "study")])


def prepared(session: Session, **fields: Any) -> Prepared:
    told = {"targets": {"Gamma": 1.0, "Beta": 1.0}, "budget": 12, "anyway": True, **fields}
    return prepare(load_study(session.store.folder), SelectionSpec.model_validate(told))


def own(session: Session, source: str, seed: int) -> Path:
    """A source's own adapter."""
    return session.store.run_folder(session.study.run_id(session.study.source_run(source, seed))) / "adapter"


def seen(found: Preview) -> dict[str, Previewed]:
    return {p.candidate.label: p for p in found.candidates}


def all_on(source: str) -> Candidate:
    return Candidate(label=source, counts={source: 12})


def test_one_source_merged_is_the_studys_own_cell(study: Session) -> None:
    matrix = load_study(study.store.folder)
    found = preview(study, [all_on(s) for s in TASKS], prepared(study, targets={}))
    assert found.asked == 0, "the merge of one adapter is that adapter, whose answers are known"
    for source in TASKS:
        for target in TASKS:
            i, j = matrix.sources.index(source), matrix.targets.index(target)
            told = seen(found)[source]
            assert told.merged[target].value == matrix.mean[i, j] == told.trained[target].value
            assert told.merged[target].error == pytest.approx(matrix.error[i, j])
            assert told.linear[target] == pytest.approx(matrix.mean[i, j])


def test_a_merge_is_scored_seed_by_seed_with_that_seeds_adapters(study: Session, tmp_path: Path) -> None:
    counts = {"Alpha": 3, "Gamma": 9}
    found = preview(study, [Candidate(label="mix", counts=counts)], prepared(study)).candidates[0]
    assert found.merged_seeds == SEEDS
    recipe = study.study.recipe
    questions = {t: list(read(locate(study.study.targets[t], "evaluation"), t)) for t in ("Beta", "Gamma")}
    evaluator = Evaluator(recipe.model, recipe.evaluation, tmp_path / "fresh")
    gains: dict[str, list[float]] = {t: [] for t in questions}
    for seed in SEEDS:
        parts = {own(study, "Alpha", seed): 0.25, own(study, "Gamma", seed): 0.75}
        merged = merge_adapters(recipe.model, parts, tmp_path / f"m{seed}")
        base, cells = evaluator.evaluate([None, merged], questions)
        for t, cell in cells.items():
            gains[t].append(float(perfection_gap_factor(cell.accuracy, base[t].accuracy)))
    for t, values in gains.items():
        assert found.merged[t].value == pytest.approx(np.mean(values))
        assert found.merged[t].error is not None
        assert found.merged[t].error >= np.std(values, ddof=1) / np.sqrt(len(values)) - 1e-12
    assert set(found.merged) == {"Beta", "Gamma"}, "only what counts is asked"


def test_a_second_preview_asks_nothing_and_nothing_is_left_behind(study: Session) -> None:
    mixes = [Candidate(label="mix", counts={"Alpha": 6, "Beta": 6}), Candidate(label="other", counts={"Beta": 6, "Gamma": 6})]
    files = {path for path in study.store.folder.rglob("*") if "answers" not in path.parts}
    (study.store.folder / ".preview-killed" / "merged").mkdir(parents=True)
    steps: list[tuple[int, int]] = []
    first = preview(study, mixes, prepared(study), progress=lambda done, total: steps.append((done, total)))
    assert first.asked == 2 * len(SEEDS) * 2 * 30
    assert steps[-1][0] == steps[-1][1] == (1 + 2 * len(SEEDS)) * 2 * 30
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    again = preview(study, list(reversed(mixes)), prepared(study))
    assert again.asked == 0
    assert replace(again, asked=first.asked) == first, "whatever the order they are named in"
    assert {path for path in study.store.folder.rglob("*") if "answers" not in path.parts} == files


def test_mixtures_that_were_trained_come_with_what_they_gained(study: Session) -> None:
    known = trained_candidates(study.study, study.store)
    assert {c.label: dict(c.counts) for c in known} == {f"earlier {label}": counts for label, counts in MIXED.items()}
    found = preview(study, [*known, all_on("Alpha")], prepared(study))
    evidence = load_study(study.store.folder).evidence
    assert evidence is not None
    for p in found.candidates:
        assert p.trained_seeds == SEEDS
        if p.candidate.single:
            continue
        rows = [
            k
            for k in range(len(evidence.ids))
            if np.allclose(evidence.weights[k], [p.candidate.weights.get(s, 0) for s in evidence.sources])
        ]
        for t in ("Beta", "Gamma"):
            wanted = evidence.scores[rows, evidence.targets.index(t)].mean()
            assert p.trained[t].value == pytest.approx(wanted)
    assert [(a.figure, a.cells, a.mixtures) for a in found.agreement] == [
        ("merged", 4, 2), ("predicted", 4, 2), ("linear", 4, 2)
    ], "one source alone proves nothing: its merge is the trained adapter"  # fmt: skip
    assert all(a.mixture_rank is None and a.error is not None for a in found.agreement)


def test_agreement_is_arithmetic() -> None:
    rng = np.random.default_rng(0)
    trained = rng.normal(size=(5, 2))

    def told(k: int, shift: float) -> dict[str, Gain]:
        return {t: Gain(value=float(trained[k, j] + shift), error=0.1) for j, t in enumerate("AB")}

    previewed = [
        Previewed(
            candidate=Candidate(label=str(k), counts={"A": 1, "B": k + 1}),
            merged=told(k, 0.5),
            predicted={t: Gain(value=-g.value, error=None) for t, g in told(k, 0).items()},
            linear=dict.fromkeys("AB", 0.0),
            trained=told(k, 0),
            merged_seeds=(0,),
            trained_seeds=(0,),
            objective={"merged": k, "predicted": -k, "linear": 0.0, "trained": k},
        )
        for k in range(5)
    ]
    (merged, predicted, linear), noise = agreements(previewed)
    assert (merged.rank, merged.mixture_rank) == (pytest.approx(1), pytest.approx(1))
    assert (merged.error, merged.bias) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (predicted.rank, predicted.mixture_rank) == (pytest.approx(-1), pytest.approx(-1))
    assert (linear.rank, linear.mixture_rank) == (None, None), "a constant has no rank"
    assert noise == pytest.approx(0.1)
    assert agreements(previewed[:1]) == ((), None), "two gains are too few to say anything"


def test_a_missing_adapter_is_told_and_the_other_seeds_are_used(study: Session) -> None:
    shutil.rmtree(own(study, "Alpha", 1))
    found = preview(study, [Candidate(label="mix", counts={"Alpha": 6, "Beta": 6}), all_on("Beta")], prepared(study))
    assert seen(found)["mix"].merged_seeds == (0,)
    assert seen(found)["mix"].missing == "Alpha, seed 1: not trained yet"
    assert seen(found)["Beta"].merged_seeds == SEEDS
    assert any("not merged for every seed: mix" in text for text in found.notes)
    shutil.rmtree(own(study, "Alpha", 0))
    with pytest.raises(InputError, match=r"nothing can be merged .*tvt study run"):
        preview(study, [all_on("Alpha")], prepared(study))


def test_damaged_adapters_stop_it(study: Session) -> None:
    path = own(study, "Alpha", 0) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="bytes"):
        preview(study, [Candidate(label="mix", counts={"Alpha": 6, "Beta": 6})], prepared(study))
    assert not list(study.store.folder.glob(".preview-*"))


def value(session: Session, gains: Mapping[str, float], **fields: Any) -> float | None:
    return judged(gains, prepared(session, **fields))


def test_the_objective_is_the_requests(study: Session) -> None:
    gains = {"Alpha": -0.2, "Beta": 0.1, "Gamma": 0.4}
    assert value(study, gains) == pytest.approx(0.25)
    assert value(study, gains, targets={"Gamma": 3.0, "Beta": 1.0}) == pytest.approx(0.325)
    assert value(study, gains, objective="worst") == pytest.approx(0.1)
    assert value(study, gains, targets={}, goals={"Beta": 0.3, "Gamma": 0.3}) == pytest.approx(-0.2), "short by 0.2 of one goal"
    assert value(study, gains, targets={}, goals={"Beta": 0.0, "Gamma": 0.3}) == pytest.approx(0.1), "met: the mean margin"
    assert value(study, gains, protect={"all": 0.0}, harm_penalty=2.0) == pytest.approx(0.25 - 0.4)
    assert value(study, {"Beta": 0.1}) is None, "a counting target that is not known"


def test_candidates_differ_and_keep_to_what_is_allowed(study: Session) -> None:
    asked = prepared(study, exclude=("Alpha",), caps={"all": 0.75})
    mixture = finish(asked)
    assert isinstance(mixture, Mixture)
    matrix = asked.evidence.matrix
    assert isinstance(matrix, TransferMatrix)
    found = candidates(matrix, mixture, asked, 12)
    assert found[0].label == "selected"
    assert len({tuple(sorted(c.counts.items())) for c in found}) == len(found) >= 3
    assert len({c.label for c in found}) == len(found)
    for candidate in found:
        assert sum(candidate.counts.values()) == 12
        assert set(candidate.counts) <= {"Beta", "Gamma"}
        if candidate.label in {"selected", "flatter", "sharper", "careful 1", "careful 3"}:
            assert max(candidate.weights.values()) <= 0.75
    assert distinct([*found, *found]) == found


def test_where_nothing_helps_the_least_bad_is_looked_at(study: Session) -> None:
    asked = prepared(study, anyway=False, confidence=0.999)
    mixture = finish(asked)
    assert isinstance(mixture, Mixture)
    assert mixture.verdict == "nothing_helps"
    found = preview_selection(study, asked, mixture)
    assert found.selected is None
    assert "least bad" in seen(found) or any(c.candidate.about.startswith("all on") for c in found.candidates)


def test_tables_and_json(study: Session) -> None:
    asked = prepared(study)
    mixture = finish(asked)
    assert isinstance(mixture, Mixture)
    found = preview_selection(study, asked, mixture)
    merged = [p.objective["merged"] for p in found.candidates]
    assert merged == sorted(merged, reverse=True)
    console = Console(file=io.StringIO(), width=80)
    for part in preview_report(found):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "not a promise" in " ".join(text.split())
    told = encode(found)
    json.dumps(told, allow_nan=False)
    assert any("dilutes" in note for note in told["notes"])
    assert "not a promise" in told["about"]
    assert told["candidates"][0]["merged"].keys() == {"Beta", "Gamma"}


def test_select_previews_without_changing_what_it_selects(study: Session) -> None:
    arguments = ["select", str(study.store.folder), "--target", "Gamma", "--anyway", "--no-stability", "--json"]
    plain, looked = tvt(*arguments), tvt(*arguments, "--preview")
    assert looked.returncode == 0, looked.stderr
    one, other = json.loads(plain.stdout), json.loads(looked.stdout)
    told = other.pop("preview")
    one.pop("solver"), other.pop("solver")  # holds seconds
    assert one == other
    assert told["selected"] == "selected"
    for counts in MIXED.values():
        (known,) = [c for c in told["candidates"] if c["counts"] == counts]
        assert known["trained"]["Gamma"]["gain"] == pytest.approx(known["objective"]["trained"])


@pytest.mark.parametrize("studies", [["qwen2.5-vl-7b"], ["qwen2.5-vl-7b", "qwen2.5-vl-3b"], ["--runs", "runs.csv"]])
def test_preview_needs_a_study_with_adapters(studies: list[str]) -> None:
    done = tvt("select", *studies, "--preview")
    assert done.returncode == 2
    assert "--preview" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
