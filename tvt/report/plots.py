"""The plots of ``tvt analyze``, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path

from tvt.errors import InputError
from tvt.report.graph_plot import graph_figure
from tvt.report.heatmap import groups_figure, heatmap_figure
from tvt.report.persona_plot import adapter_figure, persona_figure
from tvt.report.style import draw
from tvt.report.trend_plot import dose_figure, trend_figure
from tvt.transfer.analysis import Analysis, StudyAnalysis


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """Write all plots that the analysis has the figures for.

    Per study ``heatmap-NAME`` and ``graph-NAME``, ``groups-NAME`` where tasks have a level or granularity, ``doses-NAME`` where
    it has doses, ``adapters-NAME`` where these were asked for; over the studies ``personas``, and ``scale-trend`` where there
    are at least two.

    Args:
        analysis: what to draw.
        folder: is made where it is missing.

    Returns:
        The files written.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; name another folder for the plots") from error
    paths = []
    for study in analysis.studies:
        paths += draw(lambda study=study: heatmap_figure(study), folder, f"heatmap-{study.name}")  # type: ignore[misc]
        paths += draw(lambda study=study: graph_figure(study, analysis.threshold), folder, f"graph-{study.name}")  # type: ignore[misc]
        paths += _further(study, folder)
    paths += draw(lambda: persona_figure(analysis), folder, "personas")
    if len(analysis.studies) > 1:
        paths += draw(lambda: trend_figure(analysis), folder, "scale-trend")
    return paths


def _further(study: StudyAnalysis, folder: Path) -> list[Path]:
    """What not every study has."""
    doses, adapters = study.doses, study.adapters
    paths = []
    if study.groups:
        paths += draw(lambda: groups_figure(study), folder, f"groups-{study.name}")
    if doses is not None:
        paths += draw(lambda: dose_figure(study.name, doses), folder, f"doses-{study.name}")
    if adapters is not None:
        paths += draw(lambda: adapter_figure(study.name, adapters, study.matrix), folder, f"adapters-{study.name}")
    return paths
