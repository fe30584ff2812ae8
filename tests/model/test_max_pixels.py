"""``model.max_pixels``: pictures are scaled down alike for training, scoring and the check of limits, for every family."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_families
import tiny_models
import tiny_vlm
from pictures import picture
from tvt.cli.data import command as data_command
from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig, Recipe
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.evaluate.adapters import CheckedAdapter, Loaded
from tvt.evaluate.asking import compose
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.scorer import Scorer
from tvt.evaluate.store import run_identity
from tvt.model.chat import Chat
from tvt.model.inputs import prompt_inputs
from tvt.model.limits import ShownRow, load_limits
from tvt.model.loading import limit_tiles, load_processor
from tvt.model.picture import decode, scaled_size, shown_size
from tvt.train import train
from tvt.train.rows import Examples, load_rows

PHOTOGRAPH = (4000, 3000)
"""Of 12 megapixels."""


class TestSizes:
    @given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 10**8))
    def test_never_more_than_asked_and_never_enlarged(self, width: int, height: int, limit: int) -> None:
        w, h = scaled_size(width, height, limit)
        assert 1 <= w <= width
        assert 1 <= h <= height
        assert w * h <= limit
        if width * height <= limit:
            assert (w, h) == (width, height)

    @pytest.mark.parametrize("size", [PHOTOGRAPH, (3000, 4000), (4000, 400), (1025, 1023)])
    def test_the_sides_keep_their_ratio_and_the_limit_is_used(self, size: tuple[int, int]) -> None:
        w, h = scaled_size(*size, 1_000_000)
        assert w / h == pytest.approx(size[0] / size[1], rel=0.003)
        assert 0.995 * 1_000_000 < w * h <= 1_000_000

    @given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 10**6), st.integers(1, 10**6))
    def test_never_fewer_than_asked_unless_the_most_is_less(self, width: int, height: int, one: int, other: int) -> None:
        least, most = sorted((one, other))
        w, h = scaled_size(width, height, None, least)
        assert w * h >= least
        assert (w, h) == (width, height) or width * height < least
        w, h = scaled_size(width, height, most, least)
        assert w * h <= most
        if width * height >= least:
            assert (w, h) == scaled_size(width, height, most)

    @pytest.mark.parametrize("size", [(40, 30), (30, 40), (100, 10)])
    def test_enlarged_sides_keep_their_ratio(self, size: tuple[int, int]) -> None:
        w, h = scaled_size(*size, None, 1_000_000)
        assert w / h == pytest.approx(size[0] / size[1], rel=0.004)
        assert 1_000_000 <= w * h < 1.01 * 1_000_000
        assert decode(picture(*size), None, 10_000).size == shown_size(picture(*size), None, 10_000)

    def test_no_limit(self) -> None:
        assert scaled_size(*PHOTOGRAPH, None) == PHOTOGRAPH

    def test_the_decoded_picture_has_the_size_that_the_header_promises(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        for content in (picture(90, 40), picture(90, 40, "JPEG", exif=exif), picture(40, 90, "WEBP"), picture(7, 3)):
            for limit in (None, 10_000, 900, 100, 1):
                assert decode(content, limit).size == shown_size(content, limit)
        assert decode(picture(90, 40, "JPEG", exif=exif), 900).size == (20, 45)

    def test_scaling_averages_rather_than_picks(self) -> None:
        board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
        stream = io.BytesIO()
        board.save(stream, "PNG")
        small = np.asarray(decode(stream.getvalue(), 16 * 16))
        assert abs(small.astype(int) - 128).max() < 20


def image_processors() -> dict[str, Any]:
    """With the settings of published models, which tiny models have not."""
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    qwen = {"size": {"shortest_edge": 3136, "longest_edge": 12_845_056}}
    return {
        "Qwen2.5-VL": Qwen2VLImageProcessorPil(**qwen),
        "Qwen3-VL": Qwen2VLImageProcessorPil(**qwen, patch_size=16),
        "GLM-4V": Glm4vImageProcessorPil(),
        "Idefics3": Idefics3ImageProcessorPil(),
        "SmolVLM": SmolVLMImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}),
        "InternVL": GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, crop_to_patches=True),
        "LLaVA-NeXT": LlavaNextImageProcessorPil(
            size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}, image_grid_pinpoints=[[672, 672], [336, 672]]
        ),
        "LLaVA-OneVision": LlavaOnevisionImageProcessorPil(),
        "Pixtral": PixtralImageProcessorPil(),
        "Idefics2": Idefics2ImageProcessorPil(),
    }


def pixels_seen(images: Any, size: tuple[int, int]) -> int:
    """How many pixels of all tiles reach the vision tower."""
    made = images(images=[Image.new("RGB", size, (9, 9, 9))], return_tensors="np")["pixel_values"]
    return int(np.prod(made[0].shape if isinstance(made, list) else made.shape)) // (6 if hasattr(images, "merge_size") else 3)


@pytest.mark.parametrize("family", image_processors())
@pytest.mark.parametrize("size", [PHOTOGRAPH, (640, 480), (1200, 400)])
def test_no_family_shows_its_model_much_more_than_asked(family: str, size: tuple[int, int]) -> None:
    limit = 1_003_520
    images = image_processors()[family]
    before = pixels_seen(images, size)
    limit_tiles(SimpleNamespace(image_processor=images), limit)
    after = pixels_seen(images, scaled_size(*size, limit))
    overview = 512 * 512 if family == "SmolVLM" else 448 * 448
    steps = 2.0 if family == "LLaVA-OneVision" else 1.1  # a grid of tiles rounds up, on both sides
    assert after <= min(before, steps * limit + overview)


def test_tiles_stay_where_nothing_is_asked_and_one_is_left_whatever_is_asked() -> None:
    for family in ("Idefics3", "SmolVLM", "InternVL"):
        whole, same, least = (image_processors()[family] for _ in range(3))
        limit_tiles(SimpleNamespace(image_processor=same), None)
        limit_tiles(SimpleNamespace(image_processor=least), 1)
        counts = [pixels_seen(images, (800, 600)) for images in (whole, same, least)]
        assert counts[0] == counts[1] > 5 * counts[2] > 0


@pytest.mark.parametrize("family", [name for name in tiny_families.BUILDERS if name not in ("Pixtral", "Mistral3", "LFM2-VL")])
def test_every_family_is_loaded_with_a_limit_and_takes_a_picture(family: str, tmp_path: Path) -> None:
    folder = tiny_families.build(family, tmp_path)
    limited = load_processor(ModelConfig(model_name_or_path=str(folder), max_pixels=2000))
    faults = load_limits(ModelConfig(model_name_or_path=str(folder), max_pixels=2000)).faults(
        ShownRow(name="r", texts=("Which?",), images=(picture(400, 300),))
    )
    assert limited.image_processor is not None
    assert not list(faults)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL that takes pictures as large as the published one does."""
    folder = tiny_vlm.save(tmp_path_factory.mktemp("model"), "qwen")
    return roomy(folder)


