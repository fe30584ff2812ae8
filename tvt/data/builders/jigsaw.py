"""The jigsaw task from any photograph (TARA's, or COCO's): its lower right quarter is missing; of two pieces one belongs there.

Form, question, prompt and options are BLINK's own (``question`` and ``prompt`` were seen in files that quote the dataset's
columns, the prompt in Yushi-Hu/VisualSketchpad, ``tasks/blink_jigsaw``). The measures are those of a published rebuilding
(Latent Implicit Visual Reasoning, appendix A.2: a canvas 400 pixels wide and 170 to 230 high, cut into four equal quarters),
but for the least height, since EvalScope's page of BLINK tells of an image of 200 x 83. Both pieces come from one photograph,
as in that rebuilding, and as the answers of models that BLINK's authors published describe them. Where exactly BLINK cut its
wrong pieces is not published. Here they are cut from what the canvas does not show, so that they cannot be known by being
visible elsewhere.

The right answer is computable: across the two inner edges of the gap, the right piece goes on where the canvas ends, and the
wrong one does not, by a margin.

TARA, news photographs of the New York Times, is the source that BLINK was made from.
Layout (read in zeyofu/TARA, ``eval.py``, whose folder ``data/nyt_preprocessed`` this is): ``input/train.jsonl``, an object with
``image_url`` a line, and ``images/``, where an image is called by its address without ``https://static01.nyt.com/``, with ``-``
for ``/``, and ``.jpg`` at its end. The index is shared by TARA's makers, each user downloads the images; those
that are there are used. The splits for evaluation (``gold_dev.jsonl``, ``gold_test.jsonl``) are not touched.

COCO's photographs stand in for TARA's, which can only be downloaded one by one from the newspaper.
Layout (as COCO unpacks): the images in ``train2017/``; no annotation is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.raw_files import image_files, inside, only_present, read_image, read_json_lines
from tvt.data.csv_table import Faults
from tvt.errors import InputError

QUESTION = "Which image is the missing part in the first image?"
PROMPT = (
    "Given the first image with the lower right corner missing, can you tell which one of the second image or the third image "
    "is the missing part? Imagine which image would be more appropriate to place in the missing spot. You can also carefully "
    "observe and compare the edges of the images.\nSelect from the following choices.\n\n"
    "(A) the second image\n(B) the third image\n"
)
OPTIONS = ("the second image", "the third image")

WIDTH = 400
LEAST_HEIGHT, MOST_HEIGHT = 166, 230
SHORTER_SIDE = 480
"""Larger photographs are scaled to this first, so that a piece shows more than a patch of one surface."""
LEAST_SIZE = (420, 270)
"""Smaller photographs leave no room for a second piece."""
ATTEMPTS = 60
LEAST_DETAIL = 10.0
"""Standard deviation of the brightness (0 to 255) within each piece."""
SEAM_MARGIN, SEAM_RATIO = 8.0, 1.6
"""The wrong piece's step across the gap's edges is larger than the right one's by so many levels and so many times."""

Pixels = NDArray[np.int16]
Corner = tuple[int, int]


def jigsaw_unit(path: str) -> Unit:
    """The unit of a photograph, which the path names."""
    return Unit(key=path, images=(path,))


