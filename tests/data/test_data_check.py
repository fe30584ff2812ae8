"""What makes rows unfit to train on: perceptual hashes, near duplicates, and every fault of a file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageDraw

import blink_copy
from tiny_builder import picture
from tvt.core.question import Question
from tvt.data import lookalikes as perceptual
from tvt.data.dataset_check import DatasetReport, Shortcuts, Standards, check_dataset
from tvt.data.lookalikes import (
    Gallery,
    Match,
    evaluation_parts,
    gallery_of,
    hash_bytes,
    hash_image,
    near_pairs,
    near_pairs_within,
    popcount,
)
from tvt.data.questions.files import write_jsonl, write_parquet
from tvt.data.task_data import resolve_data_paths
from tvt.data.tasks import QuestionData, TaskManifest, find_manifests
from tvt.errors import InputError

imagehash = pytest.importorskip("imagehash")

hashes = npst.arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 2**64 - 1) | st.integers(0, 255))


def coded(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def asked(number: int, *, name: str | None = None, answer: str | None = None, **changed: object) -> Question:
    provenance = json.dumps({"source": "Tiny", "licence": "CC0"})
    given_ = Question(
        id=f"q{number}",
        task="Jigsaw",
        prompt="Which piece fits?",
        options=("the second", "the third"),
        answer=answer or "AB"[number % 2],
        images=(coded(picture(name or f"p{number}")),),
        provenance=provenance,
    )
    return replace(given_, **changed)  # type: ignore[arg-type]


def checked(tmp_path: Path, rows: Sequence[Question], **standards: object) -> DatasetReport:
    path = tmp_path / "rows.parquet"
    write_parquet(rows, path)
    return check_dataset(path, Standards(manifests=find_manifests([]), **standards))  # type: ignore[arg-type]


def kinds(report: DatasetReport) -> dict[str, int]:
    found: dict[str, int] = {}
    for finding in report.findings:
        found[finding.kind] = found.get(finding.kind, 0) + 1
    return found


# --- hashes


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_popcount_is_that_of_python(values: list[int]) -> None:
    assert popcount(np.array(values, np.uint64)).tolist() == [value.bit_count() for value in values]


@settings(deadline=None)
@given(hashes, hashes, st.integers(0, 64), st.integers(1, 7))
def test_near_pairs_are_those_of_brute_force(left: np.ndarray, right: np.ndarray, near: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perceptual, "_BLOCK", block)
        found = sorted(near_pairs(left, right, near))
        within = sorted(near_pairs_within(left, near))
    apart = [[(int(a) ^ int(b)).bit_count() for b in right] for a in left]
    assert found == [(i, j, apart[i][j]) for i in range(len(left)) for j in range(len(right)) if apart[i][j] <= near]
    own = [(i, j, (int(a) ^ int(b)).bit_count()) for i, a in enumerate(left) for j, b in enumerate(left) if i < j]
    assert within == [pair for pair in own if pair[2] <= near]


@settings(deadline=None)
@given(hashes, st.integers(0, 2**64 - 1))
def test_a_gallery_finds_the_nearest(known: np.ndarray, asked_for: int) -> None:
    gallery = Gallery()
    for number, value in enumerate(known.tolist()):
        gallery.add(perceptual.ImageHash(bytes([number]), value), str(number))
    found = gallery.find(perceptual.ImageHash(b"new", asked_for), 20)
    apart = [(value ^ asked_for).bit_count() for value in known.tolist()]
    if min(apart, default=64) <= 20:
        assert found is not None
        assert (apart[int(found.name)], found.bits) == (min(apart), min(apart))
    else:
        assert found is None


def test_a_hash_is_that_of_imagehash() -> None:
    image = picture("x", (320, 240))
    found = hash_image(image).hash
    assert found == int(str(imagehash.phash(image)), 16)


def test_scaling_recompression_and_marks_leave_a_picture_near_and_others_are_far() -> None:
    image = picture("x", (640, 480))
    marked = image.copy()
    ImageDraw.Draw(marked).ellipse((200, 200, 220, 220), outline="red", width=3)
    with Image.open(io.BytesIO(coded(image, "JPEG", quality=40))) as recompressed:
        variants = [image.resize((320, 240)), marked, recompressed.convert("RGB")]
    gallery = Gallery()
    gallery.add(hash_image(image), "x")
    for variant in variants:
        assert gallery.find(hash_image(variant)) is not None
    assert not any(gallery.find(hash_image(picture(f"other {k}"))) for k in range(200))
    assert gallery.find(hash_image(image)) == Match("x", 0, same=True)


def test_flat_images_are_the_same_only_when_equal() -> None:
    gallery = Gallery()
    gallery.add(hash_image(Image.new("RGB", (64, 64), (10, 10, 10))), "black")
    assert gallery.find(hash_image(Image.new("RGB", (64, 64), (12, 12, 12)))) is None
    assert gallery.find(hash_image(Image.new("RGB", (64, 64), (10, 10, 10)))) == Match("black", 0, same=True)


# --- files


def test_good_rows_have_no_faults(tmp_path: Path) -> None:
    report = checked(tmp_path, [asked(k) for k in range(40)])
    assert report.findings == ()
    assert (report.rows, report.answers) == (40, {"A": 20, "B": 20})


def test_answers_that_lean_are_a_fault_and_a_fair_coin_is_not(tmp_path: Path) -> None:
    leaning = checked(tmp_path, [asked(k, answer="A" if k < 36 else "B") for k in range(48)])
    (finding,) = leaning.faults
    assert finding.kind == "unbalanced answers"
    assert "A 36, B 12" in finding.message
    assert not checked(tmp_path, [asked(k, answer="A" if k < 30 else "B") for k in range(48)]).faults
    assert not checked(tmp_path, [asked(k, answer="A") for k in range(9)]).faults  # too few to say


def test_a_question_asked_twice_is_a_fault_and_an_image_shown_twice_a_warning(tmp_path: Path) -> None:
    rows = [asked(0), asked(1, name="p0"), asked(2, name="p0", prompt="Which piece does not fit?"), asked(3)]
    report = checked(tmp_path, rows)
    assert kinds(report) == {"question asked twice": 1, "image shown twice": 2}
    assert [finding.kind for finding in report.faults] == ["question asked twice"]
    assert "row 1: asks what row 0 asks" in report.faults[0].message


def test_pictures_that_cannot_be_read_make_no_questions_alike(tmp_path: Path) -> None:
    """Whatever a broken file and another one have in common."""
    whole = coded(picture("whole"))
    (tmp_path / "images").mkdir()
    rows = []
    for number, size in enumerate((60, 70)):
        (tmp_path / "images" / f"{number}.png").write_bytes(whole[:size])
        rows.append({"id": f"q{number}", "task": "Jigsaw", "prompt": "Which?", "options": ["a", "b"], "answer": "A"})
        rows[-1]["images"] = [f"images/{number}.png"]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    report = check_dataset(tmp_path / "rows.jsonl", Standards(manifests=find_manifests([])))
    assert "question asked twice" not in kinds(report)
    assert kinds(report)["unreadable"] == 2


def test_a_picture_that_another_row_shows_larger_is_a_warning(tmp_path: Path) -> None:
    larger = coded(picture("p0").resize((192, 128)))
    report = checked(tmp_path, [asked(0), asked(1, images=(larger,)), asked(2)])
    assert kinds(report) == {"image nearly shown twice": 1}
    assert not report.faults
    assert "row 1: an image looks like one of row 0" in report.warnings[0].message


def test_alike_images_of_one_row_are_its_own_business(tmp_path: Path) -> None:
    larger = coded(picture("p0").resize((192, 128)))
    assert not checked(tmp_path, [asked(0, images=(coded(picture("p0")), larger))]).findings


def test_images_of_an_evaluation_set_are_faults(tmp_path: Path) -> None:
    write_jsonl([asked(7, name="p1"), asked(8, images=(coded(picture("p2").resize((192, 128))),))], tmp_path / "val.jsonl")
    against = gallery_of([str(tmp_path / "val.jsonl")], {})
    report = checked(tmp_path, [asked(k) for k in range(4)], against=against)
    assert kinds(report) == {"evaluation image": 2}
    first, second = (finding.message for finding in report.faults)
    assert "row 1: shows " in first
    assert "val.jsonl:1" in first
    assert "row 2: looks like " in second


def test_wrong_options_licences_and_provenance(tmp_path: Path) -> None:
    rows = [
        asked(0, options=("a", "b", "c")),
        asked(1, provenance='{"source": "Tiny"}'),
        asked(2, provenance="from somewhere"),
        asked(3, provenance=None),
    ]
    report = checked(tmp_path, rows, at_least=5)
    assert kinds(report) == {"options": 1, "licence": 1, "provenance": 1, "too few rows": 1, "no provenance": 1}
    assert "3 options, but Jigsaw has 2" in report.findings[0].message
    assert [finding.kind for finding in report.warnings] == ["no provenance"]


def test_all_faults_of_a_file_are_told_beside_what_can_still_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl([asked(0), asked(1, name="p0"), asked(2), asked(3)], path)
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"answer": "A"', '"answer": "Q"')
    path.write_text("\n".join(lines) + "\n")
    missing = tmp_path / json.loads(lines[3])["images"][0]
    missing.unlink()
    report = check_dataset(path, Standards(manifests=find_manifests([])))
    told = " ".join(finding.message for finding in report.faults)
    assert kinds(report) == {"unreadable": 2, "question asked twice": 1, "image shown twice": 1}
    assert "answer 'Q' is not one of A, B" in told
    assert missing.name in told
    assert "asks what line 1 asks" in told


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_dataset(tmp_path / "none.parquet", Standards())
    with pytest.raises(InputError, match=r"Jigsa: no such file, and unknown task 'Jigsa' \(did you mean 'Jigsaw'\?\)"):
        gallery_of(["Jigsa"], find_manifests([]))


def test_images_of_a_dataset_are_looked_at_once_and_a_benchmark_stands_for_all_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    copy = blink_copy.write_copy(tmp_path / "BLINK")
    every = resolve_data_paths(find_manifests([]), datasets={blink_copy.NAME: str(copy)})
    known = {name: every[name] for name in ("Jigsaw", "Counting")}
    first = gallery_of(["blink"], known)
    assert len(first) == 2 * 3 * (3 + 1)  # val and test, three rows each, of three images and of one
    monkeypatch.setattr("tvt.data.lookalikes.shown_questions", lambda _: pytest.fail("looked at again"))
    again = gallery_of(["BLINK"], known)
    assert (again.digest, len(again)) == (first.digest, len(first))
    picture_of_test = blink_copy.rows("Jigsaw", "test", 1)[0]["image_1"]["bytes"]
    found = again.find(hash_bytes(picture_of_test))
    assert found == Match("BLINK-Benchmark/BLINK, Jigsaw, test test_Jigsaw_1", 0, same=True)


# --- shortcuts


def guessed(rows: Sequence[tuple[tuple[str, ...], str, tuple[bytes, ...]]]) -> list[str]:
    shortcuts = Shortcuts()
    for options, answer, images in rows:
        shortcuts.add(options, answer, images)
    return [shortcut.option for shortcut in shortcuts.found()]


def test_options_that_give_themselves_away_are_reported() -> None:
    longest = [(("no", "certainly")[:: 1 - 2 * (k % 2)], "BA"[k % 2], ()) for k in range(20)]
    assert guessed(longest) == ["the option with the longest text"]
    numbers = [(tuple("3456"), "D", ())] * 20
    assert guessed(numbers) == ["the largest number"]
    small, large = coded(picture("p", (32, 32))), coded(picture("q", (64, 64)))
    stored = [(("first", "second"), "AB"[k % 2], ((small, large), (large, small))[k % 2]) for k in range(20)]
    assert guessed(stored) == ["the option whose image has the fewest bytes", "the option whose image has the fewest pixels"]
    with_reference = [(options, answer, (large, *images)) for options, answer, images in stored]
    assert guessed(with_reference) == guessed(stored)


def test_chance_and_a_few_rows_are_no_shortcut() -> None:
    fair = [(("no", "certainly")[:: 1 - 2 * (k % 2)], "AB"[k // 2 % 2], ()) for k in range(400)]
    assert guessed(fair) == []
    assert guessed([(("no", "certainly"), "B", ())] * 12) == []
    assert guessed([(("yes", "yes"), "B", ())] * 40) == []
    assert guessed([(("a", "bb"), "C", ()), (("a",), "A", ()), ((), "7", ())] * 40) == []


@settings(deadline=None)
@given(st.integers(14, 60), st.integers(0, 60))
def test_a_shortcut_is_what_the_binomial_tail_says(rows: int, right: int) -> None:
    right = min(right, rows)
    told = guessed([(("no", "certainly"), "B" if k < right else "A", ()) for k in range(rows)])
    tail = [sum(math.comb(rows, k) for k in range(hits, rows + 1)) / 2**rows for hits in (right, rows - right)]
    expected = [name for name, p in zip(("longest", "shortest"), tail, strict=True) if p < 1e-4]
    assert [name.split()[-2] for name in told] == expected


def test_a_shortcut_is_a_warning_of_the_check(tmp_path: Path) -> None:
    rows = [
        asked(k, options=("the second one" if k % 2 == 0 else "it", "it" if k % 2 == 0 else "the second one"))
        for k in range(30)
    ]
    report = checked(tmp_path, rows)
    assert kinds(report) == {"shortcut": 1}
    assert not report.faults
    assert "the option with the longest text is right in 30 of 30 rows, by chance in 50%" in report.warnings[0].message


# --- evaluation sets


def test_all_splits_of_blink_are_evaluation_sets() -> None:
    manifest = TaskManifest(
        name="Jigsaw",
        training=QuestionData(path="rows.parquet"),
        evaluation=QuestionData(dataset="BLINK-Benchmark/BLINK", config="Jigsaw", format="blink", questions=150),
    )
    parts = evaluation_parts(manifest)
    assert [(part.split, part.questions) for part in parts] == [("val", 150), ("test", None)]


def test_a_task_stands_for_what_it_is_scored_on(tmp_path: Path) -> None:
    write_parquet([asked(1), asked(2)], tmp_path / "val.parquet")
    manifest = TaskManifest(name="Mine", evaluation=QuestionData(path=str(tmp_path / "val.parquet")))
    gallery = gallery_of(["mine"], {"Mine": manifest})
    assert len(gallery) == 2
    assert gallery.find(hash_image(picture("p1"))) is not None
    with pytest.raises(InputError, match="names no questions"):
        gallery_of(["mine"], {"Mine": manifest.model_copy(update={"evaluation": None})})


def test_a_task_goes_before_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Jigsaw").mkdir()
    write_parquet(map(asked, range(2)), tmp_path / "q.parquet")
    write_parquet(map(asked, range(5)), tmp_path / "Jigsaw" / "q.parquet")
    manifests = {"Jigsaw": TaskManifest(name="Jigsaw", evaluation=QuestionData(path="q.parquet"))}
    by_name, by_path = (gallery_of([reference], manifests) for reference in ("Jigsaw", "./Jigsaw"))
    assert (len(by_name), len(by_path)) == (2, 5)
