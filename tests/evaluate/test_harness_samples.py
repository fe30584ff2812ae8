"""What lmms-eval 0.7.3 wrote in a run of its own command, read sample by sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stand_in_harness import RECORDED
from tvt.errors import InputError
from tvt.evaluate.harness.samples import read_result

OPEN = [0, 0, 0, 0, 0, 0, 1]
"""What lmms-eval's own exact_match was for each sample."""
CLOSE = [0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 1]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A copy of the recorded run."""
    return Path(shutil.copytree(RECORDED / "hf", tmp_path / "run"))


def change(folder: Path, task: str, place: int, **values: object) -> None:
    """Change one sample of a task."""
    (path,) = folder.glob(f"*_samples_{task}.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[place] |= values
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_generated_answers() -> None:
    found = read_result(RECORDED / "hf", "own_open", "exact_match")
    assert [sample.credit for sample in found.samples] == OPEN
    assert [sample.id for sample in found.samples] == list("0123456")
    assert "".join(sample.predicted for sample in found.samples) == "AAAAAAD"
    assert "".join(sample.target for sample in found.samples) == "CBDBBCD"
    assert found.reported == pytest.approx(1 / 7)
    assert found.mean == pytest.approx(1 / 7)
    assert found.is_mean
    assert len({sample.item for sample in found.samples}) == 7


def test_values_that_are_mappings() -> None:
    found = read_result(RECORDED / "hf", "own_graded", "closeness")
    assert [sample.credit for sample in found.samples] == CLOSE
    assert found.samples[6].answer == "DCB"


def test_likelihoods() -> None:
    found = read_result(RECORDED / "choice", "own_choice", "acc")
    assert [sample.credit for sample in found.samples] == OPEN
    assert found.samples[6].predicted == "D"
    losses = [float(loss) for loss, _ in json.loads(found.samples[6].answer)]
    assert losses.index(min(losses)) == 3


def test_a_metric_of_some_samples_alone_names_another() -> None:
    with pytest.raises(InputError, match=r"own_graded: its metric human has no number for sample 0; name .*\(closeness\)"):
        read_result(RECORDED / "hf", "own_graded", "human")


def test_a_metric_beyond_one_is_refused(written: Path) -> None:
    change(written, "own_open", 3, exact_match=1200.0)
    with pytest.raises(InputError, match="exact_match is 1200 for sample 3, and scores lie between 0 and 1"):
        read_result(written, "own_open", "exact_match")


def test_the_key_of_a_score_is_the_tasks(written: Path) -> None:
    change(written, "own_graded", 0, closeness={"hit": 0.75})
    with pytest.raises(InputError, match="closeness has no number for sample 0; it cannot be a target"):
        read_result(written, "own_graded", "closeness")


def test_samples_of_a_second_filter_are_left_out(written: Path) -> None:
    (path,) = written.glob("*_samples_own_open.jsonl")
    again = [{**json.loads(line), "exact_match": 1.0} for line in path.read_text().splitlines()]
    with path.open("a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in again)
    assert [sample.credit for sample in read_result(written, "own_open", "exact_match").samples] == OPEN


def test_a_figure_that_is_no_mean_is_known(written: Path) -> None:
    (path,) = written.glob("*_results.json")
    values = json.loads(path.read_text())
    values["results"]["own_open"]["exact_match,none"] = 0.5
    path.write_text(json.dumps(values))
    assert not read_result(written, "own_open", "exact_match").is_mean


def test_missing_and_damaged_files_are_named(written: Path) -> None:
    with pytest.raises(InputError, match=r"no \*_samples_own_clsed.jsonl of lmms-eval in it"):
        read_result(written, "own_clsed", "acc")
    (path,) = written.glob("*_samples_own_open.jsonl")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"_samples_own_open.jsonl: damaged"):
        read_result(written, "own_open", "exact_match")
