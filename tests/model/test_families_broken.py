"""Model folders that lack something, or fit together badly, are refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

import tiny_families
from tvt.core.recipe import ModelConfig
from tvt.errors import InputError
from tvt.model.base import load_base
from tvt.model.families import model_checks
from tvt.model.loading import load_config


def rewrite(file: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**told, **changes}))

    return change


def without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def no_images(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    if (folder / "processor_config.json").is_file():
        told = json.loads((folder / "processor_config.json").read_text())
        told.pop("image_processor", None)
        (folder / "processor_config.json").write_text(json.dumps(told))


def no_marks(folder: Path) -> None:
    """A tokenizer without the names that InternVL's processor asks it for."""
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text())
    kept = {key: value for key, value in told.items() if not key.endswith(("image_token", "video_token", "special_tokens"))}
    path.write_text(json.dumps(kept))


def no_template(folder: Path) -> None:
    """Wherever a family has it: in a file of its own or among settings."""
    for path in folder.glob("chat_template*"):
        path.unlink()
    for name in ("tokenizer_config.json", "processor_config.json"):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text())
            told.pop("chat_template", None)
            (folder / name).write_text(json.dumps(told))


BY_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no chat template": (no_template, "its processor has no chat template; name an instruction-tuned model"),
    "an unknown type": (rewrite("config.json", model_type="llavva"), "has no vision-language model of type 'llavva'"),
    "a text model": (rewrite("config.json", model_type="llama"), "has no vision-language model of type 'llama'"),
    "no image processor": (no_images, "no image processor (no preprocessor_config.json, and none in processor_config.json)"),
    "a part that is a number": (rewrite("config.json", text_config=5), "text_config is 5, which is no object"),
}


@pytest.mark.parametrize("fault", BY_FILES)
@pytest.mark.parametrize("family", ["LLaVA", "Qwen2.5-VL", "Idefics3"])
def test_what_files_show_is_found_without_loading_anything(family: str, fault: str, tmp_path: Path) -> None:
    """The same check serves doctor, recipe check and study plan, and what loads the model refuses it, too, in one line."""
    change, told = BY_FILES[fault]
    config = ModelConfig(model_name_or_path=str(tmp_path / "model"), dtype="float32")
    tiny_families.build(family, tmp_path / "model")
    assert not [check for check in model_checks(config) if check.status == "fail"]
    change(tmp_path / "model")
    lines = [check.line for check in model_checks(config) if check.status == "fail"]
    assert len(lines) == 1
    assert told in lines[0]
    with pytest.raises(InputError) as caught:
        load_base(config)
    assert caught.value.faults == (lines[0],)


def test_a_configuration_that_transformers_cannot_read_is_one_line(tmp_path: Path) -> None:
    tiny_families.build("LLaVA", tmp_path / "model")
    config = ModelConfig(model_name_or_path=str(tmp_path / "model"), dtype="float32")
    rewrite("config.json", text_config={"model_type": "qwen2", "hidden_size": "wide"})(tmp_path / "model")
    for load in (load_config, load_base):
        with pytest.raises(InputError, match=r"cannot be loaded .*hidden_size") as caught:
            load(config)
        assert len(str(caught.value).splitlines()) == 1


BROKEN: dict[str, tuple[str, Callable[[Path], None]]] = {
    "another image token": ("LLaVA", rewrite("config.json", image_token_index=3)),
    "a tokenizer of another model": ("InternVL", no_marks),
    "no image processor": ("Idefics3", without("preprocessor_config.json")),
    "another image processor": ("Gemma3", rewrite("preprocessor_config.json", image_processor_type="CLIPImageProcessor")),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_folder_whose_parts_do_not_fit_is_refused(fault: str, tmp_path: Path) -> None:
    family, change = BROKEN[fault]
    tiny_families.build(family, tmp_path / "model")
    load_base(ModelConfig(model_name_or_path=str(tmp_path / "model"), dtype="float32"))
    change(tmp_path / "model")
    with pytest.raises(InputError, match=str(tmp_path / "model")) as caught:
        load_base(ModelConfig(model_name_or_path=str(tmp_path / "model"), dtype="float32"))
    assert len(str(caught.value).splitlines()) == 1
