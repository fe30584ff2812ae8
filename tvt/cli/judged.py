"""A comparison that a study folder keeps, judged by the runs that are there: for ``tvt compare`` and ``tvt report``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvt.compare.comparison import Comparison
    from tvt.core.matrix import TransferMatrix
    from tvt.study.session import Session
    from tvt.study.views import Kept


def reported_targets(session: Session, matrix: TransferMatrix, kept: Kept) -> list[str]:
    """The targets that the selection served."""
    from tvt.compare.baselines import spec_of
    from tvt.compare.engine import served_by

    counting = served_by(matrix, spec_of(kept.mixture)).weights
    return [target for target in session.study.targets if target in counting]


def judge(session: Session, matrix: TransferMatrix, kept: Kept, targets: Sequence[str] | None = None) -> Comparison:
    """Compare the kept mixtures on ``targets``, by default those that the selection served; missing runs are told as such.

    Raises:
        InputError: the base model is not scored, or an answer file is damaged.
    """
    from tvt.compare.baselines import spec_of
    from tvt.compare.engine import compare
    from tvt.study.views import measured

    study = session.study
    chosen = reported_targets(session, matrix, kept) if targets is None else targets
    found = measured(study, session.store, kept.entries, chosen)
    shared = any(study.part(target) == "evaluation" for target in chosen)
    return compare(found, kept.entries, matrix, spec_of(kept.mixture), questions_shared=shared)