def roomy(folder: Path) -> Path:
    """A tiny Qwen2.5-VL with the published one's limits of a picture's pixels."""
    for path in (folder / name for name in ("processor_config.json", "preprocessor_config.json")):
        if path.exists():
            told = json.loads(path.read_text())
            told.get("image_processor", told)["size"] = {"shortest_edge": 784, "longest_edge": 12_845_056}
            path.write_text(json.dumps(told))
    return folder


def large(question: Question) -> Question:
    return replace(question, images=(picture(400, 300), picture(90, 60)))


LIMIT = 140 * 112


class TestTrainedAndScored:
    def test_rows_and_questions_are_shown_alike(self, qwen: Path, tmp_path: Path) -> None:
        asked = large(*tiny_vlm.questions("t", 1))
        write_parquet([asked], tmp_path / "t.parquet")
        mixed = tmp_path / "mixed"
        write_mix(plan_mix(Mixture.of_counts({"t": 1}), {"t": tmp_path / "t.parquet"}, seed=0), mixed)
        config = ModelConfig(model_name_or_path=str(qwen), dtype="float32", max_pixels=LIMIT)
        trained = Examples(load_rows(mixed, tmp_path / "rows"), mixed, config.max_pixels)[0]["images"]
        assert [image.size for image in trained] == [scaled_size(400, 300, LIMIT), (90, 60)]
        loaded = Loaded(config=config, processor=load_processor(config), device=None)
        scored = Scorer(loaded, EvaluationConfig()).prepare([asked])
        text = Scorer(loaded, EvaluationConfig())._prompt(Chat(loaded.processor), asked).text
        assert scored["pixel_values"].equal(prompt_inputs(loaded.processor, [text], [trained])["pixel_values"])
        assert int(scored["image_grid_thw"][0].prod()) * 14 * 14 <= 1.1 * LIMIT

    def test_a_run_is_trained_and_scored_on_smaller_pictures_under_a_name_of_its_own(self, qwen: Path, tmp_path: Path) -> None:
        rows = [large(question) for question in tiny_vlm.questions("t", 4)]
        write_parquet(rows, tmp_path / "t.parquet")
        mixed = tmp_path / "mixed"
        write_mix(plan_mix(Mixture.of_counts({"t": 4}), {"t": tmp_path / "t.parquet"}, seed=0), mixed)
        records = {}
        for limit in (None, LIMIT):
            asked = recipe(qwen, limit)
            record = train(asked, mixed, tmp_path / f"run-{limit}", seed=0)
            (cell,) = Evaluator(asked.model, asked.evaluation, tmp_path / "answers").evaluate([record.adapter], {"t": rows})
            records[limit] = record, cell["t"]
        (whole, first), (small, second) = records.values()
        assert whole.identity != small.identity
        assert whole.adapter_digest != small.adapter_digest
        assert first.key != second.key
        assert first.asked == second.asked == 4

    def test_larger_batches_fit_smaller_pictures(self) -> None:
        asked = [large(question) for question in tiny_vlm.questions("t", 4)]
        photographs = [replace(q, images=(picture(2000, 1500),)) for q in asked]
        assert len(compose(photographs, 2)) == 4
        assert len(compose(photographs, 2, 1_003_520)) == 2

    def test_a_run_on_enlarged_pictures_is_another_and_they_are_shown_alike(self, qwen: Path, tmp_path: Path) -> None:
        rows = [replace(question, images=(picture(60, 40),)) for question in tiny_vlm.questions("t", 4)]
        write_parquet(rows, tmp_path / "t.parquet")
        mixed = tmp_path / "mixed"
        write_mix(plan_mix(Mixture.of_counts({"t": 4}), {"t": tmp_path / "t.parquet"}, seed=0), mixed)
        plain, larger = recipe(qwen, None), recipe(qwen, None, least=LIMIT)
        records = [train(of, mixed, tmp_path / str(place), seed=0) for place, of in enumerate((plain, larger))]
        assert records[0].adapter_digest != records[1].adapter_digest
        notes: list[str] = []
        scored = [
            Evaluator(of.model, of.evaluation, tmp_path / "answers", note=notes.append).evaluate(
                [records[1].adapter], {"t": rows}
            )[0]["t"]
            for of in (plain, larger)
        ]
        assert scored[0].key != scored[1].key
        assert len(notes) == 1
        assert f"with pictures of at least {LIMIT:,} pixels" in notes[0]
        assert f"add --min-pixels {LIMIT}" in notes[0]
        loaded = Loaded(config=larger.model, processor=load_processor(larger.model), device=None)
        shown = Scorer(loaded, EvaluationConfig()).prepare(rows[:1])
        assert int(shown["image_grid_thw"][0].prod()) * 14 * 14 >= 0.9 * LIMIT