def jigsaw_draft(source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
    """A photograph's canvas with its lower right quarter black, and two pieces, the right one at ``answer``.

    Raises:
        UnfitError: the photograph is too small, or has no two pieces that can be told apart by looking.
        InputError: the image is missing or damaged.
    """
    photograph = read_image(inside(source, unit.images[0]))
    image = _scaled(photograph)
    pixels: Pixels = np.asarray(image, dtype=np.int16)
    cut, seams = _cut(pixels, rng)
    canvas = image.crop((*cut.canvas, cut.canvas[0] + WIDTH, cut.canvas[1] + 2 * cut.height))
    canvas.paste((0, 0, 0), (WIDTH // 2, cut.height, WIDTH, 2 * cut.height))
    right, wrong = (image.crop((*corner, corner[0] + WIDTH // 2, corner[1] + cut.height)) for corner in (cut.gap, cut.wrong))
    pieces = (right, wrong) if answer == 0 else (wrong, right)
    return Draft(
        images=(canvas, *pieces),
        question=QUESTION,
        options=OPTIONS,
        answer=answer,
        provenance={
            "image": unit.images[0],
            "size": list(photograph.size),
            "scaled_size": list(image.size),
            "piece_size": [WIDTH // 2, cut.height],
            "canvas_at": list(cut.canvas),
            "missing_at": list(cut.gap),
            "wrong_at": list(cut.wrong),
            "seams": [round(seam, 2) for seam in seams],
        },
        prompt=PROMPT,
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the canvas and the wrong piece are cut out of the scaled photograph: left upper corners."""

    canvas: Corner
    wrong: Corner
    height: int
    """Of a piece."""

    @property
    def gap(self) -> Corner:
        """Where the right piece is cut out."""
        return self.canvas[0] + WIDTH // 2, self.canvas[1] + self.height


def seam(pixels: NDArray[Any], piece: Corner, gap: Corner, height: int) -> float:
    """Mean step of the colours (0 to 255) across the gap's upper and left edge, with a piece laid into the gap.

    Args:
        pixels: the photograph, height x width x 3, signed.
        piece: left upper corner of the piece.
        gap: left upper corner of the gap.
        height: of both.
    """
    (x, y), (left, top), width = piece, gap, WIDTH // 2
    across = np.abs(pixels[y, x : x + width] - pixels[top - 1, left : left + width]).mean()
    down = np.abs(pixels[y : y + height, x] - pixels[top : top + height, left - 1]).mean()
    return float(across * width + down * height) / (width + height)


def _scaled(photograph: Image.Image) -> Image.Image:
    if photograph.width < LEAST_SIZE[0] or photograph.height < LEAST_SIZE[1]:
        raise UnfitError("the image is too small")
    scale = max(SHORTER_SIDE / min(photograph.size), LEAST_SIZE[0] / photograph.width, LEAST_SIZE[1] / photograph.height)
    if scale >= 1:
        return photograph
    size = (round(photograph.width * scale), round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.LANCZOS)


def _cut(pixels: Pixels, rng: np.random.Generator) -> tuple[_Cut, tuple[float, float]]:
    """Where to cut, and the steps across the edges of the gap with the right and the wrong piece in it."""
    high, wide = pixels.shape[:2]
    reason = "no room for a second piece"
    for _ in range(ATTEMPTS):
        height = int(rng.integers(LEAST_HEIGHT // 2, MOST_HEIGHT // 2 + 1))
        canvas = int(rng.integers(wide - WIDTH + 1)), int(rng.integers(high - 2 * height + 1))
        wrong = int(rng.integers(wide - WIDTH // 2 + 1)), int(rng.integers(high - height + 1))
        if _overlap(canvas, (WIDTH, 2 * height), wrong, (WIDTH // 2, height)):
            continue
        cut = _Cut(canvas, wrong, height)
        reason = "no two pieces that differ enough"
        right, other = (_piece(pixels, corner, height) for corner in (cut.gap, wrong))
        if min(_detail(right), _detail(other)) < LEAST_DETAIL:
            continue
        seams = seam(pixels, cut.gap, cut.gap, height), seam(pixels, wrong, cut.gap, height)
        if seams[1] >= max(seams[0] + SEAM_MARGIN, seams[0] * SEAM_RATIO):
            return cut, seams
    raise UnfitError(reason)


def _piece(pixels: Pixels, corner: Corner, height: int) -> Pixels:
    return pixels[corner[1] : corner[1] + height, corner[0] : corner[0] + WIDTH // 2]


def _detail(piece: Pixels) -> float:
    return float(piece.mean(axis=2).std())


def _overlap(one: Corner, one_size: Corner, other: Corner, other_size: Corner) -> bool:
    return all(one[axis] < other[axis] + other_size[axis] and other[axis] < one[axis] + one_size[axis] for axis in (0, 1))


COCO_IMAGES = "train2017"


class CocoJigsaw:
    """All photographs of COCO's training split."""

    task = "Jigsaw"
    layout = "coco"
    version = 1
    options = 2
    expects: Sequence[str] = (COCO_IMAGES,)

    def units(self, source: Path) -> list[Unit]:
        """One unit a photograph.

        Raises:
            InputError: there is no folder of them.
        """
        return [jigsaw_unit(f"{COCO_IMAGES}/{name}") for name in image_files(source / COCO_IMAGES)]

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.jigsaw.jigsaw_draft`."""
        return jigsaw_draft(source, unit, answer, rng)


TARA_INDEX = "input/train.jsonl"
TARA_IMAGES = "images"
_ADDRESS = "https://static01.nyt.com/"


class Tara:
    """Photographs of TARA's training split."""

    task = "Jigsaw"
    layout = "tara"
    version = 1
    options = 2
    expects: Sequence[str] = (TARA_INDEX, TARA_IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit a photograph that is there; the index names some of them several times.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / TARA_INDEX
        faults = Faults(path)
        names: dict[str, None] = {}
        for line, record in read_json_lines(path):
            address = record.get("image_url")
            if isinstance(address, str) and address:
                names[f"{TARA_IMAGES}/{image_name(address)}"] = None
            else:
                faults.add(line, "no image_url; get the file again from the source")
        faults.check()
        return only_present(source, [jigsaw_unit(name) for name in names], path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.jigsaw.jigsaw_draft`; a download that is no image is unfit, as there always are some."""
        try:
            return jigsaw_draft(source, unit, answer, rng)
        except InputError as error:
            raise UnfitError("the download is no whole image") from error


def image_name(address: str) -> str:
    """What TARA's code calls the file of an image."""
    name = address.replace(_ADDRESS, "").replace("/", "-")
    return name if name.endswith(".jpg") else f"{name}.jpg"
