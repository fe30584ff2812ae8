"""Choices by name: what tvt has, and what a package outside adds by entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvt.core.choices import BUILDERS, EXECUTORS, EXPORTS, FORMATS, METRICS, PROMPTS, READERS, RESPONSES, Registry
from tvt.core.metrics import Metric
from tvt.data.builders.contract import Builder
from tvt.data.hub.formats import RowFormat
from tvt.errors import InputError
from tvt.evaluate.prompts import Profile
from tvt.evaluate.readers import Reader
from tvt.evidence.forms import StudyForm
from tvt.exports.plan import Export
from tvt.study.executors import Engine

KINDS = [
    (EXECUTORS, Engine),
    (EXPORTS, Export),
    (READERS, Reader),
    (PROMPTS, Profile),
    (METRICS, Metric),
    (FORMATS, RowFormat),
    (RESPONSES, StudyForm),
]

PACKAGE = """
from collections.abc import Sequence
from dataclasses import dataclass
from tvt.data.hub.formats import RowFormat
from tvt.evaluate.prompts import Profile
from tvt.evaluate.readers import Reader
from tvt.exports.plan import Export, Plan
from tvt.study.executors.local import Local


@dataclass(frozen=True, kw_only=True)
class Last(Reader):
    name: str = "last"
    version: int = 1
    title: str = "the last character"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        return text[-1:] or None

    def read_number(self, text: str) -> float | None:
        return None


class Counts(Export):
    needs_model = False

    def render(self, plan: Plan) -> dict[str, str]:
        return {"counts.txt": "".join(f"{part.source} {part.count}\\n" for part in plan.parts)}


class Shouted(Profile):
    @property
    def identity(self):
        return {"prompt": {"profile": "shouted", "version": 1}}

    def content(self, question):
        return [{"type": "text", "text": question.prompt.upper()}]


class Rows(RowFormat):
    needed = ("id",)

    def question(self, row, data):
        raise ValueError("none")


class Drawn:
    version = 1
"""
POINTS = """
[tvt.readers]
last = outside_tvt:Last
careful = outside_tvt:Last
[tvt.exports]
counts = outside_tvt:Counts
[tvt.prompts]
shouted = outside_tvt:Shouted
[tvt.formats]
rows = outside_tvt:Rows
[tvt.executors]
elsewhere = outside_tvt:Local
[tvt.builders]
Counting/drawn = outside_tvt:Drawn
broken/one = outside_tvt:NotThere
"""
SEEN = """
from pathlib import Path
from tvt import read_answer
from tvt.cli.evaluate import command as evaluate
from tvt.core.choices import BUILDERS, READERS
from tvt.core.recipe import EvaluationConfig, RuntimeConfig
from tvt.data.builders.contract import find_builder, layouts_of
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.evaluate.prompts import read_profile
from tvt.study.executors import engine_of
assert read_answer("it is B", ["x", "y"], "last") == "B"
assert type(READERS.find("careful")).__name__ == "Careful"
assert "last (the last character)" in next(p.help for p in evaluate.params if p.name == "extract")
assert read_profile("shouted").identity["prompt"]["profile"] == "shouted"
assert QuestionData(path="x.jsonl", format="rows").format == "rows"
assert RuntimeConfig(executor="elsewhere").executor == "elsewhere"
assert layouts_of("Counting")[-1] == "drawn" and find_builder("Counting", "drawn").version == 1
try:
    BUILDERS.find("broken/one")
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("registry", "kind"), KINDS, ids=lambda value: getattr(value, "kind", ""))
def test_every_name_is_a_choice_of_its_kind(registry: Registry[object], kind: type) -> None:
    assert all(isinstance(registry.find(name), kind) for name in registry.names)
    assert registry.default == registry.names[0]
    with pytest.raises(InputError, match=f"no {registry.kind} '{registry.default}x' .did you mean '{registry.default}'"):
        registry.find(f"{registry.default}x")


def test_every_builder_can_be_loaded() -> None:
    builders: list[Builder] = list(BUILDERS)
    assert len(builders) == len(BUILDERS.names) > 10


def test_a_package_outside_adds_to_every_kind(tmp_path: Path) -> None:
    (tmp_path / "outside_tvt.py").write_text(PACKAGE, encoding="utf-8")
    metadata = tmp_path / "outside_tvt-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-tvt\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))}
    told = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, env=environment, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(
        "builder 'broken/one': the package outside-tvt names outside_tvt:NotThere, which cannot be loaded"
    )
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text("weights: {a: 0.5, b: 0.5}\ncounts: {a: 3, b: 3}\nbudget: 6\n", encoding="utf-8")
    run = [sys.executable, "-m", "tvt", "export", str(mixture), "--to", "counts"]
    told = subprocess.run(run, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, "a 3\nb 3\n"), told.stderr


@pytest.mark.parametrize(
    "code", ["def (", 'raise RuntimeError("no licence\\nhere")', "class R:\n    def __init__(self): raise ValueError('no')"]
)
def test_a_broken_package_outside_breaks_only_what_it_adds(code: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[tvt.readers]\nodd = broken_reader:R\n")
    (tmp_path / "broken_reader.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    program = (
        "from tvt.cli.evaluate import command\nfrom tvt.core.choices import READERS\nfrom tvt.errors import InputError\n"
        "try:\n    READERS.find('odd')\nexcept InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "reader 'odd': the package broken names broken_reader:R, which cannot be loaded" in done.stdout
    assert done.stdout.count("\n") == 1


def test_an_outside_choice_of_another_kind_or_name_or_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "strange.py").write_text(
        "from tvt.evaluate.readers import VsiBench\nclass Plain:\n    pass\n", encoding="utf-8"
    )
    for package, points in (
        ("one", "plain = strange:Plain\nother = strange:VsiBench\ntwice = strange:Plain\n"),
        ("two", "twice = strange:VsiBench\n"),
    ):
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (metadata / "entry_points.txt").write_text(f"[tvt.readers]\n{points}", encoding="utf-8")
    code = """
from tvt.core.choices import READERS
from tvt.errors import InputError
for name in ("plain", "other", "twice"):
    try:
        READERS.find(name)
    except InputError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
    plain, other, twice = told.splitlines()
    assert "strange:Plain, which is no tvt.evaluate.readers.Reader" in plain
    assert "calls itself 'vsi-bench'" in other
    assert (
        "the package one and the package two both add it" in twice or "the package two and the package one both add it" in twice
    )
