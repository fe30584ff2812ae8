"""What README and the pages in tvt/docs state follows from the code: tables, manifests, messages, commands, pictures."""

from __future__ import annotations

import ast
import math
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

import docs_tables
from commands import ROOT
from documents import Page
from tvt import analyze, errors, load_study
from tvt.cli.docs import MOST, command, places
from tvt.cli.main import COMMANDS
from tvt.core.pooling import agreement
from tvt.data.tasks import load_manifest
from tvt.errors import InputError

README = Page(ROOT / "README.md")
PAGES = {path.stem: Page(path) for path in sorted((ROOT / "tvt" / "docs").glob("*.md"))}
PICTURES = sorted((ROOT / "tvt" / "docs" / "pictures").iterdir())
NEWCOMERS_KAPPA = docs_tables.between(PAGES["coming-from"].text, "kappa")
MANIFESTS = re.findall(r"<!-- manifest -->\n```yaml\n(.*?)```", "\n".join(page.text for page in PAGES.values()), re.DOTALL)
MESSAGES = re.findall(r"^\| `(.+?)` \|", PAGES["troubleshooting"].text, re.MULTILINE)


def test_tasks_and_sources_are_those_of_the_manifests() -> None:
    assert docs_tables.between(PAGES["reproduce"].text, "tasks") == docs_tables.tasks()


def test_costs_are_those_of_the_plans(tmp_path: Path) -> None:
    assert docs_tables.between(PAGES["reproduce"].text, "costs") == docs_tables.costs(tmp_path / "study")


def test_cheaper_studies_cost_and_say_what_the_pages_state(tmp_path: Path) -> None:
    assert docs_tables.between(PAGES["reproduce"].text, "cheaper") == docs_tables.cheaper(tmp_path / "study")
    assert docs_tables.between(PAGES["studies"].text, "judged") == docs_tables.judged()


def test_the_published_studies_agree_as_little_as_the_pages_state() -> None:
    rank = agreement([load_study(f"qwen2.5-vl-{size}") for size in ("3b", "7b", "32b")])
    for page, stated in (("trust", r"agrees at (0\.\d\d)"), ("selecting", r"rank correlation of (0\.\d\d) within\s+targets")):
        found = re.search(stated, PAGES[page].text)
        assert found is not None, page
        assert float(found.group(1)) == pytest.approx(rank, abs=0.01)


@pytest.mark.slow
def test_what_estimates_of_missing_cells_are_worth_is_what_the_page_states() -> None:
    stated, computed = docs_tables.between(PAGES["trust"].text, "completion"), docs_tables.completion()
    for line, again in zip(stated, computed, strict=True):
        if "%" not in line:
            assert line == again
            continue
        (name, *figures), (other, *now) = ([*re.split(r" \| ", row.strip("| "))] for row in (line, again))
        assert (name, figures[0]) == (other, now[0])
        assert [float(f) for f in figures[1:]] == pytest.approx([float(f) for f in now[1:]], abs=0.02)


def test_what_is_left_beyond_any_finetuning_is_what_the_page_states() -> None:
    page = PAGES["reproduce"].text
    assert docs_tables.between(page, "split") == docs_tables.split()
    assert docs_tables.between(page, "split personas") == docs_tables.split_personas()
    small, middle, large = (analyze(f"qwen2.5-vl-{size}").studies[0] for size in ("3b", "7b", "32b"))
    for study in (small, middle, large):
        assert study.significance is not None
        assert study.split.significance is not None
    helped = {target for _, target in large.significance.helps}
    assert helped == {"Visual_Similarity", "Art_Style", "Visual_Correspondence"}
    assert large.split.significance.helps == large.split.significance.harms == ()
    assert set(middle.split.significance.helps) == {
        ("Semantic_Correspondence", "Visual_Correspondence"), ("Visual_Similarity", "Jigsaw")
    }  # fmt: skip
    assert small.significance.helps == small.split.significance.helps == (("Jigsaw", "Visual_Similarity"),)


def test_readme_states_the_costs_of_the_paper_s_studies() -> None:
    rows = docs_tables.between(PAGES["reproduce"].text, "costs")
    hours = {row.split("|")[1].strip(" `"): row.split("|")[5].strip() for row in rows[2:]}
    small, middle, large = (hours[f"blink-qwen2.5-vl-{size}"] for size in ("3b", "7b", "32b"))
    assert f"{small}, {middle} and {large} device hours for 3B, 7B and 32B" in README.text


def test_every_recipe_but_the_examples_has_its_cost() -> None:
    assert {path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"example", "miniature", "world"} == set(
        docs_tables.STUDIES
    )


def test_fields_of_a_recipe_are_all_there_with_their_one_text() -> None:
    wanted = docs_tables.recipe()
    assert all(row.count("|") == 5 and not row.endswith("|  |") for row in wanted)
    assert docs_tables.between(PAGES["studies"].text, "recipe") == wanted, "write it anew:\n" + "\n".join(wanted)


@pytest.mark.parametrize("text", MANIFESTS, ids=lambda text: text.split()[1])
def test_manifests_are_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(text)
    assert load_manifest(tmp_path / "task.yaml").evaluation is not None


