"""The house's import rule, read from the source of every module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

from commands import ROOT

PACKAGE = ROOT / "tvt"

# A module imports from its own package and from lower layers only; packages in one layer do not know each other.
LAYERS: list[set[str]] = [
    {"errors", "types"},
    {"stats"},
    {"core"},
    {"io"},
    {"model"},
    {"evidence", "transfer", "data", "exports"},
    {"train", "evaluate", "selection"},
    {"study", "compare"},
    {"tuning"},
    {"report"},
    {"api"},
    {"cli"},
    {"__init__", "__main__"},  # the public API and `python -m tvt` stand above all
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Heavy packages and the only places that may import them.
CONFINED = {
    **{name: {"train", "evaluate", "model"} for name in ("torch", "transformers", "trl", "peft", "deepspeed", "accelerate")},
    "datasets": {"train", "evaluate", "data"},
    "cvxpy": {"selection"},
    **{name: {"study"} for name in ("submitit", "ray")},
    "pandas": {"core"},
}

# Installed under another name than they are imported by, for when the extra is not installed here.
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow"}


class Import(NamedTuple):
    file: Path
    line: int
    package: str
    """The part of tvt that imports, e.g. ``select`` or ``errors``."""
    module: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.package} imports {self.module}"


def package_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(node: ast.AST, file: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            base = ("tvt", *file.relative_to(PACKAGE).parent.parts)[: None if node.level == 1 else 1 - node.level]
            yield ".".join([*base, *([node.module] if node.module else [])])
        elif node.module == "tvt":
            # `from tvt import __version__` asks for nothing below; `from tvt import report` is an import of report.
            yield from (f"tvt.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif node.module:
            yield node.module


def all_imports() -> list[Import]:
    return [
        Import(file, node.lineno, package_of(file), module)
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in imported(node, file)
    ]


IMPORTS = all_imports()


def report(faults: list[Import], rule: str) -> None:
    assert not faults, f"{rule}\n" + "\n".join(map(str, faults))


def test_something_was_read() -> None:
    assert len(IMPORTS) > 50


def test_every_package_has_a_layer() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and list(path.rglob("*.py")))}
    assert parts <= set(LEVEL), f"give these a layer here and in CONTRIBUTING.md: {sorted(parts - set(LEVEL))}"


def test_imports_run_one_way() -> None:
    faults = []
    for item in IMPORTS:
        if item.module == "tvt" or not item.module.startswith("tvt."):
            continue
        target = item.module.split(".")[1]
        # A name of the public API (`from tvt import Mixture`) has no layer: inside, import it from where it is defined.
        if target != item.package and LEVEL.get(target, len(LAYERS)) >= LEVEL[item.package]:
            faults.append(item)
    report(
        faults,
        "cli -> api -> report -> study, compare -> train, evaluate, selection -> evidence, transfer, data, exports -> model",
    )


@pytest.mark.parametrize("heavy", CONFINED)
def test_heavy_packages_stay_where_they_belong(heavy: str) -> None:
    faults = [item for item in IMPORTS if item.module.split(".")[0] == heavy and item.package not in CONFINED[heavy]]
    report(faults, f"{heavy} only in {', '.join(sorted(CONFINED[heavy]))}")


def declared() -> tuple[set[str], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        found = [re.match(r"[\w.-]+", requirement) for requirement in requirements]
        return {normal(match.group()) for match in found if match}

    extras = project.get("optional-dependencies", {})
    optional = {name for extra, requirements in extras.items() if extra != "dev" for name in names(requirements)}
    return names(project["dependencies"]), optional


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_third_party_imports_are_declared() -> None:
    core, optional = declared()
    installed = packages_distributions()
    faults = []
    for item in IMPORTS:
        top = item.module.split(".")[0]
        if top == "tvt" or top in sys.stdlib_module_names:
            continue
        names = {normal(name) for name in [DISTRIBUTIONS.get(top, top), *installed.get(top, [])]}
        # What comes with an extra may be imported only where a light install never goes.
        allowed = core | optional if item.package in {"train", "evaluate", "model", "data", "study"} else core
        if top == "pandas":  # an extra that core asks for where a table is wanted, and names where it is missing
            allowed = optional
        if not names & allowed:
            faults.append(item)
    report(faults, "declare it in pyproject.toml: in dependencies, or in an extra for train, evaluate, model, data and study")


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom tvt.cli.main import cli\n"
        f"try:\n    cli.main({list(arguments)!r}, prog_name='tvt')\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in result.stderr.split()}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []], ids=["help", "version", "nothing"])
def test_overview_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = {"torch", "transformers", "cvxpy", "numpy", "scipy", "pydantic", "rich", "matplotlib", "networkx", "yaml"}
    assert not heavy & loaded_by(*arguments)


def test_import_tvt_is_cheap() -> None:
    code = "import sys, tvt; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"numpy", "pydantic", "cvxpy", "click"} & {name.split(".")[0] for name in result.stdout.split()}
