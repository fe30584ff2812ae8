"""README and the pages in tvt/docs tell the truth: Python runs and prints what is shown, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tvt
from commands import ROOT
from documents import Page, furnish, run_python

PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "tvt" / "docs").glob("*.md")))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("docs")
    furnish(path)
    return path


def test_there_are_pages() -> None:
    assert {"python.md"} <= {page.path.name for page in PAGES}


LONG = {"coming-from", "python"}
"""Pages whose examples take long, or load a model."""
WITH_PYTHON = [
    pytest.param(page, marks=[pytest.mark.slow] if page.path.stem in LONG else [], id=page.path.stem)
    for page in PAGES
    if page.python()
]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_prints_what_is_shown(page: Page, folder: Path) -> None:
    """The blocks of a page build on each other, so they are one program."""
    mark = "=== next ==="
    done = run_python(f"\nprint({mark!r})\n".join(code for code, _ in page.python()), folder)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{mark}\n")
    for (code, shown), out in zip(page.python(), printed, strict=True):
        assert shown is None or shown == out, code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_links_lead_somewhere(page: Page) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


def test_the_python_page_lists_the_public_names() -> None:
    (page,) = (page for page in PAGES if page.path.name == "python.md")
    assert page.python()[0][1] == "\n".join(tvt.__all__) + "\n"


@pytest.mark.parametrize("name", tvt.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(tvt, name)
    assert name == "__version__" or (value.__doc__ and f"{name}" in (ROOT / "tvt" / "docs" / "python.md").read_text())


def test_the_changelog_names_this_version_and_every_command() -> None:
    """Keep a Changelog: newest first, what is not released yet on top; a new command is a notable change."""
    from tvt.cli.main import COMMANDS

    text = (ROOT / "tvt" / "docs" / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(tvt.__version__)}\] - \d{{4}}-\d\d-\d\d", heads[1])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
    assert [name for name in COMMANDS if f"tvt {name}`" not in text and f"tvt {name} " not in text] == []
