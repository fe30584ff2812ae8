"""Scores that measure habits of answering: found, and said wherever a score is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import vsi_copy
from texts import flat
from tvt.cli import analyze, predict, report, select, study_results
from tvt.core.answer_statistics import AnswerReport, AnswerStatistics, GivenAnswer, ScoredCell, answer_statistics
from tvt.core.mixture import Mixture
from tvt.core.question import Question, QuestionSet, question_warnings
from tvt.core.recipe import WarningSettings
from tvt.core.scores import Score
from tvt.core.task import Task
from tvt.data.questions.files import write_parquet
from tvt.data.studies.folder import ANSWERS_FILE, StudyManifest, write_answer_file, write_study
from tvt.data.task_questions import count_set, look_at_set, question_digests
from tvt.data.tasks import QuestionData, find_manifests
from tvt.errors import InputError
from tvt.io.yaml_files import save_mixture
from tvt.report.evaluation_tables import answer_warnings
from tvt.study.outputs import folder_report

USUAL = WarningSettings()
TASKS = ("Depth", "Jigsaw", "Counting")
BASE = (
    "the base model answers A to 100% of Depth's questions, A to 100% of Jigsaw's questions, A to 100% of Counting's questions"
)


def answered(predicted: str, right: str, scores: Sequence[float] | None = None) -> AnswerStatistics:
    """A letter for each question; ``-`` could not be read."""
    pairs = zip(predicted, right, strict=True)
    return answer_statistics(GivenAnswer(None if p == "-" else p, r, scores, open_ended=False) for p, r in pairs)


def kinds(of: AnswerStatistics, thresholds: WarningSettings = USUAL) -> list[str]:
    cell = ScoredCell(run="r", target="t", base=False, statistics=of)
    return [finding.kind for finding in AnswerReport(thresholds=thresholds, cells=(cell,)).findings]


def test_one_letter_to_nearly_all_is_a_collapse() -> None:
    assert kinds(answered("C" * 19 + "A", "ABCD" * 5)) == ["collapse"]
    assert kinds(answered("C" * 18 + "AA", "ABCD" * 5)) == [], "90% of 20"
    assert kinds(answered("C" * 18 + "AA", "ABCD" * 5), USUAL.model_copy(update={"letter_share": 0.9})) == ["collapse"]
    found = answered("C" * 19 + "A", "ABCD" * 5)
    assert (found.letter, found.letter_share, found.letter_right) == ("C", 0.95, 0.25)


def test_a_letter_that_is_right_as_often_is_no_collapse() -> None:
    assert kinds(answered("A" * 50, "A" * 48 + "BB")) == []
    assert kinds(answered("A" * 50, "A" * 41 + "B" * 9)) == [], "18 points more than it is right"
    assert kinds(answered("A" * 50, "A" * 39 + "B" * 11)) == ["collapse"], "22 points more"


def test_unread_answers_do_not_hide_that_all_others_are_one_letter() -> None:
    """91% A and 9% unread: below both thresholds alone."""
    assert kinds(answered("A" * 91 + "-" * 9, "ABCD" * 25)) == ["collapse"]
    assert kinds(answered("A" * 5 + "-" * 95, "ABCD" * 25)) == ["unread"], "five answers say nothing"


def test_names_in_warnings_are_printed_without_what_steers_a_terminal() -> None:
    twice = QuestionSet(name="Side", rows=4, stated=None, repeated=1, contradicting=0, example=("a\x1b[2Jb", "c\u2028d"))
    (line,) = question_warnings([twice])
    assert line.isprintable()
    assert r"a\x1b[2Jb repeats c\u2028d" in line


def test_few_questions_are_left_alone() -> None:
    assert kinds(answered("AAAA", "BCDB", scores=(-9.0, -9.0))) == []
    assert kinds(answered("A" * 9, "B" * 9)) == []
    assert kinds(answered("A" * 10, "B" * 10)) == ["collapse"]


def test_numbers_have_no_letters() -> None:
    numbers = answer_statistics(GivenAnswer("2", "4", None, open_ended=True) for _ in range(20))
    assert (numbers.letter, numbers.letter_share, numbers.letter_mass, numbers.choices) == (None, None, None, 0)
    assert kinds(numbers) == []
    mixed = answer_statistics([GivenAnswer("2", "4", None, True)] * 20 + [GivenAnswer("A", "B", None, False)] * 10)
    assert (mixed.letter_share, kinds(mixed)) == (1.0, ["collapse"])


def test_the_mass_on_letters_is_the_mean_of_their_probabilities() -> None:
    found = answered("A" * 10, "AB" * 5, scores=(-1.0, -3.0))
    assert found.letter_mass == pytest.approx(0.36788 + 0.04979, abs=1e-4)
    assert "letter_mass" in kinds(found)
    assert kinds(found, USUAL.model_copy(update={"letter_mass": 0.4, "letter_excess": 1.0})) == []


def test_more_than_a_tenth_unread_is_said() -> None:
    assert kinds(answered("--" + "ABCD" * 2, "ABCD" * 2 + "AB")) == ["unread"]
    assert kinds(answered("-" + "ABCD" * 2 + "A", "ABCD" * 2 + "AB")) == [], "exactly a tenth"


def test_cells_are_grouped_and_counted_and_the_base_comes_first() -> None:
    collapsed = answered("A" * 20, "ABCD" * 5, scores=(-9.0,))
    cells = [ScoredCell(run=f"run {k}", target="Depth", base=False, statistics=collapsed) for k in range(15)]
    cells.append(ScoredCell(run="base", target="Depth", base=True, statistics=collapsed))
    told = answer_warnings(AnswerReport(thresholds=USUAL, cells=tuple(cells)))
    assert [line.loud for line in told] == [True, True, False, False, False]
    assert told[0].text.startswith("the base model answers A to 100% of Depth's questions: gains and losses from there measure")
    assert "letter habits, not transfer (collapse: one letter to at least 95%, and over 20 points more" in told[0].text
    assert told[1].text.startswith(
        "the base model puts little of its probability on option letters: 0.0123% on Depth (mean below"
    )
    several = "run 0 -> Depth (A 100%); run 1 -> Depth (A 100%); run 2 -> Depth (A 100%); ... and 12 more"
    assert told[2].text == f"collapsed to one letter (at least 95%): {several}"
    assert not answer_warnings(AnswerReport(thresholds=USUAL))


def collapsed_study(folder: Path) -> Path:
    """Three tasks; the base model answers A to everything, both adapters C."""
    letters = {"base": "A" * 40, "Depth": "C" * 40, "Jigsaw": "C" * 40}
    right = "A" * 12 + "B" * 12 + "C" * 8 + "D" * 8
    counted = {letter: right.count(letter) for letter in "AC"}
    scores, cells = [], []
    for name, given in letters.items():
        for target in TASKS:
            source, both = (None, None) if name == "base" else (name, 0)
            correct = counted[given[0]]
            run = "base" if source is None else "seed_0"
            score = Score(
                run=run,
                source=source,
                target=target,
                accuracy=correct / 40,
                correct=correct,
                total=40,
                both_correct=both,
            )
            scores.append(score)
            label = "base" if source is None else f"{name}, seed 0"
            statistics = answered(given, right, scores=(-0.1,))
            cells.append(ScoredCell(run=label, target=target, base=source is None, statistics=statistics))
    sets = (QuestionSet(name="Depth", rows=40, stated=120), QuestionSet(name="Jigsaw", rows=40, repeated=2, example=("b", "a")))
    write_study(folder, StudyManifest(name="drawn", budget=100, tasks=tuple(Task(name=name) for name in TASKS)), scores)
    write_answer_file(folder, AnswerReport(thresholds=USUAL, cells=tuple(cells), sets=sets))
    return folder


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collapsed_study(tmp_path_factory.mktemp("collapsed") / "study")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixture") / "mixture.yaml"
    save_mixture(Mixture.of_counts({"Depth": 50, "Jigsaw": 50}), path)
    return path


def run(command: click.Command, *arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result


Called = Callable[[Path, Path], tuple[click.Command, list[object]]]
COMMANDS: dict[str, Called] = {
    "analyze": lambda study, _: (analyze.command, [study]),
    "select": lambda study, _: (select.command, [study, "--anyway", "--no-stability"]),
    "predict": lambda study, mixture: (predict.command, [study, "--mixture", mixture]),
    "study judge": lambda study, _: (study_results.command, [study, "--against", study, "--anyway"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_read_a_study_say_that_its_base_collapsed(name: str, collapsed: Path, mixture: Path) -> None:
    command, arguments = COMMANDS[name](collapsed, mixture)
    shown = flat(run(command, *arguments).stdout)
    assert f"warning: {BASE}: gains and losses from there measure letter habits, not transfer (collapse: one" in shown
    assert "warning: collapsed to one letter (at least 95%): Depth, seed 0 -> Depth (C 100%); Depth, seed 0 -> Jigsaw" in shown
    assert "Depth has 40 of 120 rows" in shown
    assert "Jigsaw (2 of 40, e.g. b repeats a)" in shown
    assert "tvt docs studies, 'Doubtful scores'" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_json_holds_the_warnings_and_stderr_tells_them(name: str, collapsed: Path, mixture: Path) -> None:
    command, arguments = COMMANDS[name](collapsed, mixture)
    result = run(command, *arguments, "--json")
    told = json.loads(result.stdout)
    assert told["schema"] == 1
    assert f"note: {BASE}" in result.stderr
    answers = told["answers"]
    assert answers["thresholds"] == USUAL.model_dump()
    first = {"kind": "collapse", "run": "base", "target": "Depth", "base": True, "value": 1.0, "threshold": 0.95, "letter": "A"}
    assert answers["warnings"][0] == first
    assert len(answers["warnings"]) == 9
    assert [found["name"] for found in answers["questions"]] == ["Depth", "Jigsaw"]


def test_thresholds_can_be_set_and_wrong_ones_are_refused(collapsed: Path) -> None:
    assert "letter" not in run(analyze.command, collapsed, "--warn", "letter_excess=1").stdout
    mass = flat(run(analyze.command, collapsed, "--warn", "letter_mass=0.95", "--warn", "letter_excess=1").stdout)
    assert "the base model puts little of its probability on option letters: 90.5% on Depth" in mass
    assert "(mean below 95%)" in mass
    with pytest.raises(InputError) as refused:
        run(analyze.command, collapsed, "--warn", "letter_shar=1", "--warn", "unread=x", "--warn", "letter_mass=2")
    lines = "\n".join(refused.value.faults)
    assert "--warn letter_shar=1: write it as FIELD=VALUE" in lines
    assert "unread" in lines
    assert "letter_mass" in lines


def test_several_studies_are_told_apart(collapsed: Path) -> None:
    result = run(analyze.command, collapsed, "qwen2.5-vl-7b", "--json")
    assert f"note: {collapsed}: {BASE}" in result.stderr
    assert json.loads(result.stdout)["answers"]["warnings"][0]["target"] == "Depth"


def test_of_a_study_that_tvt_did_not_measure_nothing_is_said() -> None:
    result = run(analyze.command, "qwen2.5-vl-7b", "--json")
    assert json.loads(result.stdout)["answers"] is None
    assert "letters" not in result.stderr


def test_the_report_says_it_before_its_findings(collapsed: Path, tmp_path: Path) -> None:
    result = run(report.command, collapsed, "-o", tmp_path / "r.html", "--no-mixtures")
    assert f"note: {BASE}" in result.stderr
    page = (tmp_path / "r.html").read_text()
    data: Any = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    warnings = data["studies"][0]["warnings"]
    assert warnings[0]["loud"]
    assert warnings[0]["text"].startswith(BASE)
    assert [warned["loud"] for warned in warnings[1:]] == [False] * (len(warnings) - 1)


def test_a_damaged_file_of_answers_is_refused(collapsed: Path, tmp_path: Path) -> None:
    study = collapsed_study(tmp_path / "study")
    (study / ANSWERS_FILE).write_text('{"schema": 1, "cells": 3}')
    with pytest.raises(InputError, match=r"answers\.json: damaged; delete it"):
        folder_report(study)
    (study / ANSWERS_FILE).write_text("no")
    with pytest.raises(InputError, match=r"answers\.json: cannot be read"):
        folder_report(study)


def question(name: str, prompt: str, answer: str = "A", images: tuple[bytes, ...] = (b"x",)) -> Question:
    return Question(id=name, task="Depth", prompt=prompt, options=("p", "q"), answer=answer, images=images)


def test_the_same_question_under_two_ids_is_counted_once_for_each_time_too_many() -> None:
    asked = [
        question("a", "Which is nearer?"),
        question("b", "Which is  nearer?\n"),
        question("c", "Which is nearer?", answer="B"),
        question("d", "Which is nearer?", images=(b"y",)),
        replace(question("e", "Which is nearer?"), options=("q", "p")),
        question("f", "Which is farther?"),
    ]
    found = count_set("Depth", question_digests(asked))
    assert found == QuestionSet(name="Depth", rows=6, repeated=2, example=("b", "a"), contradicting=1)


def test_rows_are_held_against_what_the_manifest_states(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    write_parquet([question(str(k), f"Which? {k}") for k in range(12)], path)
    counts = {stated: look_at_set(QuestionData(path=str(path), questions=stated), "Depth") for stated in (None, 12, 120, 5)}
    assert [found.odd for found in counts.values()] == [False, False, True, True]
    told = [answer_warnings(AnswerReport(thresholds=USUAL, sets=(found,)))[0].text for found in (counts[120], counts[5])]
    assert told[0].endswith("Depth has 12 of 120 rows")
    assert told[1].endswith("Depth has 12 rows for 5 (the first 5 are asked)")
    assert look_at_set(QuestionData(path=str(path), questions=120), "Other", limit=3).rows == 12
    drawn = QuestionData(dataset="tvt/miniature", config="Jigsaw", split="select", questions=7)
    assert not look_at_set(drawn, "Jigsaw").odd


def test_repeats_are_found_anew_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    rows = [question(str(k), f"Which? {k}") for k in range(3)]
    write_parquet(rows, path)
    assert look_at_set(QuestionData(path=str(path)), "Depth").repeated == 0
    write_parquet([*rows, question("again", "Which? 1")], path)
    for _ in range(2):
        found = look_at_set(QuestionData(path=str(path)), "Depth")
        assert (found.repeated, found.example, found.rows) == (1, ("again", "1"), 4)


def test_rows_about_videos_are_held_to_the_same(tmp_path: Path) -> None:
    def change(rows: list[vsi_copy.Row]) -> list[vsi_copy.Row]:
        again = next(row for row in rows if row["question_type"] == "object_counting")
        return [*rows, {**again, "id": 999, "ground_truth": "77"}]

    pytest.importorskip("av")
    copy = vsi_copy.write_copy(tmp_path / "copy", change=change)
    manifest = find_manifests(["vsi-bench"])["object_counting"]
    assert manifest.evaluation is not None
    found = look_at_set(manifest.evaluation.model_copy(update={"folder": str(copy)}), "object_counting")
    assert (found.rows, found.stated, found.repeated, found.contradicting) == (4, 565, 1, 1)
