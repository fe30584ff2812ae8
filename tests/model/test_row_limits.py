"""Rows that a model cannot take are named before anything is trained or scored: by each command, for each family."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
from click.testing import CliRunner
from PIL import Image

import study_world
import tiny_models
import tiny_vlm
import vsi_copy
from tvt.cli.data import command as data_command
from tvt.cli.evaluate import command as evaluate_command
from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig, Recipe
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import read_questions, write_jsonl, write_parquet
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.scorer import _decoded
from tvt.model.limits import SHOWN, ModelLimits, ShownRow, load_limits
from tvt.train import train
from tvt.train.rows import Examples, load_rows


def blank(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name) for name, make in tiny_models.FAMILIES.items()}


@pytest.fixture(scope="module")
def limits(models: dict[str, Path]) -> dict[str, ModelLimits]:
    return {name: load_limits(config(path)) for name, path in models.items()}


def config(model: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(model), dtype="float32")


def row(text: str = "Which?", *images: bytes) -> ShownRow:
    return ShownRow(name="t, row 1", texts=(text, "A"), images=images)


ORDINARY = [(56, 56), (28, 28), (640, 480), (200, 1), (1, 1), (3, 3)]


class TestLimits:
    @pytest.mark.parametrize("family", tiny_models.FAMILIES)
    def test_ordinary_rows_have_no_fault(self, family: str, limits: dict[str, ModelLimits]) -> None:
        text = "Is 3 < 5 [a] or <b>bold</b>, <image 1>, < image >, |im_end|?"
        for images in ([], [(56, 56)], *([size] for size in ORDINARY), [(56, 56)] * 5):
            assert not list(limits[family].faults(row(text, *(blank(*size) for size in images))))

    @pytest.mark.parametrize("family", ["qwen", "qwen3"])
    @pytest.mark.parametrize(("size", "ratio"), [((2500, 10), "250.0"), ((201, 1), "201.0"), ((1, 300), "300.0")])
    def test_sides_of_too_large_a_ratio(
        self, family: str, size: tuple[int, int], ratio: str, limits: dict[str, ModelLimits]
    ) -> None:
        (fault,) = limits[family].faults(row("?", blank(56, 56), blank(*size)))
        reason = f"absolute aspect ratio must be smaller than 200, got {ratio}"
        assert fault == (
            f"image 2 has {size[0]} x {size[1]} pixels, which the model's processor refuses ({reason}); "
            "scale, pad or crop it, or drop the row"
        )

    @pytest.mark.parametrize(
        ("family", "tokens"),
        [
            ("qwen", ["<|image_pad|>", "<|im_end|>", "<|vision_start|>", "<|endoftext|>", "<|video_pad|>"]),
            ("qwen3", ["<|image_pad|>", "<|im_start|>"]),
            ("llava", ["<image>", "<|im_end|>"]),
            ("idefics", ["<image>", "<end_of_utterance>", "<fake_token_around_image>", "<row_1_col_1>"]),
        ],
    )
    def test_texts_that_are_tokens(self, family: str, tokens: Sequence[str], limits: dict[str, ModelLimits]) -> None:
        for token in tokens:
            (fault,) = limits[family].faults(row(f"What does {token} mean? {token}", blank(56, 56)))
            assert fault == (
                f"the text holds '{token}', which the model reads as a token of its own; write it otherwise or drop the row"
            )

    def test_marks_of_reasoning_may_stand_in_an_answer_alone(self, tmp_path: Path) -> None:
        words = tiny_models.tokenizer([*tiny_models.QWEN_TOKENS, "<think>", "</think>"])
        tiny_models.qwen(tmp_path)
        words.chat_template = (tmp_path / "chat_template.jinja").read_text()
        words.save_pretrained(tmp_path)
        thinking = load_limits(config(tmp_path))
        assert not list(thinking.faults(ShownRow(name="r", texts=("?",), images=(), answers=("<think>\nso\n</think>\n\nB",))))
        assert "'<think>'" in next(thinking.faults(ShownRow(name="r", texts=("<think>",), images=())))
        assert "'<|im_end|>'" in next(thinking.faults(ShownRow(name="r", texts=("?",), images=(), answers=("B<|im_end|>",))))

    def test_another_familys_token_is_text(self, limits: dict[str, ModelLimits]) -> None:
        assert not list(limits["qwen"].faults(row("<image> [IMG] <start_of_turn>")))

    def test_more_tokens_than_positions(self, limits: dict[str, ModelLimits]) -> None:
        assert not list(limits["qwen"].faults(row("a" * 1900)))
        (fault,) = limits["qwen"].faults(row("a" * 2100))
        assert re.fullmatch(
            r"about 2,1\d\d tokens, 0 of them for images, but the model has 2,048 positions; .* drop the row", fault
        )
        (fault,) = limits["qwen"].faults(row("a", *[blank(112, 112)] * 130))
        assert "of them for images, but the model has 2,048 positions" in fault

    def test_an_image_of_no_header_is_named(self, limits: dict[str, ModelLimits]) -> None:
        (fault,) = limits["llava"].faults(row("a", blank(9, 9), b"GIF89a"))
        assert fault.startswith("image 2 cannot be read (")

    def test_many_faults_are_counted(self, limits: dict[str, ModelLimits]) -> None:
        rows = [ShownRow(name=f"row {k}", texts=("<image>",), images=()) for k in range(SHOWN + 7)]
        with pytest.raises(InputError) as error:
            limits["llava"].check(rows)
        assert len(error.value.faults) == SHOWN + 1
        assert error.value.faults[-1] == "and 7 more such faults of rows; mend these first"

    def test_no_picture_is_decoded(self, limits: dict[str, ModelLimits], monkeypatch: pytest.MonkeyPatch) -> None:
        data = blank(64, 64)

        def decoded(*_: Any) -> None:
            raise AssertionError("decoded")

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
        assert not list(limits["qwen"].faults(row("?", data)))


BAD = (
    "image 1 has 2500 x 10 pixels, which the model's processor refuses",
    "the text holds '<|im_end|>', which the model reads as a token of its own",
)


def spoilt(questions: Sequence[Question]) -> list[Question]:
    """The same questions, the first of which shows a strip, and the second of which holds a control token."""
    first, second, *rest = questions
    return [replace(first, images=(blank(2500, 10),)), replace(second, prompt=f"{second.id}: is <|im_end|> an end?"), *rest]


class TestCommands:
    def test_data_check(self, models: dict[str, Path], tmp_path: Path) -> None:
        path = tmp_path / "q.jsonl"
        write_jsonl(spoilt(tiny_vlm.questions("t", 6)), path)
        plain = CliRunner().invoke(data_command, ["check", str(path), "--json"])
        assert not [f for f in json.loads(plain.stdout)["files"][0]["faults"] if f["kind"] == "model limit"]
        found = CliRunner().invoke(data_command, ["check", str(path), "--model", str(models["qwen"]), "--json"])
        assert found.exit_code == 2
        told = [f["message"] for f in json.loads(found.stdout)["files"][0]["faults"] if f["kind"] == "model limit"]
        assert sorted(told)[0].startswith(f"{path}:1: {BAD[0]}")
        assert sorted(told)[1].startswith(f"{path}:2: {BAD[1]}")

    def test_training_and_scoring_show_the_same_pixels_of_a_depth_map_and_of_a_drawing(self, tmp_path: Path) -> None:
        depth = Image.fromarray(np.array([[0, 257 * 40], [257 * 200, 65535]], np.uint16))
        drawing = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
        drawing.putpixel((0, 0), (0, 0, 0, 255))
        shown = {"depth": [[0, 40], [200, 255]], "drawing": [[0, 255], [255, 255]]}
        for name, image in (("depth", depth), ("drawing", drawing)):
            stream = io.BytesIO()
            image.save(stream, "PNG")
            (asked,) = (replace(q, images=(stream.getvalue(),)) for q in tiny_vlm.questions("t", 1))
            write_parquet([asked], tmp_path / f"{name}.parquet")
            mixed = tmp_path / name
            write_mix(plan_mix(Mixture.of_counts({"t": 1}), {"t": tmp_path / f"{name}.parquet"}, seed=0), mixed)
            (trained,) = Examples(load_rows(mixed, tmp_path / "cache" / name), mixed)[0]["images"]
            for picture in (trained, *_decoded(asked)):
                assert np.asarray(picture)[..., 0].tolist() == shown[name]

    def test_revision_is_of_a_model(self, tmp_path: Path) -> None:
        write_jsonl(tiny_vlm.questions("t", 2), tmp_path / "q.jsonl")
        with pytest.raises(InputError, match="--revision is of a model; name it with --model"):
            CliRunner().invoke(data_command, ["check", str(tmp_path / "q.jsonl"), "--revision", "x"], catch_exceptions=False)

    def test_train(self, models: dict[str, Path], tmp_path: Path) -> None:
        write_parquet(spoilt(tiny_vlm.questions("t", 6)), tmp_path / "t.parquet")
        write_mix(plan_mix(Mixture.of_counts({"t": 6}), {"t": tmp_path / "t.parquet"}, seed=0), tmp_path / "mixed")
        world = {"model_name_or_path": str(models["qwen"]), "dtype": "float32"}
        recipe = Recipe.model_validate({"name": "n", "model": world, "sources": ["t"], "targets": ["t"]})
        with pytest.raises(InputError) as error:
            train(recipe, tmp_path / "mixed", tmp_path / "run", seed=0)
        told = sorted(re.sub(r"^.*: row \d+ ", "", fault) for fault in error.value.faults)
        assert [fault.startswith(f"(t, id t-{k}): {BAD[k]}") for k, fault in enumerate(told)] == [True, True]
        assert not (tmp_path / "run" / "checkpoints").exists()

    def test_evaluate_asks_nothing(self, models: dict[str, Path], tmp_path: Path) -> None:
        sets = {"good": tiny_vlm.questions("good", 4), "t": spoilt(tiny_vlm.questions("t", 6))}
        with pytest.raises(InputError) as error:
            Evaluator(config(models["qwen"]), EvaluationConfig(), tmp_path).evaluate([None], sets)
        assert [fault.partition(": ")[0] for fault in error.value.faults] == ["t, question t-0", "t, question t-1"]
        assert not list(tmp_path.glob("*/chunk-*"))

    def test_a_study_ends_before_it_trains_and_names_rows_of_sources_and_targets(self, tmp_path: Path) -> None:
        world = study_world.build(tmp_path / "world")
        tiny_models.qwen(world.folder / "model")
        write_jsonl(spoilt(list(read_questions(world.rows("Beta")))), world.rows("Beta"))
        write_parquet(spoilt(list(read_questions(world.questions("Gamma")))), world.questions("Gamma"))
        study = tmp_path / "study"
        result = study_world.warm_tvt()("study", "run", world.recipe, "-o", study)
        assert result.returncode == 2
        lines = result.stderr.splitlines()
        assert [line.partition(": ")[2].partition(": ")[0] for line in lines if "model" in line] == [
            "Beta, row Beta-0",
            "Beta, row Beta-1",
            "Gamma, question Gamma-0",
            "Gamma, question Gamma-1",
        ]
        assert not list(study.glob("runs/*/checkpoints"))
        assert not list(study.glob("answers/*"))


class TestVideos:
    def test_frames_and_texts_of_videos_are_rows_too(self, models: dict[str, Path], tmp_path: Path) -> None:
        def change(rows: list[vsi_copy.Row]) -> list[vsi_copy.Row]:
            return [{**r, "question": "Where is <|image_pad|>?"} if r["id"] == 1 else r for r in rows]

        folder = vsi_copy.write_copy(tmp_path / "VSI", 1, change)
        result = self.evaluate(models["qwen"], folder, tmp_path / "e")
        assert isinstance(result, InputError)
        (fault,) = result.faults
        assert fault.startswith("object_counting, question 1: the text holds '<|image_pad|>'")

    def test_every_broken_video_is_named_by_its_row(self, models: dict[str, Path], tmp_path: Path) -> None:
        folder = vsi_copy.write_copy(tmp_path / "VSI", 3)
        (folder / "scannet" / "scene0011_00.mp4").write_bytes(b"no video")
        (folder / "scannetpp" / "09c1414f1b.mp4").write_bytes(b"")
        result = self.evaluate(models["qwen"], folder, tmp_path / "e")
        assert isinstance(result, InputError)
        assert len(result.faults) == 2
        for fault, number, name in zip(result.faults, (1, 2), ("scannet", "scannetpp"), strict=True):
            assert f"row {number}: " in fault
            assert f"{folder / name}" in fault
            assert fault.endswith("get the file anew")

    @staticmethod
    def evaluate(model: Path, folder: Path, output: Path) -> BaseException | None:
        given = ["--model", str(model), "--dtype", "float32", "--manifests", "vsi-bench", "--tasks", "object_counting"]
        copies = ["--dataset", f"{vsi_copy.NAME}={folder}", "-o", str(output)]
        return CliRunner().invoke(evaluate_command, [*given, *copies]).exception
