"""The loop with any trainer: propose mixtures, have them trained, add the runs, propose again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.api.mixtures import Mixtures, mixtures_of, request_of
from tvt.api.studies import Study, evidence_of, load_mixture_runs
from tvt.core.mixture import FailedSelection
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import Frame
from tvt.core.proposal import Proposals
from tvt.core.selection import SelectionSpec
from tvt.evidence.evidence import Evidence, Measurements

if TYPE_CHECKING:
    from tvt.selection.pool import Candidates


def propose(
    study: Study,
    spec: SelectionSpec | None = None,
    batch: int = 4,
    *,
    runs: MixtureRuns | Frame | str | Path | None = None,
    candidates: Mixtures | None = None,
    pending: Mixtures | None = None,
    most_runs: int | None = None,
    **wanted: Any,
) -> Proposals | FailedSelection:
    """The next mixtures worth training, and whether to go on: see :func:`tvt.selection.propose.propose`.

    Args:
        study: a study's name, folder, CSV, matrix or pandas table, or a table of past mixture runs.
        spec: what is asked for; its limits hold for every proposal.
        batch: how many mixtures.
        runs: with a study: mixture runs in its metric, which join its own evidence.
        candidates: propose of these alone, each once: a CSV, or what else :func:`tvt.predict` takes for mixtures.
        pending: mixtures whose runs are not done yet, in the same forms: none of them is proposed.
        most_runs: how many runs are wanted in all.
        wanted: fields of :class:`SelectionSpec`; they go before those of ``spec``.

    Raises:
        InputError: unknown names, impossible options, a faulty file: all at once.
    """
    from tvt.selection.propose import propose as choose

    evidence = evidence_of(study)
    beside = runs if runs is None or isinstance(runs, MixtureRuns) else load_mixture_runs(runs)
    request = request_of(evidence, spec, wanted)
    return choose(
        Evidence.of(evidence).with_runs(beside),
        request,
        batch,
        candidates=None if candidates is None else _candidates(candidates, evidence),
        pending=None if pending is None else _candidates(pending, evidence),
        most_runs=most_runs,
    )


def _candidates(mixtures: Mixtures, evidence: Measurements) -> Candidates:
    from tvt.selection.pool import Candidates

    ids, weights, sources = mixtures_of(mixtures, None, evidence)
    return Candidates(ids=ids, sources=sources, weights=weights)


def save_proposals(found: Proposals, folder: Path) -> list[Path]:
    """Write every proposal as a mixture file, named by number and id, that ``tvt mix``, ``tvt compare`` and trainers take."""
    from tvt.io.yaml_files import save_mixture

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (proposal, mixture) in enumerate(zip(found.proposals, found.mixtures(), strict=True), start=1):
        named = "" if proposal.mixture is None else "-" + re.sub(r"[^\w.-]+", "_", proposal.mixture)
        paths.append(folder / f"proposal-{number}{named}.yaml")
        save_mixture(mixture, paths[-1])
    return paths
