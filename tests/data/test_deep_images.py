"""16 bits a channel in colour or with alpha, from and to files: every sample, though Pillow keeps 8 bits of them."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.data.conversion import ConversionWarning
from obverse.data.image_sets import read_image_set
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo, photo_of, read_photo
from obverse.data.patches import open_rgb
from obverse.data.tiff16 import (
    BITS,
    COUNTS,
    EXTRA,
    ORIENTATION,
    PHOTOMETRIC,
    PREDICTOR,
    SAMPLES,
    STRIPS,
    retagged,
)
from obverse.errors import InputError, OutputError, UnsupportedInputError

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
PNG_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def samples(height: int, width: int, channels: int) -> np.ndarray:
    """(height, width, channels): ramps and noise in all of the 16 bits."""
    rng = np.random.default_rng(height * width * channels)
    rows, columns = np.mgrid[:height, :width]
    ramps = (700 * rows + 300 * columns)[:, :, None] * np.arange(1, channels + 1)
    return ((ramps + rng.integers(0, 999, (height, width, channels))) % 65536).astype(np.uint16)


def png(array: np.ndarray, interlaced: bool = False, key: bytes = b"") -> bytes:
    """A PNG file of 16 bits, its rows without filters."""
    height, width, channels = array.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    raw = b""
    for y, x, down, right in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = array[y::down, x::right].astype(">u2")
        raw += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_TYPES[channels], 0, 0, interlaced)
    packed = zlib.compress(raw)
    parts = [chunk(b"IHDR", header)] + [chunk(b"tRNS", key)] * bool(key)
    parts += [chunk(b"IDAT", packed[:20]), chunk(b"IDAT", packed[20:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    array: np.ndarray, compression: str | None = None, differences: bool = False, separate: bool = False,
    orientation: int = 1, order: str = "<",
) -> bytes:  # fmt: skip
    """A TIFF file of 16 bits: Pillow compresses the bytes of its rows, and the tags then say what they are."""
    height, width, channels = array.shape
    if differences:
        array = np.diff(array, axis=1, prepend=np.zeros((height, 1, channels), np.uint16))
    parts = [array[:, :, c : c + 1] for c in range(channels)] if separate else [array]
    rows = np.concatenate([p.astype(f"{order}u2").view(np.uint8).reshape(height, -1) for p in parts])
    buffer = io.BytesIO()
    Image.fromarray(rows).save(
        buffer, "TIFF", compression=compression, strip_size=10**6 if not separate else 1
    )
    data = buffer.getvalue()
    changes = {
        256: (width,), 257: (height,), BITS: (16,) * channels, PHOTOMETRIC: (2,), SAMPLES: (channels,),
        EXTRA: (2,) if channels == 4 else None, PREDICTOR: (2,) if differences else None,
        284: (2,) if separate else None, ORIENTATION: (orientation,),
    }  # fmt: skip
    if separate:  # the strips of one plane after those of another
        changes |= {278: (1,)}
    elif compression is None:
        changes |= {278: (height,)}
    data = retagged(data, changes)
    return data if order == "<" else swapped(data)


def swapped(data: bytes) -> bytes:
    """The tags of a TIFF file, all short or long, with their bytes in the other order."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    out = bytearray(data)
    out[:8] = b"MM\0*" + struct.pack(">I", at)
    struct.pack_into(">H", out, at, count)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, place)
        struct.pack_into(">HHI", out, place, tag, kind, number)
        letter, size = {3: ("H", 2), 4: ("I", 4)}[kind]
        start = place + 8 if number * size <= 4 else struct.unpack_from("<I", data, place + 8)[0]
        values = struct.unpack_from(f"<{number}{letter}", data, start)
        if start != place + 8:
            struct.pack_into(">I", out, place + 8, start)
        else:
            out[place + 8 : place + 12] = bytes(4)
        struct.pack_into(f">{number}{letter}", out, start, *values)
    return bytes(out)


