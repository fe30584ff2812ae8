"""tvt: measure task transfer in vision-language models and turn it into a data mixture.

The names below are the public API; each is imported when first used, so that ``import tvt`` stays cheap.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvt.api.datasets import export as export
    from tvt.api.datasets import import_rows as import_rows
    from tvt.api.datasets import mix as mix
    from tvt.api.datasets import train as train
    from tvt.api.loop import propose as propose
    from tvt.api.loop import save_proposals as save_proposals
    from tvt.api.loop import tune as tune
    from tvt.api.mixtures import Predictions as Predictions
    from tvt.api.mixtures import predict as predict
    from tvt.api.mixtures import select as select
    from tvt.api.reports import report as report
    from tvt.api.runs import compare as compare
    from tvt.api.runs import run_study as run_study
    from tvt.api.scoring import evaluate as evaluate
    from tvt.api.studies import analyze as analyze
    from tvt.api.studies import load_mixture_runs as load_mixture_runs
    from tvt.api.studies import load_study as load_study
    from tvt.core.matrix import TransferMatrix as TransferMatrix
    from tvt.core.mixture import FailedSelection as FailedSelection
    from tvt.core.mixture import Mixture as Mixture
    from tvt.core.mixture_runs import MixtureRuns as MixtureRuns
    from tvt.core.proposal import Proposals as Proposals
    from tvt.core.scores import Score as Score
    from tvt.core.selection import SelectionSpec as SelectionSpec
    from tvt.core.task import Task as Task
    from tvt.data.mixing.dataset import write_mix as write_mix
    from tvt.data.mixing.plan import plan_mix as plan_mix
    from tvt.data.studies.load import bundled_studies as bundled_studies
    from tvt.errors import TvtError as TvtError
    from tvt.evaluate.readers import read_answer as read_answer
    from tvt.io.yaml_files import load_mixture as load_mixture
    from tvt.io.yaml_files import save_mixture as save_mixture

_HOMES = {
    "FailedSelection": "tvt.core.mixture",
    "Mixture": "tvt.core.mixture",
    "MixtureRuns": "tvt.core.mixture_runs",
    "Predictions": "tvt.api.mixtures",
    "Proposals": "tvt.core.proposal",
    "Score": "tvt.core.scores",
    "SelectionSpec": "tvt.core.selection",
    "Task": "tvt.core.task",
    "TransferMatrix": "tvt.core.matrix",
    "TvtError": "tvt.errors",
    "analyze": "tvt.api.studies",
    "bundled_studies": "tvt.data.studies.load",
    "compare": "tvt.api.runs",
    "evaluate": "tvt.api.scoring",
    "export": "tvt.api.datasets",
    "import_rows": "tvt.api.datasets",
    "load_mixture": "tvt.io.yaml_files",
    "load_mixture_runs": "tvt.api.studies",
    "load_study": "tvt.api.studies",
    "mix": "tvt.api.datasets",
    "plan_mix": "tvt.data.mixing.plan",
    "predict": "tvt.api.mixtures",
    "propose": "tvt.api.loop",
    "read_answer": "tvt.evaluate.readers",
    "report": "tvt.api.reports",
    "run_study": "tvt.api.runs",
    "save_mixture": "tvt.io.yaml_files",
    "save_proposals": "tvt.api.loop",
    "select": "tvt.api.mixtures",
    "train": "tvt.api.datasets",
    "tune": "tvt.api.loop",
    "write_mix": "tvt.data.mixing.dataset",
}
_PACKAGES = ("compare", "evaluate", "report", "train")
"""Functions whose name is a package's too: the package itself is called, ``tvt.train(...)`` beside ``tvt.train.record``."""
__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605
__version__ = "0.2.0"


class _CallablePackage(ModuleType):
    """A package of tvt that is a function of the public API as well; signature and docstring are the function's."""

    @property
    def _function(self) -> Callable[..., object]:
        name = self.__name__.removeprefix("tvt.")
        function: Callable[..., object] = getattr(import_module(_HOMES[name]), name)
        return function

    def __call__(self, *arguments: object, **options: object) -> object:
        return self._function(*arguments, **options)

    def __getattribute__(self, name: str) -> object:
        if name == "__doc__":
            return self._function.__doc__
        return inspect.signature(self._function) if name == "__signature__" else super().__getattribute__(name)


class _Tvt(ModuleType):
    """Makes those packages callable as they are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Tvt


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tvt' has no attribute '{name}'")
    return import_module(f"tvt.{name}") if name in _PACKAGES else getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
