"""A stand-in for the Python of an environment with lmms-eval: it writes what lmms-eval wrote in a recorded run.

It is started as that Python is, and answers in the same messages; so it tests all but lmms-eval itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "evaluate" / "lmms_eval_0_7_3"
QUESTIONS = 7
_SCRIPT = '''#!{python}
"""Answers for lmms-eval from the files of a recorded run."""
import json, os, pathlib, shutil, sys

RECORDED = pathlib.Path({recorded!r})
LOG = pathlib.Path({log!r})


def report(kind, what):
    os.write(2, ("\\x1etvt " + json.dumps([kind, what]) + "\\n").encode())


if sys.argv[1] == "-I":
    print({version!r})
    sys.exit()
job = json.loads(pathlib.Path(sys.argv[5]).read_text())
with LOG.open("a") as log:
    log.write(job["act"] + "\\n")
report("started", None)
if job["act"] == "describe":
    name = job["task"]["task"]
    if not list(RECORDED.rglob(f"*_samples_{{name}}.jsonl")):
        report("error", ["InputError", f"{{name}}: no such task in lmms-eval"])
        os._exit(2)
    metric = {{"own_open": "exact_match", "own_choice": "acc", "own_graded": "closeness"}}[name]
    task = dict(version={version!r}, task_version="1.5", output_type="generate_until", score_key="score", files="0")
    count = min(job["task"]["limit"] or {questions}, {questions})
    task.update(metric=job["task"]["score"] or metric, questions=count, content=name)
    report("task", task)
    sys.exit()
for part in job["parts"]:
    for target, folder in part["tasks"].items():
        name, said = job["tasks"][target]["task"], job["said"][target]
        to = pathlib.Path(folder)
        to.mkdir(parents=True)
        found = next(RECORDED.rglob(f"*_samples_{{name}}.jsonl"))
        rows = [json.loads(line) for line in found.read_text().splitlines()][: said["questions"]]
        if part["adapter"] is not None:  # which answers the third question rightly, too
            value = rows[2][said["metric"]]
            rows[2][said["metric"]] = {{**value, "score": 1.0}} if isinstance(value, dict) else 1.0
        (to / found.name).write_text("".join(json.dumps(row) + "\\n" for row in rows))
        (to / "1_results.json").write_text(json.dumps({{"results": {{name: {{}}}}}}))
        report("done", [part["place"], target])
'''


def write(folder: Path, version: str = "0.7.3") -> Path:
    """An executable that is used as a Python; ``started.txt`` beside it has a line for each job."""
    path = folder / "python-with-lmms-eval"
    told = {"python": sys.executable, "recorded": str(RECORDED), "log": str(folder / "started.txt")}
    path.write_text(_SCRIPT.format(**told, version=version, questions=QUESTIONS))
    path.chmod(0o755)
    return path


def started(folder: Path) -> list[str]:
    """The jobs so far."""
    log = folder / "started.txt"
    return log.read_text().split() if log.exists() else []
