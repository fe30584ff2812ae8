"""Everything that the page says, as one JSON-able value: a pure function of what was analysed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvt import __version__
from tvt.report.html.numbers import nested, number, tidy
from tvt.report.html.study_data import StudySource, study_data
from tvt.report.labels import plain
from tvt.report.sentences import persona_sentences, trend_sentence
from tvt.transfer.analysis import Analysis
from tvt.transfer.personas import KINDS

SCHEMA = 1


def page_data(analysis: Analysis, sources: Sequence[StudySource]) -> dict[str, Any]:
    """The page's data.

    Args:
        analysis: of all studies together.
        sources: what else is known of each study, in the analysis's order.

    Returns:
        ``schema``, ``version`` (of tvt), ``alpha``, ``studies`` (see :func:`tvt.report.html.study_data.study_data`),
        ``personas`` (kind -> tests with ``label``, ``p``, ``passes``, ``values``, ``median``), ``trend``, ``agreement``,
        ``sentences`` (over all studies) and ``notes``.
    """
    told = analysis.to_json()
    trend = trend_sentence(analysis)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "alpha": analysis.alpha,
        "withSelf": analysis.with_self,
        "studies": [study_data(study, source) for study, source in zip(analysis.studies, sources, strict=True)],
        "personas": _personas(analysis),
        "trend": tidy(told["trend"]) if len(analysis.studies) > 1 else [],
        "agreement": tidy(told["agreement"]),
        "sentences": [*persona_sentences(analysis.personas), *([trend] if trend else [])],
        "notes": _notes(analysis),
    }


def _notes(analysis: Analysis) -> list[str]:
    """The notes; one that several studies share is told once, with all their names."""
    shared: dict[str, list[str]] = {}
    for note in analysis.notes:
        name = next((study.name for study in analysis.studies if note.startswith(f"{study.name}: ")), "")
        shared.setdefault(note.removeprefix(f"{name}: "), []).append(name)
    return [": ".join(filter(None, (", ".join(filter(None, names)), text))) for text, names in shared.items()]


def _personas(analysis: Analysis) -> dict[str, list[dict[str, Any]]]:
    """All tests of every persona, least p first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        tests = sorted(analysis.personas.of(kind), key=lambda test: (test.p, -test.median, test.task))
        found[kind] = [
            {
                "label": plain(test.task),
                "p": number(test.p, 6),
                "passes": bool(test.p <= analysis.alpha),
                "values": nested(test.values, 4),
                "median": number(test.median),
            }
            for test in tests
        ]
    return found
