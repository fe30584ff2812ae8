"""What a trainer made of the rows, held row by row against what tvt trains on: tokens, pictures, which tokens are trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_trainers.model import BEGIN_IMAGE, END_TURN, IMAGE

IGNORED = -100
CLOSE = 0.05
"""The most that a value of a picture may differ, of values from -2 to 2: Pillow and torchvision resize a little otherwise."""


@dataclass(frozen=True)
class Example:
    """One row of a batch, without padding."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    pictures: tuple[Any, ...] = field(compare=False, repr=False)
    """One array of patches for each picture."""


def runs(example: Example) -> list[tuple[int, int]]:
    """The stretches of trained tokens: where each begins and ends."""
    edges = [
        index
        for index, (one, next_) in enumerate(zip((False, *example.trained), (*example.trained, False), strict=True))
        if one != next_
    ]
    return list(zip(edges[::2], edges[1::2], strict=True))


def split_answers(examples: list[Example]) -> list[Example]:
    """Each answer as an example of its own behind what was said before it, as the export for TRL has it."""
    return [
        Example(example.ids[:end], tuple(start <= index for index in range(end)), example.pictures)
        for example in examples
        for start, end in runs(example)
    ]


class Reader:
    """Reads batches of a Qwen2.5-VL.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.image, self.begin, self.end = (tokenizer.convert_tokens_to_ids(token) for token in (IMAGE, BEGIN_IMAGE, END_TURN))

    def examples(self, batch: Mapping[str, Any]) -> Iterator[Example]:
        """The rows of a batch, each with its own pictures."""
        patches = [int(grid.prod()) for grid in batch["image_grid_thw"]] if batch.get("image_grid_thw") is not None else []
        pictures = iter(batch["pixel_values"].float().split(patches)) if patches else iter(())
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            real = mask.bool()
            tokens = ids[real].tolist()
            shown = tuple(next(pictures) for token in tokens if token == self.begin)
            yield Example(tuple(tokens), tuple((labels[real] != IGNORED).tolist()), shown)
        if (left := len(list(pictures))) > 0:
            raise ValueError(f"a batch has {left} pictures more than its tokens have places for")

    def text(self, ids: tuple[int, ...]) -> str:
        """Tokens as text, a run of picture tokens as one."""
        single = [token for index, token in enumerate(ids) if token != self.image or ids[index - 1] != self.image]
        return str(self.tokenizer.decode(single)).rstrip("\n")

    def answers(self, example: Example) -> tuple[str, ...]:
        """The runs of tokens that are trained, as text, without the mark that ends a turn and what follows it."""
        texts = (str(self.tokenizer.decode(example.ids[start:end])) for start, end in runs(example))
        return tuple(text.rstrip("\n").removesuffix(END_TURN) for text in texts)

    def ends(self, example: Example) -> str:
        """What follows an answer and is trained too."""
        last = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained][-2:]
        return str(self.tokenizer.decode(last[last.index(self.end) :])) if self.end in last else ""


@dataclass
class Differences:
    """What differs, one line for each kind of difference in each row."""

    rows: int = 0
    images: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    most: float = 0.0
    """The largest difference of a picture's values."""
    faults: list[str] = field(default_factory=list)


def compare(reader: Reader, expected: list[Example], found: list[Example]) -> Differences:
    """Hold what the trainer made of the rows against what tvt trains on; how often a row comes counts, the order not."""
    result = Differences(rows=len(found), images=sum(len(example.pictures) for example in found))
    left: dict[str, list[Example]] = defaultdict(list)
    for example in found:
        left[reader.text(example.ids)].append(example)
        result.ends[reader.ends(example)] += 1
    if len(expected) != len(found):
        result.faults.append(f"{len(found)} rows were trained, tvt trains {len(expected)}")
    for example in expected:
        text = reader.text(example.ids)
        if not left[text]:
            result.faults.append(f"a row was not trained as tvt trains it: {text[-160:]!r}")
            continue
        _compare(reader, example, _nearest(left[text], example), text, result)
    for text, others in left.items():
        result.faults += [f"a row was trained that tvt does not train: {text[-160:]!r}" for _ in others]
    return result


def _nearest(candidates: list[Example], example: Example) -> Example:
    """Take out the candidate whose pictures differ least: questions may be alike."""
    best = min(range(len(candidates)), key=lambda index: _distance(candidates[index], example))
    return candidates.pop(best)


def _distance(one: Example, other: Example) -> float:
    if [picture.shape for picture in one.pictures] != [picture.shape for picture in other.pictures]:
        return float("inf")
    return max((float((a - b).abs().max()) for a, b in zip(one.pictures, other.pictures, strict=True)), default=0.0)


def _compare(reader: Reader, expected: Example, found: Example, text: str, result: Differences) -> None:
    name = repr(text[-80:])
    shapes = [tuple(picture.shape) for picture in expected.pictures], [tuple(picture.shape) for picture in found.pictures]
    if shapes[0] != shapes[1]:
        result.faults.append(f"{name}: pictures of {shapes[1]} patches, and in tvt {shapes[0]}")
    else:
        distance = _distance(expected, found)
        result.most = max(result.most, distance)
        if distance > CLOSE:
            result.faults.append(f"{name}: a picture differs by {distance:.3f}")
    answers = reader.answers(expected), reader.answers(found)
    if answers[0] != answers[1]:
        result.faults.append(f"{name}: the trained tokens are {answers[1]}, and in tvt {answers[0]}")


def trained_by_tvt(mixed: Path, model: Path) -> tuple[Reader, list[Example]]:
    """The rows of a mixed dataset as ``tvt train`` makes tensors of them."""
    from tempfile import TemporaryDirectory

    from tvt.core.recipe import ModelConfig
    from tvt.model.chat import Chat
    from tvt.model.inputs import training_inputs
    from tvt.model.loading import load_processor
    from tvt.train.rows import Examples, load_rows

    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    reader, chat = Reader(processor.tokenizer), Chat(processor)
    with TemporaryDirectory() as cache:
        rows = Examples(load_rows(mixed, Path(cache)), mixed)
        examples = [example for index in range(len(rows)) for example in reader.examples(training_inputs(chat, [rows[index]]))]
    return reader, examples


def trained_by_trainer(reader: Reader, captured: Path) -> list[Example]:
    """The rows of the batches that a trainer's steps were given."""
    import torch

    return [
        example for path in sorted(captured.glob("*.pt")) for example in reader.examples(torch.load(path, weights_only=True))
    ]
