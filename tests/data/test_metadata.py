"""Colour profile, EXIF, XMP, resolution and texts: kept, and never a reason to refuse a photo."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from obverse.cli import run
from obverse.container import describe
from obverse.data import exif as exif_data
from obverse.data.conversion import ConversionWarning
from obverse.data.images import Photo, photo_of, read_photo
from tests.conftest import smooth_photo
from tests.data.picture_files import chunk, stored, with_chunks, with_segments

COLOUR = smooth_photo(24, 32)
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a>\xc3\xbc</a></x:xmpmeta>"


def image(array: np.ndarray = COLOUR) -> Image.Image:
    return Image.fromarray(array)


def tower() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "a tower"
    return exif


def read(data: bytes, exact: bool = True) -> Photo:
    return read_photo(io.BytesIO(data), exact)


def broken_avif() -> bytes:
    whole = stored(image(), "AVIF", exif=tower().tobytes(), quality=90)
    assert whole.count(b"MM\0*") == 1
    return whole.replace(b"MM\0*", b"MX\0*")


PNG, JPEG = stored(image()), stored(image(), "JPEG")
DAMAGED = {
    "odd raw profile": with_chunks(PNG, [chunk(b"tEXt", b"Raw profile type exif\0odd")]),
    "raw profile of no number": with_chunks(PNG, [chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 2\nxyz")]),
    "raw profile of nothing": with_chunks(
        PNG, [chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\n00000000")]
    ),
    "short EXIF": with_chunks(PNG, [chunk(b"eXIf", b"MM")]),
    "EXIF without a directory": with_chunks(PNG, [chunk(b"eXIf", b"MM\0*\0\0\0\x08")]),
    "EXIF of another kind": with_chunks(PNG, [chunk(b"eXIf", b"GIF89a and more")]),
    "profile that does not unpack": with_chunks(PNG, [chunk(b"iCCP", b"name\0\0not zlib")]),
    "profile with a wrong checksum": with_chunks(PNG, [chunk(b"iCCP", b"n\0\0" + zlib.compress(b"p"), True)]),
    "profile packed otherwise": with_chunks(PNG, [chunk(b"iCCP", b"name\0\1" + zlib.compress(b"p"))]),
    "text with a wrong checksum": with_chunks(PNG, [chunk(b"tEXt", b"Title\0a", True)]),
    "text too long": with_chunks(PNG, [chunk(b"zTXt", b"T\0\0" + zlib.compress(bytes(2**24)))]),
    "resolution cut short": with_chunks(PNG, [chunk(b"pHYs", b"\0\0")]),
    "JPEG, short EXIF": with_segments(JPEG, [(0xE1, b"Exif\0\0MM")]),
    "JPEG, EXIF of another kind": with_segments(JPEG, [(0xE1, b"Exif\0\0and so on, and on")]),
    "JPEG, EXIF beyond its end": with_segments(JPEG, [(0xE1, b"Exif\0\0II*\0\xff\xff\0\0\1\0")]),
    "JPEG, profile in parts that lack one": with_segments(JPEG, [(0xE2, b"ICC_PROFILE\0\1\2part")]),
    "WebP": stored(image(), "WEBP", lossless=True, exif=b"Exif\0\0no EXIF"),
    "AVIF": broken_avif(),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_damaged_metadata_are_left_out_with_a_word(name: str) -> None:
    for exact in (False, True):
        with pytest.warns(ConversionWarning, match=r"^the data: its .* left out"):
            photo = read(DAMAGED[name], exact)
        assert photo.exif == photo.icc == b"" and photo.text == {}
        if not name.startswith(("JPEG", "AVIF")):
            assert np.array_equal(photo.pixels, COLOUR)


@pytest.mark.parametrize(
    "name", ["odd raw profile", "JPEG, short EXIF", "AVIF", "profile with a wrong checksum"]
)
def test_the_command_line_codes_such_photos(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.img").write_bytes(DAMAGED[name])
    assert run(["compress", "--lossless", str(tmp_path / "a.img")]) == 0
    assert re.search(r"^warning: .*a\.img.* left out", capsys.readouterr().err, re.M)
    assert (tmp_path / "a.obv").stat().st_size > 100


def test_any_damage_of_exif_data_leaves_the_photo() -> None:
    """Whatever the bytes are: a photo with EXIF data that every writer takes, or without."""
    exif = tower()
    exif[0x0110], exif[0x011A], exif[0x0112] = "camera", 300.0, 6
    exif.get_ifd(0x8769)[0x829A] = 0.5
    exif.get_ifd(0x8825)[1] = "N"
    whole = exif.tobytes()
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        for _ in range(150):
            raw = bytearray(whole[: rng.integers(8, len(whole) + 1)])
            for _ in range(rng.integers(1, 4)):
                raw[rng.integers(6, len(raw))] = rng.integers(256)
            photo = read(with_chunks(PNG, [chunk(b"eXIf", bytes(raw[6:]))]))
            assert np.array_equal(photo.pixels, COLOUR)


# -- what is kept ---------------------------------------------------------------------------------------------


def full_png() -> bytes:
    info = PngInfo()
    info.add_text("Title", "a tower")
    info.add_itxt("Author", "Žofie ♥")
    info.add_text("Description", "long " * 500, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return stored(image(), pnginfo=info, dpi=(300, 150))


TEXTS = {"Title": "a tower", "Author": "Žofie ♥", "Description": "long " * 500}


def test_xmp_resolution_and_texts_are_read() -> None:
    photo = read(full_png())
    assert photo.xmp == XMP and photo.text == TEXTS and photo.exif == b""
    assert photo.dpi == pytest.approx((300, 150), abs=0.02)
    commented = stored(image(), "JPEG", comment="süß".encode(), dpi=(72, 96), xmp=XMP)
    photo = read(commented)
    assert (photo.text, photo.dpi, photo.xmp) == ({"Comment": "süß"}, (72.0, 96.0), XMP)
    assert read(stored(image(), "JPEG", comment="süß".encode("latin-1"))).text == {"Comment": "süß"}
    gif = stored(image().quantize(8), "GIF", comment=b"drawn")
    assert read(gif).text == {"Comment": "drawn"}
    for kind in ("WEBP", "AVIF", "TIFF"):
        tags = tower()
        tags[700] = XMP
        options = {"exif": tags} if kind == "TIFF" else {"xmp": XMP}
        assert read(stored(image(), kind, **options)).xmp == XMP


def test_a_resolution_is_kept_once_and_never_made_up() -> None:
    exif = tower()
    assert read(stored(image(), "JPEG", exif=exif)).dpi is None  # Pillow says 72
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    assert read(stored(image(), "JPEG", exif=exif)).dpi is None
    assert read(stored(image(), "JPEG", exif=exif, dpi=(300, 300))).dpi is None
    assert read(stored(image(), "JPEG", exif=exif, dpi=(72, 72))).dpi == (72, 72)
    tiff = read(stored(image(), "TIFF", dpi=(300, 200)))
    assert tiff.dpi is None and exif_data.resolution(tiff.exif) == (300, 200)
    assert read(stored(image(), "PCX")).dpi is None and read(stored(image(), "JPEG2000")).text == {}


def test_centimetres_are_inches() -> None:
    exif = tower()
    exif[282], exif[283], exif[296] = 100.0, 50.0, 3
    assert exif_data.resolution(exif.tobytes()) == pytest.approx((254, 127))
    exif[296] = 1
    assert exif_data.resolution(exif.tobytes()) is None


def test_the_tags_of_a_bigtiff_become_exif_data() -> None:
    big = read(stored(image(), "TIFF", exif=tower(), big_tiff=True))
    small = read(stored(image(), "TIFF", exif=tower()))
    assert big.exif == small.exif != b""
    exif_data.directory(big.exif)
    exif = Image.Exif()
    exif.load(big.exif)
    assert dict(exif) == {0x010E: "a tower"}


def test_exif_and_gps_tags_of_a_tiff_are_kept(tmp_path: Path) -> None:
    exif = tower()
    exif.get_ifd(0x8769)[0x829A] = 0.5
    exif.get_ifd(0x8825)[1] = "N"
    (tmp_path / "a.tif").write_bytes(stored(image(), "TIFF", exif=exif.tobytes()))
    for photo in (read_photo(tmp_path / "a.tif"), photo_of(Image.open(tmp_path / "a.tif"))):
        again = Image.Exif()
        again.load(photo.exif)
        assert again[0x010E] == "a tower" and again.get_ifd(0x8825)[1] == "N"
        assert float(again.get_ifd(0x8769)[0x829A]) == 0.5


def test_a_pillow_image_stays_as_it_was() -> None:
    opened = Image.open(io.BytesIO(stored(image(), "TIFF", exif=tower())))
    before = dict(opened.getexif())
    photo_of(opened)
    assert dict(opened.getexif()) == before


# -- EXIF data -------------------------------------------------------------------------------------------------


def test_layout_is_taken_out_in_place() -> None:
    exif = tower()
    exif[256], exif[257], exif[266], exif[277] = 9999, 7, 2, 1
    exif[282] = 300.0
    exif.get_ifd(0x8769)[0x9003] = "2026:11:29 09:00:00"
    raw = exif.tobytes()
    cleaned = exif_data.without_layout(raw)
    assert len(cleaned) == len(raw)
    again = Image.Exif()
    again.load(cleaned)
    assert set(again) == {0x010E, 282, 0x8769}
    assert again[0x010E] == "a tower" and again[282] == 300
    assert again.get_ifd(0x8769) == {0x9003: "2026:11:29 09:00:00"}
    assert exif_data.without_layout(cleaned) == cleaned


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_behind_the_tags_is_found_after_it(order: str) -> None:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHIHH", 256, 3, 1, 640, 0)
    other = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    body = head + struct.pack(order + "H", 2) + entry + other + struct.pack(order + "I", 38) + b"thumbnail"
    cleaned = exif_data.without_layout(exif_data.PREFIX * 2 + body)
    found = exif_data.directory(cleaned)
    assert [entry.tag for entry in found.entries] == [0x0112] and exif_data.orientation(cleaned) == 6
    raw = exif_data.body(cleaned)
    (following,) = struct.unpack_from(order + "I", raw, found.at + 2 + 12)
    assert raw[following:] == b"thumbnail"


# -- through files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_all_of_it_survives_a_file(codec: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(full_png())
    assert run(["compress", "--codec", codec, str(tmp_path / "a.png")]) == 0
    facts = describe(tmp_path / "a.obv")
    assert facts["version"] == 2 and {"xmp", "dpi", "text"} <= set(facts["sections"])
    assert run(["decompress", str(tmp_path / "a.obv"), "-o", str(tmp_path / "b.png")]) == 0
    before, after = read_photo(tmp_path / "a.png"), read_photo(tmp_path / "b.png")
    assert (after.xmp, after.text) == (XMP, TEXTS) and after.dpi == before.dpi
    assert run(["decompress", str(tmp_path / "a.obv"), "-o", str(tmp_path / "b.tif")]) == 0
    tiff = read_photo(tmp_path / "b.tif")
    assert tiff.xmp == XMP and exif_data.resolution(tiff.exif) == pytest.approx((300, 150), abs=0.02)


def test_a_file_of_several_stripes_keeps_them() -> None:
    from obverse.codec import compress
    from obverse.container import read as read_container
    from obverse.registry import open_codec

    noise = np.random.default_rng(0).integers(0, 64, (1100, 1000), np.uint8)
    photo = Photo(noise, None, b"profile", b"", XMP, (300.0, 150.5), {"Title": "noise"})
    container = read_container(compress(photo, "image-lossless"))
    assert container.config[2] == ["icc", "xmp", "dpi", "text"] and container.version == 2
    again = open_codec("image-lossless").decode_photo(container)
    assert (again.icc, again.xmp, again.dpi, again.text) == (photo.icc, photo.xmp, photo.dpi, photo.text)
    assert np.array_equal(again.pixels, noise)


def test_a_file_without_them_is_of_version_1() -> None:
    from obverse.codec import compress

    plain = compress(Photo(COLOUR, None, b"profile", b"Exif\0\0"), "image")
    assert describe(plain)["version"] == 1 and plain[4] == 1
