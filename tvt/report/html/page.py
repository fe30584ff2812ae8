"""The page and its data: template, style, scripts and figures in one file, under a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from tvt import __version__
from tvt.report.analysis_tables import persona_sentences, trend_sentence
from tvt.report.html import short
from tvt.report.html.study_data import StudySource, study_data
from tvt.report.style import plain
from tvt.transfer.analysis import Analysis
from tvt.transfer.personas import KINDS

STYLES = ("tokens.css", "page.css", "parts.css", "print.css")
SCRIPTS = (
    "dom.js",
    "words.js",
    "colour.js",
    "state.js",
    "table.js",
    "figure.js",
    "dots.js",
    "headline.js",
    "details.js",
    "heatmap.js",
    "graph.js",
    "graph_controls.js",
    "personas.js",
    "groups.js",
    "trends.js",
    "adapters.js",
    "explorer.js",
    "explorer_view.js",
    "comparison.js",
    "provenance.js",
    "main.js",
)
"""In the order in which they are read: what a file uses stands in an earlier one."""
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def render(data: Mapping[str, Any], title: str) -> str:
    """The report as one HTML document.

    Args:
        data: of :func:`tvt.report.html.page.page_data`.
        title: of the document, as plain text.
    """
    style = "\n".join(_text(name) for name in STYLES)
    script = '(() => {\n"use strict";\n' + "\n".join(_text(name) for name in SCRIPTS) + "\n})();"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_text("page.html.j2"))
    return template.render(
        title=title,
        policy=policy(style, script),
        style=style,
        script=script,
        data=embedded(data),
    )


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever names it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate, which JSON input may hold, has no UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8").translate(_ESCAPES)


def policy(style: str, script: str) -> str:
    """The content security policy: this style and this script, nothing from elsewhere."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'; connect-src 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return files("tvt.report.html").joinpath(name).read_text(encoding="utf-8")


SCHEMA = 1


def page_data(analysis: Analysis, sources: Sequence[StudySource]) -> dict[str, Any]:
    """The page's data.

    Args:
        analysis: of all studies together.
        sources: what else is known of each study, in the analysis's order.

    Returns:
        ``schema``, ``version`` (of tvt), ``alpha``, ``studies`` (see :func:`tvt.report.html.study_data.study_data`),
        ``personas`` (kind -> tests with ``label``, ``p``, ``passes``, ``values``, ``median``), ``specificPersonas`` (the same
        beyond any finetuning, or null), ``trend``, ``agreement``,
        ``sentences`` (over all studies) and ``notes``.
    """
    told = analysis.json_value()
    trend = trend_sentence(analysis)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "alpha": analysis.alpha,
        "withSelf": analysis.with_self,
        "studies": _studies(analysis, sources),
        "personas": _personas(analysis),
        "specificPersonas": None if analysis.specific is None else _personas(analysis.specific),
        "trend": short(told["trend"]) if len(analysis.studies) > 1 else [],
        "agreement": short(told["agreement"]),
        "sentences": [*persona_sentences(analysis.personas), *([trend] if trend else [])],
        "notes": _notes(analysis),
    }


def _studies(analysis: Analysis, sources: Sequence[StudySource]) -> list[dict[str, Any]]:
    """The studies, each followed by what its sources do beyond any finetuning where that was asked for (``of`` is set)."""
    found = []
    beyond = (None,) * len(sources) if analysis.specific is None else analysis.specific.studies
    for study, source, more in zip(analysis.studies, sources, beyond, strict=True):
        found.append({**study_data(study, source), "of": None})
        if more is not None:
            plain_source = StudySource(reference=source.reference, recipe=source.recipe, versions=source.versions)
            found.append({**study_data(more, plain_source), "of": study.name, "name": f"{study.name}, beyond any finetuning"})
    return found


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
                "p": short(test.p, 6),
                "passes": bool(test.p <= analysis.alpha),
                "values": short(test.values, 4),
                "median": short(test.median),
            }
            for test in tests
        ]
    return found
