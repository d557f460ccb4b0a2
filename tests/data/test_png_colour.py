"""What a PNG file says of its colours without a profile: kept for PNG, told or needless for other formats."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from obverse.container import describe
from obverse.data.conversion import ConversionWarning
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo, photo_of, read_photo
from obverse.data.png_colour import colour_of_file, is_srgb, significant_bits
from tests.conftest import smooth_photo
from tests.data.picture_files import chunk, stored, with_chunks

PIXELS = smooth_photo(24, 32)
PNG = stored(Image.fromarray(PIXELS))
GAMMA, SRGB_GAMMA = struct.pack(">I", 100_000), struct.pack(">I", 45_455)
SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
PQ = bytes([9, 16, 0, 1])
ALL = {"cICP": PQ, "cHRM": P3, "gAMA": GAMMA, "sBIT": b"\5\6\5"}


def with_colour(png: bytes, colour: dict[str, bytes]) -> bytes:
    return with_chunks(png, [chunk(name.encode(), body) for name, body in colour.items()])


def read(data: bytes, exact: bool = False) -> Photo:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_photo(io.BytesIO(data), exact)


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_they_come_back_in_a_png(codec: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(with_colour(PNG, ALL))
    assert run(["compress", "--codec", codec, str(tmp_path / "a.png")]) == 0
    facts = describe(tmp_path / "a.obv")
    assert facts["version"] == 2 and "colour" in facts["sections"]
    assert run(["decompress", str(tmp_path / "a.obv"), "-o", str(tmp_path / "b.png")]) == 0
    found = colour_of_file((tmp_path / "b.png").read_bytes())
    # which bits are significant is of samples that are kept
    assert found == (ALL if codec == "image-lossless" else {n: b for n, b in ALL.items() if n != "sBIT"})
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["gamma"] == 1 and image.info["chromaticity"][2] == pytest.approx(0.68)


def test_16_bits_keep_them(tmp_path: Path) -> None:
    deep = Photo(PIXELS.astype(np.uint16) * 257, colour={"gAMA": GAMMA, "sBIT": bytes([12, 12, 12])})
    data = write_photo(deep, "x.png", exact=True)
    again = read(data, exact=True)
    assert again.colour == deep.colour and np.array_equal(again.pixels, deep.pixels)


def test_what_has_no_meaning_is_not_kept() -> None:
    """Files stay of version 1, and small."""
    assert read(with_colour(PNG, {"sRGB": b"\0", "gAMA": SRGB_GAMMA, "cHRM": SRGB})).colour == {}
    profile = stored(Image.fromarray(PIXELS), icc_profile=b"of the colours")
    assert read(with_colour(profile, ALL)).colour == {"cICP": PQ}
    assert read(PNG).colour == {} and read(stored(Image.fromarray(PIXELS), "JPEG")).colour == {}
    assert read(with_colour(PNG, {"gAMA": b"12345", "sBIT": b""}), exact=True).colour == {}
    with pytest.warns(ConversionWarning, match="metadata .* are left out: they are damaged"):
        assert read_photo(io.BytesIO(with_colour(PNG, ALL | {"cHRM": b"1"}))).colour == {}


def test_of_a_pillow_image_what_pillow_tells(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(with_colour(PNG, ALL))) as image:
        assert photo_of(image).colour == {"cHRM": P3, "gAMA": GAMMA}
    with Image.open(io.BytesIO(with_colour(PNG, {"sRGB": b"\0", "gAMA": SRGB_GAMMA}))) as image:
        assert photo_of(image).colour == {}
    image = Image.fromarray(PIXELS)
    image.info = {"gamma": "odd", "chromaticity": (1, 2)}
    assert photo_of(image).colour == {}


@pytest.mark.parametrize("name", ["x.jpg", "x.webp", "x.tif", "x.avif", "x.bmp"])
def test_other_formats_say_that_they_have_no_place_for_them(name: str) -> None:
    """Unless they say what is taken for granted."""
    for colour in ({"gAMA": GAMMA}, {"cHRM": P3}, {"cICP": PQ}):
        with pytest.warns(ConversionWarning, match="holds no gamma and chromaticities: left out"):
            write_photo(Photo(PIXELS, colour=colour), name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_photo(Photo(PIXELS, colour={"gAMA": SRGB_GAMMA, "cHRM": SRGB, "sBIT": b"\5\5\5"}), name)


def test_what_is_srgb() -> None:
    near = struct.pack(">8I", 31269, 32900, 63999, 33001, 30000, 60000, 15000, 5999)
    assert is_srgb({}) and is_srgb({"gAMA": SRGB_GAMMA}) and is_srgb({"cHRM": near})
    assert is_srgb({"cICP": bytes([1, 13, 0, 1])})
    for other in ({"gAMA": GAMMA}, {"cHRM": P3}, {"cICP": PQ}, {"gAMA": SRGB_GAMMA, "cHRM": P3}):
        assert not is_srgb(other)


def test_significant_bits_have_one_byte_a_channel() -> None:
    """Also where an alpha channel came, or went onto a background."""
    assert significant_bits(b"\5", 1, 8) == b"\5" and significant_bits(b"\5", 2, 16) == b"\5\x10"
    assert (
        significant_bits(b"\5\6\7", 4, 8) == b"\5\6\7\x08"
        and significant_bits(b"\5\6\7\3", 3, 8) == b"\5\6\7"
    )
    assert significant_bits(b"\5\3", 4, 8) == b"\5\5\5\3" and significant_bits(b"\5\6\4", 1, 8) == b"\6"
    for alpha in (None, np.full((24, 32), 7, np.uint8)):
        for pixels in (PIXELS, PIXELS[:, :, 0]):
            for bits in (b"\5", b"\5\5", b"\5\5\5", b"\5\5\5\5"):
                photo = Photo(np.ascontiguousarray(pixels), alpha, colour={"sBIT": bits})
                data = write_photo(photo, "x.png", exact=True)
                channels = (1 if pixels.ndim == 2 else 3) + (alpha is not None)
                assert len(colour_of_file(data)["sBIT"]) == channels
