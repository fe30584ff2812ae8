"""Recipes that come with tvt are found by name from any folder, and what is needed to install tvt can be done."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import tvt
from commands import ROOT
from tvt import errors
from tvt.errors import InputError, install
from tvt.io import strict_yaml
from tvt.io.recipe_files import deepspeed_names, recipe_file, recipe_names, recipes_root
from tvt.io.yaml_files import load_recipe


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_recipes_have_a_name() -> None:
    assert {f"{name}.yaml" for name in recipe_names()} == {path.name for path in (ROOT / "recipes").glob("*.yaml")}
    assert deepspeed_names() == ("deepspeed/zero1.json", "deepspeed/zero2.json", "deepspeed/zero3.json")


@pytest.mark.parametrize("name", ["miniature", "miniature.yaml", "recipes/miniature.yaml", "recipes/miniature"])
def test_a_name_means_the_bundled_recipe(name: str) -> None:
    assert recipe_file(Path(name)) == recipes_root() / "miniature.yaml"
    assert load_recipe(Path(name)).name == "miniature"


def test_a_file_that_exists_goes_before_it(tmp_path: Path) -> None:
    text = (recipes_root() / "miniature.yaml").read_text(encoding="utf-8")
    (tmp_path / "miniature.yaml").write_text(text.replace("name: miniature", "name: mine"), encoding="utf-8")
    assert load_recipe(Path("miniature.yaml")).name == "mine"
    assert load_recipe(Path("miniature")).name == "miniature"


@pytest.mark.parametrize("name", ["deepspeed/zero2.json", "recipes/deepspeed/zero2.json"])
def test_deepspeed_files_are_found_too(name: str) -> None:
    recipe = load_recipe(Path("miniature"), [f"runtime.deepspeed={name}"])
    assert recipe.runtime.deepspeed == str((recipes_root() / "deepspeed" / "zero2.json").absolute())


def test_a_recipe_that_is_nowhere() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(Path("minature.yaml"))
    assert str(caught.value) == (
        "minature.yaml: no such recipe (did you mean 'miniature'?); tvt recipes lists those that come with tvt"
    )
    assert recipe_file(Path("../miniature")) == Path("../miniature")


def test_the_wheel_has_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"data_manifests": "tvt/data_manifests", "recipes": "tvt/recipes"}


def test_how_tvt_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install("train") == f"pip install '{ROOT}[train]'"
    monkeypatch.chdir(ROOT)
    assert install("train") == "pip install '.[train]'"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "tvt" / "errors.py"))
    monkeypatch.setattr(errors, "_repository", lambda: None)
    assert install("train,ray") == "pip install '.[train,ray]' in a clone of tvt"
    monkeypatch.setattr(errors, "_repository", lambda: "https://example.org/tvt")
    assert install("train") == "pip install 'tvt[train] @ git+https://example.org/tvt'"
    assert install() == "pip install 'tvt @ git+https://example.org/tvt'"


def test_no_message_advises_what_is_on_no_index() -> None:
    texts = [*ROOT.glob("tvt/**/*.py"), *ROOT.glob("tvt/docs/*.md"), ROOT / "README.md"]
    advising = [file.name for file in texts if "pip install 'tvt[" in file.read_text(encoding="utf-8")]
    assert [name for name in advising if name != "errors.py"] == []


def test_the_citation_is_of_this_version() -> None:
    cited = strict_yaml.load_file(ROOT / "CITATION.cff")
    assert cited["version"] == tvt.__version__
    assert cited["preferred-citation"]["url"].endswith("2511.18787")
