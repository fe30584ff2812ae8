"""Which of two images goes with a reference: visual similarity (NIGHTS), art style (WikiArt, ArtBench-10).

**NIGHTS**, the triplets of DreamSim: a reference image and two variations, of which people chose one.
Layout (read in ssundaram21/dreamsim, ``dataset/README.md`` and ``dataset/dataset.py``; the columns' names in loaders of others
that read them by name): ``data.csv`` with the columns ``id``, ``left_vote``, ``right_vote``, ``votes``, ``ref_path``,
``left_path``, ``right_path``, ``split`` and ``prompt``, and the images ``ref/000/000.png``, ``distort/000/000_0.png`` and
``distort/000/000_1.png``. A vote of 1 says that people found this variation more like the reference; DreamSim itself uses
triplets with at least 6 votes, all alike.

Question and prompt are BLINK's own (seen in files that quote its ``prompt`` column; its length agrees with the 414 characters
that EvalScope's page of BLINK gives, its template included).

**Art style**, from folders of paintings by style: WikiArt, and ArtBench-10, which stands in for it.
A question shows a painting for reference and two more, of which one shares its style.

Layouts. WikiArt, as refined by ArtGAN (read in cs-chan/ArtGAN, ``WikiArt Dataset/README.md``; file names as ArtEmis and others
quote them): ``Abstract_Expressionism/aaron-siskind_chicago-1951.jpg``, 27 styles. ArtBench-10, 256 x 256, with its split (read
in liaopeiyuan/artbench, ``README.md``; file names as users of it quote them), 10 styles:
``train/art_nouveau/leon-bakst_elisium-1906.jpg``. What stands before the first underscore of a file's name is the artist.

What makes it fair:

* the three paintings are of three artists, so that a known hand tells nothing;
* styles that grew out of each other (``KINDRED``) are never set against each other;
* every style is the right one as often as it is the wrong one, as far as its paintings go: a model cannot prefer a style;
* a painting that lies in the folders of two styles is left out.

Question and prompt are BLINK's own (quoted in EvalScope's page of BLINK except for the names of the styles; with the names used
here the prompt has the length that the page gives).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit, prompt_of
from tvt.data.builders.raw_files import image_files, inside, read_image
from tvt.data.csv_table import Faults, Table, number, read_table
from tvt.data.csv_text import Row
from tvt.errors import InputError

MIN_VOTES = 6
"""Fewer people than these are not asked after: DreamSim's own threshold."""
NIGHTS_MIN_SIDE = 128
"""Smaller images show too little of what people compared."""

NIGHTS_QUESTION = "Which image is most similar to the reference image?"
NIGHTS_TASK = (
    "Given three similar but different images, take the first image as reference. "
    "Can you tell which one of the latter two images is most similar to the first one?"
)
NIGHTS_OPTIONS = ("the second image", "the third image")

_COLUMNS = ("id", "split", "votes", "left_vote", "right_vote", "ref_path", "left_path", "right_path")


