"""VSI-Bench from a copy in the hub's layout: rows, wording, frames, identity, and the manifests that come with tvt."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("datasets")

import numbered_video
import vsi_copy
from tvt.data.hub import videos as frames_module
from tvt.data.hub.questions import is_stored
from tvt.data.hub.videos import RECENT, frame_indices
from tvt.data.task_data import resolve_data_paths
from tvt.data.task_questions import absent, check_metric, choose, count, identify, locate, read
from tvt.data.tasks import QuestionData, TaskManifest, find_manifests
from tvt.errors import InputError
from vsi_copy import CHOICES, NAME, NUMBERS


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vsi_copy.write_copy(tmp_path_factory.mktemp("copy") / "VSI-Bench")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    RECENT.clear()
    yield tmp_path / "cache"
    RECENT.clear()


def part(folder: Path, kind: str, **more: Any) -> QuestionData:
    told = {"dataset": NAME, "folder": str(folder), "split": "test", "format": "vsi-bench", "frames": 4}
    return QuestionData.model_validate({**told, "where": {"question_type": kind}, **more})


def faults(data: QuestionData) -> list[str]:
    with pytest.raises(InputError) as caught:
        list(read(data, "mine"))
    return list(caught.value.faults)


def manifests(copy: Path) -> dict[str, TaskManifest]:
    return resolve_data_paths(find_manifests(["vsi-bench"], bundled=False), datasets={NAME: str(copy)})


def test_a_number_is_asked_as_the_benchmark_asks(copy: Path) -> None:
    first, *_ = found = list(read(part(copy, "object_counting"), "object_counting"))
    assert len(found) == 3
    assert first.numeric
    assert (first.id, first.task, first.answer, first.options) == ("3", "object_counting", "1.5", ())
    assert first.question == "Question 0 of object_counting?"
    assert first.prompt == (
        "These are frames of a video.\nQuestion 0 of object_counting?\n"
        "Please answer the question using a single word or phrase."
    )


def test_a_choice_is_asked_as_the_benchmark_asks(copy: Path) -> None:
    second = list(read(part(copy, "object_rel_direction_medium"), "mine"))[1]
    assert (second.answer, second.options) == ("B", ("thing 0 of 1", "thing 1 of 1", "thing 2 of 1"))
    assert second.prompt == (
        "These are frames of a video.\nQuestion 1 of object_rel_direction_medium?\n"
        "Options:\nA. thing 0 of 1\nB. thing 1 of 1\nC. thing 2 of 1\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_every_row_of_every_type_is_read_with_its_own_video(copy: Path) -> None:
    expected = {str(row["id"]): row for row in vsi_copy.rows()}
    totals = dict(zip((scene for _, scene in vsi_copy.SCENES), vsi_copy.FRAMES, strict=True))
    for kind in (*NUMBERS, *CHOICES):
        for question in read(part(copy, kind), kind):
            row = expected.pop(question.id)
            assert (question.answer, question.task) == (row["ground_truth"], kind)
            indices = frame_indices(totals[row["scene_name"]], 4)
            assert tuple(map(numbered_video.number, question.images)) == indices
            told = json.loads(question.provenance or "")
            assert told == {
                "video": f"{row['dataset']}/{row['scene_name']}.mp4",
                "frames": list(indices),
                "of": totals[row["scene_name"]],
            }
    assert not expected


def test_questions_about_a_video_share_its_frames_also_between_tasks(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    real = frames_module.decode_frames
    monkeypatch.setattr(frames_module, "decode_frames", lambda path, n: (decoded.append(path), real(path, n))[1])
    found = [question for kind in (*NUMBERS, *CHOICES) for question in read(part(copy, kind), kind)]
    assert len(found) == 30
    assert Counter(path.stem for path in decoded) == {scene: 1 for _, scene in vsi_copy.SCENES}
    assert len({id(image) for question in found for image in question.images}) == 3 * 4


def test_counting_and_naming_questions_decodes_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "decode_frames", lambda path, n: pytest.fail("decoded"))
    data = part(copy, "room_size_estimation")
    assert not is_stored(data)
    assert count(data) == 3
    assert count(data.model_copy(update={"questions": 2})) == 2
    assert identify(data, "mine") == identify(data, "another name")


Change = Callable[[Path], dict[str, Any]]


def _other_video(folder: Path) -> dict[str, Any]:
    numbered_video.write(folder / "scannet" / "scene0011_00.mp4", 30, tint=(1, 2, 3))
    return {}


def _other_row(folder: Path) -> dict[str, Any]:
    def change(rows: list[vsi_copy.Row]) -> list[vsi_copy.Row]:
        return [{**row, "ground_truth": "9"} if row["id"] == 4 else row for row in rows]

    vsi_copy.write_copy(folder, change=change)
    return {}


@pytest.mark.parametrize("change", [_other_video, _other_row, lambda _: {"frames": 5}, lambda _: {"questions": 2}])
def test_what_changes_questions_changes_their_identity(change: Change, copy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy, tmp_path / "changed"))
    data = part(folder, "object_counting")
    before = identify(data, "mine")
    assert before == identify(part(copy, "object_counting"), "mine"), "wherever the copy lies"
    assert identify(data.model_copy(update=change(folder)), "mine") != before


def test_a_video_of_another_task_changes_nothing(copy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy, tmp_path / "changed"))
    before = identify(part(folder, "object_counting"), "mine")
    numbered_video.write(folder / "scannet" / "unused.mp4", 30)
    assert identify(part(folder, "object_counting"), "mine") == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scene_name": "../../secret"}, "'scene_name' is '../../secret', which names no folder or file"),
        ({"dataset": ".hidden"}, "'dataset' is '.hidden'"),
        ({"scene_name": "gone"}, "no such video; unzip scannet.zip in"),
        ({"ground_truth": "many"}, "answer 'many' is no number, and it has no options"),
        ({"options": ["B. x", "A. y"], "ground_truth": "A"}, "option 'B. x' stands where A is expected"),
        ({"options": ["A. x", "B. y"], "ground_truth": "C"}, "answer 'C' is none of its 2 options"),
    ],
)
def test_faulty_rows_are_told(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    def change(rows: list[vsi_copy.Row]) -> list[vsi_copy.Row]:
        return [{**row, **changed} if row["id"] == 4 else row for row in rows]

    folder = vsi_copy.write_copy(tmp_path / "bad", change=change)
    (told,) = faults(part(folder, "object_counting"))
    assert said in told


def test_every_missing_video_is_told(copy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy, tmp_path / "bare"))
    for path in folder.glob("*/*.mp4"):
        path.unlink()
    with pytest.raises(InputError) as error:
        identify(part(folder, "object_counting"), "mine")
    told = [fault.partition("unzip ")[2].split()[0] for fault in error.value.faults]
    assert told == ["arkitscenes.zip", "scannet.zip", "scannetpp.zip"]


def test_without_a_copy_the_commands_that_make_one_are_told() -> None:
    """In one line, wherever it is noticed, and without asking the hub."""
    manifest = find_manifests(["vsi-bench"], bundled=False)["object_counting"]
    data = locate(manifest, "evaluation")
    found = absent(manifest, "evaluation")
    assert found is not None
    assert not found.fetched
    tellers: list[Callable[[], object]] = [lambda: identify(data, "x"), lambda: count(data), lambda: list(read(data, "x"))]
    for tell in tellers:
        with pytest.raises(InputError) as error:
            tell()
        assert error.value.faults == (str(found),)
    assert f"hf download {NAME} --repo-type dataset --revision {data.revision} --local-dir VSI-Bench" in str(found)
    assert "unzip '*.zip'" in str(found)
    assert f"--dataset {NAME}=DIR" in str(found)


@pytest.mark.parametrize(
    ("kind", "metric", "said"),
    [
        ("object_counting", "accuracy", "'metric: accuracy', but question 3 is answered by a number; write 'metric: mra'"),
        ("route_planning", "mra", "'metric: mra', but question 24 is answered by an option; write 'metric: accuracy'"),
    ],
)
def test_the_metric_must_be_that_of_the_questions(kind: str, metric: str, said: str, copy: Path) -> None:
    good = manifests(copy)[kind]
    check_metric(good, read(locate(good, "evaluation"), kind))
    bad = good.model_copy(update={"metric": metric})
    with pytest.raises(InputError, match=f"^{kind}: {said}"):
        check_metric(bad, read(locate(bad, "evaluation"), kind))


def test_the_card_is_not_needed(copy: Path, tmp_path: Path) -> None:
    """Videos beside the table do not make it a dataset of videos."""
    folder = Path(shutil.copytree(copy, tmp_path / "bare"))
    (folder / "README.md").unlink()
    assert count(part(folder, "object_counting")) == 3


def test_frames_must_be_told(copy: Path) -> None:
    (told,) = faults(part(copy, "object_counting", frames=None))
    assert "'frames:' is missing in the manifest; say how many" in told


def test_manifests_of_every_type_come_with_tvt(copy: Path) -> None:
    found = manifests(copy)
    assert set(found) == {*NUMBERS, *CHOICES}
    assert {m.benchmark for m in found.values()} == {"VSI-Bench"}
    assert {name for name, m in found.items() if m.metric == "mra"} == set(NUMBERS)
    assert {name for name, m in found.items() if m.aggregate == "object_rel_direction"} == set(vsi_copy.DIRECTIONS)
    parts = [locate(m, "evaluation") for m in found.values()]
    assert sum(part.questions or 0 for part in parts) == 5130, "as many as the benchmark has"
    assert {(part.frames, part.split, part.dataset, len(part.revision or "")) for part in parts} == {(32, "test", NAME, 40)}
    assert all(m.training is None and m.report is None for m in found.values())
    labels = [m.abbreviation for m in find_manifests(["vsi-bench"]).values() if m.abbreviation]
    assert len(set(labels)) == len(labels), "none is also one of BLINK's"


def test_manifests_read_the_copy(copy: Path) -> None:
    for name, manifest in manifests(copy).items():
        found = list(read(locate(manifest, "evaluation"), name))
        assert [question.task for question in found] == [name] * 3
        assert {question.numeric for question in found} == {manifest.metric == "mra"}
        assert {len(question.images) for question in found} == {20, 30, 32}, "short videos show all that they have"


def test_tasks_may_be_chosen_by_abbreviation(copy: Path) -> None:
    assert list(choose(["OC", "room_size_estimation"], manifests(copy), "targets")) == [
        "object_counting",
        "room_size_estimation",
    ]
