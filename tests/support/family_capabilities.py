"""What tvt's own code really does with a tiny model of each family, and the table of the models page that follows from it.

``python family_capabilities.py FAMILY...`` prints the rows of these families, for a process with another environment.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import docs_tables
import tiny_families
import tiny_models
from commands import ROOT
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig, Recipe
from tvt.errors import InputError
from tvt.evaluate.adapters import attached, check_adapter
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.scorer import Scorer
from tvt.io.adapter_file import verify_adapter
from tvt.model.base import Loaded, load_base
from tvt.model.families import FAMILIES, Family, family_of
from tvt.train import TrainingRecord, train

TOLERANCE = 1e-4
"""Between log-probabilities or losses in float32: rounding is a hundred times smaller, another input a hundred times larger."""
LANGUAGE = (".language_model.", ".text_model.")
"""Parts of the names of a language model's layers."""


class Measured:
    """A tiny model of one family, and what is found out about it."""

    def __init__(self, family: str, folder: Path) -> None:
        self.folder = folder
        self.model = tiny_families.build(family, folder / "model")
        self.config = ModelConfig(model_name_or_path=str(self.model), dtype="float32")
        self.loaded: Loaded = load_base(self.config)

    def capabilities(self) -> dict[str, str]:
        """Each capability with ``yes``, or with ``no`` where tvt refuses it in a line."""
        return {name: _tried(step, self) for name, step in CAPABILITIES.items()}

    def loads(self) -> None:
        """The processor is of its family's class, and weights are as stored."""
        told = json.loads((self.model / "processor_config.json").read_text())
        assert type(self.loaded.processor).__name__ == told["processor_class"]
        assert {str(weight.dtype) for weight in self.loaded.model.parameters()} == {"torch.float32"}

    def trains(self, images: Sequence[int] = (1, 1, 1, 1), sizes: Sequence[int] = (2, 1)) -> TrainingRecord:
        """Two steps of two rows, at once and one by one, which must come to the same."""
        rows = self.folder / f"rows-{''.join(map(str, images))}"
        if not rows.is_dir():
            tiny_models.write_rows(rows, list(images))
        runs = [train(self._recipe(size), rows, self.folder / f"{rows.name}-by-{size}", seed=0) for size in sizes]
        for losses in zip(*(run.losses for run in runs), strict=True):
            assert max(loss for _, loss in losses) - min(loss for _, loss in losses) < TOLERANCE
        self._goes_into_the_language_model(runs[0])
        return runs[0]

    def scores(self, images: int = 1) -> None:
        """Options in a batch, alone, and by transformers' own generation are the same, and depend on the picture."""
        import torch

        scorer, questions = Scorer(self.loaded, EvaluationConfig(mode="options")), asked(images)
        together = scorer.score(self.loaded.model, questions)
        for question, outcome in zip(questions, together, strict=True):
            alone = scorer.score(self.loaded.model, [question])[0]
            inputs = scorer.prepare([question])
            length = inputs["input_ids"].shape[1]
            with torch.inference_mode():
                plain = self.loaded.model.generate(
                    **inputs, max_length=length + 1, do_sample=False, output_logits=True, return_dict_in_generate=True
                )
            expected = torch.log_softmax(plain.logits[0][0].float(), -1)
            assert outcome.scores is not None
            assert alone.scores is not None
            letters = torch.stack([expected[ids] for ids in scorer.letter_tokens(question)]).max(0).values.tolist()
            assert max(abs(a - b) for a, b in zip(outcome.scores, alone.scores, strict=True)) < TOLERANCE
            assert max(abs(a - b) for a, b in zip(outcome.scores, letters, strict=True)) < TOLERANCE
        if images:
            other = replace(questions[0], images=tuple(tiny_models.picture(9) for _ in range(images)))
            changed = scorer.score(self.loaded.model, [other])[0].scores
            assert max(abs(a - b) for a, b in zip(changed or (), together[0].scores or (), strict=True)) > TOLERANCE

    def generates(self) -> None:
        """Answers in a batch are those alone."""
        scorer, questions = Scorer(self.loaded, EvaluationConfig(mode="generate", max_new_tokens=4)), asked(1)
        together = [outcome.raw for outcome in scorer.score(self.loaded.model, questions)]
        assert together == [scorer.score(self.loaded.model, [question])[0].raw for question in questions]

    def reloads(self) -> None:
        """The adapter scores as plain PEFT does with it, and leaves the base as it was."""
        from peft import PeftModel

        record, scorer, questions = self.trains(), Scorer(self.loaded, EvaluationConfig()), asked(1)
        before = scorer.score(self.loaded.model, questions)
        with attached(self.loaded, check_adapter(record.adapter)) as model:
            scored = scorer.score(model, questions)
        fresh = load_base(self.config)
        plain = PeftModel.from_pretrained(fresh.model, str(record.adapter)).eval()
        assert scored == Scorer(fresh, EvaluationConfig()).score(plain, questions)
        assert scored != before
        assert scorer.score(self.loaded.model, questions) == before

    def takes_several_images(self) -> None:
        """Rows with two and three images train, and questions with two are scored."""
        self.trains((2, 1, 3, 2), sizes=(2,))
        self.scores(2)

    def takes_text_only(self) -> str:
        """Rows without an image train beside one that has one, or one by one, and questions without are scored."""
        Evaluator(self.config, EvaluationConfig(), self.folder / "answers").evaluate([None], {"Light": asked(0)})
        self.scores(0)
        family = family_of(self.config)
        if family is None or family.mixed_batches:
            self.trains((0, 1, 0, 0))
            return "yes"
        with pytest.raises(InputError, match="computes them otherwise than alone for Mllama"):
            self.trains((0, 1, 0, 0), sizes=(2,))
        self.trains((0, 1, 0, 0), sizes=(1,))
        return "one by one"

    def _recipe(self, size: int) -> Recipe:
        steps = {"learning_rate": 5e-3, "global_batch_size": 2, "per_device_train_batch_size": size, "logging_steps": 1}
        return Recipe.model_validate(
            {
                "name": "tiny",
                "sources": ["Light"],
                "targets": ["Light"],
                "model": self.config.model_dump(),
                "lora": {"lora_r": 2, "lora_alpha": 4},
                "training": {**steps, "gradient_checkpointing": False},
            }
        )

    def _goes_into_the_language_model(self, record: TrainingRecord) -> None:
        """An adapter layer at every linear layer of the language model, and at no other."""
        import torch

        layers = {
            name
            for name, module in self.loaded.model.named_modules()
            if isinstance(module, torch.nn.Linear) and any(part in name for part in LANGUAGE)
        }
        tensors = verify_adapter(record.adapter).tensors
        assert {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors} == layers


