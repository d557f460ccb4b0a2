"""Samples of other depths than 8 and 16 bits in BMP, TGA, GIF and PNG files: each as the colour that it stands for."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from obverse.data.images import read_photo
from tests.data.picture_files import chunk, stored


def exact(data: bytes) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_photo(io.BytesIO(data), exact=True).array().tolist()


def bmp(bits: int, pixels: bytes, masks: tuple[int, ...] = ()) -> bytes:
    """Of one row, two pixels."""
    compression = 3 if masks else 0
    beside = struct.pack(f"<{len(masks)}I", *masks)
    at = 14 + 40 + len(beside)
    info = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + beside + pixels


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bmp(16, struct.pack("<HH", 0x7C00, 0x03FF)), [[[255, 0, 0], [0, 255, 255]]]),
        (bmp(16, struct.pack("<HH", 0xF800, 0x07FF), (0xF800, 0x7E0, 0x1F)), [[[255, 0, 0], [0, 255, 255]]]),
        (bmp(32, bytes([1, 2, 3, 0, 4, 5, 6, 9])), [[[3, 2, 1], [6, 5, 4]]]),
        (bmp(24, bytes([1, 2, 3, 4, 5, 6, 0, 0])), [[[3, 2, 1], [6, 5, 4]]]),
    ],
    ids=["555", "565", "32 bits", "24 bits"],
)
def test_bmp(data: bytes, expected: list) -> None:
    assert exact(data) == expected


def test_every_value_of_5_bits_is_another_one() -> None:
    """Stretched to 8 bits, none is lost: those that come back are as many as went in."""
    values = [exact(bmp(16, struct.pack("<HH", v, v << 5)))[0] for v in range(32)]
    blue = [pixels[0][2] for pixels in values]
    assert blue == [pixels[1][1] for pixels in values] and len(set(blue)) == 32
    assert all(abs(b - v * 255 / 31) < 1 for v, b in enumerate(blue))


def png(bits: int, kind: int, rows: list[bytes], width: int, *more: bytes, interlaced: int = 0) -> bytes:
    import zlib

    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(1, 0, [b"\x40"], 2), [[0, 255]]),
        (png(2, 0, [b"\x1b"], 4), [[0, 85, 170, 255]]),
        (png(4, 0, [b"\x1e"], 2), [[17, 238]]),
        (png(8, 0, [b"\1\2"], 2, chunk(b"sBIT", b"\5")), [[1, 2]]),
        (png(8, 0, [b"\1\2"], 2, chunk(b"tRNS", b"\0\2")), [[[1, 255], [2, 0]]]),
        (png(8, 2, [bytes(range(6))], 2, chunk(b"tRNS", b"\0\3\0\4\0\5")), [[[0, 1, 2, 255], [3, 4, 5, 0]]]),
        (
            png(1, 3, [b"\x40"], 2, chunk(b"PLTE", bytes(range(6))), chunk(b"tRNS", b"\x80")),
            [[[0, 1, 2, 128], [3, 4, 5, 255]]],
        ),
        (png(4, 3, [b"\x10"], 2, chunk(b"PLTE", bytes(range(6)))), [[[3, 4, 5], [0, 1, 2]]]),
    ],
    ids=["1", "2", "4", "sBIT", "gray key", "RGB key", "palette with alpha", "4-bit palette"],
)
def test_png(data: bytes, expected: list) -> None:
    assert exact(data) == expected


def test_an_interlaced_png() -> None:
    """A pass has its own rows: of 1 x 2 pixels the first and the sixth."""
    data = png(8, 0, [b"\7", b"\x09"], 2, interlaced=1)
    header = struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 1)
    data = data[:8] + chunk(b"IHDR", header) + data[33:]
    assert exact(data) == [[7, 9]]


def test_gif_and_its_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette(bytes([9, 8, 7, 6, 5, 4]))
    image.putpixel((1, 0), 1)
    assert exact(stored(image, "GIF")) == [[[9, 8, 7], [6, 5, 4]]]
    assert np.array(exact(stored(image, "GIF", transparency=1)))[0, :, 3].tolist() == [255, 0]
