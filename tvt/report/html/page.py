"""The page: template, style, scripts and data in one file, under a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

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
        data: of :func:`tvt.report.html.page_data.page_data`.
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
