"""Results in the layouts of lmms-eval, VLMEvalKit and wandb, and of any table, as studies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from commands import tvt
from tvt.api.imports import import_results
from tvt.core.matrix import TransferMatrix
from tvt.data.studies.imports import vlmevalkit
from tvt.data.studies.imports.results import Imported
from tvt.data.studies.load import load_study
from tvt.errors import InputError

BASE = "Qwen2.5-VL-7B-Instruct"
HITS = {BASE: [1, 0, 0, 1], "jigsaw-adapter": [1, 1, 1, 0]}


def lmms(
    folder: Path, model: str, results: dict, *, peft: bool, date: str = "20260102_030405", samples: dict | None = None
) -> None:
    """A model's results as lmms-eval's tracker and evaluator write them."""
    place = folder / f"org__{model}"
    place.mkdir(parents=True, exist_ok=True)
    args = f"pretrained=org/{BASE},peft=org/{model}" if peft else f"pretrained=org/{model}"
    data = {
        "results": {task: {"alias": task, "samples": 4, **values} for task, values in results.items()},
        "group_subtasks": {task: [] for task in results},
        "n-samples": {task: {"original": 900, "effective": 4} for task in results},
        "config": {"model": "qwen2_5_vl", "model_args": args},
        "model_name": f"org/{model}",
    }
    (place / f"{date}_results.json").write_text(json.dumps(data), encoding="utf-8")
    for task, lines in (samples or {}).items():
        text = "".join(json.dumps({"doc_id": n, "target": "A", **line}) + "\n" for n, line in enumerate(lines))
        (place / f"{date}_samples_{task}.jsonl").write_text(text, encoding="utf-8")


def chartqa(value: float) -> dict:
    return {
        "relaxed_overall,none": value,
        "relaxed_overall_stderr,none": 0.25,
        "relaxed_human_split,none": 0.1,
        "relaxed_human_split_stderr,none": "N/A",
    }


def study(folder: Path, imported: Imported) -> TransferMatrix:
    path = folder / "imported.csv"
    path.write_text(imported.text, encoding="utf-8")
    return load_study(path)


def read(*paths: Path, **options: object) -> Imported:
    return import_results([(None, path) for path in paths], **options)


def refusal(*paths: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read(*paths, **options)
    return str(caught.value)


def evaluated(folder: Path) -> Path:
    for model, hits in HITS.items():
        mean = sum(hits) / 4
        values = {"chartqa": chartqa(mean), "blink_jigsaw": {"blink_acc,none": 100 * mean, "blink_acc_stderr,none": "N/A"}}
        samples = {"chartqa": [{"relaxed_overall": float(hit)} for hit in hits], "blink_jigsaw": [{"blink_acc": {"a": 1}}] * 4}
        lmms(folder, model, values, peft=model != BASE, samples=samples)
    return folder


def test_lmms_eval_with_counts_and_the_answers_that_both_got_right(tmp_path: Path) -> None:
    imported = read(evaluated(tmp_path / "out"))
    assert imported.text.splitlines() == [
        "run,source,target,accuracy,total,both_correct",
        "run_0,base,chartqa,0.5,4,",
        "run_0,base,blink_jigsaw,0.5,4,",
        "run_0,jigsaw-adapter,chartqa,0.75,4,1",
        "run_0,jigsaw-adapter,blink_jigsaw,0.75,4,",
    ]
    assert imported.notes == (f"the base model is '{BASE}', the only one without an adapter",)
    matrix = study(tmp_path, imported)
    assert matrix.values.tolist() == [[[0.5, 0.5]]]
    assert np.isfinite(matrix.item_errors).all()


def test_lmms_eval_sources_by_name_and_two_runs(tmp_path: Path) -> None:
    out = evaluated(tmp_path / "out")
    adapter = out / "org__jigsaw-adapter"
    imported = import_results([(None, out / f"org__{BASE}"), ("Jigsaw", adapter), ("Jigsaw", adapter)], base=BASE)
    assert study(tmp_path, imported).runs == ("run_0", "run_1")
    assert imported.sources == ("Jigsaw",)


def test_lmms_eval_the_last_of_several_results(tmp_path: Path) -> None:
    out = evaluated(tmp_path / "out")
    lmms(out, "jigsaw-adapter", {"chartqa": chartqa(0.25)}, peft=True, date="20260103_000000")
    imported = read(out)
    assert "run_0,jigsaw-adapter,chartqa,0.25,4," in imported.text
    assert "several results of jigsaw-adapter on chartqa: the last result counts" in imported.notes[0]


def test_lmms_eval_metrics_that_must_be_chosen(tmp_path: Path) -> None:
    for model in HITS:
        lmms(tmp_path, model, {"ocr": {"anls,none": 0.5, "exact,none": 0.25}}, peft=model != BASE)
    assert "ocr: has anls,none, exact,none; say which counts: --score ocr=anls" in refusal(tmp_path)
    assert "0.25" in read(tmp_path, scores={"ocr": "exact"}).text
    lmms(tmp_path, BASE, {"mme": {"mme_score,none": 1500.0}}, peft=False, date="20260103_0")
    assert "1500 is no accuracy" in refusal(tmp_path, scores={"ocr": "exact"})
    assert "mme" not in read(tmp_path, scores={"ocr": "exact"}, without=["mme"]).text


def test_the_base_model_is_asked_for(tmp_path: Path) -> None:
    for model in ("merged-a", "merged-b"):
        lmms(tmp_path, model, {"t": {"acc,none": 0.5}}, peft=False)
    assert refusal(tmp_path) == "which of merged-a, merged-b is the base model? pass --base NAME of its rows"
    assert read(tmp_path, base="merged-a").sources == ("merged-b",)
    assert "did you mean 'merged-a'" in refusal(tmp_path, base="merge-a")


def vlmeval(folder: Path, model: str, hits: list[int], *, suffix: str | None = "tsv") -> None:
    """A model's folder as VLMEvalKit's MCQ datasets write it (pandas' CSV with every cell quoted)."""
    place = folder / model / "T20260101_Gabc"
    place.mkdir(parents=True)
    mean = sum(hits) / len(hits)
    table = f'"split","Overall","Jigsaw","Counting"\n"val","{mean}","{sum(hits[:2]) / 2}","{sum(hits[2:]) / 2}"\n'
    (place / f"{model}_BLINK_acc.csv").write_text(table, encoding="utf-8")
    rows = [
        ["index", "question", "category", "hit"],
        *([n, "q", "Jigsaw" if n < 2 else "Counting", h] for n, h in enumerate(hits)),
    ]
    if suffix == "tsv":
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (place / f"{model}_BLINK_exact_matching_result.tsv").write_text(text, encoding="utf-8")
    elif suffix == "xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in rows:
            book.active.append(row)
        book.save(place / f"{model}_BLINK_exact_matching_result.xlsx")


@pytest.mark.parametrize("suffix", ["tsv", "xlsx", None])
def test_vlmevalkit(tmp_path: Path, suffix: str | None) -> None:
    for model, hits in HITS.items():
        vlmeval(tmp_path / "outputs", model, hits, suffix=suffix)
    whole = read(tmp_path / "outputs", base=BASE)
    known = "4" if suffix else ""
    assert whole.text.splitlines()[1:] == [
        f"run_0,base,BLINK,0.5,{known},",
        f"run_0,jigsaw-adapter,BLINK,0.75,{known},{'1' if suffix else ''}",
    ]
    apart = study(tmp_path, read(tmp_path / "outputs", base=BASE, categories=True))
    assert apart.targets == ("Jigsaw", "Counting")
    assert apart.after[0, 0].tolist() == [1.0, 0.5]


def test_a_workbook_without_openpyxl_leaves_the_accuracies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, hits in HITS.items():
        vlmeval(tmp_path, model, hits, suffix=None)
        stem = tmp_path / model / "T20260101_Gabc" / f"{model}_BLINK"
        Path(f"{stem}_exact_matching_result.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    imported = read(tmp_path, base=BASE)
    assert "run_0,base,BLINK,0.5,," in imported.text
    assert "numbers of questions are not read: .xlsx needs openpyxl; pip install" in imported.notes[0]
    assert vlmevalkit.ENDING == "_acc.csv"


WANDB = """"Name","State","Notes","Created","eval/Jigsaw/accuracy","eval/Counting/accuracy","train/loss"
"zero-shot","finished","-","2026","0.5","0.6","1"
"sft-jigsaw","finished","-","2026","0.75","0.4","1"
"sft-broken","crashed","-","2026","","0.1","1"
"""


def test_wandb(tmp_path: Path) -> None:
    path = tmp_path / "wandb.csv"
    path.write_text(WANDB, encoding="utf-8")
    imported = read(path, columns={"targets": "eval/*/accuracy"}, base="zero-shot")
    assert (imported.sources, imported.targets) == (("sft-jigsaw",), ("Jigsaw", "Counting"))
    assert imported.notes == (f"{path}: 1 runs that did not finish are left out",)
    assert "where are the accuracies?" in refusal(path)
    assert "pass --base 'zero-shot'" in refusal(path, columns={"targets": "eval/*/accuracy"})


def test_any_other_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("ckpt,bench,acc,n\nbase,x,50.0,100\na,x,75%,100\na,y,-,100\nbase,y,20,50\n", encoding="utf-8")
    columns = {"source": "ckpt", "target": "bench", "accuracy": "acc", "total": "n"}
    assert "what is this?" in refusal(path)
    assert "no column 'benchmark' for the target (did you mean 'bench'?)" in refusal(
        path, columns={**columns, "target": "benchmark"}
    )
    path.write_text(path.read_text(encoding="utf-8").replace("75%", "75"), encoding="utf-8")
    matrix = study(tmp_path, read(path, columns=columns))
    assert matrix.values[0, 0, 0] == 0.5
    path.write_text("ckpt,bench,acc\nbase,x,50\na,x,75\na,x,70\n", encoding="utf-8")
    assert "tells two runs apart: --columns run=NAME" in refusal(
        path, columns={k: v for k, v in columns.items() if k != "total"}
    )


def test_the_command(tmp_path: Path) -> None:
    out = evaluated(tmp_path / "out")
    done = tvt(
        "studies",
        "import",
        f"base={out / f'org__{BASE}'}",
        f"Jigsaw={out / 'org__jigsaw-adapter'}",
        "-o",
        str(tmp_path / "s.csv"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {tmp_path / 's.csv'}: 1 sources x 2 targets")
    assert load_study(tmp_path / "s.csv").sources == ("Jigsaw",)
    assert tvt("studies", "import", str(tmp_path / "none")).returncode == 2
