"""What users pass as an image, in files and in Python: read as it is, or refused with what to do."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

import obverse
from obverse.cli import run
from obverse.container import Limits
from obverse.data.conversion import ConversionWarning
from obverse.data.images import photo_of, read_photo
from obverse.errors import InputError, LimitError, UnsupportedInputError
from tests.conftest import smooth_photo
from tests.data.picture_files import stored

COLOUR, GRAY = smooth_photo(24, 32), smooth_photo(24, 32, channels=1)


# -- arrays and tensors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_channels_first_are_refused_with_the_transpose(exact: bool) -> None:
    for data in (COLOUR.transpose(2, 0, 1), torch.from_numpy(COLOUR).permute(2, 0, 1), GRAY[None]):
        with pytest.raises(
            UnsupportedInputError, match=r"channels first.*transpose\(1, 2, 0\).*permute\(1, 2, 0\)"
        ):
            photo_of(data, exact=exact)
    three = np.zeros((3, 5, 3), np.uint8)  # three rows of colour
    assert photo_of(three, exact=exact).size == (3, 5)


def test_tensors_and_views_are_images() -> None:
    tensor = torch.from_numpy(COLOUR)
    for same in (
        tensor,
        tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        COLOUR[::-1][::-1],
        COLOUR.tolist(),
    ):
        same = np.array(same, np.uint8) if isinstance(same, list) else same
        assert np.array_equal(photo_of(same).pixels, COLOUR) and photo_of(same).pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.ma.masked_array(GRAY, GRAY > 9), "masked.*filled"),
        (torch.from_numpy(GRAY).to_sparse(), "to_dense"),
        (torch.empty(4, 4, dtype=torch.uint8, device="meta"), "meta device"),
        (torch.rand(4, 4, requires_grad=True), "dtype float32"),
        (torch.rand(4, 4).bfloat16(), "dtype float32"),
        (GRAY > 9, "dtype bool"),
        (GRAY.astype(np.longlong), "dtype int64"),
        (GRAY.astype(object), "dtype object"),
        ("text", "dtype <U4"),
        (None, "dtype object"),
        ([[1, 2], [3]], "no array of one shape"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_no_image(data: object, words: str, exact: bool) -> None:
    with pytest.raises(InputError, match=words):
        photo_of(data, exact=exact)


def test_pillow_images_that_cannot_be_read_any_more(tmp_path: Path) -> None:
    closed = Image.open(io.BytesIO(stored(Image.fromarray(COLOUR))))
    closed.close()
    cut = Image.open(io.BytesIO(stored(Image.fromarray(COLOUR), "BMP")[:-500]))  # lazy: not read as yet
    (tmp_path / "a.png").write_bytes(stored(Image.fromarray(COLOUR)))
    with Image.open(tmp_path / "a.png") as left:
        pass
    for image in (closed, cut, left):
        with pytest.raises(InputError, match=r"^the image cannot be read: "):
            obverse.compress(image)


# -- files as paths, bytes and open files ---------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_a_file_is_a_path_its_bytes_or_itself(codec: str, tmp_path: Path) -> None:
    class Somewhere:
        def __fspath__(self) -> str:
            return str(path)

    path, data = tmp_path / "a.png", stored(Image.fromarray(COLOUR))
    path.write_bytes(data)
    wanted = obverse.compress(path, codec)
    for given in (str(path), Somewhere(), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert obverse.compress(given, codec) == wanted
    with path.open("rb") as file:
        assert obverse.compress(file, codec) == wanted
    (tmp_path / "a.obv").write_bytes(wanted)
    pixels = obverse.decompress(wanted)
    for given in (
        tmp_path / "a.obv",
        str(tmp_path / "a.obv"),
        os.fspath(tmp_path / "a.obv"),
        io.BytesIO(wanted),
    ):
        assert np.array_equal(obverse.decompress(given), pixels)


def test_a_file_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match=r"^the data is not an image of a known format"):
        obverse.compress(b"text")
    with pytest.raises(InputError, match="the data is empty"):
        obverse.compress(b"")
    with open(__file__) as text, pytest.raises(InputError, match="mode 'rb'"):
        obverse.compress(text)


# -- files that Pillow reads in part, or not at all ---------------------------------------------------------------


def frames() -> list[Image.Image]:
    return [Image.fromarray(smooth_photo(24, 32, seed)) for seed in range(3)]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO", "ICO"])
def test_frames_and_pages_are_one_image_with_a_word_or_refused(kind: str) -> None:
    first, *more = frames()
    if kind == "ICO":
        data = stored(first, kind, sizes=[(8, 8), (16, 16)])
    else:
        data = stored(first, kind, save_all=True, append_images=more)
    count = 2 if kind == "ICO" else 3
    with pytest.raises(
        UnsupportedInputError, match=rf"{count} frames.*one image.*file of its own.*lossy codec"
    ):
        read_photo(io.BytesIO(data), exact=True)
    with pytest.raises(UnsupportedInputError, match=f"{count} frames"):
        photo_of(Image.open(io.BytesIO(data)), exact=True)
    with pytest.warns(
        ConversionWarning, match=f"{count} frames: the first is coded, the others are left out"
    ):
        read_photo(io.BytesIO(data))


def test_the_frame_that_a_pillow_image_shows_is_coded() -> None:
    first, *more = frames()
    image = Image.open(io.BytesIO(stored(first, "TIFF", save_all=True, append_images=more)))
    image.seek(2)
    with pytest.warns(ConversionWarning, match="3 frames: number 3 is coded"):
        assert np.array_equal(photo_of(image).pixels, np.asarray(more[1]))
    assert np.array_equal(photo_of(image.copy(), exact=True).pixels, np.asarray(more[1]))


@pytest.mark.parametrize("most", [1, 3, 15, 85, 255, 257, 21845, 65535])
def test_a_largest_value_that_divides_the_range_is_kept(most: int) -> None:
    wide = most > 255
    samples = np.array([0, 1, most], ">u2" if wide else np.uint8)
    read = read_photo(io.BytesIO(b"P5 3 1 %d\n" % most + samples.tobytes()), exact=True)
    scale = (65535 if wide else 255) // most
    assert read.pixels.tolist() == [[0, scale, most * scale]]


@pytest.mark.parametrize("most", [2, 100, 254, 256, 1000, 4095])
def test_a_largest_value_that_would_be_stretched_unevenly_is_refused(most: int) -> None:
    data = b"P5 2 1 %d\n" % most + bytes(4 if most > 255 else 2)
    with pytest.raises(
        UnsupportedInputError, match=rf"samples from 0 to {most}, which would come back stretched"
    ):
        read_photo(io.BytesIO(data), exact=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        assert read_photo(io.BytesIO(data)).size == (1, 2)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
def test_heic_names_the_plugin(brand: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(99))
    assert run(["compress", str(path)]) == UnsupportedInputError.exit_code
    assert (
        "photo.heic is HEIC, which Pillow reads with the plugin pillow-heif only: pip install pillow-heif"
        in (capsys.readouterr().err)
    )


def test_the_plugin_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"\0\0\0\x18ftypheic" + bytes(99)
    opened = Image.open

    def register() -> None:
        shown = Image.fromarray(COLOUR)
        monkeypatch.setattr(Image, "open", lambda file: shown if file.read(12) == data[:12] else opened(file))

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    assert np.array_equal(read_photo(io.BytesIO(data)).pixels, COLOUR)


def test_bits_that_a_plugin_cuts_are_told_or_refused() -> None:
    """pillow-heif says how many there were, pillow-jxl-plugin does not."""
    image = Image.fromarray(COLOUR)
    image.format, image.info = "HEIF", {"bit_depth": 10}
    with pytest.warns(ConversionWarning, match="10 bits a channel: coded with 8"):
        photo_of(image)
    with pytest.raises(UnsupportedInputError, match="10 bits a channel"):
        photo_of(image, exact=True)
    image.info = {"bit_depth": 8}
    assert np.array_equal(photo_of(image, exact=True).pixels, COLOUR)
    image.format = "JXL"
    assert np.array_equal(photo_of(image).pixels, COLOUR)
    with pytest.raises(UnsupportedInputError, match="JPEG XL"):
        photo_of(image, exact=True)


def test_jpeg_xl_names_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    for front in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"):
        with pytest.raises(UnsupportedInputError, match=r"JPEG XL.*pip install pillow-jxl-plugin"):
            read_photo(io.BytesIO(front + bytes(50)))


def dds_of(format: bytes) -> bytes:
    header = b"DDS " + np.array([124, 0x1007, 4, 4, 0, 0, 0, *[0] * 11, 32, 4], "<u4").tobytes() + format
    return header.ljust(128, b"\0") + bytes(64)


@pytest.mark.parametrize(
    "data",
    [
        dds_of(b"DXT9"),
        b"BLP2" + bytes(range(200)),
        b"BLP1" + bytes(2000),
        b"\0\0\0\x1cftypavif" + bytes(200),
        stored(Image.fromarray(COLOUR), "AVIF")[:-40],
        stored(Image.fromarray(COLOUR), "JPEG2000")[:-200],
        b"P5 99999999 99999999 255\n",
        b"qoif" + bytes(40),
        b"8BPS" + bytes(99),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["DDS", "BLP2", "BLP1", "no AVIF", "AVIF", "JPEG2000", "PGM", "QOI", "PSD", "EPS"],
)
def test_whatever_pillow_raises_is_one_sentence(data: bytes) -> None:
    for exact in (False, True):
        with pytest.raises(obverse.ObverseError) as told:
            read_photo(io.BytesIO(data), exact)
        assert isinstance(told.value, InputError | obverse.errors.LimitError) and "\n" not in str(told.value)


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_what_takes_more_than_the_limit_is_not_decoded(codec, monkeypatch, tmp_path):
    """A file of 3 kB may hold 9,000 x 9,000 pixels: its header says so."""
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(path)
    decoded = []
    load = PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", lambda self: (decoded.append(self.size), load(self))[1])
    with pytest.raises(LimitError, match=r"large.png: this takes 360,000 bytes of memory"):
        obverse.compress(path, codec=codec, limits=Limits(memory=359_999))
    with pytest.raises(LimitError, match="120,000 pixels"):
        obverse.compress(path.read_bytes(), codec=codec, limits=Limits(pixels=119_999))
    with Image.open(path) as image, pytest.raises(LimitError):
        obverse.compress(image, codec=codec, limits=Limits(memory=359_999))
    assert run(["compress", str(path), "--memory", "300k"]) == LimitError.exit_code
    assert decoded == []
    with pytest.raises(LimitError):  # what is enough for the pixels alone is left to the codec
        obverse.compress(path, codec=codec, limits=Limits(memory=360_000))
    assert (400, 300) in decoded
    assert obverse.compress(path, codec=codec, limits=Limits.unlimited())
