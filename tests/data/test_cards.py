"""Cards of adapters and of mixed datasets, as the hub's own library reads them, and that they change nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixing_rows import mixture, question
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.checks import Origin, Origins
from tvt.data.questions.files import write_parquet
from tvt.io.names import cell, hub_dataset, hub_name, licence_id

hub = pytest.importorskip("huggingface_hub")
PIXMO = {"source": "PixMo-Count", "licence": "ODC-BY 1.0"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def mixed(folder: Path, *told: dict[str, Any] | None, **more: Any) -> Any:
    """A mix of as many sources as there are provenances."""
    paths, counts = {}, {}
    for k, provenance in enumerate(told):
        name = f"Source{k}"
        text = None if provenance is None else json.dumps(provenance)
        paths[name] = folder / f"{name}.parquet"
        counts[name] = 4 + k
        write_parquet([question(100 * k + i, task=name, provenance=text) for i in range(5)], paths[name])
    write_mix(plan_mix(mixture(counts, **more), paths), folder / "mixed")
    return hub.DatasetCard.load(folder / "mixed" / "README.md")


def test_a_dataset_card_of_known_licences(tmp_path: Path) -> None:
    card = mixed(tmp_path, PIXMO, {"source": "Mine", "licence": "CC BY 4.0"})
    told = card.data.to_dict()
    assert told["license"] == ["cc-by-4.0", "odc-by"]
    assert told["task_categories"] == ["visual-question-answering"]
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    for line in (
        "| Source0 | 0.4444 | 4 | 5 | 0.80 | 0 |",
        "| Source0 | [PixMo-Count](https://huggingface.co/datasets/allenai/pixmo-count) | ODC-BY 1.0 | 5 |",
        "| Source1 | Mine | CC BY 4.0 | 5 |",
    ):
        assert line in card.text
    record = json.loads((tmp_path / "mixed" / "mix.json").read_text())
    assert record["digest"] in card.text


@pytest.mark.parametrize("other", [None, {"source": "Photos", "licence": "not stated"}, {"unit": 3}])
def test_a_licence_that_is_not_known_is_left_to_fill_in(other: dict[str, Any] | None, tmp_path: Path) -> None:
    card = mixed(tmp_path, PIXMO, other)
    assert "license" not in card.data.to_dict()
    assert "\n# license: fill it in" in (tmp_path / "mixed" / "README.md").read_text().split("---")[1]


def test_rows_that_say_nothing(tmp_path: Path) -> None:
    assert "The rows do not say (they have no provenance)." in mixed(tmp_path, None).text


def test_what_the_mixture_was_chosen_from_is_told(tmp_path: Path) -> None:
    evidence = {"name": "qwen2.5-vl-7b", "digest": "c8bb", "model": "Qwen2.5-VL-7B"}
    card = mixed(tmp_path, PIXMO, provenance={"evidence": evidence})
    assert "chosen by `tvt select` on qwen2.5-vl-7b of Qwen2.5-VL-7B (digest `c8bb`)" in card.text


def test_origins_are_what_the_json_says() -> None:
    texts = [
        json.dumps({"source": 'a "quoted"\u001f|', "licence": "x\ny", "unit": "1"}),
        json.dumps({"unit": "source", "licence": "x\ny", "source": 'a "quoted"\u001f|'}, indent=1),
        '{"source": "", "licence": 3}',
        None,
        "no json",
        '{"source": "cut \\u12',
    ]
    found = Origins()
    found.add(pa.array(texts, pa.string()))
    found.add(pa.array(texts[:1], pa.string()))
    assert list(found.found()) == [
        Origin(source='a "quoted"\u001f|', licence="x\ny", rows=3),
        Origin(source="not stated", licence="not stated", rows=4),
    ]


def test_licences_and_names() -> None:
    told = ["CC BY-NC-SA 4.0", "CC0-1.0", "MIT License", "apache 2.0", "ODbL 1.0", "CC BY", "academic research use only"]
    assert list(map(licence_id, told)) == ["cc-by-nc-sa-4.0", "cc0-1.0", "mit", "apache-2.0", "odbl", None, None]
    names = ["Qwen/Qwen2.5-VL-3B-Instruct", "base", "/data/model", "./a/b", "a/b/c", "-x/y"]
    assert [hub_name(name) is not None for name in names] == [True, False, False, False, False, False]
    assert hub_dataset("https://huggingface.co/datasets/allenai/pixmo-count/tree/main") == "allenai/pixmo-count"
    assert hub_dataset("https://github.com/zeyofu/TARA") is None
    assert cell("a|b\nc") == "a\\|b c"


# Adapters


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("trl")
    import tiny_models
    from tvt.core.recipe import Recipe
    from tvt.train import train

    folder = tmp_path_factory.mktemp("adapter")
    base = tiny_models.llava(folder / "base")
    rows = [
        question(i, pictures=(tiny_models.picture(i % 2, 28),), task="Light", provenance=json.dumps(PIXMO)) for i in range(8)
    ]
    write_parquet(rows, folder / "Light.parquet")
    write_mix(plan_mix(mixture({"Light": 8}), {"Light": folder / "Light.parquet"}), folder / "mixed")
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "sources": ["Light"],
            "targets": ["Light"],
            "model": {"model_name_or_path": str(base), "dtype": "float32"},
            "training": {"global_batch_size": 4, "per_device_train_batch_size": 4, "logging_steps": 1},
        }
    )
    return recipe, folder, train(recipe, folder / "mixed", folder / "run", seed=1)


def test_an_adapters_card(trained: Any) -> None:
    _, folder, record = trained
    card = hub.ModelCard.load(record.adapter / "README.md")
    told = card.data.to_dict()
    assert (told["library_name"], told["pipeline_tag"]) == ("peft", "image-text-to-text")
    assert told["datasets"] == ["allenai/pixmo-count"]
    assert "tvt" in told["tags"]
    assert "base_model" not in told  # a folder is no name on the hub
    assert "license" not in told
    assert str(folder) not in card.content  # nor anybody else's business
    for text in (record.identity, record.adapter_digest, record.dataset_digest, "| Light | 1.0000 | 8 | 1.00 |", "peft 0."):
        assert text in card.text
    assert f"{record.losses[-1][1]:.4f}" in card.text
    assert sorted(path.name for path in record.adapter.iterdir()) == [
        *("README.md", "adapter.json", "adapter_config.json", "adapter_model.safetensors"),
    ]


def test_the_card_is_for_people_only(trained: Any) -> None:
    """Edit it, delete it: the adapter stays what it is, and its run is done."""
    from tvt.io.adapter_file import verify_adapter
    from tvt.train import train

    recipe, folder, record = trained
    card = record.adapter / "README.md"
    before = card.read_text()
    card.write_text(before.replace("# license: fill it in", "license: apache-2.0\n# license"))
    assert hub.ModelCard.load(card).data.license == "apache-2.0"
    assert verify_adapter(record.adapter).digest == record.adapter_digest
    card.unlink()
    assert train(recipe, folder / "mixed", folder / "run", seed=1) == record
    card.write_text(before)


def test_a_base_model_of_the_hub_is_named(trained: Any) -> None:
    from tvt.train.record import TrainingJob, model_card

    recipe, folder, record = trained
    model = recipe.model.model_copy(update={"model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct", "revision": "c0ffee"})
    job = TrainingJob(
        recipe=recipe.model_copy(update={"model": model}),
        dataset=folder / "nothing",
        output=folder,
        seed=1,
        dataset_digest="d",
    )
    card = hub.ModelCard(model_card(job, record))
    told = card.data.to_dict()
    assert told["base_model"] == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert told["base_model_relation"] == "adapter"
    assert "datasets" not in told
    assert "from_pretrained('Qwen/Qwen2.5-VL-3B-Instruct', revision='c0ffee')" in card.text
    assert "not written by `tvt mix`" in card.text
