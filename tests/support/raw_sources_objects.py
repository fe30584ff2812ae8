"""Small sources in the layouts of TARA, COCO, LVIS, TallyQA, PixMo-Count and VSR, drawn so that the truth is known."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

APPLE, CUP, DISC, SQUARE = (10, 250, 20), (10, 30, 250), (250, 220, 0), (250, 20, 30)
"""Colours of drawn things: purer than any that a scene has, so that they are found again."""
NYT = "https://static01.nyt.com/"


def scene(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A photograph of nothing: muted surfaces with edges, gradients and grain, different everywhere."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = Image.fromarray(rng.integers(70, 190, (5, 6, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(45):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(15, 90)
        corners = [(x + r * np.cos(angle), y + r * np.sin(angle)) for angle in np.sort(rng.uniform(0, 2 * np.pi, 5))]
        pen.polygon(corners, fill=tuple(int(level) for level in rng.uniform(60, 200, 3)))
    grain = np.asarray(image, np.int16) + rng.integers(-7, 8, (height, width, 1), np.int16)
    return Image.fromarray(np.clip(grain, 55, 205).astype(np.uint8))


def pixels_of(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Where an image has nearly this colour."""
    return np.abs(np.asarray(image, np.int16) - np.asarray(colour)).max(axis=2) < 45


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95, subsampling=0)


