from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from mixing_rows import mixture, question
from tvt.api import datasets
from tvt.cli.main import cli
from tvt.core.choices import EXPORTS
from tvt.core.question import Question, Turn
from tvt.data.questions.files import write_jsonl
from tvt.errors import InputError
from tvt.io.yaml_files import save_mixture
from tvt.model.picture import decode

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
TRAINERS = ("trl", "llamafactory", "ms-swift", "axolotl")
LINES = ("llamafactory", "ms-swift", "axolotl")
COUNTS = {"One": 12, "Many, #1": 25, "Text": 6, "Unused": 0}
ROWS = {"One": (5, 1), "Many, #1": (25, 3), "Text": (6, 0)}
"""Rows of each source, and images of each row."""


def encoded(mode: str, colour: Any, kind: str = "PNG", size: tuple[int, int] = (40, 30), **more: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, kind, **more)
    return stream.getvalue()


def write_rows(folder: Path, changes: dict[str, list[Question]] | None = None) -> dict[str, str]:
    """A file of questions for each source, under odd names."""
    folder.mkdir()
    rows = {name: [question(k, images, task=name) for k in range(count)] for name, (count, images) in ROWS.items()}
    data = {}
    for number, (name, questions) in enumerate({**rows, **(changes or {})}.items()):
        path = folder / f"rows é #{number}, [x].jsonl"
        write_jsonl(questions, path)
        data[name] = str(path)
    return data


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    return write_rows(tmp_path / "rows")


