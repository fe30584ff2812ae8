"""Pictures as models see them: every mode against pixels computed by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tvt.data.questions.batches import image_fault, image_size
from tvt.model.picture import MAX_PIXELS, PictureError, decode, shown_size


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colours: int, rows: list[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with any header and chunks."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    )


def grey(data: bytes) -> list[list[int]]:
    """The red channel of the decoded picture, which must be grey."""
    pixels = np.asarray(decode(data))
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    return [[int(value) for value in row] for row in pixels[..., 0]]


DEPTHS = np.array([[0, 257, 1000], [32768, 65000, 65535]], np.uint16)
SCALED = [[0, 1, 4], [128, 253, 255]]
"""The depths divided by 257 and rounded: 3.89, 127.50, 252.92."""


class TestTransparency:
    def test_black_on_transparent_is_black_on_white(self) -> None:
        layer = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
        layer.putpixel((1, 0), (0, 0, 0, 255))
        layer.putpixel((2, 0), (0, 0, 0, 128))
        assert grey(encoded(layer)) == [[255, 0, 127]]  # 255 * (255 - 128) / 255

    def test_grey_with_alpha(self) -> None:
        layer = Image.new("LA", (3, 1), (0, 0))
        layer.putpixel((1, 0), (100, 255))
        layer.putpixel((2, 0), (100, 51))
        assert grey(encoded(layer)) == [[255, 100, 224]]  # 100 * 0.2 + 255 * 0.8

    def test_a_palette_with_one_transparent_colour(self) -> None:
        layer = Image.new("P", (2, 1), 0)
        layer.putpalette([0, 0, 0, 10, 20, 30])
        layer.putpixel((1, 0), 1)
        assert np.asarray(decode(encoded(layer, transparency=0))).tolist() == [[[255, 255, 255], [10, 20, 30]]]

    def test_a_palette_with_an_alpha_for_each_colour(self) -> None:
        layer = Image.new("P", (2, 1), 0)
        layer.putpalette([0, 0, 0, 0, 0, 0])
        layer.putpixel((1, 0), 1)
        assert grey(encoded(layer, transparency=bytes([0, 255]))) == [[255, 0]]

    def test_more_alphas_than_colours_are_no_fault(self) -> None:
        data = png(2, 1, 8, 3, [b"\0\1"], (b"PLTE", bytes(6)), (b"tRNS", bytes([0, 255, 7, 7])))
        assert grey(data) == [[255, 0]]

    @pytest.mark.parametrize(
        ("depth", "row", "transparent", "shown"),
        [
            (8, bytes([0, 30, 255]), 30, [0, 255, 255]),
            (4, b"\x03\xf0", 3, [0, 255, 255]),
            (2, bytes([0b00_01_10_00]), 1, [0, 255, 170]),
            (1, bytes([0b01000000]), 1, [0, 255, 0]),
            (1, bytes([0b01000000]), 0, [255, 255, 255]),
            (16, struct.pack(">3H", 0, 1000, 2570), 1000, [0, 255, 10]),
        ],
    )
    def test_the_transparent_grey_of_any_depth(self, depth: int, row: bytes, transparent: int, shown: list[int]) -> None:
        assert grey(png(3, 1, depth, 0, [row], (b"tRNS", struct.pack(">H", transparent)))) == [shown]

    def test_the_transparent_colour(self) -> None:
        data = png(2, 1, 8, 2, [bytes([0, 0, 0, 9, 8, 7])], (b"tRNS", struct.pack(">3H", 0, 0, 0)))
        assert np.asarray(decode(data)).tolist() == [[[255, 255, 255], [9, 8, 7]]]

    def test_a_transparent_colour_of_16_bits_is_refused(self) -> None:
        data = png(1, 1, 16, 2, [bytes(6)], (b"tRNS", bytes(6)))
        with pytest.raises(PictureError, match="16-bit colours with one of them transparent; save it with an alpha channel"):
            decode(data)

    def test_webp_and_a_palette_with_alpha_in_tiff(self) -> None:
        layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        assert grey(encoded(layer, "WEBP", lossless=True)) == [[255] * 8] * 8
        assert grey(encoded(layer, "TIFF")) == [[255] * 8] * 8


class TestDepth:
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
    def test_16_bits_are_scaled(self, kind: str) -> None:
        assert grey(encoded(Image.fromarray(DEPTHS), kind)) == SCALED

    def test_big_endian_too(self) -> None:
        data = encoded(Image.fromarray(DEPTHS), "TIFF", tiffinfo={}, compression=None)
        turned = Image.frombytes("I;16B", (3, 2), DEPTHS.astype(">u2").tobytes())
        assert grey(data) == grey(encoded(turned, "TIFF")) == SCALED

    def test_a_grey_map_of_10_bits(self) -> None:
        assert grey(b"P5 3 1 1023\n" + struct.pack(">3H", 0, 512, 1023)) == [[0, 128, 255]]

    def test_16_bit_colours_keep_their_high_byte(self) -> None:
        row = struct.pack(">6H", 0, 1000, 65535, 32768, 257, 300)
        assert np.asarray(decode(png(2, 1, 16, 2, [row]))).tolist() == [[[0, 3, 255], [128, 1, 1]]]

    def test_one_bit_is_black_and_white(self) -> None:
        image = Image.new("1", (2, 1), 0)
        image.putpixel((1, 0), 1)
        assert grey(encoded(image)) == [[0, 255]]

    @pytest.mark.parametrize(
        ("values", "said"),
        [(np.float32, "floating-point values"), (np.int32, "32-bit integers")],
    )
    def test_numbers_without_a_white_are_refused(self, values: Any, said: str) -> None:
        data = encoded(Image.fromarray(DEPTHS.astype(values)), "TIFF")
        for look in (decode, shown_size):
            with pytest.raises(PictureError, match=f"{said}, whose white is not defined; save it as an 8-bit PNG"):
                look(data)


class TestColours:
    def test_cmyk_of_adobe_is_not_inverted(self) -> None:
        ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        red = np.asarray(decode(encoded(ink, "JPEG", quality=100)))
        assert (abs(red.astype(int) - [255, 0, 0]) < 4).all()

    def test_exif_turns_the_picture_and_its_size(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the first row is on the right
        image = Image.new("RGB", (2, 1))
        image.putpixel((0, 0), (9, 9, 9))
        data = encoded(image, "PNG", exif=exif)
        assert grey(data) == [[9], [0]]
        assert shown_size(data) == (1, 2)

    def test_the_first_frame_of_an_animation_is_shown(self) -> None:
        frames = [Image.new("L", (4, 4), shade) for shade in (50, 200)]
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert grey(data) == [[50] * 4] * 4


class TestRefusals:
    def test_a_small_file_of_a_huge_picture_is_refused_by_its_header(self) -> None:
        data = png(12_000, 12_000, 8, 0, [b""])
        for look in (decode, shown_size):
            with pytest.raises(PictureError, match=f"12,000 x 12,000 pixels, more than {MAX_PIXELS:,}; scale it down"):
                look(data)
        with pytest.raises(PictureError, match=f"more than {MAX_PIXELS:,} pixels; scale it down"):
            decode(png(50_000, 50_000, 8, 0, [b""]))  # Pillow itself raises here

    @pytest.mark.parametrize(
        "data", [b"", b"GIF89a", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"]
    )
    def test_what_is_no_picture_has_one_kind_of_error(self, data: bytes) -> None:
        for look in (decode, shown_size):
            with pytest.raises(PictureError):
                look(data)

    def test_damage_behind_the_header_is_found_when_decoding(self) -> None:
        whole = encoded(Image.effect_noise((64, 64), 90), "PNG")
        assert shown_size(whole[:900]) == (64, 64)
        with pytest.raises(PictureError):
            decode(whole[:900])


class TestCheck:
    """What ``tvt data check``, ``tvt mix`` and studies say of the same bytes, without decoding PNG and JPEG."""

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "broken image: empty image"),
            (png(12_000, 12_000, 8, 0, [b""]), "unusable image: 12,000 x 12,000 pixels, more than 89,478,485; scale it down"),
            (png(1, 1, 16, 2, [bytes(6)], (b"tRNS", bytes(6))), "unusable image: 16-bit colours with one of them transparent"),
            (png(1, 1, 8, 3, [b"\0"]), "broken image: truncated PNG"),
            (png(1, 1, 5, 0, [b"\0"]), "broken image: damaged PNG (no such kind of pixels)"),
            (png(0, 1, 8, 0, [b""]), "broken image: truncated PNG"),
            (encoded(Image.new("F", (2, 2)), "TIFF"), "unusable image: floating-point values"),
            (encoded(Image.new("I", (2, 2)), "TIFF"), "unusable image: 32-bit integers"),
            (encoded(Image.new("RGB", (9, 9)), "BMP")[:-30], "broken image: "),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken image: not an image that Pillow can read"),
        ],
    )
    def test_what_cannot_be_decoded_is_a_fault(self, data: bytes, said: str) -> None:
        found = image_fault(data)
        assert found is not None
        assert found.startswith(said)
        with pytest.raises(PictureError):
            decode(data)

    def test_what_can_be_decoded_is_none(self) -> None:
        for data in (
            encoded(Image.fromarray(DEPTHS)),
            encoded(Image.new("LA", (3, 1))),
            encoded(Image.new("CMYK", (9, 9)), "JPEG"),
        ):
            assert image_fault(data) is None
            assert image_size(data) == decode(data).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_picture_is_that_of_its_pixels(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (30, 10), (200, 0, 0)), kind, exif=exif)
    assert shown_size(data) == decode(data).size
