from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tvt.cli.main import cli
from tvt.cli.mix import export as command
from tvt.core.choices import EXPORTS
from tvt.core.mixture import Audit, Mixture, SolverRecord
from tvt.core.question import Question
from tvt.data.questions.files import write_jsonl
from tvt.errors import InputError
from tvt.exports import export
from tvt.io.yaml_files import save_mixture

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
COUNTS = {"Jigsaw": 7, "Visual_Correspondence": 12, "Counting": 5, "Art_Style": 0}
SIZES = {"Jigsaw": 20, "Visual_Correspondence": 5, "Counting": 5, "Art_Style": 9}


def mixture(counts: dict[str, int] = COUNTS, **changes: Any) -> Mixture:
    total = sum(counts.values())
    fields: dict[str, Any] = {
        "objective": 0.1,
        "weights": {source: count / total if total else 0.0 for source, count in counts.items()},
        "counts": counts,
        "budget": total,
        "predicted": {},
        "prices": {},
        "audit": Audit(passed=True, worst_violation=0.0),
        "solver": SolverRecord(name="CLARABEL", status="optimal", seconds=0.01),
    }
    return Mixture(**{**fields, **changes})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with a small JSON Lines file per source."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for source, size in SIZES.items():
        lines = [
            json.dumps(
                {
                    "id": f"{source}/{index}",
                    "images": [f"{source}-{index}.png"],
                    "prompt": [{"role": "user", "content": source}],
                    "completion": [{"role": "assistant", "content": "A"}],
                }
            )
            for index in range(size)
        ]
        (folder / f"{source}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def parse_with_trl(path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, ...]:
    pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    parser = trl.TrlParser((trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, trl.DatasetMixtureConfig))
    # Unknown keys raise here, which `trl sft` itself would let pass.
    parsed: tuple[Any, ...] = parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true", *arguments])
    return parsed


def test_trl_own_parser_and_loader_give_exact_counts(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sft.yaml"
    path.write_text(export(mixture(), "trl", model=MODEL, data_dir=rows)["sft.yaml"])
    _, training, model, data = parse_with_trl(path, monkeypatch, "--output_dir", str(tmp_path / "out"))
    assert model.model_name_or_path == MODEL
    assert model.dtype == "bfloat16"
    assert training.bf16 is True
    assert training.max_length is None
    assert training.packing is False
    assert training.learning_rate == 1e-4
    assert model.use_peft is True
    assert re.fullmatch(model.lora_target_modules, "model.language_model.layers.3.self_attn.q_proj")
    assert not re.fullmatch(model.lora_target_modules, "model.visual.blocks.3.attn.q_proj")

    import datasets
    from trl import get_dataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    loaded = get_dataset(data)["train"]
    found = Counter(prompt[0]["content"] for prompt in loaded["prompt"])
    assert found == {source: count for source, count in COUNTS.items() if count}
    # 12 of 5 rows: two whole passes and two rows, never three copies of one and none of another.
    copies = Counter(images[0] for images in loaded["images"] if images[0].startswith("Visual_Correspondence"))
    assert sorted(copies.values()) == [2, 2, 2, 3, 3]


def test_trl_slices_add_up_without_files_and_say_what_is_needed(tmp_path: Path) -> None:
    counts = {"A": 1200, "B": 800}
    text = export(mixture(counts), "trl", model=MODEL, data_dir=tmp_path)["sft.yaml"]
    assert [entry["split"] for entry in yaml.safe_load(text)["datasets"]] == ["train[:1200]", "train[:800]"]
    assert "not checked" in text
    assert f"{tmp_path}/A.jsonl 1200" in text
    sized = mixture(counts, provenance={"spec": {"sizes": {"A": 500, "B": 800}}})
    text = export(sized, "trl", model=MODEL, data_dir=tmp_path)["sft.yaml"]
    assert [entry["split"] for entry in yaml.safe_load(text)["datasets"]] == ["train", "train", "train[:200]", "train"]
    assert "not checked" not in text


def test_trl_builder_by_kind_of_path() -> None:
    data = {"Jigsaw": "j.parquet", "Visual_Correspondence": "org/name", "Counting": "c.json"}
    entries = yaml.safe_load(export(mixture(), "trl", model=MODEL, data=data)["sft.yaml"])["datasets"]
    assert [(entry["path"], entry.get("data_files")) for entry in entries] == [
        ("parquet", "j.parquet"),
        ("org/name", None),
        ("json", "c.json"),
    ]


def test_llamafactory(rows: Path) -> None:
    files = export(mixture(), "llamafactory", model=MODEL, data_dir=rows, data={"Counting": "org/counting"})
    info, training = json.loads(files["dataset_info.json"]), yaml.safe_load(files["sft.yaml"])
    assert training["dataset"].split(",") == list(info) == ["Jigsaw", "Visual_Correspondence", "Counting"]
    assert {name: entry["num_samples"] for name, entry in info.items()} == {name: COUNTS[name] for name in info}
    assert training["mix_strategy"] == "concat"
    assert "max_samples" not in training
    assert training["template"] == "qwen2_vl"
    assert info["Jigsaw"]["file_name"] == str(rows / "Jigsaw.jsonl")
    assert info["Jigsaw"]["formatting"] == "sharegpt"
    assert info["Jigsaw"]["columns"] == {"messages": "messages", "images": "images"}
    assert info["Jigsaw"]["tags"]["user_tag"] == "user"
    assert info["Counting"]["hf_hub_url"] == "org/counting"
    assert "file_name" not in info["Counting"]
    other = export(mixture(), "llamafactory", model="my/model", data_dir=rows)["sft.yaml"]
    assert "template: NAME" in other
    assert "template" not in yaml.safe_load(other)


def test_ms_swift(rows: Path) -> None:
    config = yaml.safe_load(export(mixture(), "ms-swift", model=MODEL, data_dir=rows)["sft.yaml"])
    counts = {Path(path).stem: int(count) for path, count in (entry.rsplit("#", 1) for entry in config["dataset"])}
    assert counts == {source: count for source, count in COUNTS.items() if count}
    assert config["model"] == MODEL
    assert isinstance(config["data_seed"], int)
    assert config["split_dataset_ratio"] == 0  # a validation split would take rows out of the counts
    with pytest.raises(InputError, match="'#'"):
        export(mixture(), "ms-swift", model=MODEL, data={"Jigsaw": "a#b.jsonl"})


def test_axolotl_and_the_command_that_makes_its_file(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = export(mixture(), "axolotl", model=MODEL, data_dir=rows)["axolotl.yaml"]
    config = yaml.safe_load(text)
    assert config["skip_prepare_dataset"] is True
    assert config["remove_unused_columns"] is False
    assert config["sample_packing"] is False
    assert [entry["type"] for entry in config["datasets"]] == ["chat_template"]
    recipe = shlex.split(next(line for line in text.splitlines() if "tvt mix" in line).lstrip("# "))
    for source, size in SIZES.items():  # tvt mix reads questions, not a trainer's rows
        questions = [
            Question(id=str(k), task=source, prompt=f"{source} {k}?", options=("x", "y"), answer="B") for k in range(size)
        ]
        write_jsonl(questions, rows / f"{source}.jsonl")
    save_mixture(mixture(), tmp_path / "mixture.yaml")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, recipe[1:])
    assert result.exit_code == 0, result
    lines = (tmp_path / config["datasets"][0]["path"]).read_text().splitlines()
    asked = [json.loads(line)["messages"][0]["content"][-1]["text"].split()[0] for line in lines]
    assert Counter(asked) == {s: c for s, c in COUNTS.items() if c}


def test_axolotl_quotes_paths() -> None:
    text = export(mixture({"A": 3}), "axolotl", model=MODEL, data={"A": "it's; rm.jsonl"})["axolotl.yaml"]
    assert shlex.quote("A=it's; rm.jsonl") in text


def test_json(rows: Path) -> None:
    document = json.loads(export(mixture(), "json", data_dir=rows)["mixture.json"])
    assert {name: entry["count"] for name, entry in document["sources"].items()} == {s: c for s, c in COUNTS.items() if c}
    assert sum(entry["count"] for entry in document["sources"].values()) == document["total"] == sum(COUNTS.values())
    assert document["sources"]["Jigsaw"]["size"] == SIZES["Jigsaw"]
    assert document["verdict"] == "train"


@pytest.mark.parametrize("to", EXPORTS.names)
def test_nothing_to_train(to: str) -> None:
    nothing = mixture(dict.fromkeys(COUNTS, 0), verdict="nothing_helps")
    with pytest.raises(InputError, match="the answer is the base model; nothing to train"):
        export(nothing, to, model=MODEL)


@pytest.mark.parametrize("to", EXPORTS.names)
def test_yaml_traps_in_names(to: str, tmp_path: Path) -> None:
    for text in export(mixture({"no": 3, "1e-4": 2}), to, model="on", data_dir=tmp_path).values():
        loaded = yaml.safe_load(text)  # trainers read YAML 1.1, where a bare `no` is false
        assert '"on"' in json.dumps(loaded) or "num_samples" in text


def test_all_faults_at_once(rows: Path) -> None:
    (rows / "Counting.jsonl").write_text("\n")
    with pytest.raises(InputError) as caught:
        export(mixture(), "trl", data={"Jigsw": "x.jsonl", "Jigsaw": str(rows / "Visual_Correspondence.jsonl")}, data_dir=rows)
    faults = "\n".join(caught.value.faults)
    assert "did you mean 'Jigsaw'?" in faults
    assert "no rows" in faults
    assert "stands for both" in faults
    assert "--model" in faults


@pytest.mark.parametrize(
    ("known", "expected"),
    [("Qwen2.5-VL-3B", "Qwen/Qwen2.5-VL-3B-Instruct"), ("org/model", "org/model"), ("some model", None), (None, None)],
)
def test_model_from_the_provenance(known: str | None, expected: str | None, rows: Path) -> None:
    of = mixture(provenance={"evidence": {"model": known}})
    if expected is None:
        with pytest.raises(InputError, match="--model"):
            export(of, "ms-swift", data_dir=rows)
    else:
        assert yaml.safe_load(export(of, "ms-swift", data_dir=rows)["sft.yaml"])["model"] == expected
    assert yaml.safe_load(export(of, "ms-swift", model="mine/own", data_dir=rows)["sft.yaml"])["model"] == "mine/own"


def test_unknown_trainer() -> None:
    with pytest.raises(InputError, match="did you mean 'axolotl'"):
        export(mixture(), "axolotle", model=MODEL)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


def test_command_writes_to_stdout_file_or_folder(rows: Path, tmp_path: Path) -> None:
    save_mixture(mixture(), tmp_path / "mixture.yaml")
    common = [str(tmp_path / "mixture.yaml"), "--model", MODEL, "--data-dir", str(rows)]
    result = run(*common, "--to", "trl")
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(result.stdout)["model_name_or_path"] == MODEL
    assert run(*common, "--to", "trl", "-o", str(tmp_path / "a" / "trl.yaml")).exit_code == 0
    assert (tmp_path / "a" / "trl.yaml").read_text() == result.stdout
    assert run(*common, "--to", "trl", "-o", str(tmp_path / "a")).exit_code == 0
    assert (tmp_path / "a" / "sft.yaml").read_text() == result.stdout
    assert run(*common, "--to", "trl", "-o", f"{tmp_path}/new/").exit_code == 0
    assert (tmp_path / "new" / "sft.yaml").read_text() == result.stdout
    assert run(*common, "--to", "llamafactory", "-o", str(tmp_path / "lf")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "lf").iterdir()) == ["dataset_info.json", "sft.yaml"]


def test_command_refusals(tmp_path: Path) -> None:
    save_mixture(mixture(), tmp_path / "mixture.yaml")
    common = [str(tmp_path / "mixture.yaml"), "--model", MODEL]
    for arguments, message in [
        (["--to", "llamafactory"], "-o DIR"),
        (["--to", "llamafactory", "-o", str(tmp_path / "mixture.yaml")], "is a file"),
        (["--to", "trl", "--data", "Jigsaw"], "not SOURCE=PATH"),
        (["--to", "trl", "--data", "Jigsaw=a", "--data", "Jigsaw=b"], "given twice"),
    ]:
        result = run(*common, *arguments)
        assert isinstance(result.exception, InputError), arguments
        assert message in str(result.exception)
    assert run(*common, "--to", "trll").exit_code == 2


def test_command_says_what_it_could_not_check(tmp_path: Path) -> None:
    save_mixture(mixture(), tmp_path / "mixture.yaml")
    result = run(str(tmp_path / "mixture.yaml"), "--to", "trl", "--model", MODEL, "--data-dir", str(tmp_path / "none"))
    assert result.exit_code == 0
    assert "not checked" in result.stderr
    assert "note" not in result.stdout


def test_a_limit_of_pixels_is_carried_or_said_not_to_be(rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    save_mixture(mixture(), path)
    for trainer, key in (
        ("llamafactory", "image_max_pixels"),
        ("ms-swift", "max_pixels"),
        ("json", "max_pixels"),
        ("trl", ""),
        ("axolotl", ""),
    ):
        given = [
            str(path),
            "--to",
            trainer,
            "--model",
            MODEL,
            "--data-dir",
            str(rows),
            "--max-pixels",
            "1003520",
            "-o",
            f"{tmp_path / trainer}/",
        ]
        done = CliRunner().invoke(command, given)
        assert done.exit_code == 0, done.output
        (text,) = [file.read_text() for file in (tmp_path / trainer).iterdir() if file.name != "dataset_info.json"]
        if key:
            assert yaml.safe_load(text)[key] == 1003520
        else:
            assert "# This trainer takes no limit of pixels: scale pictures with more than 1003520 down before." in text
    assert "limit of pixels" not in "".join(export(mixture(), "trl", model=MODEL, data_dir=rows).values())
