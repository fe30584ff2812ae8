"""How alike the sources' adapters are, beside how much the tasks give each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tvt.core.matrix import TransferMatrix
from tvt.report.adapter_tables import mantel_sentence, with_own
from tvt.report.heatmap import MOST_LABELS, MOST_NUMBERS, colour_limit
from tvt.report.labels import short_labels, shortened
from tvt.report.style import DIVERGING, GREY, INK
from tvt.transfer.adapter_similarity import AdapterSimilarity, symmetrised
from tvt.types import Floats


def adapter_figure(name: str, of: AdapterSimilarity, matrix: TransferMatrix) -> Figure:
    """Draw both tables over the same tasks in the same order; call inside :func:`tvt.report.style.styled`.

    Args:
        name: of the study.
        of: the similarity of its adapters.
        matrix: the study; sources that are no targets are hatched in its table.
    """
    labels = short_labels(matrix)
    side = float(np.clip(len(of.sources) * 0.42, 2.6, 9.0))
    figure = Figure(figsize=(2 * side + 3.0, side + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _table(figure, left, with_own(of), of.sources, labels)
    left.set_title(f"Cosine x 100 of adapters in {shortened(name, 24)}")
    pairs = np.full((len(of.sources),) * 2, np.nan)
    tasks = [source for source in of.sources if source in matrix.sources and source in matrix.targets]
    at = [of.sources.index(task) for task in tasks]
    pairs[np.ix_(at, at)] = symmetrised(matrix, tasks)
    _table(figure, right, pairs, of.sources, labels)
    right.set_title(f"{'PGF' if matrix.metric == 'pgf' else 'Gain'} x 100, mean of both directions")
    notes = ["Same seed; diagonal: the task itself with another seed."] if len(of.runs) > 1 else ["One seed."]
    notes += [f"With PGF: {mantel_sentence(of.pgf)}."] if of.pgf is not None else []
    # Below both, where it does not widen either.
    figure.supxlabel("\n".join(notes).replace("-", "−"), x=0.02, ha="left", fontsize=7.5, color=GREY)
    return figure


def _table(figure: Figure, axes: Any, values: Floats, names: tuple[str, ...], labels: Mapping[str, str]) -> None:
    count = len(names)
    limit = colour_limit(np.where(np.eye(count, dtype=bool), np.nan, values))
    image = axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="equal", interpolation="nearest")
    axes.set_facecolor("#EEEEEE")
    if count <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.62 * limit else INK
                text = f"{100 * value:.0f}".replace("-", "−")
                axes.text(j, i, "0" if text == "−0" else text, ha="center", va="center", fontsize=7, color=colour)
    shown = [labels[name] for name in names] if count <= MOST_LABELS else []
    axes.set_xticks(range(len(shown)), shown, rotation=0 if count <= MOST_NUMBERS else 90)
    axes.set_yticks(range(len(shown)), shown)
    axes.tick_params(length=0, labelsize=8 if count <= MOST_NUMBERS else 5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8)