@cache
def said() -> str:
    """All text that the code may print, a line a string; what is filled in stands as ``...``."""
    found = []
    for path in (ROOT / "tvt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "..." for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 40


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_code(message: str) -> None:
    parts = [part for part in message.split("...") if part.strip()]
    pattern = r"[^\n]*?".join(map(re.escape, parts))
    assert re.search(pattern, said()), message


def test_exit_codes_are_the_documented_ones() -> None:
    classes = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.TvtError)]
    section = README.text.split("## Exit codes")[1].split("##")[0]
    documented = {int(n) for n in re.findall(r"(?:^|; )(\d+) ", section.replace("\n", " ").strip())}
    assert {c.exit_code for c in classes} | {0, 130} == documented


def test_readme_stays_short_and_maps_every_command() -> None:
    assert len(README.text.splitlines()) <= 220
    table = README.text.split("## What there is")[1].split("\n## ")[0]
    for name in COMMANDS:
        assert f"`tvt {name}" in table, name


def test_readme_links_every_page() -> None:
    for name in PAGES:
        assert f"(tvt/docs/{name}.md" in README.text, name


def test_docs_lists_the_pages() -> None:
    done = CliRunner().invoke(command)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_docs_shows_a_page_as_it_is(name: str) -> None:
    assert CliRunner().invoke(command, [name]).stdout == PAGES[name].text


def test_docs_sets_a_page_in_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"PAGER": "cat", "COLUMNS": "80", "TERM": "xterm"}
    command_line = [sys.executable, "-m", "tvt", "docs", "extending"]
    with subprocess.Popen(command_line, stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal's other side ends
            while some := os.read(ours, 65536):
                shown += some
    os.close(ours)
    assert process.returncode == 0
    lines = shown.decode().splitlines()
    assert not [line for line in lines if line.startswith(("#", "|", "```")) or "**" in line]
    assert max(map(len, lines)) <= 80


def test_docs_knows_no_other_page() -> None:
    done = CliRunner().invoke(command, ["selectin"])
    assert isinstance(done.exception, InputError)
    assert "did you mean 'selecting'?" in str(done.exception)
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["changelog"], ["Coming", "from"]])
def test_docs_takes_a_page_s_name_as_people_write_it(words: list[str]) -> None:
    assert CliRunner().invoke(command, words).stdout.startswith("# C")


@pytest.mark.parametrize(
    ("words", "page", "line"),
    [
        (["wandb"], "coming-from", "# wandb"),
        (["seed"], "studies", "# How many seeds and questions do I need?"),
        (["merging"], "coming-from", "# Adapters: where they lie, merging, serving"),
        (["report_to"], "studies", "The recipe: "),
        (["MAX_PIXELS", "scaled"], "data", "Large pictures: "),
    ],
)
def test_docs_says_where_words_stand_and_how_to_open_the_page(words: list[str], page: str, line: str) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= MOST
    assert [found for found in lines if re.match(rf"tvt docs {page} +{re.escape(line)}", found)]
    assert all(found.split()[2] in PAGES for found in lines)


def test_docs_says_how_many_more_places_there_are() -> None:
    text = [place for name, page in PAGES.items() for place in places(name, page.text) if re.search(r"\brun\b", place.text)]
    done = CliRunner().invoke(command, ["run"])
    assert len(done.stdout.splitlines()) == MOST
    more = re.fullmatch(r"(\d+) more places; add a word to narrow the search\n", done.stderr)
    assert more is not None
    assert int(more.group(1)) + MOST >= len(text)


def test_docs_ends_with_code_2_where_no_page_has_a_word() -> None:
    done = CliRunner().invoke(command, ["quuxification"])
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 2
    assert "no page 'quuxification', and no page has that word; there are CHANGELOG" in str(done.exception)


def test_a_part_of_a_page_is_a_heading_a_paragraph_an_item_or_a_row() -> None:
    text = "# Top\n\nOne\ntwo.\n- item\n  goes on\n\n| a | b |\n|---|---|\n```bash\n# no heading\n```\n## Next\nlast\n"
    assert [(place.section, place.text) for place in places("page", text)] == [
        ("Top", "Top"), ("Top", "One two."), ("Top", "- item goes on"), ("Top", "| a | b |"), ("Top", "# no heading"),
        ("Next", "Next"), ("Next", "last"),
    ]  # fmt: skip


def test_kappa_in_plain_words_is_the_formula_s() -> None:
    head, _, *rows = ([cell.strip(" %") for cell in row.strip("| \n").split("|")] for row in NEWCOMERS_KAPPA)
    for kappa, *shares in rows:
        for budget, share in zip(head[1:], shares, strict=True):
            worth = math.log1p(float(kappa) * int(budget) / 100) / math.log1p(float(kappa))
            assert int(share) == pytest.approx(100 * worth, abs=0.51)


def test_the_page_for_newcomers_answers_in_order_each_with_a_command() -> None:
    _, *answers = re.split(r"^## ", PAGES["coming-from"].text, flags=re.MULTILINE)
    wanted = ("rows", "benchmark", "cluster", "local", "resolution", "full", "wandb", "seeds", "cost", "kappa", "adapters",
              "supported", "weighting", "predicted", "free-text")  # fmt: skip
    assert [word for word, answer in zip(wanted, answers, strict=True) if word not in answer.splitlines()[0].casefold()] == []
    assert [answer.splitlines()[0] for answer in answers if "```bash\ntvt " not in answer] == []


def test_pictures_are_small_shown_and_described() -> None:
    assert PICTURES
    for picture in PICTURES:
        assert picture.stat().st_size < 300_000
        found = re.search(rf"!\[([^\]]+)\]\(tvt/docs/pictures/{picture.name}\)", README.text)
        assert found is not None, picture.name
        assert len(found.group(1)) > 40
