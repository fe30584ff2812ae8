"""Which frames of a video are shown, that they are decoded once, and what is said of videos that cannot be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("av")

import numbered_video
from tvt.data.hub import videos as module
from tvt.data.hub.videos import RECENT, Frames, decode_frames, frame_indices, video_digest, video_frames
from tvt.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "cache"))
    RECENT.clear()
    yield tmp_path / "cache"
    RECENT.clear()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The videos that are really decoded."""
    told: list[Path] = []
    real = module.decode_frames

    def counted(path: Path, wanted: int) -> Frames:
        told.append(path)
        return real(path, wanted)

    monkeypatch.setattr(module, "decode_frames", counted)
    return told


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5000), st.integers(1, 64))
def test_frames_are_evenly_spaced_from_the_first_to_the_last(total: int, wanted: int) -> None:
    found = frame_indices(total, wanted)
    assert len(found) == len(set(found)) == min(total, wanted)
    assert found[0] == 0
    assert found[-1] == total - 1 or wanted == 1
    if len(found) > 1:
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1
        step = (total - 1) / (len(found) - 1)
        assert all(-1e-6 < k * step - index < 1 + 1e-6 for k, index in enumerate(found))


def test_indices_by_hand() -> None:
    assert frame_indices(10, 4) == (0, 3, 6, 9)
    assert frame_indices(9, 4) == (0, 2, 5, 8)  # 2.67 and 5.33 are cut
    assert frame_indices(3, 8) == (0, 1, 2)
    assert frame_indices(5, 1) == (0,)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_frames_are_those_of_the_rule(codec: str, tmp_path: Path) -> None:
    """libx264 writes frames out of order; they are counted as they are shown."""
    path = numbered_video.write(tmp_path / "v.mp4", 101, codec=codec, tint=(200, 40, 40))
    found = video_frames(path, 8)
    assert found.total == 101
    assert found.indices == frame_indices(101, 8)
    assert tuple(map(numbered_video.number, found.images)) == found.indices
    red, green, blue = numbered_video.pixel(found.images[3], 40, 48)
    assert red > 180
    assert max(green, blue) < 70, "RGB, not BGR"


def test_decoding_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 40)
    assert decode_frames(path, 6) == decode_frames(path, 6)


def test_a_video_is_decoded_once_and_its_bytes_are_shared(tmp_path: Path, decoded: list[Path]) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 40)
    first, second = video_frames(path, 6), video_frames(path, 6)
    assert all(a is b for a, b in zip(first.images, second.images, strict=True))
    RECENT.clear()
    assert video_frames(path, 6) == first, "from the disk"
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "w.mp4")
    assert video_frames(moved, 6) == first, "wherever the file lies"
    assert len(decoded) == 1
    assert video_frames(moved, 5).indices != first.indices
    assert len(decoded) == 2


def test_a_changed_video_is_decoded_anew(tmp_path: Path) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 40)
    before = video_digest(path), video_frames(path, 6)
    numbered_video.write(path, 60)
    assert video_digest(path) != before[0]
    assert video_frames(path, 6).total == 60


@pytest.mark.parametrize("damage", ["cut", "gone", "record"])
def test_damaged_frames_in_the_cache_are_made_anew(damage: str, tmp_path: Path, cache: Path) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 40)
    first = video_frames(path, 6)
    RECENT.clear()
    image = sorted(cache.glob("frames/*/*.jpg"))[2]
    if damage == "cut":
        image.write_bytes(image.read_bytes()[:-50])
    elif damage == "gone":
        image.unlink()
    else:
        (image.parent / "frames.json").write_text("{}")
    assert video_frames(path, 6) == first
    assert len(list(cache.glob("frames/*/*.jpg"))) == 6


def test_memory_is_bounded(tmp_path: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [numbered_video.write(tmp_path / f"{k}.mp4", 20, tint=(80 * k, 0, 0)) for k in range(3)]
    size = sum(map(len, decode_frames(paths[0], 4).images))
    monkeypatch.setattr(module, "MEMORY_BYTES", int(2.5 * size))
    first = [video_frames(path, 4) for path in paths]
    assert video_frames(paths[2], 4) is first[2]
    assert video_frames(paths[0], 4) is not first[0], "the oldest went"
    assert len(decoded) == 3, "and came back from the disk"


def test_threads_share_one_decoding(tmp_path: Path, decoded: list[Path]) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 60)
    threads = [threading.Thread(target=video_frames, args=(path, 6)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 1


def test_a_short_video_shows_all_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 5)
    with caplog.at_level(logging.WARNING):
        found = video_frames(path, 32)
        video_frames(path, 32)
    assert found.indices == (0, 1, 2, 3, 4)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: has 5 frames, fewer than the 32 asked for; all are shown"
    ]


def test_bad_videos_are_refused_in_one_line(tmp_path: Path) -> None:
    good = numbered_video.write(tmp_path / "good.mp4", 200).read_bytes()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) // 2])  # the index of an MP4 file stands at its end
    for name, said in (("text", "get the file anew"), ("empty", "get the file anew"), ("cut", "get the file anew")):
        with pytest.raises(InputError, match=said) as error:
            video_frames(tmp_path / f"{name}.mp4", 8)
        assert len(error.value.faults) == 1
        assert error.value.faults[0].startswith(f"{tmp_path / name}.mp4: ")
    with pytest.raises(InputError, match=r"No such file.*; put the video there"):
        video_frames(tmp_path / "none.mp4", 8)


def test_a_video_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """With its index at the front, a cut file can be decoded in part, and would show its beginning alone."""
    import av

    plain, front = numbered_video.write(tmp_path / "plain.mp4", 200), tmp_path / "front.mp4"
    with av.open(str(plain)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert video_frames(front, 8).total == 200
    whole = front.read_bytes()
    front.write_bytes(whole[: int(len(whole) * 0.7)])
    with pytest.raises(InputError, match=r"cut off|cannot be decoded"):
        video_frames(front, 8)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered_video.write(tmp_path / "v.mp4", 5)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TVT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set TVT_CACHE to another folder"):
        video_frames(path, 2)
