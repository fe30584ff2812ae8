"""What can be chosen by name, such as executors, exports and readers: one table for each kind, which other packages can extend.

A choice is a class or function in a module of its own, and a line of its table here. The tables name modules by text, so that
recipes, options and help know the names without loading what only one choice needs. Another package adds a choice by an entry
point, in its ``pyproject.toml``::

    [project.entry-points."tvt.readers"]
    strict = "my_package.strict:Strict"

Objectives, which are formulas, stand in :mod:`tvt.core.objective`. What a choice of each kind must do, its class says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from tvt.errors import InputError, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """The choices of one kind.

    Args:
        kind: what one is, for messages.
        group: the group of entry points by which packages outside add some; they cannot replace those of tvt.
        own: tvt's own, ``module:name`` by name; the first is the default.
        contract: ``module:name`` of the class that every choice is an instance of; ``None`` where it is a protocol.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], contract: str | None = None) -> None:
        self.kind, self.group, self.own, self.contract = kind, group, own, contract
        self._made: dict[str, T] = {}

    @cached_property
    def _outside(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point.name not in self.own and point not in found.get(point.name, []):
                found.setdefault(point.name, []).append(point)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, tvt's own first."""
        return (*self.own, *sorted(self._outside))

    @property
    def default(self) -> str:
        """The name that is taken where nobody gives one."""
        return next(iter(self.own))

    def check(self, name: str) -> str:
        """``name``, where it is one.

        Raises:
            ValueError: it is none, with the names that there are.
        """
        if name not in self.names:
            raise ValueError(f"no {self.kind} '{name}'{suggest(name, self.names)}; there are {', '.join(self.names)}")
        return name

    def find(self, name: str) -> T:
        """The choice of a name; of a class, the one instance that is made without arguments.

        Raises:
            InputError: there is none, or the package that adds it cannot be loaded.
        """
        try:
            self.check(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        reference = self.own.get(name, name)
        if reference not in self._made:
            self._made[reference] = self._make(name)
        return self._made[reference]

    def __iter__(self) -> Iterator[T]:
        """Every choice, loaded."""
        return (self.find(name) for name in self.names)

    def _make(self, name: str) -> T:
        if name in self.own:
            own: T = _instance(_attribute(self.own[name]))
            return own
        point, *others = self._outside[name]
        if others:  # which one were taken would depend on the machine
            packages = " and ".join(_package(each) for each in (point, *others))
            raise InputError(f"{self.kind} '{name}': {packages} both add it; remove one of them")
        try:
            made: T = _instance(point.load())
        except Exception as error:  # whatever code of others raises, as it is loaded or made
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            names = f"{_package(point)} names {point.value}"
            raise InputError(f"{self.kind} '{name}': {names}, which cannot be loaded ({reason}); mend or remove it") from error
        self._check_made(name, point, made)
        return made

    def _check_made(self, name: str, point: EntryPoint, made: T) -> None:
        """Refuse what is no such choice, or calls itself by another name than the one by which it was found."""
        if self.contract is not None and not isinstance(made, _attribute(self.contract)):
            wanted = self.contract.replace(":", ".")
            raise InputError(
                f"{self.kind} '{name}': {_package(point)} names {point.value}, which is no {wanted}; mend or remove it"
            )
        own = getattr(made, "name", name)
        if own != name:
            raise InputError(
                f"{self.kind} '{name}': {point.value} of {_package(point)} calls itself '{own}'; give both one name"
            )


def _attribute(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _package(point: EntryPoint) -> str:
    return "a package" if point.dist is None else f"the package {point.dist.name}"


def _instance(found: T | Callable[[], T]) -> T:
    return found() if isinstance(found, type) else found  # type: ignore[return-value]


EXECUTORS: Registry[Any] = Registry(
    "executor",
    "tvt.executors",
    {
        "local": "tvt.study.executors.local:Local",
        "slurm": "tvt.study.executors.slurm:Slurm",
        "ray": "tvt.study.executors.ray:Ray",
    },
    "tvt.study.executors:Engine",
)
"""Who does a study's runs: :class:`tvt.study.executors.Engine`."""

EXPORTS: Registry[Any] = Registry(
    "trainer",
    "tvt.exports",
    {
        "trl": "tvt.exports.trl:Trl",
        "llamafactory": "tvt.exports.llamafactory:LlamaFactory",
        "ms-swift": "tvt.exports.swift:Swift",
        "axolotl": "tvt.exports.axolotl:Axolotl",
        "json": "tvt.exports.plain:Plain",
    },
    "tvt.exports.plan:Export",
)
"""Trainers that a mixture is written for: :class:`tvt.exports.plan.Export`."""

READERS: Registry[Any] = Registry(
    "reader",
    "tvt.readers",
    {
        "careful": "tvt.evaluate.readers:Careful",
        "official": "tvt.evaluate.readers:BlinkOfficial",
        "lmms-eval-0.7.2": "tvt.evaluate.readers:LmmsEval072",
        "lmms-eval-0.7.3": "tvt.evaluate.readers:LmmsEval073",
        "vsi-bench": "tvt.evaluate.readers:VsiBench",
    },
    "tvt.evaluate.readers:Reader",
)
"""Readers of free answers: :class:`tvt.evaluate.readers.Reader`."""

METRICS: Registry[Any] = Registry(
    "metric",
    "tvt.metrics",
    {
        "exact_match": "tvt.core.metrics:ExactMatch",
        "contains": "tvt.core.metrics:Contains",
        "vqa_accuracy": "tvt.core.metrics:VqaAccuracy",
        "anls": "tvt.core.metrics:Anls",
        "relaxed_accuracy": "tvt.core.metrics:RelaxedAccuracy",
        "number": "tvt.core.metrics:Number",
        "mra": "tvt.core.metrics:MeanRelativeAccuracy",
    },
    "tvt.core.metrics:Metric",
)
"""How answers to open-ended questions are scored: :class:`tvt.core.metrics.Metric`. The first is the default for text."""

PROMPTS: Registry[Any] = Registry(
    "prompt",
    "tvt.prompts",
    {
        "dataset": "tvt.evaluate.prompts:Dataset",
        "official": "tvt.evaluate.prompts:Official",
        "letter": "tvt.evaluate.prompts:Letter",
    },
    "tvt.evaluate.prompts:Profile",
)
"""Profiles by which questions are put, beside templates: :class:`tvt.evaluate.prompts.Profile`."""

FORMATS: Registry[Any] = Registry(
    "format",
    "tvt.formats",
    {
        "questions": "tvt.data.hub.formats:QuestionRows",
        "blink": "tvt.data.hub.formats:BlinkRows",
        "vsi-bench": "tvt.data.hub.videos:VsiRows",
        "auto": "tvt.data.imports.tables:AnyRows",
        "sharegpt": "tvt.data.imports.formats:SharegptRows",
        "messages": "tvt.data.imports.formats:MessageRows",
        "trl": "tvt.data.imports.formats:TrlRows",
        "llava": "tvt.data.imports.formats:LlavaRows",
        "alpaca": "tvt.data.imports.formats:AlpacaRows",
        "csv": "tvt.data.imports.tables:TableRows",
        "parquet": "tvt.data.imports.tables:AnyRows",
        "hf-folder": "tvt.data.imports.tables:AnyRows",
    },
    "tvt.data.hub.formats:RowFormat",
)
"""What the columns of a dataset or of a file are: :class:`tvt.data.hub.formats.RowFormat`."""

RESPONSES: Registry[Any] = Registry(
    "response",
    "tvt.responses",
    {
        "joint": "tvt.evidence.forms:Joint",
        "log": "tvt.evidence.forms:Log",
        "linear": "tvt.evidence.forms:Linear",
    },
    "tvt.evidence.forms:StudyForm",
)
"""How gains grow with a source's weight: :class:`tvt.evidence.forms.ResponseForm`."""

BUILDERS: Registry[Any] = Registry(
    "builder",
    "tvt.builders",
    {
        "Visual_Correspondence/hpatches": "tvt.data.builders.hpatches:HPatches",
        "Semantic_Correspondence/spair": "tvt.data.builders.keypoints:Spair",
        "Functional_Correspondence/funkpoint": "tvt.data.builders.keypoints:FunKPoint",
        "Multi-view_Reasoning/wild6d": "tvt.data.builders.wild6d:Wild6D",
        "Relative_Reflectance/iiw": "tvt.data.builders.point_pairs:Iiw",
        "Relative_Depth/diw": "tvt.data.builders.point_pairs:Diw",
        "Visual_Similarity/nights": "tvt.data.builders.image_pairs:Nights",
        "Art_Style/wikiart": "tvt.data.builders.image_pairs:WikiArt",
        "Art_Style/artbench": "tvt.data.builders.image_pairs:ArtBench",
        "Forensic_Detection/forensic": "tvt.data.builders.forensic:Forensic",
        "Jigsaw/tara": "tvt.data.builders.jigsaw:Tara",
        "Jigsaw/coco": "tvt.data.builders.jigsaw:CocoJigsaw",
        "Object_Localization/lvis": "tvt.data.builders.object_boxes:Lvis",
        "Object_Localization/coco": "tvt.data.builders.object_boxes:CocoBoxes",
        "Counting/tallyqa": "tvt.data.builders.counting:TallyQA",
        "Counting/pixmo_count": "tvt.data.builders.counting:PixmoCount",
        "Spatial_Relation/vsr": "tvt.data.builders.vsr:Vsr",
    },
)
"""Builders of training rows, by task and layout of the raw data; a task's first layout is the one that BLINK itself was made
from, and is taken where nobody names another: :class:`tvt.data.builders.contract.Builder`."""
