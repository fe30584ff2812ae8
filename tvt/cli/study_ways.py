"""What ``tvt study plan`` says of cheaper ways to a study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvt.report.study_tables import Way
    from tvt.study.cheaper.alternatives import Alternative
    from tvt.study.session import Session


def cheaper_ways(session: Session, recipe: Path, output: Path | None, overrides: Sequence[str]) -> list[Way]:
    """The full study and cheaper ones, with the command for each; nothing where all is done or there is but one way."""
    from tvt.report.study_tables import Way
    from tvt.study.cheaper.alternatives import alternatives

    found = alternatives(session)
    full = found[0].estimate
    if len(found) < 2 or not full.training_runs:
        return []
    by_time = full.seconds is not None
    return [
        Way(
            name=way.name,
            training_runs=way.estimate.training_runs,
            examples=way.estimate.examples,
            questions=way.estimate.questions,
            device_hours=way.estimate.device_hours,
            disk_bytes=way.estimate.disk_bytes,
            share=_share(
                way.estimate.seconds if by_time else way.estimate.examples, full.seconds if by_time else full.examples
            ),
            command=_command(way, recipe, output, overrides),
        )
        for way in found
    ]


def ways_json(ways: Sequence[Way]) -> list[dict[str, Any]]:
    """The ways as plain values."""
    return [dict(vars(way)) for way in ways]


def _share(cost: float | None, of: float | None) -> float | None:
    return None if cost is None or not of else cost / of


def _command(way: Alternative, recipe: Path, output: Path | None, overrides: Sequence[str]) -> str:
    """The command that does it; the caller's own values stay, but for those that it gives again."""
    again = {option.partition("=")[0] for option in way.options}
    kept = [part for item in overrides if item.partition("=")[0] not in again for part in ("--set", item)]
    folder = way.folder or output
    where = [] if folder is None else ["-o", str(folder)]
    return shlex.join(["tvt", "study", "run", str(recipe), *kept, *way.options, *where])
