"""Raw files of a source are read without trust: what is wrong is said in one line, with the file and the next step."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tvt.data.builders import raw_files
from tvt.data.builders.raw_files import image_files, inside, read_bytes, read_image, read_json, read_text
from tvt.errors import InputError


def fault(error: pytest.ExceptionInfo[InputError]) -> str:
    (line,) = error.value.faults
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../beside.txt", "a/../../beside.txt", "out/beside.txt", "a\0b", "\\\\host\\a"]
)
def test_what_leads_out_of_a_source_is_refused(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "beside.txt").write_text("not yours")
    (source / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out of this folder"):
        inside(source, name)


@pytest.mark.parametrize("name", ["a.txt", "./a/b.txt", "a/../b.txt", "in/b.txt", "not there"])
def test_what_stays_in_a_source_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "a")
    assert inside(tmp_path, name) == tmp_path / name


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(InputError, match="no such file") as missing:
        read_bytes(tmp_path / "nothing")
    assert fault(missing).startswith(f"{tmp_path / 'nothing'}: ")
    with pytest.raises(InputError, match="is no regular file"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"is no regular file|Is a directory"):
        read_bytes(tmp_path)
    with pytest.raises(InputError, match="11 bytes, more than 10"):
        read_bytes(tmp_path / "large", limit=10)


def test_text_must_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo")
    assert read_text(path) == "one\ntwo"
    path.write_bytes(b"one\ntw\xff")
    with pytest.raises(InputError, match=r"text:2: not UTF-8"):
        read_text(path)


@pytest.mark.parametrize("text", ['{"a": [1, 2', "", "[" * 200_000, "nonsense"])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(InputError, match="damaged JSON") as error:
        read_json(path)
    assert fault(error).startswith(f"{path}: ")


def test_images_come_as_a_viewer_shows_them(tmp_path: Path) -> None:
    left_dark = Image.new("RGB", (40, 20), "white")
    left_dark.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    left_dark.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5)) == (0, 0, 0)
    assert turned.getpixel((10, 35)) == (255, 255, 255)

    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((1, 2), (0, 0, 255, 255))
    clear.save(tmp_path / "clear.png")
    shown = read_image(tmp_path / "clear.png")
    assert shown.mode == "RGB"
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert shown.getpixel((1, 2)) == (0, 0, 255)

    for mode in ("L", "P", "1", "CMYK", "LA"):
        name = tmp_path / f"{mode}.tif"
        left_dark.convert(mode).save(name)
        assert np.abs(np.asarray(read_image(name), np.int16) - np.asarray(left_dark, np.int16)).max() <= 1, mode


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_images_are_scaled_down_and_small_ones_left(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    Image.new("RGB", (900, 300), "red").save(path, kind)
    assert read_image(path, longest=300).size == (300, 100)
    assert read_image(path, longest=900).size == (900, 300)
    assert read_image(path).size == (900, 300)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("keep", [0, 4, 60, 0.5])
def test_damaged_images_are_named(tmp_path: Path, kind: str, keep: float) -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(stream, kind)
    whole = stream.getvalue()
    path = tmp_path / "image.png"
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(InputError, match="no image, or a damaged one; get the file again") as error:
        read_image(path)
    assert fault(error).startswith(f"{path}: ")


def test_images_of_too_many_pixels_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(raw_files, "MAX_PIXELS", 599)
    with pytest.raises(InputError, match="an image of more than 599 pixels; scale it down"):
        read_image(tmp_path / "bomb.png")


def test_images_that_pillow_refuses_for_their_size_are_named_so(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("1", (16, 16)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="an image of more than 170,000,000 pixels"):
        read_image(tmp_path / "bomb.png")


def test_image_files_are_listed_without_what_is_none(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png", "index.csv", "noend"):
        (tmp_path / name).touch()
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))).touch()  # Latin-1, from an archive that was unpacked wrongly
    assert image_files(tmp_path) == ["a.png", "b.JPG"]
    with pytest.raises(InputError, match="this folder of images is needed"):
        image_files(tmp_path / "nothing")
