"""Image files of every kind -> Photo -> .obv -> image file: what is coded, what is kept, what is told."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import obverse
from obverse.cli import run
from obverse.data.conversion import ConversionWarning
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo, photo_of, read_photo
from obverse.errors import InputError, OutputError, UnsupportedInputError
from tests.conftest import smooth_photo

HEIGHT, WIDTH = 40, 48
COLOUR = smooth_photo(HEIGHT, WIDTH)
GRAY = smooth_photo(HEIGHT, WIDTH, channels=1)
ALPHA = (np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 3) % 256).astype(np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(data: bytes) -> Photo:
    return read_photo(io.BytesIO(data))


def png(bits: int, kind: int, rows: Sequence[bytes], key: bytes | None = None, width: int = 2) -> bytes:
    """A PNG of a colour type and bit depth that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", lines), chunk(b"IEND", b"")]
    if key is not None:
        parts.insert(1, chunk(b"tRNS", key))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- what is read -----------------------------------------------------------------------------------------


def test_ordinary_modes_are_read_as_they_are() -> None:
    for array in (GRAY, COLOUR, np.dstack([GRAY, ALPHA]), np.dstack([COLOUR, ALPHA])):
        read = photo(stored(Image.fromarray(array)))
        assert np.array_equal(read.array(), array)
        assert read.pixels.ndim == (2 if array.ndim == 2 or array.shape[2] == 2 else 3)


def test_one_bit_and_palettes() -> None:
    bits = Image.fromarray(GRAY).convert("1")
    assert np.array_equal(photo(stored(bits)).array(), np.asarray(bits.convert("L")))
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(photo(stored(palette)).array(), np.asarray(palette.convert("RGB")))
    one_clear = photo(stored(palette, transparency=3))
    assert np.array_equal(one_clear.alpha == 0, np.asarray(palette) == 3)
    many_clear = photo(stored(palette, transparency=bytes(range(0, 160, 10))))
    assert np.array_equal(many_clear.alpha, np.asarray(palette) * 10)
    gif = photo(stored(palette, "GIF", transparency=3))
    assert gif.alpha is not None and 0 < (gif.alpha == 0).sum() < HEIGHT * WIDTH


@pytest.mark.parametrize(
    ("data", "pixels", "alpha"),
    [
        (png(8, 0, [b"\x05\x06"], b"\0\x06"), [[5, 6]], [[255, 0]]),
        (png(8, 2, [b"\1\2\3\1\2\4"], b"\0\1\0\2\0\3"), [[[1, 2, 3], [1, 2, 4]]], [[0, 255]]),
        (png(1, 0, [b"\x80"], b"\0\1"), [[255, 0]], [[0, 255]]),
        (png(2, 0, [b"\xc0"], b"\0\0"), [[255, 0]], [[255, 0]]),
        (png(4, 0, [b"\xf3"], b"\0\x0f"), [[255, 51]], [[0, 255]]),
    ],
    ids=["gray", "rgb", "1 bit", "2 bits", "4 bits"],
)
def test_a_transparency_key_becomes_alpha(data: bytes, pixels: list, alpha: list) -> None:
    read = photo(data)
    assert read.pixels.tolist() == pixels and read.alpha is not None and read.alpha.tolist() == alpha


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(16, 0, [b"\x12\x34\xff\xff"]), [[18, 255]]),
        (png(16, 0, [b"\x12\x34\xff\xff"], b"\x12\x34"), [[[18, 0], [255, 255]]]),
        (png(16, 2, [b"\x12\x34" * 3 + b"\xff\xff" * 3]), [[[18] * 3, [255] * 3]]),
        (
            png(16, 2, [b"\x12\x34" * 3 + b"\xff\xff" * 3], b"\x12\x34" * 3),
            [[[18, 18, 18, 0], [255, 255, 255, 255]]],
        ),
        (png(16, 4, [b"\x12\x34\x80\x00\xff\xff\xff\xff"]), [[[18, 128], [255, 255]]]),
        (png(16, 6, [b"\x12\x34" * 3 + b"\x80\x00" + b"\xff" * 8]), [[[18, 18, 18, 128], [255] * 4]]),
    ],
    ids=["gray", "gray key", "rgb", "rgb key", "gray alpha", "rgb alpha"],
)
def test_16_bits_are_told(data: bytes, expected: list) -> None:
    with pytest.warns(ConversionWarning, match="16 bits"):
        read = photo(data)
    assert read.array().tolist() == expected


