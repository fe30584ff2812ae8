"""Rows in other layouts than that of tvt mix: those that TRL takes are read, and give the same adapter; others get a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import pyarrow as pa
import pyarrow.parquet as pq

from tiny_models import FAMILIES, write_rows
from training_runs import recipe
from tvt.errors import InputError
from tvt.train import train
from tvt.train.rows import Examples, check_rows, dataset_digest, load_rows

Row = dict[str, Any]
IMAGES = [1, 0, 2, 1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["llava"](tmp_path_factory.mktemp("model") / "llava")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", IMAGES)


@pytest.fixture(scope="module")
def plain(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the adapter that the rows give as tvt mix would write them."""
    return train(recipe(model), rows, tmp_path_factory.mktemp("run") / "run", seed=1).adapter_digest


def rewritten(rows: Path, folder: Path, change: Callable[[Row], Row]) -> Path:
    """The rows with each one changed, in the types that Arrow finds by itself."""
    (table,) = (pq.read_table(path) for path in (rows / "data").iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([change(row) for row in table.to_pylist()]), folder / "rows.parquet")
    return folder


def in_files(folder: Path) -> Callable[[Row], list[str]]:
    """Puts a row's images into files beside the dataset; gives their names."""

    def write(row: Row) -> list[str]:
        names = [f"{row['id']}-{number}.png" for number, _ in enumerate(row["images"])]
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in zip(names, row["images"], strict=True):
            (folder / name).write_bytes(image["bytes"])
        return names

    return write


def blocks(row: Row) -> list[Row]:
    parts = [{"type": "image", "text": None} for _ in row["images"]]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": row["prompt"][0]["content"]}]}]


LAYOUTS: dict[str, Callable[[Path], Callable[[Row], Row]]] = {
    "structs without path": lambda _: lambda row: {**row, "images": [{"bytes": image["bytes"]} for image in row["images"]]},
    "encoded images": lambda _: lambda row: {**row, "images": [image["bytes"] for image in row["images"]]},
    "paths": lambda folder: lambda row: {**row, "images": in_files(folder)(row)},
    "structs with path alone": lambda folder: (
        lambda row: {
            **row,
            "images": [{"path": name} for name in in_files(folder)(row)],
        }
    ),
    "structs of both, one null": lambda folder: (
        lambda row: {
            **row,
            "images": [{"bytes": None, "path": name} for name in in_files(folder)(row)],
        }
    ),
    "text": lambda _: lambda row: {**row, **{name: row[name][0]["content"] for name in ("prompt", "completion")}},
    "blocks": lambda _: lambda row: {**row, "prompt": blocks(row)},
    "no names": lambda _: lambda row: {name: row[name] for name in ("completion", "images", "prompt")},
    "numbers for names": lambda _: lambda row: {**row, "id": int(row["id"])},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_trl_gives_the_same_adapter(layout: str, model: Path, rows: Path, plain: str, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    rewritten(rows, folder, LAYOUTS[layout](folder))
    assert check_rows(folder).with_images == 3
    assert train(recipe(model), folder, tmp_path / "run", seed=1).adapter_digest == plain


@pytest.mark.parametrize("name", ["run[1]", "a*b", "what?", "zip::here", "{a,b}", "ü ñ #%20"])
def test_folders_of_any_name(name: str, model: Path, rows: Path, plain: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "rows"
    rewritten(rows, folder / "data", lambda row: row)
    assert train(recipe(model), folder, tmp_path / name / "run", seed=1).adapter_digest == plain


def test_one_image_a_row_and_none(rows: Path, tmp_path: Path) -> None:
    def one(row: Row) -> Row:
        return {"image": row["images"][0] if row["images"] else None, **{k: row[k] for k in ("prompt", "completion")}}

    folder = rewritten(rows, tmp_path / "one", one)
    assert [len(row["images"]) for row in read(folder)] == [1, 0, 1, 1]
    none = rewritten(rows, tmp_path / "none", lambda row: {name: row[name] for name in ("prompt", "completion")})
    assert check_rows(none).with_images == 0
    assert [row["images"] for row in read(none)] == [[]] * 4


def read(folder: Path) -> list[Row]:
    examples = Examples(load_rows(folder, folder / "cache"), folder)
    return [examples[k] for k in range(len(examples))]


def test_another_picture_beside_makes_other_rows(rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    rewritten(rows, folder, LAYOUTS["paths"](folder))
    before = dataset_digest(folder)
    (folder / "0-0.png").write_bytes((folder / "2-1.png").read_bytes())
    assert dataset_digest(folder) != before
    (folder / "2-1.png").unlink()
    with pytest.raises(InputError) as caught:
        check_rows(folder)
    (fault,) = caught.value.faults
    assert "row 2 (Light, id 2): " in fault
    assert fault.endswith("2-1.png: no such image; mend or drop the row")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda row: {"messages": [*row["prompt"], *row["completion"]], "images": row["images"]},
            "has messages, not prompt and",
        ),
        (
            lambda row: {**row, "images": 1},
            "column images is int64; it must hold encoded images or their paths; tvt mix writes",
        ),
        (lambda row: {**row, "prompt": 1}, "column prompt is int64; it must hold messages or text; tvt mix writes"),
        (lambda row: {**row, "completion": ["B"]}, "column completion is list<element: string>; it must hold messages or text"),
        (
            lambda row: {**row, "prompt": [{"role": "user", "content": [{"type": "text", "text": "Which?"}]}]},
            "row 0 (Light, id 0): has 0 places for 1 images in its messages; give each image one",
        ),
        (
            lambda row: {**row, "prompt": [{**blocks(row)[0], "content": blocks(row)[0]["content"][::-1]}]},
            "row 0 (Light, id 0): has images after text; tvt puts all images of a row before its question",
        ),
        (
            lambda row: {**row, "prompt": [{"role": "user", "content": [{"type": "video", "text": ""}]}]},
            "row 0 (Light, id 0): has content of type video; tvt takes image and text",
        ),
        (
            lambda row: {**row, "images": [], "prompt": [*row["prompt"], *row["completion"]]},
            "row 0 (Light, id 0): the last message of prompt is not of role user",
        ),
    ],
)
def test_other_layouts_get_a_line_that_says_what_is_taken(
    change: Callable[[Row], Row], says: str, rows: Path, tmp_path: Path
) -> None:
    folder = rewritten(rows, tmp_path / "rows", change)
    with pytest.raises(InputError) as caught:
        check_rows(folder)
    assert caught.value.faults[0].startswith(f"{folder}/rows.parquet: {says}")