class Nights:
    """Triplets of the ``train`` split; the other splits stay untouched, for those who measure on them."""

    task = "Visual_Similarity"
    layout = "nights"
    version = 1
    options = 2
    expects: Sequence[str] = ("data.csv", "ref", "distort")

    def units(self, source: Path) -> Iterator[Unit]:
        """Every triplet of the ``train`` split; its category (``prompt``) is its stratum where the table has it.

        Raises:
            InputError: ``data.csv`` is damaged.
        """
        table = read_table(source / "data.csv")
        faults = Faults(table.path)
        at = {name: _at(table, name, faults) for name in _COLUMNS}
        faults.check()
        prompt = table.at("prompt")
        result = [
            unit
            for row in table.rows
            if row.cells[at["split"]] == "train"
            if (unit := _unit(row, at, prompt, faults)) is not None
        ]
        for key, times in Counter(unit.key for unit in result).items():
            if times > 1:
                faults.add(None, f"id {key} stands {times} times; get data.csv again from the source")
        faults.check()
        yield from result

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The reference and the two variations, the one that people chose at ``answer``.

        Raises:
            UnfitError: too few votes, people did not agree, or the images are too small.
            InputError: an image is missing or damaged.
        """
        if unit.data["votes"] < MIN_VOTES:
            raise UnfitError(f"fewer than {MIN_VOTES} votes")
        if sorted(unit.data["shares"]) != [0, 1]:
            raise UnfitError("people did not agree")
        reference, left, right = unit.images
        chosen, other = (left, right) if unit.data["shares"][0] == 1 else (right, left)
        order = (reference, chosen, other) if answer == 0 else (reference, other, chosen)
        images = tuple(read_image(inside(source, name)) for name in order)
        if min(min(image.size) for image in images) < NIGHTS_MIN_SIDE:
            raise UnfitError("an image is too small")
        if len({image.tobytes() for image in images}) < 3:
            raise UnfitError("two of the images are the same")
        return Draft(
            images=images,
            question=NIGHTS_QUESTION,
            options=NIGHTS_OPTIONS,
            answer=answer,
            provenance={"id": unit.data["id"], "votes": unit.data["votes"], "shown": list(order), "chosen": chosen},
            prompt=prompt_of(NIGHTS_TASK, NIGHTS_OPTIONS),
        )


def _at(table: Table, name: str, faults: Faults) -> int:
    position = table.at(name)
    if position is None:
        faults.add(1, f"no column '{name}'; get data.csv again from the source")
    return position or 0


def _unit(row: Row, at: dict[str, int], prompt: int | None, faults: Faults) -> Unit | None:
    """A row as a unit, or ``None`` after noting what is wrong with it."""
    key = row.cells[at["id"]]
    try:
        votes, left, right = (number(row.cells[at[name]]) for name in ("votes", "left_vote", "right_vote"))
    except ValueError:
        votes = left = right = None
    if not key or votes is None or left is None or right is None:
        faults.add(row.line, "id, votes, left_vote or right_vote is missing or no number; get data.csv again from the source")
        return None
    images = tuple(row.cells[at[name]] for name in ("ref_path", "left_path", "right_path"))
    if not all(images):
        faults.add(row.line, "ref_path, left_path or right_path is missing; get data.csv again from the source")
        return None
    return Unit(
        key=key,
        images=images,
        stratum=row.cells[prompt] if prompt is not None else "",
        data={"id": key, "votes": int(votes), "shares": (left, right)},
    )


LONGEST = 1024
"""Larger paintings are scaled down to so many pixels: scans of WikiArt have many thousand."""
ART_MIN_SIDE = 128
"""Smaller images show no brush."""
SHARE = 3
"""Of so many paintings of a style one is reserved for being the wrong one."""

ART_QUESTION = "Which image shares the same style as the reference image?"
ART_TASK = (
    "Some most common art painting styles include Realism, Impressionism, Expressionism, Pop Art, and Cubism. "
    "Given the following images of art paintings, use the first image as the reference image, and determine which one of the "
    "second or the third image shares the same style as the reference image?"
)
ART_OPTIONS = ("the second image", "the third image")

KINDRED: tuple[frozenset[str], ...] = tuple(
    frozenset(styles.split())
    for styles in (
        "abstract_expressionism action_painting color_field_painting minimalism",
        "analytical_cubism cubism synthetic_cubism",
        "contemporary_realism new_realism realism romanticism",
        "early_renaissance high_renaissance northern_renaissance mannerism_late_renaissance renaissance",
        "baroque rococo",
        "impressionism post_impressionism pointillism",
        "expressionism fauvism post_impressionism",
        "art_nouveau art_nouveau_modern symbolism",
    )
)
"""Groups of styles, in lower case, that people would not tell apart without fail. Ours, not the sources'."""

_SCALINGS = 100


@dataclass(frozen=True)
class Painting:
    """A file, as its name says."""

    path: str
    """Relative to the source."""
    style: str
    artist: str


