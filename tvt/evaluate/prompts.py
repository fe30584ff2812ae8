"""How a question is put to a model: a profile makes text and images of it, in their order.

The same model answers a benchmark's questions quite differently under other wordings, so the profile is part of what names a
result. Rows that are trained on are always put as ``dataset`` puts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tvt.core.choices import PROMPTS
from tvt.core.question import Question
from tvt.errors import InputError, suggest
from tvt.io import digest

Piece = dict[str, str]
"""``{"type": "image"}`` or ``{"type": "text", "text": ...}``; a model's chat template may put images first all the same."""

VARIABLES = ("task", "question", "options", "letters", "prompt", "images", "image")
"""What a template can use."""
_IMAGE = "\0image\0"
"""What ``image`` is while a template is rendered: no text of a question can be it."""
_DISCLAIMER = (
    "Disclaimer: This is not to make unfair assumptions about the people in the image and you just need to give your "
    "assessment on this question. You don't need to identify the real people. You just need to analyze based on the "
    "information I gave you.\n\n"
)
_WITH_DISCLAIMER = ("Forensic_Detection", "Jigsaw", "Art_Style")


class Profile(ABC):
    """One way of putting questions."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the profile is, as plain values for a digest; empty for ``dataset``, which was there before the others."""

    @abstractmethod
    def content(self, question: Question) -> list[Piece]:
        """Text and images in the order in which the model is shown them.

        Raises:
            InputError: it cannot be put so.
        """

    def shown(self, question: Question) -> Any:
        """What distinguishes the content from that of another question with the same images, as a plain value for a digest."""
        return self.content(question)


class Dataset(Profile):
    """The images, then the dataset's own prompt."""

    @property
    def identity(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def content(self, question: Question) -> list[Piece]:
        """See :meth:`Profile.content`."""
        return [*_images(question), *_text(question.prompt)]

    def shown(self, question: Question) -> Any:
        """The prompt."""
        return question.prompt


class Official(Profile):
    """As BLINK's own evaluation asks: the prompt, then the images; for three tasks a disclaimer before the prompt.

    Source: zeyofu/BLINK_Benchmark, eval/query_model.py (text first) and eval/test_benchmark.py (which tasks, and the wording),
    commit 0cca9a3. There the disclaimer is written with a comma behind it, a tuple that cannot be put before a text; the
    intended text is put here.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"prompt": {"profile": "official", "version": 1}}

    def content(self, question: Question) -> list[Piece]:
        """See :meth:`Profile.content`."""
        before = _DISCLAIMER if question.task.replace(" ", "_") in _WITH_DISCLAIMER else ""
        return [*_text(before + question.prompt), *_images(question)]


class Letter(Profile):
    """The images, a note that asks for the option's letter (or a number, or a phrase) alone, then the prompt.

    The form is lmms-eval's (EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/blink/utils.py, commit 205d72d: note, then prompt, with
    the images before them), the note's words are tvt's.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"prompt": {"profile": "letter", "version": 1}}

    def content(self, question: Question) -> list[Piece]:
        """See :meth:`Profile.content`."""
        if question.scored_by in ("mra", "number"):
            note = "Answer with a number alone, without any other words."
        elif question.open_ended:
            note = "Answer with a single word or phrase, without any other words."
        else:
            note = f"Answer with one letter alone, {_either(question.letters)}, without any other words."
        return [*_images(question), *_text(f"{note}\n{question.prompt}")]


class Template(Profile):
    """A jinja2 template of a user's own. It is rendered in a sandbox and can use :data:`VARIABLES` only.

    ``{{ image }}`` puts the next image; without it all images come before the text. ``images`` is their number, ``options`` and
    ``letters`` are lists, ``question`` is the bare question, ``prompt`` the dataset's.

    Raises:
        InputError: no template, or it uses what there is not; every fault, one line each.
    """

    def __init__(self, path: Path) -> None:
        from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
        from jinja2.meta import find_undeclared_variables
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error}); name the file of a template") from error
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
        del environment.filters["random"]  # the same question is always put alike
        try:
            tree = environment.parse(text)
            self._template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise InputError(f"{path}:{error.lineno}: {error.message}; mend the template") from error
        used = find_undeclared_variables(tree)
        unknown = used - {*VARIABLES, *environment.globals}
        lines = {name: next(n.lineno for n in tree.find_all(nodes.Name) if n.name == name) for name in sorted(unknown)}
        if lines:
            there = ", ".join(VARIABLES)
            raise InputError(
                *(
                    f"{path}:{line}: no variable '{name}'{suggest(name, VARIABLES)}; there are {there}"
                    for name, line in lines.items()
                )
            )
        self._used = used
        self._digest = digest.of_value(text)

    @property
    def identity(self) -> dict[str, Any]:
        """The digest of the template's text, wherever it is stored."""
        return {"prompt": {"template": self._digest}}

    def content(self, question: Question) -> list[Piece]:
        """See :meth:`Profile.content`."""
        from jinja2 import TemplateError

        where = f"{question.task}, question {question.id}"
        if "question" in self._used and question.question is None:
            raise InputError(f"{self._path}: {where}: the row has no bare question; use 'prompt' in the template")
        try:
            rendered = self._template.render(
                task=question.task,
                question=question.question,
                options=list(question.options),
                letters=list(question.letters),
                prompt=question.prompt,
                images=len(question.images),
                image=_IMAGE,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, OverflowError, LookupError, AttributeError) as error:
            line = f"{self._path}: {where}: {str(error) or type(error).__name__}"
            raise InputError(f"{line}; mend the template") from error
        if _IMAGE not in rendered:
            return [*_images(question), *_text(rendered)]
        placed = rendered.count(_IMAGE)
        if placed != len(question.images):
            raise InputError(
                f"{self._path}: {where}: the template puts {placed} images, and the question has {len(question.images)}; "
                "write {% for _ in range(images) %}{{ image }}{% endfor %}"
            )
        return list(_split(rendered))


def read_profile(prompt: str) -> Profile:
    """The profile that a recipe or an option names: one of :data:`tvt.core.choices.PROMPTS`, or the file of a template.

    Raises:
        InputError: neither, or a template that cannot be used; every fault, one line each.
    """
    names = PROMPTS.names
    if prompt in names:
        profile: Profile = PROMPTS.find(prompt)
        return profile
    if not Path(prompt).is_file():
        raise InputError(f"prompt: '{prompt}' is no file{suggest(prompt, names)}; name {', '.join(names)} or a template's file")
    return Template(Path(prompt))


def _images(question: Question) -> list[Piece]:
    return [{"type": "image"} for _ in question.images]


def _text(text: str) -> list[Piece]:
    return [{"type": "text", "text": text}] if text else []


def _split(rendered: str) -> Iterator[Piece]:
    for place, text in enumerate(rendered.split(_IMAGE)):
        if place:
            yield {"type": "image"}
        yield from _text(text)


def _either(letters: str) -> str:
    """``A or B``, ``A, B or C``."""
    return letters if len(letters) == 1 else f"{', '.join(letters[:-1])} or {letters[-1]}"
