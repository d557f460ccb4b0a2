"""TIFF files whose samples Pillow reads as others than they are: kept, or refused by name where all is to be kept."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.data.conversion import ConversionWarning
from obverse.data.images import photo_of, read_photo
from obverse.errors import InputError, UnsupportedInputError
from tests.data.picture_files import stored, tiff

BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, PLANES, PREDICTOR = 258, 259, 262, 266, 277, 284, 317
COLOUR_MAP, EXTRA, FORMAT = 320, 338, 339
GRAY8 = {BITS: (8,), PHOTOMETRIC: (1,), SAMPLES: (1,)}
RGB8 = {BITS: (8, 8, 8), PHOTOMETRIC: (2,), SAMPLES: (3,)}


def rgb_and(*extra: int) -> dict[int, tuple[int, ...]]:
    count = 3 + len(extra)
    return {BITS: (8,) * count, PHOTOMETRIC: (2,), SAMPLES: (count,), EXTRA: extra}


def gray_and(extra: int) -> dict[int, tuple[int, ...]]:
    return {BITS: (8, 8), PHOTOMETRIC: (1,), SAMPLES: (2,), EXTRA: (extra,)}


KEPT = {
    "gray": (GRAY8, bytes([1, 200]), [[1, 200]]),
    "gray, 0 white": (GRAY8 | {PHOTOMETRIC: (0,)}, bytes([1, 200]), [[254, 55]]),
    "1 bit": ({BITS: (1,), PHOTOMETRIC: (1,)}, b"\x40", [[0, 255]]),
    "1 bit, 0 white": ({BITS: (1,), PHOTOMETRIC: (0,)}, b"\x40", [[255, 0]]),
    "1 bit, fill order 2": ({BITS: (1,), PHOTOMETRIC: (1,), FILL_ORDER: (2,)}, b"\x02", [[0, 255]]),
    "2 bits": ({BITS: (2,), PHOTOMETRIC: (1,)}, b"\x60", [[85, 170]]),
    "4 bits": ({BITS: (4,), PHOTOMETRIC: (1,)}, b"\x1e", [[17, 238]]),
    "16 bits": (GRAY8 | {BITS: (16,)}, b"\x01\x02\xff\xff", [[513, 65535]]),
    "16 bits, 0 white": (GRAY8 | {BITS: (16,), PHOTOMETRIC: (0,)}, b"\x01\x02\xff\xff", [[65022, 0]]),
    "gray, alpha": (gray_and(2), bytes([1, 2, 3, 4]), [[[1, 2], [3, 4]]]),
    "RGB": (RGB8, bytes(range(6)), [[[0, 1, 2], [3, 4, 5]]]),
    "RGB, alpha": (rgb_and(2), bytes(range(8)), [[[0, 1, 2, 3], [4, 5, 6, 7]]]),
    "RGB, four samples": (
        {BITS: (8,) * 4, PHOTOMETRIC: (2,), SAMPLES: (4,)},
        bytes(range(8)),
        [[[0, 1, 2, 3], [4, 5, 6, 7]]],
    ),
    "palette": (
        {BITS: (8,), PHOTOMETRIC: (3,), COLOUR_MAP: tuple(257 * (i % 256) for i in range(768))},
        bytes([1, 200]),
        [[[1] * 3, [200] * 3]],
    ),
    "palette of 8 bits, as some programs write it": (
        {BITS: (8,), PHOTOMETRIC: (3,), COLOUR_MAP: tuple(i % 256 for i in range(768))},
        bytes([1, 200]),
        [[[1] * 3, [200] * 3]],
    ),
}


@pytest.mark.parametrize("name", list(KEPT))
def test_what_comes_back_is_read_without_a_word(name: str) -> None:
    tags, samples, expected = KEPT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_photo(io.BytesIO(tiff(2, 1, samples, tags)), exact=True)
    assert read.array().tolist() == expected


CHANGED = {
    "premultiplied alpha": (rgb_and(1), bytes([10, 20, 30, 128, 0, 0, 0, 0]), "premultiplied alpha"),
    "premultiplied gray": (gray_and(1), bytes([10, 128, 0, 0]), "premultiplied alpha"),
    "an extra sample": (rgb_and(0), bytes(range(8)), r"extra samples \(4 a pixel, ExtraSamples 0\)"),
    "gray and an extra sample": (
        gray_and(0),
        bytes(range(4)),
        r"extra samples \(2 a pixel, ExtraSamples 0\)",
    ),
    "5 samples": (rgb_and(0, 0), bytes(range(10)), r"extra samples \(5 a pixel, ExtraSamples 0, 0\)"),
    "6 samples": (rgb_and(2, 0, 0), bytes(range(12)), r"extra samples \(6 a pixel, ExtraSamples 2, 0, 0\)"),
    "palette of 16 bits": (
        {BITS: (8,), PHOTOMETRIC: (3,), COLOUR_MAP: tuple(257 * (i % 256) ^ 1 for i in range(768))},
        bytes([1, 200]),
        "palette of 16 bits",
    ),
}


@pytest.mark.parametrize("name", list(CHANGED))
def test_what_would_change_is_refused_by_name_and_told_where_loss_is_allowed(name: str) -> None:
    tags, samples, words = CHANGED[name]
    file = tiff(2, 1, samples, tags)
    with pytest.raises(UnsupportedInputError, match=rf"{words}.* would not come back as it is"):
        read_photo(io.BytesIO(file), exact=True)
    with pytest.raises(UnsupportedInputError, match=words):
        photo_of(Image.open(io.BytesIO(file)), exact=True)
    with pytest.warns(ConversionWarning, match=rf"{words}.*converted"):
        assert read_photo(io.BytesIO(file)).size == (1, 2)


def test_planes_with_an_extra_one_are_refused_too() -> None:
    tags = rgb_and(0) | {PLANES: (2,)}
    image = Image.open(io.BytesIO(tiff(2, 1, bytes(range(8)), tags)))
    assert image.mode == "RGB"  # without a word
    with pytest.raises(UnsupportedInputError, match="extra samples"):
        photo_of(image, exact=True)


def test_12_bits_become_8_by_their_own_range() -> None:
    file = tiff(2, 1, b"\xff\xf8\x00", GRAY8 | {BITS: (12,)})
    with pytest.warns(ConversionWarning, match="coded with 8"):
        assert read_photo(io.BytesIO(file)).pixels.tolist() == [[255, 128]]
    with pytest.raises(UnsupportedInputError, match="12 bits a sample"):
        read_photo(io.BytesIO(file), exact=True)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_samples_are_refused_always(bits: int) -> None:
    file = tiff(2, 1, bytes(bits // 4), GRAY8 | {BITS: (bits,), FORMAT: (2,)})
    for exact in (False, True):
        with pytest.raises(UnsupportedInputError, match="signed samples"):
            read_photo(io.BytesIO(file), exact)


def test_ycbcr_is_refused_unless_it_is_jpeg() -> None:
    colour = Image.fromarray(np.zeros((8, 8, 3), np.uint8)).convert("YCbCr")
    for file in (stored(colour, "TIFF"), stored(colour, "TIFF", compression="tiff_lzw")):
        with pytest.raises(UnsupportedInputError, match="YCbCr"):
            read_photo(io.BytesIO(file), exact=True)
    jpeg = stored(colour.convert("RGB"), "TIFF", compression="jpeg")
    assert read_photo(io.BytesIO(jpeg), exact=True).array().shape == (8, 8, 3)


@pytest.mark.parametrize("tags", [{50706: (1, 4, 0, 0)}, {254: (1,), 330: (8,)}], ids=["DNG", "preview"])
def test_the_preview_of_a_raw_photo_is_not_taken_for_it(tags: dict[int, tuple[int, ...]]) -> None:
    file = tiff(2, 1, bytes(6), RGB8 | tags)
    for exact in (False, True):
        with pytest.raises(UnsupportedInputError, match="small preview"):
            read_photo(io.BytesIO(file), exact)


def test_a_kind_that_pillow_does_not_read_is_called_tiff() -> None:
    file = tiff(2, 1, bytes(4), {BITS: (16, 16), PHOTOMETRIC: (1,), SAMPLES: (2,), EXTRA: (2,)})
    with pytest.raises(InputError, match="a TIFF file of a kind that is not read"):
        read_photo(io.BytesIO(file))


def test_signed_samples_of_32_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "signed.tif"
    Image.fromarray(np.arange(36, 156, dtype=np.int32).reshape(10, 12)).save(path)
    for exact in (False, True):
        with pytest.raises(UnsupportedInputError, match="signed samples"):
            read_photo(path, exact=exact)


def test_a_tiff_without_resolution_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("RGB", (4, 4)).save(path)
    assert read_photo(path).dpi is None
