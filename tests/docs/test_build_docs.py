"""scripts/build-docs: a site of README and all pages, in which every link leads somewhere, and which replaces nothing else."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import build_docs
from commands import ROOT

PAGES = {path.name for path in (ROOT / "tvt" / "docs").glob("*.md")}


def test_the_site_has_every_page_once(tmp_path: Path) -> None:
    build_docs.write_source(tmp_path)
    settings = yaml.safe_load((tmp_path / "mkdocs.yml").read_text())
    nav = settings["nav"]
    assert nav[0] == "index.md"
    assert len(nav) == len(set(nav))
    assert set(nav) == PAGES | {"index.md", "CONTRIBUTING.md"} == {path.name for path in (tmp_path / "docs").glob("*.md")}
    assert set(settings["validation"]["links"].values()) == {"warn"}


def test_links_of_readme_lead_to_pages_and_pictures_beside_it(tmp_path: Path) -> None:
    build_docs.write_source(tmp_path)
    text = (tmp_path / "docs" / "index.md").read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert "coming-from.md" in links
    assert "pictures/report.png" in links
    assert [link for link in links if not (tmp_path / "docs" / link).is_file()] == []


def test_a_list_or_a_table_right_behind_text_gets_the_empty_line_that_mkdocs_wants() -> None:
    text = "Text:\n- one\n  goes on\n- two\n<!-- table: x -->\n| a |\n|---|\n```text\ncode\n- code\n```\n"
    wanted = "Text:\n\n- one\n  goes on\n- two\n<!-- table: x -->\n\n| a |\n|---|\n```text\ncode\n- code\n```\n"
    assert build_docs._separated(text) == wanted


def test_a_folder_with_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_docs, "find_spec", lambda _name: object())
    (tmp_path / "thesis.tex").write_text("years of work")
    assert build_docs.main([str(tmp_path)]) == 2
    assert "not empty and no site of mkdocs" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_without_mkdocs_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_docs, "find_spec", lambda _name: None)
    assert build_docs.main([str(tmp_path / "site")]) == 5
    assert "pip install '.[docs]'" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_mkdocs_builds_the_site_and_a_broken_link_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_docs.main([str(tmp_path / "site")]) == 0
    assert build_docs.main([str(tmp_path / "site")]) == 0
    assert "My rows" in (tmp_path / "site" / "coming-from" / "index.html").read_text()
    monkeypatch.setattr(build_docs, "_beside", lambda link: link.group(0))
    assert build_docs.main([str(tmp_path / "other")]) != 0
