"""tvt: measure task transfer in vision-language models and turn it into a data mixture.

The names below are the public API; each is imported when first used, so that ``import tvt`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvt.api import Predictions as Predictions
    from tvt.api import analyze as analyze
    from tvt.api import load_mixture_runs as load_mixture_runs
    from tvt.api import load_study as load_study
    from tvt.api import predict as predict
    from tvt.api import select as select
    from tvt.core.matrix import TransferMatrix as TransferMatrix
    from tvt.core.mixture import FailedSelection as FailedSelection
    from tvt.core.mixture import Mixture as Mixture
    from tvt.core.mixture_runs import MixtureRuns as MixtureRuns
    from tvt.core.scores import Score as Score
    from tvt.core.selection import SelectionSpec as SelectionSpec
    from tvt.core.task import Task as Task
    from tvt.data.mixing.dataset import write_mix as write_mix
    from tvt.data.mixing.plan import plan_mix as plan_mix
    from tvt.data.studies.load import bundled_studies as bundled_studies
    from tvt.errors import TvtError as TvtError
    from tvt.evaluate.readers import read_answer as read_answer
    from tvt.io.mixture_file import load_mixture as load_mixture
    from tvt.io.mixture_file import save_mixture as save_mixture

_HOMES = {
    "FailedSelection": "tvt.core.mixture",
    "Mixture": "tvt.core.mixture",
    "MixtureRuns": "tvt.core.mixture_runs",
    "Predictions": "tvt.api",
    "Score": "tvt.core.scores",
    "SelectionSpec": "tvt.core.selection",
    "Task": "tvt.core.task",
    "TransferMatrix": "tvt.core.matrix",
    "TvtError": "tvt.errors",
    "analyze": "tvt.api",
    "bundled_studies": "tvt.data.studies.load",
    "load_mixture": "tvt.io.mixture_file",
    "load_mixture_runs": "tvt.api",
    "load_study": "tvt.api",
    "plan_mix": "tvt.data.mixing.plan",
    "predict": "tvt.api",
    "read_answer": "tvt.evaluate.readers",
    "save_mixture": "tvt.io.mixture_file",
    "select": "tvt.api",
    "write_mix": "tvt.data.mixing.dataset",
}
__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tvt' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