def exported(trainer: str, data: dict[str, str], folder: Path, **options: Any) -> Any:
    return datasets.export(mixture(COUNTS), trainer, folder, data, **{"model": MODEL, **options})


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration, as trainers read it: YAML 1.1, where a bare `no` is false."""
    (path,) = (path for path in folder.glob("*.yaml") if path.name != "mixture.yaml")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def shown(line: dict[str, Any]) -> tuple[str, str, list[str], int]:
    """Question, answer, paths of images, and places for images, of a row of any trainer."""
    user, assistant = line["messages"]
    if isinstance(user["content"], str):
        return user["content"].replace("<image>", ""), assistant["content"], line["images"], user["content"].count("<image>")
    images = [block["path"] for block in user["content"] if block["type"] == "image"]
    assert [block["type"] for block in user["content"]] == ["image"] * len(images) + ["text"]
    return user["content"][-1]["text"], assistant["content"][0]["text"], images, len(images)


@pytest.mark.parametrize("trainer", LINES)
def test_rows_stand_beside_the_configuration_with_exact_counts_and_their_images(
    trainer: str, data: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "out é 1"
    result = exported(trainer, data, folder)
    lines = lines_of(folder)
    manifest = [line.split(",") for line in (folder / "manifest.csv").read_text().splitlines()[1:]]
    assert len(lines) == len(manifest) == sum(COUNTS.values()) == result.record["rows"]
    assert result.record["sources"] == {name: count for name, count in COUNTS.items() if count}
    places = Counter(len(shown(line)[2]) for line in lines)
    assert places == {1: 12, 3: 25, 0: 6}
    for line in lines:
        text, answer, images, marks = shown(line)
        number = int(re.findall(r"one, (\d+)", text)[0])
        assert text == question(number).prompt  # unicode, line breaks
        assert answer == question(number).answer
        assert marks == len(images)
        expected = question(number, len(images)).images
        assert [(folder / path).read_bytes() for path in images] == list(expected)


@pytest.mark.parametrize("trainer", LINES)
def test_a_repeat_is_a_row_of_its_own_after_whole_passes(trainer: str, data: dict[str, str], tmp_path: Path) -> None:
    exported(trainer, data, tmp_path / "out")
    asked = Counter(shown(line)[0] for line in lines_of(tmp_path / "out") if len(shown(line)[2]) == 1)
    assert sorted(asked.values()) == [2, 2, 2, 3, 3]  # 12 of 5 rows


def test_trl_reads_its_folder_with_its_own_parser_and_loader(
    data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    import datasets as hub

    exported("trl", data, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    parser = trl.TrlParser((trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, trl.DatasetMixtureConfig))
    # Unknown keys raise here, which `trl sft` itself would let pass.
    given = ["--config", "sft.yaml", "--use_cpu", "true"]
    _, training, model, mixed = parser.parse_args_and_config(given)
    assert (model.model_name_or_path, model.dtype, model.use_peft) == (MODEL, "bfloat16", True)
    assert (training.max_length, training.packing, training.completion_only_loss) == (None, False, True)
    assert re.fullmatch(model.lora_target_modules, "model.language_model.layers.3.self_attn.q_proj")
    assert not re.fullmatch(model.lora_target_modules, "model.visual.blocks.3.attn.q_proj")
    loaded = trl.get_dataset(mixed)["train"]
    assert set(loaded.column_names) == {"images", "prompt", "completion"}
    assert Counter(map(len, loaded["images"])) == {1: 12, 3: 25, 0: 6}
    asked = Counter(
        prompt[0]["content"] for prompt, images in zip(loaded["prompt"], loaded["images"], strict=True) if len(images) == 1
    )
    assert sorted(asked.values()) == [2, 2, 2, 3, 3]


@pytest.mark.parametrize("trainer", LINES)
def test_pictures_that_trainers_would_show_otherwise_are_written_as_tvt_shows_them(trainer: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = {
        "transparent": encoded("RGBA", (255, 0, 0, 0)),
        "16 bits": encoded("I;16", 40_000),
        "turned": encoded("RGB", (9, 8, 7), "JPEG", exif=exif.tobytes()),
        "palette": encoded("P", 3, "GIF"),
        "large": encoded("RGB", (1, 2, 3), size=(400, 300)),
    }
    plain = encoded("L", 7)
    rows = [question(k, task="One", pictures=(content, plain)) for k, content in enumerate(odd.values())]
    given = write_rows(tmp_path / "rows", {"One": rows})
    exported(trainer, given, tmp_path / "out", max_pixels=10_000)
    seen = {shown(line)[0]: shown(line)[2] for line in lines_of(tmp_path / "out") if len(shown(line)[2]) == 2}
    for row, content in zip(rows, odd.values(), strict=True):
        first, second = ((tmp_path / "out" / path) for path in seen[row.prompt])
        expected = decode(content, 10_000)
        with Image.open(first) as opened:  # as the trainers do
            assert opened.convert("RGB").tobytes() == expected.tobytes()
            assert opened.width * opened.height <= 10_000
        assert second.read_bytes() == plain


@pytest.mark.parametrize(
    ("trainer", "mark"),
    [("llamafactory", "<image>"), ("llamafactory", "<video>"), ("ms-swift", "<image>"), ("ms-swift", "<img>x</img>")],
)
def test_a_literal_mark_of_the_trainer_is_refused_by_the_name_of_its_row(trainer: str, mark: str, tmp_path: Path) -> None:
    rows = [question(k, 0, task="Text", prompt=f"What does {mark} mean, {k}?" if k == 4 else f"{k}?") for k in range(6)]
    given = write_rows(tmp_path / "rows", {"Text": rows})
    with pytest.raises(InputError, match=r"Text, row q4: its text has <im.*reword or drop|row q4: its text has <video>"):
        exported(trainer, given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    exported("axolotl", given, tmp_path / "blocks")  # blocks of content know no marks
    exported("trl", given, tmp_path / "parquet")


def test_llamafactory_files(data: dict[str, str], tmp_path: Path) -> None:
    result = exported("llamafactory", data, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    training = config_of(tmp_path / "out")
    ((name, entry),) = info.items()
    assert training["dataset"] == name
    assert entry["file_name"] == "rows.jsonl"
    assert entry["formatting"] == "sharegpt"
    assert "num_samples" not in entry  # it draws repeats with replacement
    assert entry["tags"]["user_tag"] == "user"
    assert training["template"] == "qwen2_vl"
    assert "max_samples" not in training
    assert training["image_min_pixels"] == 1
    assert training["image_max_pixels"] >= 768 * 768
    assert result.command == f"cd '{tmp_path}/out' && llamafactory-cli train sft.yaml".replace("'", "")


def test_ms_swift_files(data: dict[str, str], tmp_path: Path) -> None:
    result = exported("ms-swift", data, tmp_path / "out")
    training = config_of(tmp_path / "out")
    assert training["dataset"] == ["rows.jsonl"]
    assert training["strict"] is True  # else a row that fails is replaced by another
    assert training["use_hf"] is True
    assert (training["model_type"], training["template"]) == ("qwen2_5_vl", "qwen2_5_vl")
    assert training["split_dataset_ratio"] == 0  # a validation split would take rows out of the counts
    assert result.command.endswith("&& swift sft sft.yaml")  # the file is positional


def test_axolotl_files(data: dict[str, str], tmp_path: Path) -> None:
    exported("axolotl", data, tmp_path / "out")
    training = config_of(tmp_path / "out")
    assert training["datasets"][0]["path"] == "rows.jsonl"
    assert training["chat_template"] == "qwen2_vl"
    assert [training[f"lora_{part}_kernel"] for part in ("mlp", "qkv", "o", "embedding")] == [False] * 4
    assert (training["skip_prepare_dataset"], training["remove_unused_columns"], training["sample_packing"]) == (
        True,
        False,
        False,
    )


def local_model(folder: Path, kind: str, template: str = "<|im_start|>x<|im_end|>", special: bool = True) -> str:
    """A folder with the files of a model that exports look at, and no weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 3136, "max_pixels": 12544}))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if special:
        bpe.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    bpe.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return str(folder)


