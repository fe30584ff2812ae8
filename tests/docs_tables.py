"""Tables of the documentation that follow from the manifests, the recipes and the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tvt.data.tasks import load_manifests

ROOT = Path(__file__).parents[1]
STUDIES = [f"blink-qwen2.5-vl-{size}" for size in ("3b", "7b", "32b")] + [
    *("vsi-qwen2.5-vl-3b", "vsi-qwen2.5-vl-7b", "dose-qwen2.5-vl-7b", "blink-qwen3-vl-8b", "blink-idefics3-8b")
]


def between(page: str, name: str) -> list[str]:
    """The lines of the table that stands behind ``<!-- table: NAME -->``."""
    found = re.search(rf"<!-- table: {re.escape(name)} -->\n((?:\|.*\n)+)", page)
    assert found is not None, f"no table {name}"
    return found.group(1).splitlines()


def tasks() -> list[str]:
    """Every task with the sources of its training rows."""
    rows = [
        "| task | questions | source of training rows | layout | licence, as its makers state it |",
        "|---|---|---|---|---|",
    ]
    for manifest in load_manifests():
        for number, source in enumerate(manifest.sources):
            first = number == 0
            assert manifest.evaluation is not None
            name, count = (manifest.name, manifest.evaluation.questions) if first else ("", "")
            instead = ", a substitute" if source.substitute else ""
            rows.append(f"| {name} | {count} | [{source.name}]({source.url}){instead} | `{source.layout}` | {source.licence} |")
    return rows


def costs(folder: Path) -> list[str]:
    """What ``tvt study plan`` says of the recipes, with no run done; ``folder`` is any that does not exist."""
    rows = ["| recipe | runs | training examples | questions | device hours, guessed | disk |", "|---|---|---|---|---|---|"]
    for name in STUDIES:
        command = [
            sys.executable,
            "-m",
            "tvt",
            "study",
            "plan",
            str(ROOT / "recipes" / f"{name}.yaml"),
            "-o",
            str(folder),
            "--json",
        ]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        of = told["estimate"]
        rows.append(
            f"| `{name}` | {len(told['runs'])} | {of['examples']:,} | {of['questions']:,} "
            f"| {of['device_hours']:.2g} | {of['disk_bytes'] / 1e9:.2g} GB |"
        )
    return rows
