"""Image files read to the last bit: what is kept, and what is refused because it could not be."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from obverse.data.conversion import ConversionWarning
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo, _bits_a_sample, photo_of, read_photo
from obverse.errors import OutputError, UnsupportedInputError
from tests.conftest import smooth_photo

COLOUR = smooth_photo(40, 48)
GRAY = smooth_photo(40, 48, channels=1)
DEEP = (np.arange(40 * 48).reshape(40, 48) * 34).astype(np.uint16)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def png(bits: int, kind: int, row: bytes, key: bytes | None = None) -> io.BytesIO:
    """A PNG of one row and two pixels of a colour type and bit depth that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, kind, 0, 0, 0))]
    parts += [chunk(b"tRNS", key)] if key is not None else []
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_what_is_exact_is_read_without_a_word() -> None:
    alpha = np.dstack([COLOUR, GRAY])
    images = {
        "gray": (Image.fromarray(GRAY), GRAY),
        "colour": (Image.fromarray(COLOUR), COLOUR),
        "alpha": (Image.fromarray(alpha), alpha),
        "gray alpha": (Image.fromarray(alpha[:, :, 2:].copy()), alpha[:, :, 2:]),
        "1 bit": (Image.fromarray(GRAY > 128), np.where(GRAY > 128, 255, 0)),
        "16 bits": (Image.fromarray(DEEP), DEEP),
    }
    palette = Image.fromarray(COLOUR).quantize(20)
    images["palette"] = (palette, np.asarray(palette.convert("RGB")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image, wanted in images.values():
            read = read_photo(stored(image), exact=True).array()
            assert read.dtype == (np.uint16 if wanted.dtype == np.uint16 else np.uint8)
            assert np.array_equal(read, wanted)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grayscale_files(kind: str) -> None:
    assert np.array_equal(read_photo(stored(Image.fromarray(DEEP), kind), exact=True).array(), DEEP)


def test_16_bit_grayscale_of_other_byte_orders_and_modes() -> None:
    for image in (
        Image.fromarray(DEEP.astype(np.int32)),
        Image.frombytes("I;16B", (48, 40), DEEP.astype(">u2").tobytes()),
    ):
        read = photo_of(image, exact=True).pixels
        assert read.dtype == np.uint16 and read.dtype.isnative and np.array_equal(read, DEEP)
    for array in (DEEP.astype(">u2"), DEEP[:, :, None], DEEP[::-1][::-1]):
        read = photo_of(array, exact=True).pixels
        assert read.dtype == np.uint16 and read.dtype.isnative and np.array_equal(read, DEEP)


def test_more_bits_than_are_kept_are_refused() -> None:
    with pytest.raises(UnsupportedInputError, match="16 bits a channel"):
        read_photo(io.BytesIO(b"P6 2 1 65535\n" + bytes(12)), exact=True)


def test_a_transparency_key_of_8_bits_becomes_alpha() -> None:
    read = read_photo(png(8, 2, b"\1\2\3\1\2\4", b"\0\1\0\2\0\3"), exact=True)
    assert read.array().tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(COLOUR).convert("CMYK"), "CMYK"),
        (Image.fromarray(COLOUR).convert("YCbCr"), "YCbCr"),
        (Image.fromarray(np.dstack([COLOUR, GRAY])).convert("RGBa"), "RGBa"),
        (Image.new("F", (4, 4)), "F, which|floating"),
        (Image.fromarray(np.array([[-1, 70000]], np.int32)), "32-bit"),
    ],
    ids=lambda value: getattr(value, "mode", value),
)
def test_modes_that_cannot_be_kept_are_refused(image: Image.Image, words: str) -> None:
    with pytest.raises(UnsupportedInputError, match=words):
        photo_of(image, exact=True)


def test_without_exact_16_bits_become_8_with_a_warning() -> None:
    for deep in (DEEP, Photo(DEEP), Image.fromarray(DEEP), Photo(DEEP, DEEP)):
        with pytest.warns(ConversionWarning, match="16 bits"):
            photo = photo_of(deep)
        assert np.array_equal(photo.pixels, np.round(DEEP / 257).astype(np.uint8))
        assert photo.alpha is None or np.array_equal(photo.alpha, photo.pixels)
    with pytest.warns(ConversionWarning, match="16 bits"):
        assert read_photo(stored(Image.fromarray(DEEP))).pixels.dtype == np.uint8