def test_the_model_is_known_by_its_files_and_not_by_its_name(
    data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local_model(tmp_path / "my finetune", "qwen2_5_vl")
    monkeypatch.chdir(tmp_path)
    for trainer, key, expected in (
        ("llamafactory", "template", "qwen2_vl"),
        ("ms-swift", "model_type", "qwen2_5_vl"),
        ("axolotl", "chat_template", "qwen2_vl"),
    ):
        result = exported(trainer, data, tmp_path / trainer, model="my finetune")
        training = config_of(tmp_path / trainer)
        assert training[key] == expected
        assert model in training.values()  # absolute: the command runs in another folder
        assert not [text for text in result.record["notes"] if "not verified" in text]
    swift = config_of(tmp_path / "ms-swift")
    assert swift["ENV"] == {"MIN_PIXELS": 3136, "MAX_PIXELS": 12544}  # qwen-vl-utils has limits of its own


@pytest.mark.parametrize("trainer", LINES)
def test_a_hub_name_that_is_not_here_says_what_was_not_verified(trainer: str, data: dict[str, str], tmp_path: Path) -> None:
    result = exported(trainer, data, tmp_path / "out")
    assert any(text.startswith(f"not verified: {MODEL} is not on this machine") for text in result.record["notes"])


@pytest.mark.parametrize("trainer", LINES)
def test_an_unknown_type_is_refused_unless_its_template_is_named(trainer: str, data: dict[str, str], tmp_path: Path) -> None:
    model = local_model(tmp_path / "model", "my_own_vl")
    with pytest.raises(InputError, match=r"'my_own_vl'.*--template"):
        exported(trainer, data, tmp_path / "out", model=model)
    exported(trainer, data, tmp_path / "out", model=model, template="qwen2_vl")
    assert "qwen2_vl" in "".join(path.read_text() for path in (tmp_path / "out").glob("[as]*.yaml"))


def test_axolotl_is_refused_where_it_would_train_more_than_answers(data: dict[str, str], tmp_path: Path) -> None:
    for number, (kind, template, special, message) in enumerate(
        [
            ("llava", "x", True, "whole conversation"),
            ("qwen2_5_vl", "USER: x ASSISTANT:", True, "its own chat template does not write"),
        ]
    ):
        model = local_model(tmp_path / f"model{number}", kind, template, special)
        with pytest.raises(InputError, match=message):
            exported("axolotl", data, tmp_path / "out", model=model)
    # Marks that are several tokens each are found all the same, as axolotl does.
    exported("axolotl", data, tmp_path / "out", model=local_model(tmp_path / "bytes", "qwen2_5_vl", special=False))


def test_the_same_export_is_left_alone_and_another_refused(data: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert exported("ms-swift", data, folder).written
    (folder / "outputs").mkdir()  # what the trainer wrote
    assert not exported("ms-swift", data, folder).written
    assert (folder / "outputs").is_dir()
    with pytest.raises(InputError, match="holds another export"):
        exported("ms-swift", data, folder, seed=1)
    with pytest.raises(InputError, match="no export of tvt"):
        exported("trl", data, tmp_path / "rows")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows"]  # nothing is left beside it


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_mixed_folder_gives_the_same_export(trainer: str, data: dict[str, str], tmp_path: Path) -> None:
    datasets.mix(mixture(COUNTS), tmp_path / "mixed", data)
    exported(trainer, data, tmp_path / "a")
    datasets.export(tmp_path / "mixed", trainer, tmp_path / "b", model=MODEL)
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file() and path.name != "export.json":
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_folder_whose_name_is_a_pattern_is_refused(trainer: str, data: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"take \[ \] in a folder's name for a pattern"):
        exported(trainer, data, tmp_path / "mix [v1]")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "One.jsonl"
    write_jsonl([question(k, task="One") for k in range(5)], path)
    text = datasets.export(mixture(), "json", tmp_path / "m.json", data_dir=tmp_path)
    document = json.loads(str(text))
    assert (tmp_path / "m.json").read_text() == text
    assert {name: entry["count"] for name, entry in document["sources"].items()} == {"One": 12, "Many": 25, "Text": 6}
    assert document["total"] == 43
    assert document["sources"]["One"]["size"] == 5
    assert document["verdict"] == "train"


@pytest.mark.parametrize("to", EXPORTS.names)
def test_nothing_to_train(to: str, tmp_path: Path) -> None:
    nothing = mixture(dict.fromkeys(COUNTS, 0), verdict="nothing_helps")
    with pytest.raises(InputError, match="the answer is the base model; nothing to train"):
        datasets.export(nothing, to, tmp_path / "out", model=MODEL)


@pytest.mark.parametrize("trainer", LINES)
def test_yaml_traps_in_names(trainer: str, tmp_path: Path) -> None:
    write_jsonl([question(k, task="no") for k in range(3)], tmp_path / "no.jsonl")
    template = {"ms-swift": "1e-4", "llamafactory": "no", "axolotl": "qwen2_vl"}[trainer]
    datasets.export(mixture({"no": 3}), trainer, tmp_path / "out", data_dir=tmp_path, model="on", template=template)
    assert {"on", template} <= {value for value in config_of(tmp_path / "out").values() if isinstance(value, str)}


def test_all_faults_at_once(tmp_path: Path) -> None:
    (tmp_path / "Many.jsonl").write_text("\n")
    with pytest.raises(InputError) as caught:
        datasets.export(
            mixture(), "trl", tmp_path / "out", {"On": "x.jsonl", "One": str(tmp_path / "Many.jsonl")}, data_dir=tmp_path
        )
    faults = "\n".join(caught.value.faults)
    assert "did you mean 'One'?" in faults
    assert "no rows" in faults
    assert "stands for both" in faults
    assert "--model" in faults


@pytest.mark.parametrize(
    ("known", "expected"),
    [("Qwen2.5-VL-3B", "Qwen/Qwen2.5-VL-3B-Instruct"), ("org/model", "org/model"), ("some model", None), (None, None)],
)
def test_model_from_the_provenance(known: str | None, expected: str | None, tmp_path: Path) -> None:
    of = mixture(provenance={"evidence": {"model": known}})
    text = datasets.export(of, "json", data_dir=tmp_path)
    assert json.loads(str(text))["model"] == expected
    assert json.loads(str(datasets.export(of, "json", data_dir=tmp_path, model="mine/own")))["model"] == "mine/own"
    if expected is None:
        with pytest.raises(InputError, match="--model"):
            datasets.export(of, "ms-swift", tmp_path / "out", data_dir=tmp_path)


def test_command_prints_what_to_run_and_json(tmp_path: Path, data: dict[str, str]) -> None:
    save_mixture(mixture(COUNTS), tmp_path / "mixture.yaml")
    rows = [part for name, path in data.items() for part in ("--data", f"{name}={path}")]
    common = ["export", str(tmp_path / "mixture.yaml"), "--model", MODEL, *rows]
    result = CliRunner().invoke(cli, [*common, "--to", "ms-swift", "-o", str(tmp_path / "a b")])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"cd '{tmp_path}/a b' && swift sft sft.yaml\n"
    assert "43 rows (Many, #1 25, One 12, Text 6), 37 with images; all of them checked" in result.stderr
    record = json.loads(CliRunner().invoke(cli, [*common, "--to", "ms-swift", "-o", str(tmp_path / "a b"), "--json"]).stdout)
    assert (record["written"], record["run"]) == (False, f"cd '{tmp_path}/a b' && swift sft sft.yaml")


def test_command_refusals(tmp_path: Path, data: dict[str, str]) -> None:
    save_mixture(mixture(COUNTS), tmp_path / "mixture.yaml")
    rows = [part for name, path in data.items() for part in ("--data", f"{name}={path}")]
    common = ["export", str(tmp_path / "mixture.yaml"), "--model", MODEL]
    for arguments, message in [
        (["--to", "llamafactory", *rows], "-o DIR"),
        (["--to", "llamafactory", *rows, "-o", str(tmp_path / "mixture.yaml")], "is a file"),
        (["--to", "trl", "--data", "One"], "not SOURCE=PATH"),
        (["--to", "trl", "-o", str(tmp_path / "x")], "no One.jsonl"),
    ]:
        result = CliRunner().invoke(cli, [*common, *arguments])
        assert isinstance(result.exception, InputError), arguments
        assert message in str(result.exception)
    assert CliRunner().invoke(cli, [*common, "--to", "trll"]).exit_code == 2


def test_messages_of_a_mix_carry_their_images_for_ms_swift_and_axolotl(data: dict[str, str], tmp_path: Path) -> None:
    """ms-swift reads the key ``image`` and nothing else, transformers' processors read it first."""
    datasets.mix(mixture(COUNTS), tmp_path / "mixed", data, messages=True)
    lines = [json.loads(line)["messages"] for line in (tmp_path / "mixed" / "messages.jsonl").read_text().splitlines()]
    images = [[block["image"] for block in user["content"] if block["type"] == "image"] for user, _ in lines]
    assert Counter(map(len, images)) == {1: 12, 3: 25, 0: 6}
    assert {address.split(";")[0] for row in images for address in row} == {"data:image/png", "data:image/jpeg"}


@pytest.mark.parametrize("trainer", LINES)
def test_earlier_turns_are_turns_of_the_conversation_and_every_answer_is_trained(trainer: str, tmp_path: Path) -> None:
    turns = (Turn("Whose hat is it?", "Ünï's"), Turn("Is it red?", "no"))
    rows = [question(k, 2, task="One", turns=turns) for k in range(5)]
    exported(trainer, write_rows(tmp_path / "rows", {"One": rows}), tmp_path / "out")
    texts: list[list[str]] = []
    for line in lines_of(tmp_path / "out"):
        if len(line["messages"]) == 2:
            continue
        blocks = [
            [message["content"]] if isinstance(message["content"], str) else message["content"] for message in line["messages"]
        ]
        texts.append([block if isinstance(block, str) else block.get("text", "<image>") for parts in blocks for block in parts])
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"] * 3
        assert not any("loss" in message for message in line["messages"])  # all answers are trained: the trainers' own rule
    assert len(texts) == 12
    for text in texts:
        first, *rest = re.sub("^(<image>)+", "", "\n".join(text).replace("<image>\n", "<image>")).split("\n")
        assert first == "Whose hat is it?"
        assert rest[:3] == ["Ünï's", "Is it red?", "no"]
    assert "mask_history" not in config_of(tmp_path / "out")


def test_trl_gets_each_answer_of_a_conversation_as_a_row_since_it_would_train_questions_too(tmp_path: Path) -> None:
    rows = [question(k, 2, task="One", turns=(Turn("Whose hat is it?", "Ünï's"),)) for k in range(5)]
    result = exported("trl", write_rows(tmp_path / "rows", {"One": rows}), tmp_path / "out")
    written = [row for path in (tmp_path / "out" / "rows").iterdir() for row in pq.read_table(path).to_pylist()]
    assert len(written) == sum(COUNTS.values()) + COUNTS["One"]
    assert {tuple(message["role"] for message in row["completion"]) for row in written} == {("assistant",)}
    roles = Counter("".join(message["role"][0] for message in row["prompt"]) for row in written if row["source"] == "One")
    assert roles == {"u": COUNTS["One"], "uau": COUNTS["One"]}
    (note,) = (text for text in result.record["notes"] if "several answers" in text)
    assert "43 rows of the mixture are 55" in note
