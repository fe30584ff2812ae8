"""Tables of the documentation that follow from the manifests, the recipes and the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from commands import ROOT
from tvt.core.matrix import TransferMatrix
from tvt.core.recipe import recipe_fields
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.data.tasks import load_manifests
from tvt.evidence.completion import estimate_cells
from tvt.stats.ranks import rank_correlation
from tvt.study.judgement import Judgement
from tvt.study.judging import by_runs, judge, wishes
from tvt.transfer.analysis import analyze
from tvt.transfer.personas import KINDS

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


def recipe() -> list[str]:
    """Every field of a recipe."""
    rows = ["| field | changes | default | what |", "|---|---|---|---|"]
    for field in recipe_fields():
        default = f"`{field.default}`" if field.default else ""
        rows.append(f"| `{field.name}` | {field.effect} | {default} | {field.description} |")
    return rows


def split() -> list[str]:
    """What explains the published transfers, and what stands out before and after the generic part is taken away."""
    head = ("study", "target alone", "source alone", "rest", "stand out", "beyond", "own gains", "beyond", "helpers", "beyond")
    rows = [_row(*head, "harmers", "beyond"), "|" + "---|" * 12]
    found = analyze([load_study(f"qwen2.5-vl-{size}") for size in ("3b", "7b", "32b")], specific=True)
    assert found.specific is not None
    for study, beyond in zip(found.studies, found.specific.studies, strict=True):
        shares = [f"{share:.0%}" for share in study.split.variance]
        tests = [study.significance, study.split.significance]
        counts = [f"{len(of.helps)} help, {len(of.harms)} harm" for of in tests if of is not None]
        own = [str(len(of.own)) for of in tests if of is not None]
        cliques = [str(of.cliques[sign].size) for sign in ("positive", "negative") for of in (study, beyond)]
        rows.append(_row(study.name, *shares, *counts, *own, *cliques))
    return rows


def split_personas() -> list[str]:
    """The personas of PGF and of the specific part."""
    found = analyze([load_study(f"qwen2.5-vl-{size}") for size in ("3b", "7b", "32b")], specific=True)
    assert found.specific is not None
    rows = [_row("persona", "of PGF", "beyond any finetuning"), "|---|---|---|"]
    for kind in KINDS:
        both = (", ".join(f"{task} {p:.4f}" for task, p in of.personas.passing(kind).items()) for of in (found, found.specific))
        rows.append(_row(kind, *(text or "none" for text in both)))
    return rows


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cheaper(folder: Path) -> list[str]:
    """What ``tvt study plan`` says of cheaper ways to the 32B study."""
    recipe = ROOT / "recipes" / "blink-qwen2.5-vl-32b.yaml"
    told = _plan(recipe, folder)
    rows = [
        "| the 32B study | runs | training examples | questions | device hours, guessed | disk | of full |",
        f"|{'---|' * 7}",
    ]
    for way in told["alternatives"]:
        figures = f"{way['training_runs']} | {way['examples']:,} | {way['questions']:,} | {_hours(way['device_hours'])}"
        rows.append(f"| {way['name']} | {figures} | {way['disk_bytes'] / 1e9:.2g} GB | {way['share']:.0%} |")
    return rows


def judged() -> list[str]:
    """What ``tvt study judge --seeds 2`` says of the published figures, with verdicts and (``--anyway``) by mixtures alone."""
    rows = [
        "| study | rank correlation with all 4 runs | with the 2 left out | same verdict | regret "
        "| mixtures alone: moved | regret |",
        f"|{'---|' * 7}",
    ]
    for size in ("3B", "7B", "32B"):
        full = load_study(f"qwen2.5-vl-{size.lower()}")
        cheap, of = by_runs(full, 2)
        told, alone = (
            judge(full, cheap, wishes(full, SelectionSpec(anyway=anyway)), way="seeds", of=of) for anyway in (False, True)
        )
        asked = len(told.choices) * len(cheap)
        same = f"{sum(choice.same_verdict for choice in told.choices)} of {asked}"
        moved = np.mean([choice.moved for choice in alone.choices])
        ranks = f"{told.rank.value:.3f} | {told.apart.value:.3f}"
        rows.append(f"| {size} | {ranks} | {same} | {_regret(told)} | {moved:.0%} | {_regret(alone)} |")
    return rows


COMPLETION_DRAWS = 20
FEWEST_RANKED = 3
"""Hidden cells of a target that a rank correlation is taken over, at least."""


def completion() -> list[str]:
    """How well hidden cells between tasks of the published studies are estimated: over all cells, and within targets."""
    rows = ["| study | hidden | over all | target's mean alone | within targets |", "|---|---|---|---|---|"]
    for size in ("3B", "7B", "32B"):
        matrix = load_study(f"qwen2.5-vl-{size.lower()}")
        for share in (0.25, 0.5, 0.75):
            figures = " | ".join(f"{round(value, 2) + 0.0:.2f}" for value in completion_ranks(matrix, share))
            rows.append(f"| {size} | {share:.0%} | {figures} |")
    return rows


def completion_ranks(matrix: TransferMatrix, share: float) -> tuple[float, float, float]:
    """Spearman's correlations of estimated with published means of hidden cells, means over draws: over all of them, of the
    target's mean in their place, and the mean over targets of those within a target.
    """
    mean, own = matrix.mean, np.eye(len(matrix.sources), dtype=bool)
    noise, found = float(np.nanmean(matrix.seed_error**2)), []
    for seed in range(COMPLETION_DRAWS):
        hidden = ~own & (np.random.default_rng(seed).random(mean.shape) < share)
        guess, _ = estimate_cells(mean, noise, ~hidden, own)
        rest = np.where(~hidden & ~own, mean, np.nan)
        seen = ~np.isnan(rest)
        levels = np.where(
            seen.any(axis=0), np.where(seen, mean, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1), np.nanmean(rest)
        )
        level = np.broadcast_to(levels, mean.shape)
        columns = [j for j in range(mean.shape[1]) if hidden[:, j].sum() >= FEWEST_RANKED]
        within = [rank_correlation(guess[hidden[:, j], j], mean[hidden[:, j], j]) for j in columns]
        found.append(
            [rank_correlation(guess[hidden], mean[hidden]), rank_correlation(level[hidden], mean[hidden]), np.nanmean(within)]
        )
    return tuple(map(float, np.mean(found, axis=0)))  # type: ignore[return-value]


def _plan(recipe: Path, folder: Path) -> Any:
    """For the GPU that a guess assumes, whatever is here."""
    command = [sys.executable, "-m", "tvt", "study", "plan", str(recipe), "-o", str(folder), "--json"]
    alone = {**os.environ, "PATH": ""}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=alone).stdout)


def _hours(hours: float) -> str:
    """Two figures are more than a guess is worth."""
    return f"{float(f'{hours:.2g}'):,g}"


def _regret(of: Judgement) -> str:
    lost = np.mean([choice.regret.value for choice in of.choices])
    return f"{lost:.3f} of {np.mean([choice.value for choice in of.choices]):.3f}"


def costs(folder: Path) -> list[str]:
    """What ``tvt study plan`` says of the recipes, with no run done; ``folder`` is any that does not exist."""
    rows = ["| recipe | runs | training examples | questions | device hours, guessed | disk |", "|---|---|---|---|---|---|"]
    for name in STUDIES:
        told = _plan(ROOT / "recipes" / f"{name}.yaml", folder)
        of = told["estimate"]
        rows.append(
            f"| `{name}` | {len(told['runs'])} | {of['examples']:,} | {of['questions']:,} "
            f"| {_hours(of['device_hours'])} | {of['disk_bytes'] / 1e9:.2g} GB |"
        )
    return rows
