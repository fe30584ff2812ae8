"""``tvt select --preview``: merged adapters of a study as a look at mixtures before one of them is trained."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.cli.progress_bar import progress_bar
from tvt.cli.status_line import status_line
from tvt.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from tvt.core.mixture import Mixture
    from tvt.core.preview import Preview
    from tvt.selection.engine import Prepared
    from tvt.study.session import Session


def open_previewed(studies: Sequence[str]) -> Session:
    """The one study whose adapters can be merged.

    Raises:
        InputError: several studies or none, or one that holds no runs of tvt study.
    """
    from tvt.study.session import reopen
    from tvt.study.store import RECIPE

    if len(studies) != 1:
        raise InputError(f"--preview merges the adapters of one study of tvt study run; name one STUDY, not {len(studies)}")
    folder = Path(studies[0])
    folder = folder if folder.is_dir() else folder.parent  # its study.yaml may be named as well
    if not (folder / RECIPE).is_file():
        raise InputError(
            f"{studies[0]}: holds scores only; --preview merges adapters, so name the folder of a study by tvt study run"
        )
    if find_spec("peft") is None:  # said now rather than after the selection
        raise MissingPackageError("--preview scores adapters, and peft is not installed; pip install 'tvt[train]'")
    with status_line("reading the rows of") as tell:
        return reopen(folder, tell)


def preview_selection(session: Session, prepared: Prepared, answer: Mixture) -> Preview:
    """Preview the selected mixture among others, with a bar on stderr.

    Raises:
        InputError: see :func:`tvt.study.preview.preview`.
    """
    from tvt.compare.baselines import candidates, distinct
    from tvt.core.matrix import TransferMatrix
    from tvt.study.preview import preview, trained_candidates

    matrix, study = prepared.evidence, session.study
    if not isinstance(matrix, TransferMatrix):
        raise InputError("--preview needs a STUDY; a table of mixture runs has no adapters")
    sizes = {s: m.training.questions for s, m in study.sources.items() if m.training and m.training.questions}
    found = candidates(matrix, answer, prepared, study.recipe.budget, sizes)
    found = distinct((*found, *trained_candidates(study, session.store)))
    first = found[0].label if found and found[0].label == "selected" else None
    with progress_bar("merged adapters") as progress:
        return preview(session, found, prepared, progress=progress, selected=first)