def test_bits_that_would_be_cut_are_found_in_every_format() -> None:
    """Pillow reads all of these as 8 bits a channel, without a word: refused where all is kept, else said."""
    deep = np.dstack([DEEP, DEEP, DEEP]).astype(">u2").tobytes()
    files = {"16": b"P6\n# 4 bits? # no\n48 #width\n40\n65535\n" + deep}
    files["16 bits a channel"] = (
        struct.pack(">HBBHHHHII", 474, 0, 2, 3, 48, 40, 3, 0, 65535).ljust(512, b"\0") + deep
    )
    planes = io.BytesIO()
    Image.fromarray(COLOUR).save(planes, "JPEG2000")
    at = planes.getvalue().index(b"\xff\x4f\xff\x51") + 42
    samples = bytearray(planes.getvalue())
    samples[at], samples[at + 3] = 11, 9  # 12 and 10 bits: what the header says decides
    files["12 bits"] = bytes(samples)
    picture = io.BytesIO()
    Image.fromarray(COLOUR).save(picture, "AVIF")
    assert np.asarray(read_photo(io.BytesIO(picture.getvalue()), exact=True).pixels).shape == COLOUR.shape
    for words, data in files.items():
        with pytest.raises(UnsupportedInputError, match=words):
            read_photo(io.BytesIO(data), exact=True)
        with pytest.warns(ConversionWarning, match="coded with 8"):
            assert read_photo(io.BytesIO(data)).pixels.dtype == np.uint8
    image = Image.open(picture)
    for flags, bits in ((0, 8), (64, 10), (96, 12)):
        configured = bytearray(picture.getvalue())
        configured[configured.index(b"av1C") + 6] = flags
        assert _bits_a_sample(image, bytes(configured)) == bits
    planes.seek(0)
    assert np.array_equal(read_photo(planes, exact=True).pixels, COLOUR)


def test_colours_and_alpha_of_different_sizes_are_refused() -> None:
    for exact in (False, True):
        with pytest.raises(UnsupportedInputError, match="same height and width"):
            photo_of(Photo(COLOUR, GRAY[:10]), exact=exact)


# -- writing ----------------------------------------------------------------------------------------------


def test_formats_that_lose_pixels_say_so() -> None:
    photo = Photo(COLOUR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for target in ("a.png", "a.tif", "a.webp", "a.bmp", "a.ppm", "a.npy"):
            saved = io.BytesIO(write_photo(photo, target, exact=True))
            again = np.load(saved) if target.endswith("npy") else np.asarray(Image.open(saved))
            assert np.array_equal(again, COLOUR)
    for target in ("a.jpg", "a.avif", "a.gif"):
        with pytest.warns(ConversionWarning, match="does not keep pixels"):
            write_photo(photo, target, exact=True)


def test_colours_under_transparent_pixels_stay_in_webp() -> None:
    alpha = np.zeros((40, 48), np.uint8)
    saved = write_photo(Photo(COLOUR, alpha), "a.webp", exact=True)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(saved))), np.dstack([COLOUR, alpha]))


def test_alpha_is_never_dropped_without_a_word() -> None:
    alpha = smooth_photo(40, 48, channels=1, seed=3)
    for photo in (Photo(COLOUR, alpha), Photo(GRAY, alpha)):
        for target in ("a.bmp", "a.ppm", "a.pgm", "a.jpg"):
            with pytest.raises(OutputError, match=r"no alpha channel, .* use .png"):
                write_photo(photo, target, exact=True)
        for target in ("a.png", "a.tif", "a.tga", "a.webp"):
            again = read_photo(io.BytesIO(write_photo(photo, target, exact=True)), exact=True)
            assert np.array_equal(again.alpha, alpha)


def test_16_bits_are_written_where_they_can_be() -> None:
    for target in ("a.png", "a.tif"):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(write_photo(Photo(DEEP), target)))), DEEP)
    assert np.array_equal(np.load(io.BytesIO(write_photo(Photo(DEEP), "a.npy"))), DEEP)
    for target in ("a.jpg", "a.webp", "a.bmp"):
        with pytest.raises(OutputError, match="16 bits a channel"):
            write_photo(Photo(DEEP), target)
