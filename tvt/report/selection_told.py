"""All that is told of one selection, for the terminal and for JSON alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tvt.core.frozen import Frozen
from tvt.core.mixture import Mixture
from tvt.core.preview import Preview
from tvt.core.selection import SelectionSpec
from tvt.evidence.fit import FitReport
from tvt.evidence.kappa import Curvature
from tvt.selection.frontier import FrontierPoint, Kind
from tvt.selection.stability import Stability


@dataclass(frozen=True, kw_only=True)
class SelectionTold(Frozen):
    """A mixture with what was found out about it; parts that were not asked for are empty."""

    mixture: Mixture
    spec: SelectionSpec
    fit: FitReport | None = None
    stability: Stability | None = None
    sensitivity: Mapping[float, Mapping[str, float]] = field(default_factory=dict)
    """Weights of the used sources at other kappas."""
    curvature: Curvature | None = None
    """kappa of the log response and how it came about."""
    frontier: tuple[FrontierPoint, ...] = ()
    frontier_kind: Kind = "harm"
    preview: Preview | None = None
    """What merged adapters score for this and other mixtures."""
    short: Callable[[str], str] = str
    """A task's abbreviation, where the study knows one."""
