"""The JSON that scripts depend on, whole, for fixed inputs: a set of outputs is kept beside this file.

`PYTHONPATH=.:tests/support python tests/cli/test_json_outputs.py` writes them anew, which belongs in a commit that says what
changed and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import ROOT, tvt

KEPT = Path(__file__).parent / "json"
OF_THE_MACHINE = {"seconds", "digest", "version", "versions", "devices", "slots"}
"""Keys whose values differ from machine to machine."""
RUNS = """run,w:A,w:B,w:C,score:X,score:Y
1,1,0,0,0.42,0.30
2,0,1,0,0.35,0.41
3,0,0,1,0.30,0.33
4,0.5,0.5,0,0.47,0.44
5,0.5,0,0.5,0.40,0.36
6,0,0.5,0.5,0.36,0.42
7,0.34,0.33,0.33,0.44,0.43
8,0.6,0.3,0.1,0.48,0.41
9,0.2,0.6,0.2,0.43,0.45
10,0.7,0.1,0.2,0.46,0.36
"""
MIXTURES = "id,A,B,C\nfirst,0.4,0.4,0.2\nsecond,0.8,0.1,0.1\n"
SHARES = """schema_version: 1
budget: 10
counts: {Spatial_Relation: 5, Visual_Similarity: 3, Counting: 2}
weights: {Spatial_Relation: 0.5, Visual_Similarity: 0.3, Counting: 0.2}
"""
COMMANDS = {
    "analyze": "analyze qwen2.5-vl-3b qwen2.5-vl-7b",
    "select-mean": "select qwen2.5-vl-7b --budget 20000",
    "select-goals": "select qwen2.5-vl-7b --goal Jigsaw=0.15 --goal Counting=0.05 --without-direct --budget 20000 --cap 0.5",
    "select-worst": "select qwen2.5-vl-7b --objective worst --anyway",
    "select-limits": "select qwen2.5-vl-3b --target Jigsaw --protect all --protect-z 1 --risk 0.5",
    "select-few-sources": "select qwen2.5-vl-3b --target Jigsaw --target Counting --max-sources 3 --cap 0.5 --min-weight 0.1",
    "select-nothing-helps": "select qwen2.5-vl-32b --target Counting --without-direct",
    "select-infeasible": "select qwen2.5-vl-7b --protect all --hard --response linear --kappa 10",
    "select-runs": "select --runs runs.csv",
    "predict": "predict qwen2.5-vl-7b --mixture mixture.yaml",
    "predict-runs": "predict --runs runs.csv --mixtures mixtures.csv",
    "study-plan": "study plan recipes/miniature.yaml",
    "study-plan-detect": "study plan recipes/miniature.yaml --detect 0.05 --seed-sd 0.02",
    "study-plan-7b": "study plan recipes/blink-qwen2.5-vl-7b.yaml",
}


def output(name: str, folder: Path) -> Any:
    if name == "compare":
        return compared()
    for file, text in (("runs.csv", RUNS), ("mixtures.csv", MIXTURES), ("mixture.yaml", SHARES)):
        (folder / file).write_text(text)
    words = COMMANDS[name].split()
    arguments = [
        str(ROOT / word)
        if word.startswith("recipes/")
        else str(folder / word)
        if "." in word[-5:] and (folder / word).exists()
        else word
        for word in words
    ]
    more = ["-o", str(folder / "study")] if words[0] == "study" else []
    done = tvt(*arguments, *more, "--json")
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout.replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT"))


def compared() -> Any:
    """A comparison of a world with known truth."""
    import numpy as np

    from compare_worlds import world
    from tvt.compare.engine import compare
    from tvt.core.selection import SelectionSpec
    from tvt.core.values import encode

    truth = np.random.default_rng(0).normal(0, 0.15, (4, 4)) + 0.2 * np.eye(4)
    of = world(truth, SelectionSpec(goals={"task 0": 0.1}, anyway=True), questions=60)
    return json.loads(json.dumps(encode(compare(of.measured, of.arms, of.matrix, of.spec))))


def plain(value: Any) -> Any:
    """Without what is of the machine, and with the digits that count."""
    match value:
        case dict():
            return {key: plain(item) for key, item in value.items() if key not in OF_THE_MACHINE}
        case list():
            return [plain(item) for item in value]
        case float():
            return float(f"{value:.6g}")
        case _:
            return value


def assert_alike(found: Any, kept: Any, where: str = "") -> None:
    """Equal but for the last digits of figures, which solvers and processors decide."""
    if isinstance(kept, dict):
        assert isinstance(found, dict), where
        assert sorted(found) == sorted(kept), where
        for key, item in kept.items():
            assert_alike(found[key], item, f"{where}.{key}")
    elif isinstance(kept, list):
        assert isinstance(found, list), where
        assert len(found) == len(kept), where
        for place, (one, other) in enumerate(zip(found, kept, strict=True)):
            assert_alike(one, other, f"{where}[{place}]")
    elif isinstance(kept, float) or (isinstance(found, float) and isinstance(kept, int)):
        assert found == pytest.approx(kept, rel=5e-3, abs=5e-4), where
    elif isinstance(kept, str) and kept.count(" ") > 2 and not kept.startswith("tvt "):
        assert isinstance(found, str), where  # a sentence, for people
    else:
        assert found == kept, where


@pytest.mark.parametrize("name", [*COMMANDS, "compare"])
def test_output_is_the_kept_one(name: str, tmp_path: Path) -> None:
    assert_alike(plain(output(name, tmp_path)), plain(json.loads((KEPT / f"{name}.json").read_text())))


if __name__ == "__main__":
    import tempfile

    for name in [*COMMANDS, "compare"]:
        with tempfile.TemporaryDirectory() as folder:
            (KEPT / f"{name}.json").write_text(json.dumps(plain(output(name, Path(folder))), indent=1) + "\n")
