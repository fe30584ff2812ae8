"""Shell completion: what is offered where, read by click's own classes, and that it stays quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from commands import ENVIRONMENT, ROOT
from tvt.cli.main import cli
from tvt.core.recipe import Recipe
from tvt.data.studies.load import bundled_studies, load_study
from tvt.data.tasks import find_manifests, load_manifests
from tvt.io import strict_yaml

QWEN = ["qwen2.5-vl-32b", "qwen2.5-vl-3b", "qwen2.5-vl-7b"]


def offered(*words: str) -> list[str]:
    """What is offered for the last word; ``file`` where the shell is to offer files."""
    items = ShellComplete(cli, {}, "tvt", "_TVT_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value if item.type == "plain" else item.type for item in items]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("studies/mine", "other", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "study.yaml").write_text("name: x\n")
        (tmp_path / name / "scores.csv").write_text("run,source,target,correct,total\nr,base,Light,1,2\nr,Dark,Light,1,2\n")
    (tmp_path / "studies" / "mine" / "recipe.yaml").touch()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "study.yaml").write_text("sources: [a]\ntargets: [b]\n")
    (tmp_path / "gains.csv").write_text("source,target,pgf\nA b,C,0.1\n")
    (tmp_path / "mine.yaml").write_text("name: x\nsources: [a]\ntargets: [b]\n")
    (tmp_path / "mixture.yaml").write_text("weights: {}\n")
    return tmp_path


def test_studies(here: Path) -> None:
    assert sorted(bundled_studies()) == ["miniature-swarm", *QWEN]
    assert offered("analyze", "") == ["miniature-swarm", *QWEN, "other", "studies/mine", "gains.csv"]
    assert offered("select", "QWEN2.5-vl-3") == ["qwen2.5-vl-32b", "qwen2.5-vl-3b"]
    assert offered("predict", "7b", "st") == ["studies/mine"]
    assert offered("predict", "studies/") == ["studies/mine"]
    assert offered("analyze", f"{here}/stu") == [f"{here}/studies/mine"]
    assert offered("analyze", "no/such") == ["file"]
    assert offered("compare", "") == ["studies/mine"]
    assert offered("study", "status", "") == ["studies/mine"]


@pytest.mark.parametrize(
    "words", [("study", "plan"), ("study", "run"), ("recipe", "check"), ("doctor",), ("train", "--recipe")]
)
def test_recipes(words: tuple[str, ...], here: Path) -> None:
    assert offered(*words, "m") == ["mine.yaml", "miniature"]
    assert offered(*words, "half/") == ["half/study.yaml"]
    assert offered(*words, "mix") == ["file"]


def test_every_recipe_is_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    root = ROOT
    monkeypatch.chdir(root)
    assert offered("recipe", "check", "rec") == sorted(str(path.relative_to(root)) for path in root.glob("recipes/*.yaml"))


def test_a_recipe_as_tvt_writes_it(here: Path) -> None:
    recipe = Recipe.model_validate({"name": "x", "model": {"model_name_or_path": "m"}, "sources": ["a"], "targets": ["b"]})
    (here / "written.yaml").write_text(strict_yaml.dump(recipe.model_dump(mode="json")))
    assert offered("study", "run", "w") == ["written.yaml", "world"]


def test_tasks(here: Path) -> None:
    names = [manifest.name for manifest in load_manifests()]
    assert offered("tasks", "show", "") == names
    assert offered("tasks", "show", "rel") == ["Relative_Depth", "Relative_Reflectance"]
    drawn = list(find_manifests(["miniature"], bundled=False))
    assert set(offered("tasks", "show", "--manifests", "miniature", "")) == {*names, *drawn}
    assert offered("tasks", "show", "nothing") == []


@pytest.mark.parametrize(
    ("option", "kind", "end"), [("--goal", "targets", "="), ("--target", "targets", ""), ("--exclude", "sources", "")]
)
def test_tasks_of_the_studies_that_are_named(option: str, kind: str, end: str, here: Path) -> None:
    names = getattr(load_study("qwen2.5-vl-7b"), kind)
    assert sorted(offered("select", "7b", option, "")) == sorted(f"{name}{end}" for name in names)
    assert offered("select", "other", option, "") == [("Light" if kind == "targets" else "Dark") + end]
    assert offered("select", "gains.csv", option, "") == [("C" if kind == "targets" else "A b") + end]
    assert offered("select", option, "jig") == [f"Jigsaw{end}"]  # no study named yet
    assert offered("study", "judge", "other", option, "") == [("Light" if kind == "targets" else "Dark") + end]


def test_protection(here: Path) -> None:
    assert offered("select", "other", "--protect", "") == ["all", "Light"]
    assert offered("select", "other", "--protect", "a") == ["all"]


def test_options_and_choices() -> None:
    assert "--without-direct" in offered("select", "--w")
    assert offered("select", "--objective", "g") == ["gain", "goals"]
    assert {"doctor", "init", "select"} <= set(offered(""))


def test_damaged_files_offer_nothing_and_break_nothing(here: Path) -> None:
    (here / "bad.csv").write_bytes(b"\xff\xfe\x00target\n")
    (here / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    assert "Jigsaw" in offered("select", "bad.csv", "--target", "")
    assert offered("recipe", "check", "bad") == ["file"]
    os.chmod(here / "studies", 0)
    try:
        assert offered("analyze", "studies/m") in (["file"], ["studies/mine"])  # root may read it
    finally:
        os.chmod(here / "studies", 0o755)


@pytest.mark.parametrize(
    ("words", "count"), [("tvt select 7b --goal J", "4"), ("tvt analyze q", "2"), ("tvt tasks show J", "3")]
)
def test_nothing_heavy_is_loaded(words: str, count: str) -> None:
    code = (
        "import sys, os\nfrom tvt.cli.main import cli\n"
        "try:\n    cli.main(prog_name='tvt', complete_var='_TVT_COMPLETE')\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    environment = {"_TVT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**ENVIRONMENT, **environment}, check=True
    )
    assert done.stdout.startswith("plain,")
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"numpy", "pydantic", "yaml", "cvxpy", "rich", "torch", "scipy", "pyarrow"}