class _Paintings:
    task = "Art_Style"
    version = 1
    options = 2
    root = ""
    """Folder of the source in which the styles' folders lie."""

    def units(self, source: Path) -> Iterator[Unit]:
        """Triples of paintings, as many as the styles give; which they are depends on the files' names alone.

        Raises:
            InputError: there are fewer than two styles, or a folder cannot be read.
        """
        styles = _styles(source, self.root)
        others = {style: _Supply(paintings[: len(paintings) // SHARE]) for style, paintings in styles.items()}
        for style, shares in rival_shares(sorted(styles)).items():
            rivals = _Rivals(shares)
            for pair in _pairs(styles[style][len(styles[style]) // SHARE :]):
                wrong = rivals.painting(others, {painting.artist for painting in pair})
                if wrong is not None:
                    shown = (*pair, wrong)
                    yield Unit(
                        key=pair[0].path,
                        images=tuple(painting.path for painting in shown),
                        stratum=style,
                        data={"artists": [painting.artist for painting in shown], "styles": [style, wrong.style]},
                    )

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The reference and two paintings, the one of its style at ``answer``.

        Raises:
            UnfitError: a painting is too small, or two are the same.
            InputError: an image is missing or damaged.
        """
        reference, right, wrong = unit.images
        order = (reference, right, wrong) if answer == 0 else (reference, wrong, right)
        images = tuple(read_image(source / name, LONGEST) for name in order)
        if min(min(image.size) for image in images) < ART_MIN_SIDE:
            raise UnfitError("a painting is too small")
        if len({image.tobytes() for image in images}) < len(images):
            raise UnfitError("two of the paintings are the same")
        style, other = unit.data["styles"]
        return Draft(
            images=images,
            question=ART_QUESTION,
            options=ART_OPTIONS,
            answer=answer,
            provenance={"shown": list(order), "style": style, "other_style": other, "artists": unit.data["artists"]},
            prompt=prompt_of(ART_TASK, ART_OPTIONS),
        )


class WikiArt(_Paintings):
    """The paintings of WikiArt.org, in one folder a style."""

    layout = "wikiart"
    expects: Sequence[str] = ("*/*_*.jpg",)


class ArtBench(_Paintings):
    """ArtBench-10's training paintings; those for testing stay untouched, for those who measure on them."""

    layout = "artbench"
    root = "train"
    expects: Sequence[str] = ("train",)


def kindred(style: str, other: str) -> bool:
    """Whether two styles are too near each other to be told apart without fail; a style is its own kin."""
    pair = {style.lower(), other.lower()}
    return len(pair) == 1 or any(pair <= group for group in KINDRED)


class _Supply:
    """The paintings of a style that may be the wrong one: none is taken again before all are, as far as the artists allow."""

    def __init__(self, paintings: Sequence[Painting]) -> None:
        self._paintings = paintings
        self._left = list(paintings)

    def take(self, artists: set[str]) -> Painting | None:
        """The next painting by none of these artists."""
        for _ in range(2):
            at = next((k for k, painting in enumerate(self._left) if painting.artist not in artists), None)
            if at is not None:
                return self._left.pop(at)
            left = set(self._left)
            self._left += [painting for painting in self._paintings if painting not in left]
        return None


class _Rivals:
    """Sets a style against others, each as often as its share says."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares
        self._used = dict.fromkeys(shares, 0)

    def painting(self, others: Mapping[str, _Supply], artists: set[str]) -> Painting | None:
        """The next painting by none of these artists, of the style that is most behind its share."""
        turn = 1 + sum(self._used.values())
        for style in sorted(self._shares, key=lambda style: self._used[style] - turn * self._shares[style]):
            painting = others[style].take(artists)
            if painting is not None:
                self._used[style] += 1
                return painting
        return None


def rival_shares(styles: Sequence[str]) -> dict[str, dict[str, float]]:
    """How often each style is set against which others, so that all are the wrong one equally often.

    The shares of a style sum to 1; so do the shares in one rival, as far as kinship leaves it possible, for units that are
    taken from the styles equally often (Sinkhorn's scaling of the matrix of who may be set against whom).
    """
    shares = np.array([[float(not kindred(style, other)) for other in styles] for style in styles])
    for _ in range(_SCALINGS):
        shares /= np.maximum(shares.sum(axis=0, keepdims=True), 1e-12)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    return {
        style: {other: float(share) for other, share in zip(styles, row, strict=True) if share > 0}
        for style, row in zip(styles, shares, strict=True)
    }


def _pairs(paintings: Sequence[Painting]) -> Iterator[tuple[Painting, Painting]]:
    """Pairs of paintings by two artists, each painting in one at most."""
    left = list(paintings)
    while left:
        first = left.pop()
        at = next((k for k in range(len(left) - 1, -1, -1) if left[k].artist != first.artist), None)
        if at is not None:
            yield first, left.pop(at)


def _styles(source: Path, root: str) -> dict[str, list[Painting]]:
    """The paintings of each style, shuffled by their names; what lies in two styles' folders is left out."""
    base = source / root
    try:
        folders = sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{base}: {error.strerror or error}; unpack the paintings there, in one folder a style") from error
    names = {style: image_files(base / style) for style in folders}
    times = Counter(name for files in names.values() for name in set(files))
    styles = {
        style: [
            Painting((Path(root) / style / name).as_posix(), style, name.partition("_")[0])
            for name in _shuffled(files)
            if "_" in name and times[name] == 1
        ]
        for style, files in names.items()
    }
    styles = {style: paintings for style, paintings in styles.items() if len(paintings) >= SHARE}
    if not any(not kindred(style, other) for style in styles for other in styles):
        raise InputError(f"{base}: no two styles to set against each other; unpack the paintings there, in one folder a style")
    return styles


def _shuffled(names: Iterator[str] | Sequence[str] | Mapping[str, object], salt: str = "") -> list[str]:
    """Names in an order that depends on them alone, and on ``salt``."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())