CAPABILITIES: dict[str, Callable[[Measured], Any]] = {
    "load": Measured.loads,
    "train": Measured.trains,
    "options": Measured.scores,
    "generate": Measured.generates,
    "adapter": Measured.reloads,
    "several images": Measured.takes_several_images,
    "text only": Measured.takes_text_only,
}


def _tried(step: Callable[[Measured], Any], measured: Measured) -> str:
    try:
        found = step(measured)
    except InputError:
        return "no"
    return found if isinstance(found, str) else "yes"


def asked(images: int) -> list[Question]:
    """Three questions of different lengths with so many images."""
    return [
        Question(
            id=str(k),
            task="Light",
            prompt=f"{'Look closely. ' * k}Is it light or dark?",
            options=("light", "dark"),
            answer="A",
            images=tuple(tiny_models.picture(k + place) for place in range(images)),
        )
        for k in range(3)
    ]


def row(family: Family, found: dict[str, str]) -> str:
    """A family's line of the table."""
    kind = f"`{family.model_type}`" + (f" with `{family.vision}`" if family.vision else "")
    return _row((family.name, kind, ", ".join(family.needs) or "nothing", *(found[name] for name in CAPABILITIES)))


def heads() -> list[str]:
    """The table's first two lines."""
    names = ("family", "`model_type`", "needs beside the train extra", *CAPABILITIES)
    return [_row(names), f"|{'---|' * len(names)}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def on_the_page() -> list[str]:
    """The table's rows on the models page."""
    page = ROOT / "tvt" / "docs" / "models.md"
    return docs_tables.between(page.read_text(encoding="utf-8"), "families")[2:]


def made_in(module: ModuleType) -> list[Family]:
    """The families whose tiny models a module makes, without those that need a package which is not here."""
    return [
        family for family in FAMILIES if tiny_families.BUILDERS[family.name].__module__ == module.__name__ and not family.needs
    ]


def measure(families: Sequence[str]) -> dict[str, dict[str, str]]:
    """What each family can do, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: Measured(name, Path(folder) / f"family-{k}").capabilities() for k, name in enumerate(families)}


if __name__ == "__main__":
    told = measure(sys.argv[1:])
    print("\n".join(row(family, told[family.name]) for family in FAMILIES if family.name in told))