def write_json(value: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(values: list[Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def make_tara(folder: Path, n: int = 12) -> Path:
    """``input/train.jsonl`` with ``n`` photographs, one of them twice, and one that was not downloaded."""
    addresses = [f"{NYT}images/2020/06/{at:02}/world/{at:02}photo/{at:02}photo-superJumbo.jpg" for at in range(n)]
    addresses += [addresses[0], f"{NYT}images/2019/gone.jpg"]
    records = [
        {"image_url": address, "date": "2020-6-1", "location": "Paris, France, Europe", "abstract": "News."}
        for address in addresses
    ]
    write_lines(records, folder / "input" / "train.jsonl")
    for at, address in enumerate(addresses[:n]):
        save(scene(at, (1050, 550)), folder / "images" / address.removeprefix(NYT).replace("/", "-"))
    return folder


def make_coco(folder: Path, n: int = 12) -> Path:
    """``train2017`` and ``annotations/instances_train2017.json``: a lone apple in each of ``n`` images, and two cups."""
    write_json(_instances(folder, n, lvis=False), folder / "annotations" / "instances_train2017.json")
    return folder


def make_lvis(folder: Path, n: int = 12) -> Path:
    """``train2017`` and ``lvis_v1_train.json``: as :func:`make_coco`, with one image more that may show unannotated apples."""
    index = _instances(folder, n + 1, lvis=True)
    index["images"][n]["not_exhaustive_category_ids"] = [1]
    write_json(index, folder / "lvis_v1_train.json")
    return folder


def _instances(folder: Path, n: int, *, lvis: bool) -> dict[str, Any]:
    images, annotations = [], []
    for at in range(n):
        rng = np.random.default_rng(1000 + at)
        name, image = f"{9000 + at:012}.jpg", scene(at)
        pen = ImageDraw.Draw(image)
        left, top = int(rng.integers(150, 250)), int(rng.integers(90, 180))
        width, height = int(rng.integers(120, 200)), int(rng.integers(100, 160))
        pen.ellipse((left, top, left + width - 1, top + height - 1), fill=APPLE)
        boxes = [(1, (left, top, width, height), 0.785 * width * height)]
        for cup in (20, 560):
            pen.rectangle((cup, 380, cup + 49, 439), fill=CUP)
            boxes.append((2, (cup, 380, 50, 60), 3000.0))
        save(image, folder / "train2017" / name)
        where = f"train2017/{name}"
        entry: dict[str, Any] = {"id": 9000 + at, "width": 640, "height": 480, "license": 1}
        if lvis:
            entry |= {"coco_url": f"http://images.cocodataset.org/{where}", "neg_category_ids": [3]}
            entry |= {"not_exhaustive_category_ids": []}
        else:
            entry |= {"file_name": name}
        images.append(entry)
        for category, box, area in boxes:
            mask = [[float(value) for value in (*box[:2], box[0] + box[2], box[1] + box[3])]]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 9000 + at, "category_id": category, "bbox": list(box), "area": area}
                | {"segmentation": mask}
                | ({} if lvis else {"iscrowd": 0})
            )
    names = ("apple", "coffee_cup", "tank_top_(clothing)")
    categories = [{"id": at, "name": name, "frequency": "f"} for at, name in enumerate(names, 1)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def discs(seed: int, count: int) -> tuple[Image.Image, list[tuple[float, float]]]:
    """A scene with as many discs as asked for, apart from each other, and their centres."""
    rng = np.random.default_rng(seed)
    image = scene(seed, (480, 360))
    places = [(60.0 + 90 * column, 60.0 + 110 * row) for row in range(3) for column in range(5)]
    centres = [places[at] for at in sorted(rng.permutation(len(places))[:count])]
    pen = ImageDraw.Draw(image)
    for x, y in centres:
        pen.ellipse((x - 18, y - 18, x + 18, y + 18), fill=DISC)
    return image, centres


def make_tallyqa(folder: Path, n: int = 12) -> Path:
    """``train.json`` with ``n`` questions on the numbers from 0 on, their images in COCO's and Visual Genome's folders."""
    records = []
    for at in range(n):
        count = at % 13
        image, _ = discs(at, count)
        genome = at % 2 == 1
        path = f"VG_100K_2/{2400000 + at}.jpg" if genome else f"train2014/COCO_train2014_{at:012}.jpg"
        save(image, folder / path)
        records.append(
            {
                "image": path,
                "question": "How many yellow discs are there?",
                "answer": count,
                "data_source": "imported_genome" if genome else "amt",
                "image_id": 92400000 + at,
                "question_id": 30000000 + at,
            }
        )
    write_json(records, folder / "train.json")
    return folder


def make_pixmo_count(folder: Path, n: int = 12) -> Path:
    """``data/train-00000-of-00001.parquet`` with ``n`` rows on the numbers from 0 on, and ``images``, and one row without."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for at in range(n):
        image, centres = discs(100 + at, at % 13)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=95, subsampling=0)
        sha = hashlib.sha256(stream.getvalue()).hexdigest()
        (folder / "images" / f"{sha}.jpg").write_bytes(stream.getvalue())
        points = {"x": [x for x, _ in centres], "y": [y for _, y in centres]}
        url = f"https://example.org/{at}.jpg"
        rows.append({"image_url": url, "image_sha256": sha, "count": len(centres), "points": points, "label": "yellow discs"})
    rows.append({**rows[0], "image_sha256": "0" * 64, "label": "people"})
    write_pixmo(rows, folder)
    return folder


def write_pixmo(rows: list[dict[str, Any]], folder: Path, points: pa.DataType | None = None) -> None:
    """Rows as the hub has them: a row's points are a list of x and one of y, unless another type is given."""
    floats = pa.list_(pa.float32())
    schema = pa.schema(
        [
            ("image_url", pa.string()),
            ("image_sha256", pa.string()),
            ("count", pa.int32()),
            ("points", points or pa.struct([("x", floats), ("y", floats)])),
            ("label", pa.string()),
        ]
    )
    (folder / "data").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "data" / "train-00000-of-00001.parquet")


def make_vsr(folder: Path, n: int = 12) -> Path:
    """``splits/random`` with ``n`` captions on a red square and a blue disc, half of them true, and ``images``."""
    records = []
    for at in range(n):
        image = scene(at, (480, 360))
        pen = ImageDraw.Draw(image)
        square_left = at % 4 in (0, 3)
        near, far = (90, 180), (390, 180)
        square, disc = (near, far) if square_left else (far, near)
        pen.rectangle((square[0] - 40, square[1] - 40, square[0] + 40, square[1] + 40), fill=SQUARE)
        pen.ellipse((disc[0] - 40, disc[1] - 40, disc[0] + 40, disc[1] + 40), fill=CUP)
        name = f"{300 + at:012}.jpg"
        save(image, folder / "images" / name)
        relation = "left of" if at % 2 == 0 else "right of"
        label = int(square_left == (relation == "left of"))
        voters = ["[2, 5, 7]", "[]"]
        records.append(
            {
                "image": name,
                "image_link": f"http://images.cocodataset.org/train2017/{name}",
                "caption": f"The square is {relation} the disc.",
                "label": label,
                "relation": relation,
                "annotator_id": 1,
                "vote_true_validator_id": voters[1 - label],
                "vote_false_validator_id": voters[label],
                "reference_frame": None,
            }
        )
    dev = max(1, n // 6)
    write_lines(records[dev:], folder / "splits" / "random" / "train.jsonl")
    write_lines(records[:dev], folder / "splits" / "random" / "dev.jsonl")
    return folder
