"""The bundled studies hold what the authors published, as the counts behind it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from recover_counts import base_errors, recover
from tvt.cli.studies import command
from tvt.data.studies.folder import read_study
from tvt.data.studies.load import bundled_folder, bundled_studies, load_study
from tvt.data.tasks import load_manifests, load_tasks
from tvt.errors import InputError

STUDIES = ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b")
RUNS = ("initial", "seed_0", "seed_1", "seed_2")

# task: (abbreviation, questions, options, base errors of 3B, 7B and 32B; one number where all runs agree)
TABLE = {
    "Visual_Similarity": ("VS", 135, 2, [56], [20], [50, 52, 52, 52]),
    "Art_Style": ("AS", 117, 2, [45], [41], [59]),
    "Visual_Correspondence": ("VC", 172, 4, [118], [53], [40, 39, 40, 39]),
    "Relative_Depth": ("RD", 124, 2, [55], [32], [36, 36, 34, 34]),
    "Relative_Reflectance": ("RR", 134, 3, [94], [90], [94]),
    "Spatial_Relation": ("SR", 143, 2, [24], [16], [27, 26, 27, 26]),
    "Jigsaw": ("JG", 150, 2, [77], [58], [59, 57, 58, 59]),
    "Counting": ("CN", 120, 4, [39], [39], [39, 39, 41, 41]),
    "Functional_Correspondence": ("FC", 130, 4, [101], [96, 97, 96, 98], [90]),
    "Semantic_Correspondence": ("SC", 139, 4, [96], [80, 81, 80, 80], [71]),
    "Multi-view_Reasoning": ("MR", 133, 2, [80], [80], [71, 71, 71, 70]),
    "Object_Localization": ("OL", 122, 2, [62], [60], [50, 52, 55, 53]),
    "Forensic_Detection": ("FD", 132, 4, [83], [71], [38]),
}

# As published, to the last digit.
PUBLISHED = [
    ("qwen2.5-vl-32b", "initial", "Visual_Similarity", "Visual_Similarity", 0.8400000000000001),
    ("qwen2.5-vl-32b", "initial", "Visual_Similarity", "Art_Style", 0.3559322033898305),
    ("qwen2.5-vl-3b", "initial", "Visual_Similarity", "Visual_Similarity", 0.6785714285714287),
    ("qwen2.5-vl-3b", "initial", "Visual_Similarity", "Art_Style", 0.06666666666666662),
    ("qwen2.5-vl-7b", "initial", "Visual_Similarity", "Visual_Similarity", 0.5499999999999995),
    ("qwen2.5-vl-7b", "initial", "Visual_Similarity", "Art_Style", 0.12195121951219508),
    ("qwen2.5-vl-7b", "seed_2", "Forensic_Detection", "Object_Localization", 0.033333333333333354),
    ("qwen2.5-vl-7b", "seed_2", "Forensic_Detection", "Forensic_Detection", 0.7746478873239436),
]


def test_the_bundled_studies_are_the_published_ones_in_order_of_size_and_the_swarm() -> None:
    assert bundled_studies() == (*STUDIES, "miniature-swarm")


@pytest.mark.parametrize(("number", "name"), list(enumerate(STUDIES)))
def test_base_errors_are_those_of_the_reference_table(number: int, name: str) -> None:
    study = read_study(bundled_folder(name))
    found = {(s.run, s.target): (s.total, s.total - s.correct) for s in study.scores if s.source is None}
    for target, (_, questions, _, *errors) in TABLE.items():
        expected = errors[number] if len(errors[number]) == 4 else errors[number] * 4
        assert [found[run, target] for run in RUNS] == [(questions, e) for e in expected], target
    assert len(study.scores) == 4 * 14 * 13
    assert study.manifest.counts == "inferred"
    assert "inferred" in study.manifest.provenance
    for credit in ("Understanding Task Transfer", "Sachdeva", "CVPR 2026", "2511.18787", "project page"):
        assert credit in study.manifest.provenance


@pytest.mark.parametrize(("study", "run", "source", "target", "value"), PUBLISHED)
def test_published_values_come_out(study: str, run: str, source: str, target: str, value: float) -> None:
    matrix = load_study(study)
    at = matrix.runs.index(run), matrix.sources.index(source), matrix.targets.index(target)
    assert matrix.values[at] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_is_there_and_recovering_again_changes_nothing(name: str) -> None:
    matrix = load_study(name)
    assert matrix.values.shape == (4, 13, 13)
    assert np.isfinite(matrix.values).all()
    assert np.isfinite(matrix.item_errors).all()
    questions = {target: row[1] for target, row in TABLE.items()}
    again = recover(matrix, questions)
    assert {(s.run, s.source, s.target): (s.correct, s.total) for s in again} == {
        (s.run, s.source, s.target): (s.correct, s.total) for s in read_study(bundled_folder(name)).scores
    }


def test_manifests_agree_with_the_table_and_claim_no_more_than_the_page() -> None:
    manifests = {m.name: m for m in load_manifests() if m.left_out is None}
    assert {n: (m.abbreviation, m.evaluation.questions, m.options) for n, m in manifests.items()} == {
        n: row[:3] for n, row in TABLE.items()
    }
    assert {n for n, m in manifests.items() if m.level} == {"Relative_Depth", "Relative_Reflectance", "Visual_Correspondence"}
    assert {n: m.granularity for n, m in manifests.items() if m.granularity} == {
        "Art_Style": "image",
        "Counting": "image",
        "Forensic_Detection": "image",
        "Functional_Correspondence": "pixel",
        "Relative_Depth": "pixel",
    }
    assert all(m.classification_source and m.ceiling == 1.0 for m in manifests.values())
    assert len(load_tasks()) == 14


def test_base_errors_by_hand() -> None:
    assert base_errors(np.array([1 / 3, -2 / 3, 0.0]), 10) == 3
    assert base_errors(np.array([0.5, 1 / 3]), 10) == 6
    with pytest.raises(InputError, match="rounded"):
        base_errors(np.array([0.3333, 0.25]), 100)


@pytest.mark.parametrize("text", ["7b", "-7b", "vl-7b", "QWEN2.5-VL-7B"])
def test_short_names(text: str) -> None:
    assert load_study(text).name == "qwen2.5-vl-7b"


def test_an_unknown_name_gets_the_nearest_and_the_next_step() -> None:
    with pytest.raises(InputError, match=r"'qwen2.5-vl-7c' \(did you mean 'qwen2.5-vl-7b'\?\).*tvt studies"):
        load_study("qwen2.5-vl-7c")
    for odd in ("x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="tvt studies"):
            load_study(odd)


def test_tvt_studies_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plain = CliRunner().invoke(command)
    assert plain.exit_code == 0
    assert all(name in plain.output for name in STUDIES)
    assert max(map(len, plain.output.splitlines())) <= 80
    assert "\x1b" not in plain.output
    data = json.loads(CliRunner().invoke(command, ["--json"]).output)
    assert data["schema"] == 1
    assert [(s["name"], len(s["sources"]), len(s["runs"]), s["counts"]) for s in data["studies"]] == [
        *((name, 13, 4, "inferred") for name in STUDIES),
        ("miniature-swarm", 23, 3, "measured"),
    ]