def test_other_conversions_are_told() -> None:
    with pytest.warns(ConversionWarning, match="CMYK: converted to RGB, its profile dropped"):
        read = photo(stored(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", icc_profile=b"of inks"))
    assert read.pixels.shape == (HEIGHT, WIDTH, 3) and read.icc == b""
    with pytest.warns(ConversionWarning, match="CMYK: converted to RGB$"):  # there is no profile to drop
        photo(stored(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"))
    frames = [Image.fromarray(smooth_photo(HEIGHT, WIDTH, seed)).quantize(32) for seed in range(3)]
    with pytest.warns(ConversionWarning, match="3 frames: the first is coded"):
        read = photo(stored(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.array_equal(read.array(), np.asarray(frames[0].convert("RGB")))
    with pytest.warns(ConversionWarning, match="16 bits"):
        assert photo_of(Image.fromarray(np.array([[0, 65535]], np.int32))).pixels.tolist() == [[0, 255]]


def test_8_bits_are_read_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"):
            assert photo(stored(Image.fromarray(COLOUR), kind)).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("F", (4, 4)), "floating-point"),
        (Image.fromarray(np.array([[-1, 70000]], np.int32)), "signed samples"),
    ],
)
def test_images_that_cannot_be_coded(image: Image.Image, words: str) -> None:
    with pytest.raises(UnsupportedInputError, match=words):
        photo(stored(image, "TIFF"))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4)), "float64"),
        (np.zeros((4, 4, 5), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
        ([[1, 2], [3]], "one shape"),
    ],
)
def test_arrays_that_cannot_be_coded(array: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        photo_of(array)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_damaged_files_are_told_or_read(kind: str) -> None:
    """Cut and flipped anywhere: an image, or an InputError; nothing else gets out."""
    frames = [Image.fromarray(COLOUR[:16, :16]), Image.fromarray(COLOUR[16:32, :16])]
    more = {"save_all": True, "append_images": frames[1:]} if kind in ("GIF", "TIFF", "WEBP") else {}
    whole = stored(frames[0], kind, **more)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        for _ in range(60):
            data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for _ in range(rng.integers(0, 4)):
                data[rng.integers(len(data))] = rng.integers(256)
            try:
                assert photo(bytes(data)).pixels.dtype == np.uint8
            except (InputError, obverse.errors.LimitError) as error:
                assert "\n" not in str(error)


# -- what survives an .obv file ---------------------------------------------------------------------------


def through(tmp_path: Path, data: bytes, name: str = "out.png") -> Image.Image:
    """The image file `data` after the command line compressed and decompressed it."""
    (tmp_path / "in.img").write_bytes(data)
    assert run(["compress", str(tmp_path / "in.img"), "-f"]) == 0
    assert run(["decompress", str(tmp_path / "in.obv"), "-o", str(tmp_path / name), "-f"]) == 0
    with Image.open(tmp_path / name) as image:
        image.load()
    return image


def test_alpha_survives_exactly(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    for image, options in (
        (Image.fromarray(np.dstack([COLOUR, ALPHA])), {}),
        (Image.fromarray(np.dstack([GRAY, ALPHA])), {}),
        (palette, {"transparency": 3}),
    ):
        data = stored(image, **options)
        before, after = photo(data), through(tmp_path, data)
        assert after.mode == ("LA" if image.mode == "LA" else "RGBA")
        assert np.array_equal(np.asarray(after.getchannel("A")), before.alpha)


def test_gray_stays_gray_and_close(tmp_path: Path) -> None:
    after = through(tmp_path, stored(Image.fromarray(GRAY)))
    assert after.mode == "L"
    assert np.abs(np.asarray(after).astype(int) - GRAY).mean() < 12
    assert through(tmp_path, stored(Image.fromarray(GRAY).convert("1"))).mode == "L"


@pytest.mark.parametrize("size", [(1, 1), (1, 65), (37, 3)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    assert through(tmp_path, stored(Image.fromarray(smooth_photo(*size)))).size == size[::-1]


def test_profile_and_exif_survive(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a tower"  # orientation, description
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8769)[0x829A] = 0.5
    for kind in ("PNG", "JPEG", "WEBP"):
        data = stored(Image.fromarray(COLOUR), kind, icc_profile=icc, exif=exif.tobytes())
        Path(tmp_path / f"{kind}.img").write_bytes(data)
        assert run(["compress", str(tmp_path / f"{kind}.img")]) == 0
        for name in ("out.png", "out.jpg", "out.webp", "out.tif"):
            assert run(["decompress", str(tmp_path / f"{kind}.obv"), "-o", str(tmp_path / name), "-f"]) == 0
            with Image.open(tmp_path / name) as after:
                after.load()
            tags = after.getexif()
            assert after.info["icc_profile"] == icc, (kind, name)
            assert tags[0x010E] == "a tower" and tags.get_ifd(0x8825)[1] == "N"
            assert float(tags.get_ifd(0x8769)[0x829A]) == 0.5
            if name == "out.tif":  # Pillow turns a TIFF when it reads it
                assert after.size == (HEIGHT, WIDTH)
            else:
                assert tags[0x0112] == 6 and after.size == (WIDTH, HEIGHT)


def test_a_tiff_keeps_its_tags_but_not_the_layout_of_its_pixels(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010E] = "a tower"
    data = stored(Image.fromarray(COLOUR), "TIFF", exif=tags, compression="tiff_lzw")
    after = through(tmp_path, data, "out.tif")
    assert after.getexif()[0x010E] == "a tower" and after.size == (WIDTH, HEIGHT)
    assert dict(through(tmp_path, data).getexif()) == {0x010E: "a tower"}


def test_the_command_line_tells_of_conversions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / f"{name}.jpg")
    assert run(["compress", str(tmp_path)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" is ")[2] for line in told] == ["CMYK: converted to RGB"] * 2
    assert all(line.startswith("warning: ") for line in told)


# -- what is written --------------------------------------------------------------------------------------


def test_writing() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a tower"
    full = Photo(COLOUR, None, b"", exif.tobytes())
    with pytest.warns(ConversionWarning, match="BMP holds no EXIF data: left out"):
        write_photo(full, "x.bmp")
    assert np.array_equal(np.load(io.BytesIO(write_photo(full, "x.NPY"))), COLOUR)
    assert photo(write_photo(full, "x.png")).exif
    for target, words in (
        ("x.jpg", "alpha"),
        ("x", "without suffix"),
        ("x.xyz", "xyz"),
        ("x.ppm", "use .png"),
    ):
        with pytest.raises(OutputError, match=words):
            write_photo(Photo(GRAY, ALPHA), target)
    assert photo_of(full) is full
