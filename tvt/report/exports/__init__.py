"""A mixture as another trainer's configuration, with the mixture's exact integer counts.

No trainer's probabilistic mixing carries exact weights, so every export states counts. One module a trainer; to add one,
write ``render(plan) -> {file name: text}`` and enter it in :data:`TRAINERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tvt.core.mixture import Mixture
from tvt.errors import InputError, suggest
from tvt.report.exports import axolotl, llamafactory, plain, swift, trl
from tvt.report.exports.plan import Plan, make_plan

TRAINERS: dict[str, Callable[[Plan], dict[str, str]]] = {
    "trl": trl.render,
    "llamafactory": llamafactory.render,
    "ms-swift": swift.render,
    "axolotl": axolotl.render,
    "json": plain.render,
}


def export(
    mixture: Mixture, to: str, *, model: str | None = None, data: Mapping[str, str] | None = None, data_dir: Path = Path("data")
) -> dict[str, str]:
    """Return the files of a configuration, by name.

    Args:
        mixture: what to train on.
        to: a name of :data:`TRAINERS`.
        model: base model, a hub name or a folder; default: what the mixture's provenance says.
        data: where a source's rows are: a file, a folder or a hub dataset.
        data_dir: folder of ``SOURCE.jsonl`` for sources without an entry in ``data``.

    Raises:
        InputError: nothing to train, an unknown source or trainer, no model known.
    """
    return render(make_plan(mixture, model=model, data=data or {}, data_dir=data_dir, need_model=to != "json"), to)


def render(plan: Plan, to: str) -> dict[str, str]:
    """Return the files of a configuration for a plan already made; see :func:`export`."""
    if to not in TRAINERS:
        raise InputError(f"unknown trainer '{to}'{suggest(to, list(TRAINERS))}; known: {', '.join(TRAINERS)}")
    return TRAINERS[to](plan)