def recipe(model: Path, limit: int | None, least: int | None = None) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "n",
            "model": {"model_name_or_path": str(model), "dtype": "float32", "max_pixels": limit, "min_pixels": least},
            "sources": ["t"],
            "targets": ["t"],
            "training": {"learning_rate": 5e-3, "global_batch_size": 2, "per_device_train_batch_size": 2},
        }
    )


class TestIdentities:
    def test_without_a_limit_they_are_those_of_before(self, qwen: Path) -> None:
        told = recipe(qwen, None)
        assert "max_pixels" not in told.training_identity()["model"]
        assert recipe(qwen, 10**6).training_identity()["model"]["max_pixels"] == 10**6
        for limit in (None, 10**6):
            asked = recipe(qwen, limit)
            found = run_identity(asked.model, {}, asked.evaluation, read_profile("dataset"), None)["loading"]
            assert found.get("max_pixels") == limit


class TestLimits:
    def test_photographs_pass_where_they_are_scaled(self, tmp_path: Path) -> None:
        folder = roomy(tiny_models.qwen(tmp_path / "model"))
        row = ShownRow(name="r", texts=("Which?",), images=(picture(2000, 1500),))
        (fault,) = load_limits(ModelConfig(model_name_or_path=str(folder))).faults(row)
        assert "3,8" in fault
        assert "model.max_pixels" in fault
        assert not list(load_limits(ModelConfig(model_name_or_path=str(folder), max_pixels=10**6)).faults(row))
        self.checked(folder, row, tmp_path / "q.jsonl")

    @staticmethod
    def checked(folder: Path, row: ShownRow, path: Path) -> None:
        write_jsonl([replace(q, images=row.images) for q in tiny_vlm.questions("t", 4)], path)
        for options, faults in (((), 4), (("--max-pixels", "1000000"), 0)):
            given = ["check", str(path), "--model", str(folder), *options, "--json"]
            told = json.loads(CliRunner().invoke(data_command, given).stdout)["files"][0]["faults"]
            assert len([fault for fault in told if fault["kind"] == "model limit"]) == faults


def test_an_adapter_scored_on_pictures_of_another_size_is_noted(tmp_path: Path) -> None:
    trained = CheckedAdapter(name="a", folder=tmp_path, digest="x", trained={"model_name_or_path": "m", "max_pixels": 500})
    assert trained.size_caution(500) is None
    assert "at most 500 pixels" in str(trained.size_caution(None))
    assert "add --max-pixels 500" in str(trained.size_caution(1000))
    unlimited = CheckedAdapter(name="a", folder=tmp_path, digest="x", trained={"model_name_or_path": "m"})
    assert unlimited.size_caution(None) is None
    assert "without a limit" in str(unlimited.size_caution(500))
    assert CheckedAdapter(name="b", folder=tmp_path, digest="x").size_caution(500) is None, "another's says nothing"
