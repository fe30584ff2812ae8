"""A mixture as another trainer's configuration, with the mixture's exact integer counts.

No trainer's probabilistic mixing carries exact weights, so every export states counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tvt.core.choices import EXPORTS
from tvt.core.mixture import Mixture
from tvt.exports.plan import Export, make_plan


def export(
    mixture: Mixture, to: str, *, model: str | None = None, data: Mapping[str, str] | None = None, data_dir: Path = Path("data")
) -> dict[str, str]:
    """Return the files of a configuration, by name.

    Args:
        mixture: what to train on.
        to: a name of :data:`tvt.core.choices.EXPORTS`.
        model: base model, a hub name or a folder; default: what the mixture's provenance says.
        data: where a source's rows are: a file, a folder or a hub dataset.
        data_dir: folder of ``SOURCE.jsonl`` for sources without an entry in ``data``.

    Raises:
        InputError: nothing to train, an unknown source or trainer, no model known.
    """
    trainer: Export = EXPORTS.find(to)
    return trainer.render(make_plan(mixture, model=model, data=data or {}, data_dir=data_dir, need_model=trainer.needs_model))