def exact(data: bytes) -> np.ndarray:
    """Of a file, read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_photo(io.BytesIO(data), exact=True).array()


# -- PNG --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_files_are_read_exactly(channels: int, interlaced: bool) -> None:
    for size in ((1, 1), (1, 9), (9, 1), (3, 5), (33, 47)):
        array = samples(*size, channels)
        read = exact(png(array, interlaced))
        assert read.dtype == np.uint16 and read.dtype.isnative and np.array_equal(read, array)


def test_a_transparent_colour_becomes_alpha() -> None:
    array = samples(5, 6, 3)
    array[2, 3] = array[4, 4] = (300, 70, 65535)
    array[1, 1] = (300 + 1, 70, 65535)  # the same high bytes
    read = exact(png(array, key=struct.pack(">3H", 300, 70, 65535)))
    alpha = np.full((5, 6), 65535)
    alpha[2, 3] = alpha[4, 4] = 0
    assert np.array_equal(read, np.dstack([array, alpha]))
    gray = array[:, :, :1]
    read = exact(png(gray, key=struct.pack(">H", 300)))
    alpha[:] = np.where(gray[:, :, 0] == 300, 0, 65535)
    assert np.array_equal(read, np.dstack([gray, alpha]))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_files_are_written_with_profile_and_exif(channels: int) -> None:
    photo = photo_of(samples(20, 30, channels), exact=True)
    photo = Photo(photo.pixels, photo.alpha, b"profile", b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    again = read_photo(io.BytesIO(write_photo(photo, "a.png", exact=True)), exact=True)
    assert np.array_equal(again.array(), photo.array())
    assert (again.icc, again.exif) == (photo.icc, photo.exif)
    assert len(write_photo(photo, "a.png")) < photo.array().nbytes


def test_damaged_png_files_are_refused() -> None:
    data = png(samples(20, 30, 3))
    at = data.index(b"IDAT") + 20
    for damaged in (data[:-60], data[:at] + b"\0\1\2\3" + data[at + 4 :], data[: data.index(b"IDAT") - 4]):
        with pytest.raises(InputError):
            read_photo(io.BytesIO(damaged), exact=True)
    wrong = png(samples(20, 30, 3)[:, :, :1].repeat(3, 2))
    header = wrong[: 8 + 25]
    short = png(samples(9, 30, 3))
    with pytest.raises(InputError):  # fewer rows than the header says
        read_photo(io.BytesIO(header + short[8 + 25 :]), exact=True)


# -- TIFF -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_files_are_read_exactly(compression: str | None, order: str) -> None:
    for channels, size in itertools.product((3, 4), ((1, 1), (33, 47))):
        array = samples(*size, channels)
        assert np.array_equal(exact(tiff(array, compression, order=order)), array)
        if compression in ("tiff_lzw", "tiff_adobe_deflate"):
            assert np.array_equal(exact(tiff(array, compression, differences=True, order=order)), array)


def test_planes_of_a_tiff_that_lie_apart() -> None:
    array = samples(6, 7, 3)
    assert np.array_equal(exact(tiff(array, "tiff_adobe_deflate", separate=True)), array)
    # not compressed, where Pillow shows something else than their high bytes
    planes = array.transpose(2, 0, 1).astype("<u2").tobytes()
    data = tiff(array)
    offsets = tuple(len(data) + place for place in (0, len(planes) // 3, 2 * len(planes) // 3))
    changes = {284: (2,), STRIPS: offsets, COUNTS: (len(planes) // 3,) * 3}
    assert np.array_equal(exact(retagged(data + planes, changes)), array)


def test_a_tiff_is_turned_as_it_says() -> None:
    array = samples(5, 9, 3)
    for orientation in range(1, 9):
        data = tiff(array, orientation=orientation)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            shown = np.asarray(image)
        assert np.array_equal(exact(data) >> 8, shown)


@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_files_are_written(channels: int) -> None:
    photo = photo_of(samples(20, 30, channels), exact=True)
    data = write_photo(Photo(photo.pixels, photo.alpha, b"profile"), "a.tif", exact=True)
    assert np.array_equal(exact(data), photo.array())
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == b"profile" and image.tag_v2[BITS] == (16,) * channels
        assert np.array_equal(np.asarray(image), photo.array() >> 8)


def test_formats_that_cannot_hold_them_are_refused() -> None:
    photo = photo_of(samples(4, 5, 3), exact=True)
    for target in ("a.jpg", "a.webp", "a.bmp", "a.ppm"):
        with pytest.raises(OutputError, match="16 bits"):
            write_photo(photo, target, exact=True)
    with pytest.raises(OutputError, match=r"gray with alpha; use \.png"):
        write_photo(Photo(samples(4, 5, 1)[:, :, 0], samples(4, 5, 1)[:, :, 0]), "a.tif", exact=True)


def test_damaged_tiff_files_are_refused() -> None:
    data = tiff(samples(20, 30, 3), "tiff_lzw")
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(InputError):
                assert read_photo(io.BytesIO(bytes(damaged)), exact=True).array().ndim in (2, 3)
    for length in range(0, len(data), 37):
        with pytest.raises(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_photo(io.BytesIO(data[:length]), exact=True)


# -- Pillow images and arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_pillow_images_have_the_bits_of_their_file(kind: str, tmp_path: Path) -> None:
    array = samples(20, 30, 3)
    path = tmp_path / f"deep.{kind}"
    path.write_bytes(png(array) if kind == "png" else tiff(array))
    for loaded in (False, True):
        for source in (path, io.BytesIO(path.read_bytes())):
            with Image.open(source) as image:
                if loaded:
                    image.load()
                assert np.array_equal(photo_of(image, exact=True).array(), array)
                assert np.array_equal(np.asarray(image), array >> 8)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_pillow_image_that_was_changed_is_what_it_is_now(kind: str, tmp_path: Path) -> None:
    array = samples(20, 30, 3)
    path = tmp_path / f"deep.{kind}"
    path.write_bytes(png(array) if kind == "png" else tiff(array))
    with Image.open(path) as image:
        image.putpixel((3, 4), (1, 2, 3))
        with pytest.warns(ConversionWarning, match="Pillow kept 8"):
            pixels = photo_of(image, exact=True).pixels
    assert np.array_equal(pixels[0], array[0] >> 8) and pixels[4, 3].tolist() == [1, 2, 3]


def test_a_tiff_whose_file_is_gone_is_said_to_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    path.write_bytes(tiff(samples(20, 30, 3)))
    with Image.open(path) as image:
        image.load()
        path.unlink()
        with pytest.warns(ConversionWarning, match="Pillow kept 8"):
            assert photo_of(image, exact=True).pixels.dtype == np.uint8


def test_lossy_codecs_round_to_the_nearest_of_8_bits() -> None:
    array = samples(20, 30, 4)
    wanted = np.round(array / 257).astype(np.uint8)
    for deep in (array, photo_of(array, exact=True), Image.open(io.BytesIO(png(array)))):
        with pytest.warns(ConversionWarning, match="16 bits a channel: coded with 8"):
            assert np.array_equal(photo_of(deep).array(), wanted)
    for data in (png(array), tiff(array)):
        with pytest.warns(ConversionWarning, match="16 bits a channel: coded with 8"):
            assert np.array_equal(read_photo(io.BytesIO(data)).array(), wanted)


def test_npy_files_are_images_too(tmp_path: Path) -> None:
    array = samples(20, 30, 3)
    np.save(tmp_path / "deep.npy", array)
    assert np.array_equal(read_photo(tmp_path / "deep.npy", exact=True).array(), array)
    np.save(tmp_path / "floats.npy", array / 65535)
    with pytest.raises(UnsupportedInputError, match="float64"):
        read_photo(tmp_path / "floats.npy", exact=True)


# -- where 8 bits are wanted ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "gray.png"])
def test_training_comparing_and_sets_refuse_more_bits_than_they_take(name: str, tmp_path: Path) -> None:
    from obverse.codecs.stereo.pairs import PairFiles, read_pair
    from obverse.evaluation.rates import read_rgb

    path = tmp_path / name
    array = samples(40, 50, 3)
    if name == "gray.png":
        Image.fromarray(array[:, :, 0]).save(path)
    else:
        path.write_bytes(png(array) if name == "deep.png" else tiff(array))
    for read in (open_rgb, read_rgb, lambda file: read_pair(PairFiles("pair", file, file))):
        with pytest.raises(UnsupportedInputError, match="more than 8 bits a channel"):
            read(path)
    with pytest.raises(UnsupportedInputError, match="16 bits a pixel"):
        read_image_set(tmp_path)


def test_stereo_rounds_the_left_view_with_a_warning() -> None:
    right = samples(64, 64, 3)
    with pytest.warns(ConversionWarning, match="the left view has 16 bits"):
        assert photo_of(right, "the left view").pixels.dtype == np.uint8


def test_compared_with_png_in_16_bits(tmp_path: Path) -> None:
    from obverse.evaluation.lossless import evaluate_lossless, summarise_lossless

    (tmp_path / "deep.png").write_bytes(png(samples(40, 50, 4)))
    rows = evaluate_lossless([tmp_path / "deep.png"], against=["png"])
    assert [(s.codec, s.exact) for s in summarise_lossless(rows)] == [("image-lossless", 1), ("png", 1)]
    failures: list = []
    evaluate_lossless([tmp_path / "deep.png"], against=["webp"], failures=failures)
    assert "16 bits a channel only PNG" in str(failures[0])


def test_a_png_goes_through_a_file_and_back() -> None:
    array = samples(40, 50, 3)
    codec = obverse.open_codec("image-lossless")
    photo = codec.decode_photo(codec.encode(read_photo(io.BytesIO(png(array)), exact=True)))
    assert np.array_equal(exact(write_photo(photo, "b.png", exact=True)), array)
