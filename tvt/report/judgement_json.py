"""Cheaper studies against the full one as the versioned JSON object of ``tvt study judge --json``."""

from __future__ import annotations

from typing import Any

from tvt.core.judgement import Answer, Choice, Estimated, Judgement, Likeness
from tvt.stats.intervals import known


def judgement_json(found: Judgement) -> dict[str, Any]:
    """The object; what is not known is ``None``."""
    return {
        "schema": 1,
        "study": found.study,
        "way": found.way,
        "confidence": found.confidence,
        "choices_of_runs": {"judged": len(found.names), "of": found.of},
        "cost": {
            "runs": {"full": found.runs, "cheap": found.cheap_runs},
            "examples_per_run": found.examples,
            "training": found.cost,
        },
        "rank_correlation": _estimated(found.rank),
        "rank_correlation_left_out": _estimated(found.apart),
        "cheap": [{"name": name, **_likeness(like)} for name, like in zip(found.names, found.likeness, strict=True)],
        "requests": [_choice(choice, found.names) for choice in found.choices],
        "notes": list(found.notes),
    }


def _likeness(of: Likeness) -> dict[str, Any]:
    return {
        "runs": of.runs,
        "shared_runs": of.shared,
        "cells": of.cells,
        "estimated_cells": of.estimated,
        "rank_correlation": known(of.rank),
        "rank_correlation_left_out": known(of.apart),
        "signs": {"credible": of.signs, "agree": of.agreeing},
    }


def _choice(of: Choice, names: tuple[str, ...]) -> dict[str, Any]:
    cheap = zip(names, of.cheap, of.moved, of.values, of.regrets, strict=True)
    return {
        "targets": list(of.targets),
        "full": {**_answer(of.full), "gain": of.value},
        "uniform": {"gain": of.uniform},
        "cheap": [
            {"name": name, **_answer(answer), "total_variation": moved, "gain": value, "regret": _estimated(regret)}
            for name, answer, moved, value, regret in cheap
        ],
        "regret": _estimated(of.regret),
        "total_variation": sum(of.moved) / len(of.moved),
        "same_verdict": of.same_verdict,
    }


def _answer(of: Answer) -> dict[str, Any]:
    return {"verdict": of.verdict, "weights": dict(of.weights), **({"reason": of.reason} if of.reason else {})}


def _estimated(of: Estimated) -> dict[str, float | None]:
    return {name: known(value) for name, value in zip(of._fields, of, strict=True)}
