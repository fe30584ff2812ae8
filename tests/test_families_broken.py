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


def rewrite(file: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**told, **changes}))

    return change


def without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def no_marks(folder: Path) -> None:
    """A tokenizer without the names that InternVL's processor asks it for."""
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text())
    kept = {key: value for key, value in told.items() if not key.endswith(("image_token", "video_token", "special_tokens"))}
    path.write_text(json.dumps(kept))


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
