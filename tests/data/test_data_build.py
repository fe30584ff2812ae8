"""Raw data to rows: which units, where the answers stand, what is written, what is refused."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiny_builder import TinyBuilder, picture, write_index
from tvt.core.question import Question
from tvt.data.builders import build as machinery
from tvt.data.builders.build import BuildRequest, build, encode
from tvt.data.builders.choose import Amounts, Chooser, Images, ShortageError, Stock, positions, possible
from tvt.data.builders.contract import Unit, source_of
from tvt.data.lookalikes import Gallery, hash_image
from tvt.data.questions.files import read_questions
from tvt.data.tasks import SourceFile, TrainingSource
from tvt.errors import InputError


def lines(count: int, *, answer: str = "-", strata: int = 3) -> list[str]:
    return [f"u{k} s{k % strata} {answer} i{k}" for k in range(count)]


def request(folder: Path, rows: int, **changed: object) -> BuildRequest:
    amounts = {name: changed.pop(name) for name in ("validation", "reuse") if name in changed}
    given_ = {"builder": TinyBuilder(), "source": source_of(None, "tiny"), "seed": 0, **changed}
    return BuildRequest(folder=folder, amounts=Amounts(rows=rows, **amounts), **given_)  # type: ignore[arg-type]


def rows_of(path: Path) -> list[Question]:
    return list(read_questions(path))


def told(row: Question) -> dict[str, object]:
    assert row.provenance is not None
    found = json.loads(row.provenance)
    assert isinstance(found, dict)
    return found


def test_the_same_request_writes_the_same_bytes(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", lines(20))
    elsewhere = write_index(tmp_path / "other" / "place", reversed(lines(20)))
    first, second = tmp_path / "first", tmp_path / "second"
    build(request(raw, 8, validation=4), first)
    build(request(elsewhere, 8, validation=4), second)
    for name in ("Jigsaw.parquet", "Jigsaw.validation.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert sorted(path.name for path in first.iterdir()) == [
        "Jigsaw.build.json",
        "Jigsaw.parquet",
        "Jigsaw.validation.parquet",
    ]


def test_what_is_written_is_what_was_drafted(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", lines(9))
    source = TrainingSource(name="Tiny", url="tiny.example", licence="CC0", revision="2", files=(), layout="tiny")
    built = build(request(raw, 6, source=source), tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "Jigsaw.parquet")
    for row in rows:
        assert row.options[ord(row.answer) - ord("A")] == "it"
        key = str(told(row)["unit"])
        assert row.question == f"Which one is {key}?"
        assert row.prompt == f"{row.question}\nSelect from the following choices.\n(A) {row.options[0]}\n(B) {row.options[1]}"
        assert row.id == "tiny-" + hashlib.sha256(key.encode()).hexdigest()[:16]
        assert {"source": "Tiny", "licence": "CC0", "layout": "tiny", "builder_version": 3}.items() <= told(row).items()
        with Image.open(io.BytesIO(row.images[0])) as stored:
            apart = np.abs(np.asarray(stored, float) - np.asarray(picture(f"i{key[1:]}"), float))
        assert apart.mean() < 2
    record = json.loads((tmp_path / "out" / "Jigsaw.build.json").read_text())
    assert record == built.record
    assert record["files"]["Jigsaw.parquet"] == hashlib.sha256((tmp_path / "out/Jigsaw.parquet").read_bytes()).hexdigest()
    assert record["answers"] == {"A": 3, "B": 3}
    assert record["source"]["indices"]["index.txt"] == hashlib.sha256((raw / "index.txt").read_bytes()).hexdigest()
    assert str(tmp_path) not in json.dumps(record)


def test_fewer_rows_are_the_first_of_more_and_validation_stays(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", lines(30))
    build(request(raw, 6, validation=4), tmp_path / "few")
    build(request(raw, 20, validation=4), tmp_path / "many")
    few, many = (rows_of(tmp_path / name / "Jigsaw.parquet") for name in ("few", "many"))
    assert many[:6] == few
    kept = [rows_of(tmp_path / name / "Jigsaw.validation.parquet") for name in ("few", "many")]
    assert kept[0] == kept[1]
    assert not {row.images for row in many} & {row.images for row in kept[0]}


def test_a_row_does_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    build(request(write_index(tmp_path / "raw", lines(12)), 12), tmp_path / "all")
    build(request(write_index(tmp_path / "half", lines(6)), 6), tmp_path / "some")
    drawn = [
        {str(told(row)["unit"]): told(row)["drawn"] for row in rows_of(tmp_path / name / "Jigsaw.parquet")}
        for name in ("all", "some")
    ]
    assert drawn[1].items() <= drawn[0].items()


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", lines(40))
    for seed in (0, 1):
        build(request(raw, 10, seed=seed), tmp_path / str(seed))
    ids = [{row.id for row in rows_of(tmp_path / str(seed) / "Jigsaw.parquet")} for seed in (0, 1)]
    assert ids[0] != ids[1]


def test_unfit_units_are_passed_over_and_counted(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", [*lines(10), *(f"unfit{k} s0 - j{k}" for k in range(5))])
    record = build(request(raw, 10), tmp_path / "out").record
    unfit = record["units"]["unfit"]["too dark"]
    assert 1 <= unfit <= 5
    assert record["units"] == {"listed": 15, "tried": 10 + unfit, "unfit": {"too dark": unfit}}
    with pytest.raises(InputError, match=r"11 rows.*15 units \(5 of them unfit\) give 10 .*ask for -n 10"):
        build(request(raw, 11), tmp_path / "more")
    assert not list((tmp_path / "more").glob("*"))


def test_strata_take_turns(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", [*(f"a{k} cats - a{k}" for k in range(50)), *(f"b{k} dogs - b{k}" for k in range(5))])
    build(request(raw, 12), tmp_path / "out")
    strata = [told(row)["stratum"] for row in rows_of(tmp_path / "out" / "Jigsaw.parquet")]
    assert Counter(strata) == {"cats": 7, "dogs": 5}
    assert all(before != after for before, after in pairwise(strata[:10]))


def test_images_are_not_shared_unless_allowed(tmp_path: Path) -> None:
    shared = [f"u{k} s - i{k} i{(k + 1) % 12}" for k in range(12)]  # a ring: every image is in two units
    raw = write_index(tmp_path / "raw", shared)
    build(request(raw, 4), tmp_path / "out")
    shown = Counter(image for row in rows_of(tmp_path / "out" / "Jigsaw.parquet") for image in row.images)
    assert max(shown.values()) == 1
    with pytest.raises(InputError, match=r"12 rows.*12 units give at most \d .* in more than 1 row;.*--reuse 2"):
        build(request(raw, 12), tmp_path / "strict")
    build(request(raw, 12, reuse=2), tmp_path / "free")
    shown = Counter(image for row in rows_of(tmp_path / "free" / "Jigsaw.parquet") for image in row.images)
    assert set(shown.values()) == {2}


def test_fixed_answers_are_balanced_or_refused(tmp_path: Path) -> None:
    skewed = [*(f"a{k} s 0 a{k}" for k in range(40)), *(f"b{k} s 1 b{k}" for k in range(6))]
    raw = write_index(tmp_path / "raw", skewed)
    build(request(raw, 12), tmp_path / "out")
    assert Counter(row.answer for row in rows_of(tmp_path / "out" / "Jigsaw.parquet")) == {"A": 6, "B": 6}
    with pytest.raises(
        InputError, match=r"46 units give at most 1[23] .*answers are fixed, 40 : 6, and all are used equally often"
    ):
        build(request(raw, 20), tmp_path / "refused")


def test_excluded_images_are_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    gallery = Gallery()
    for k in range(1, 10):
        gallery.add(hash_image(picture(f"i{k}", (192, 128))), f"row {k}")  # the same picture, larger
    raw = write_index(tmp_path / "raw", lines(10))
    build(request(raw, 1, excluded=gallery), tmp_path / "out")
    assert [told(row)["unit"] for row in rows_of(tmp_path / "out" / "Jigsaw.parquet")] == ["u0"]
    with pytest.raises(InputError, match="9 of them unfit"):
        build(request(raw, 10, excluded=gallery), tmp_path / "all")


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    source = TrainingSource(name="Tiny", url="tiny.example", licence="CC0", revision="v2", files=(), layout="tiny")
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError) as caught:
        build(request(tmp_path / "raw", 1, source=source), tmp_path / "out")
    assert [fault.partition(": ")[2] for fault in caught.value.faults] == [
        f"no {name}, which tiny needs; get Tiny (v2) from tiny.example and unpack it there"
        for name in ("index.txt", "pictures/*.txt")
    ]
    with pytest.raises(InputError, match="no such folder; get Tiny"):
        build(request(tmp_path / "nowhere", 1, source=source), tmp_path / "out")


def test_another_file_than_the_manifest_speaks_of_is_refused(tmp_path: Path) -> None:
    raw = write_index(tmp_path / "raw", lines(4))
    files = (SourceFile(path="index.txt", sha256="0" * 64), SourceFile(path="pictures/*.txt"))
    source = TrainingSource(name="Tiny", url="tiny.example", licence="CC0", revision="v2", files=files, layout="tiny")
    with pytest.raises(InputError, match=r"index\.txt: sha256 .* but the manifest has 000000000000"):
        build(request(raw, 2, source=source), tmp_path / "out")


def test_a_source_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to make a question of"):
        build(request(write_index(tmp_path / "raw", []), 2), tmp_path / "out")


def test_an_earlier_build_is_replaced_and_rows_from_elsewhere_are_not(tmp_path: Path) -> None:
    raw, out = write_index(tmp_path / "raw", lines(20)), tmp_path / "out"
    build(request(raw, 4, validation=4), out)
    build(request(raw, 6), out)  # images of the old validation rows may be in the new training rows
    assert sorted(path.name for path in out.iterdir()) == ["Jigsaw.build.json", "Jigsaw.parquet"]
    assert len(rows_of(out / "Jigsaw.parquet")) == 6
    (out / "Jigsaw.build.json").unlink()
    before = (out / "Jigsaw.parquet").read_bytes()
    with pytest.raises(InputError, match=r"Jigsaw\.parquet: rows that tvt data build did not write; move it"):
        build(request(raw, 4), out)
    assert (out / "Jigsaw.parquet").read_bytes() == before


def test_a_builder_that_moves_the_answer_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(TinyBuilder):
        def draft(self, source, unit, answer, rng):  # type: ignore[no-untyped-def]
            return super().draft(source, unit, 0, rng)

    with pytest.raises(ValueError, match="not the answer"):
        build(request(write_index(tmp_path / "raw", lines(4)), 4, builder=Wrong()), tmp_path / "out")


def test_stored_images_carry_pixels_and_nothing_else() -> None:
    image = picture("x")
    image.info["comment"] = b"the answer is B"
    data = encode(image)
    assert b"answer" not in data
    assert data == encode(picture("x"))
    assert machinery.ENCODING.startswith("JPEG")


@given(st.integers(2, 6), st.integers(0, 99), st.integers(1, 60))
def test_answers_stand_at_each_position_equally_often(options: int, seed: int, count: int) -> None:
    counts = Counter(position for position, _ in zip(positions(options, seed, 0), range(count), strict=False))
    assert set(counts) <= set(range(options))
    assert max(counts.values()) - min(counts[k] for k in range(options)) <= 1


units_drawn = st.lists(
    st.tuples(st.frozensets(st.integers(0, 12), min_size=1, max_size=3), st.sampled_from("abc"), st.sampled_from([None, 0, 1])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(units_drawn, st.integers(1, 20), st.integers(0, 6), st.integers(1, 3), st.integers(0, 5))
def test_no_image_is_shown_too_often_and_parts_share_none(
    drawn: list[tuple[frozenset[int], str, int | None]], rows: int, validation: int, reuse: int, seed: int
) -> None:
    units = [
        Unit(key=str(k), images=tuple(map(str, images)), stratum=stratum, answer=answer)
        for k, (images, stratum, answer) in enumerate(drawn)
    ]
    images = Images(reuse)
    stock = Stock(task="t", units=units, options=2, seed=seed)
    chooser = Chooser(stock, images)
    parts: list[list[tuple[Unit, int]]] = []
    for part, count in ((1, validation), (0, rows)):
        taken: list[tuple[Unit, int]] = []
        with suppress(ShortageError):
            for pair in chooser.rows(count, part, lambda unit, _: True):
                taken.append(pair)  # noqa: PERF402 - what came before the shortage counts
        images.close()
        parts.append(taken)
    keys = [unit.key for taken in parts for unit, _ in taken]
    assert len(set(keys)) == len(keys)
    for taken in parts:
        shown = Counter(image for unit, _ in taken for image in set(unit.images))
        assert max(shown.values(), default=0) <= reuse
        assert all(unit.answer in (None, position) for unit, position in taken)
    assert not {i for unit, _ in parts[0] for i in unit.images} & {i for unit, _ in parts[1] for i in unit.images}
    most = possible(stock, Amounts(rows=rows, validation=validation, reuse=reuse))
    assert (most.validation, most.rows) == (len(parts[0]), len(parts[1]))
