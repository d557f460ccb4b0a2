"""Image files as they are written: readable, and exact where the format can be, whatever belongs to the photo."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from obverse.data import image_writing
from obverse.data.conversion import ConversionWarning
from obverse.data.image_writing import over_background, write_photo
from obverse.data.images import Photo, read_photo
from obverse.errors import OptionError, OutputError
from tests.conftest import smooth_photo

COLOUR, GRAY = smooth_photo(24, 32), smooth_photo(24, 32, channels=1)
ALPHA = np.ascontiguousarray(GRAY[::-1])
EXACT = ("png", "tif", "webp", "bmp", "ppm", "tga", "jp2", "pcx", "sgi", "dds")
LOSSY = ("jpg", "avif", "gif")


def exif_of(**more: object) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a tower"
    for tag, value in more.items():
        exif[int(tag[1:])] = value
    exif.get_ifd(0x8769)[0x829A] = 0.5
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


# of a photo that was larger, and of other samples, before it was what it is
LAYOUT = exif_of(
    _254=1, _256=9999, _257=7, _258=(16, 16, 16), _259=7, _262=0, _266=2, _273=8, _277=1, _278=1, _279=9, _284=2,
    _317=2, _320=(1, 2, 3), _322=16, _323=16, _324=8, _325=9, _330=8, _338=1, _339=2, _347=b"tables",
    _529=1.0, _530=(4, 1), _50706=b"\1\4\0\0",
)  # fmt: skip


def read(data: bytes, exact: bool = True) -> Photo:
    return read_photo(io.BytesIO(data), exact)


SUFFIXES = {"JPEG 2000": "jp2", "TIFF": "tif"}


def _kept_as_documented() -> list[tuple[str, list[str]]]:
    """(format, the words of its row) of the table in docs/how-to/image-files.md."""
    page = (Path(__file__).parents[2] / "docs/how-to/image-files.md").read_text("utf-8")
    rows = page.split("| written as |")[1].split("\n\n")[0].splitlines()[2:]
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [(name, words) for names, *words in found for name in names.split(", ")]


@pytest.mark.parametrize(("name", "words"), _kept_as_documented())
def test_a_format_keeps_what_the_page_says(name: str, words: list[str]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    texts = {"Comment": "hello", "Author": "me"}
    photo = Photo(COLOUR, icc=profile, exif=exif_of(), xmp=b"<x:xmpmeta/>", dpi=(300.0, 300.0), text=texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = write_photo(photo, f"x.{SUFFIXES.get(name, name.lower())}")
    with Image.open(io.BytesIO(data)) as image:
        dpi = image.info.get("dpi", (0, 0))
    back = read_photo(io.BytesIO(data))
    kept = [
        "yes" if value else "no" for value in (back.icc, back.exif, back.xmp, round(float(dpi[0])) == 300)
    ]
    told = {0: "no", 1: "the comment", 2: "all"}[len(back.text)]
    assert [*kept, told] == words


@pytest.mark.parametrize("suffix", EXACT + LOSSY)
@pytest.mark.parametrize("exact", [False, True])
def test_layout_tags_of_another_file_are_left_out_of_every_format(suffix: str, exact: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        data = write_photo(Photo(COLOUR, None, b"", LAYOUT), f"x.{suffix}", exact)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        tags = dict(image.getexif())
        assert image.size == (32, 24)
    if suffix in ("png", "tif", "jpg", "webp", "avif"):
        assert tags[0x010E] == "a tower" and image.getexif().get_ifd(0x8825)[1] == "N"
    if suffix != "tif":  # whose own they are
        assert not set(tags) & {
            254,
            256,
            257,
            258,
            259,
            262,
            266,
            273,
            277,
            278,
            279,
            284,
            317,
            330,
            338,
            339,
            347,
        }
    if suffix in EXACT and (exact or suffix != "webp"):
        assert np.array_equal(read(data).pixels, COLOUR)


@pytest.mark.parametrize("suffix", EXACT)
def test_every_exact_format_gives_back_what_it_is_given(suffix: str) -> None:
    for photo in (Photo(COLOUR), Photo(GRAY), Photo(COLOUR, ALPHA), Photo(GRAY, ALPHA)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                data = write_photo(photo, f"x.{suffix}", exact=True)
        except OutputError as error:  # no alpha, or none with gray
            assert photo.alpha is not None and "use .png" in str(error)
            continue
        again = read(data)
        colours = again.pixels[:, :, 0] if photo.pixels.ndim == 2 and again.pixels.ndim == 3 else again.pixels
        assert np.array_equal(colours, photo.pixels)
        assert (again.alpha is None) == (photo.alpha is None)
        assert photo.alpha is None or np.array_equal(again.alpha, photo.alpha)


def test_a_writer_that_changes_pixels_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is read back and compared, whatever the reason that it differs."""
    save = Image.Image.save

    def wrong(self: Image.Image, fp: object, format: str, **options: object) -> None:
        save(self.transpose(Image.Transpose.FLIP_LEFT_RIGHT), fp, format, **options)

    monkeypatch.setattr(Image.Image, "save", wrong)
    for suffix in EXACT:
        with pytest.raises(OutputError, match=r"cannot be written as \w+: it would not come back as it is"):
            write_photo(Photo(COLOUR), f"x.{suffix}", exact=True)
    with pytest.raises(OutputError, match="not come back"):  # also where the codec was lossy
        write_photo(Photo(COLOUR), "x.tif")


def test_metadata_that_spoil_the_pixels_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def wrong(self: Image.Image, fp: object, format: str, **options: object) -> None:
        save(self.rotate(180) if "exif" in options else self, fp, format, **options)

    monkeypatch.setattr(Image.Image, "save", wrong)
    photo = Photo(COLOUR, None, b"profile", exif_of(), b"<xmp/>")
    with pytest.warns(ConversionWarning, match="EXIF data left out, as PNG does not take them"):
        again = read(write_photo(photo, "x.png", exact=True))
    assert np.array_equal(again.pixels, COLOUR) and (again.icc, again.xmp) == (b"profile", b"<xmp/>")


@pytest.mark.parametrize("suffix", ["tif", "avif", "jpg", "png", "webp", "jp2"])
def test_no_damage_of_exif_data_stops_a_writer(suffix: str) -> None:
    """They were kept by earlier versions, whatever they were."""
    whole = exif_of(_272="camera", _282=300.0, _274=6)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's as well
        for _ in range(40 if suffix == "avif" else 150):
            raw = bytearray(whole[: rng.integers(8, len(whole) + 1)])
            for _ in range(rng.integers(1, 5)):
                raw[rng.integers(6, len(raw))] = rng.integers(256)
            data = write_photo(Photo(COLOUR, None, b"", bytes(raw)), f"x.{suffix}")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                assert sorted(image.size) == [24, 32]


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_tiff_that_pillow_turns_is_compared_turned(turn: int) -> None:
    photo = Photo(COLOUR, None, b"", exif_of(_274=turn))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = write_photo(photo, "x.tif", exact=True)
    assert read(data).size == ((32, 24) if turn > 4 else (24, 32))


@pytest.mark.parametrize(
    ("suffix", "side"),
    [
        ("webp", 16384),
        ("jpg", 65501),
        ("gif", 65536),
        ("tga", 65536),
        ("avif", 32769),
        ("pcx", 65535),
        ("sgi", 65536),
    ],
)
def test_too_many_pixels_for_a_format(suffix: str, side: int) -> None:
    """And one less is written."""
    for shape in ((1, side, 3), (side, 1, 3)):
        with pytest.raises(OutputError, match=rf"at most {side - 1:,} pixels a side.*use .png"):
            write_photo(Photo(np.zeros(shape, np.uint8)), f"x.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        data = write_photo(Photo(np.zeros((1, side - 1, 3), np.uint8)), f"x.{suffix}", exact=True)
    assert read(data, False).size == (1, side - 1)


def test_formats_that_make_other_sizes_are_refused() -> None:
    for suffix in ("ico", "icns"):
        with pytest.raises(OutputError, match=r"cannot be written as ICN?[OS]+: .* pixels of it; use .png"):
            write_photo(Photo(COLOUR), f"x.{suffix}")


def test_formats_that_cannot_write_at_all_say_so() -> None:
    for suffix, words in (("blp", "BLP"), ("xbm", "XBM"), ("grib", "save handler"), ("qoi", "mode")):
        with pytest.raises(OutputError, match=rf"x\.{suffix} cannot be written as .*{words}"):
            write_photo(Photo(GRAY), f"x.{suffix}")


def test_pillows_limit_on_pixels_is_not_met_when_reading_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert write_photo(Photo(COLOUR), "x.png", exact=True)
    assert Image.MAX_IMAGE_PIXELS == 100


# -- what a format does not hold -----------------------------------------------------------------------------------


def told(photo: Photo, target: str, exact: bool = True) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        write_photo(photo, target, exact)
    return [str(each.message) for each in found]


def test_what_is_left_out_is_named() -> None:
    full = Photo(
        COLOUR, None, b"profile", exif_of(), b"<xmp/>", (300.0, 300.0), {"Title": "a", "Comment": "b"}
    )
    assert told(full, "x.png") == []
    assert told(full, "x.tif") == ["x.tif: TIFF holds no texts: left out"]
    assert told(full, "x.webp") == ["x.webp: WEBP holds no resolution and no texts: left out"]
    assert told(full, "x.jpg", False) == ["x.jpg: JPEG holds no texts but a comment, left out: Title"]
    assert told(full, "x.ppm") == [
        "x.ppm: PPM holds no colour profile and no EXIF data and no XMP data and no resolution and no texts: left out"
    ]


def test_what_is_too_long_for_jpeg_is_left_out_alone() -> None:
    full = Photo(COLOUR, None, b"profile", exif_of(), b"<xmp>" + b" " * 70000, None, {"Comment": "c" * 70000})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        again = read(write_photo(full, "x.jpg"))
    assert (again.icc, again.xmp, again.text) == (b"profile", b"", {}) and again.exif
    assert [str(each.message).partition(",")[0] for each in found] == [
        "x.jpg: XMP data left out", "x.jpg: texts left out",
    ]  # fmt: skip


def test_metadata_too_large_for_readers_of_png_are_left_out_alone() -> None:
    """What is compressed in a PNG file is read up to 1 MiB, a profile always is; a text need not be."""
    rng = np.random.default_rng(1)
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()) + rng.bytes(2**20)
    profile[:4] = len(profile).to_bytes(4, "big")
    texts = {"Title": "a" * 2_000, "Comment": "b" * (3 << 20), "Author": "\u044f" * (1 << 20)}
    photo = Photo(COLOUR, icc=bytes(profile), text=texts)
    with pytest.warns(ConversionWarning) as said:
        data = write_photo(photo, "x.png", exact=True)
    assert [str(one.message)[:59] for one in said] == [
        "x.png: colour profile left out, as PNG does not take them: "
    ]
    with Image.open(io.BytesIO(data)) as image:  # as anybody opens it
        image.load()
        assert image.text == texts
    assert np.array_equal(read(data).pixels, COLOUR)
    assert len(write_photo(Photo(COLOUR, text={"Title": "a" * 10**6}), "x.png")) < 10_000


def test_xmp_that_is_no_utf8_does_not_go_into_png() -> None:
    photo = Photo(COLOUR, xmp="<xmp>ü</xmp>".encode("utf-16"))
    assert "XMP data left out" in told(photo, "x.png")[0]
    assert read(write_photo(photo, "x.webp", exact=True)).xmp == photo.xmp


def test_a_profile_of_gray_stays_with_gray() -> None:
    """WebP and AVIF have no gray, and a profile of gray does not fit to RGB."""
    gray = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    gray[16:20] = b"GRAY"
    for suffix in ("webp", "avif"):
        found = told(Photo(GRAY, None, bytes(gray)), f"x.{suffix}", False)
        assert found == [
            f"x.{suffix}: colour profile left out: it is of gray, and {suffix.upper()} has RGB only"
        ]
        with Image.open(
            io.BytesIO(image_writing.write_photo(Photo(COLOUR, None, b"RGB"), f"x.{suffix}"))
        ) as image:
            assert image.info["icc_profile"] == b"RGB"
    for suffix in ("png", "tif", "jpg"):
        assert told(Photo(GRAY, None, bytes(gray)), f"x.{suffix}", False) == []


# -- backgrounds -----------------------------------------------------------------------------------------------------


def test_a_gif_of_what_is_half_seen_is_not_written() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    seen = np.array([[0, 255, 255, 0]] * 4, np.uint8)
    again = read_photo(io.BytesIO(write_photo(Photo(pixels, seen), "x.gif")))
    assert again.alpha is not None and np.array_equal(again.alpha, seen)
    with pytest.raises(OutputError, match="half seen; name what to put it on with --background"):
        write_photo(Photo(pixels, seen // 2), "x.gif")


def test_alpha_is_put_on_a_background() -> None:
    pixels = np.array([[[200, 100, 0]] * 3], np.uint8)
    alpha = np.array([[255, 0, 51]], np.uint8)
    on = over_background(Photo(pixels, alpha, b"icc"), "#ff8000")
    assert on.alpha is None and on.icc == b"icc"
    assert on.pixels.tolist() == [[[200, 100, 0], [255, 128, 0], [244, 122, 0]]]
    assert read(write_photo(on, "x.png", exact=True)).pixels.tolist() == on.pixels.tolist()


def test_gray_stays_gray_on_gray_and_becomes_colour_on_colour() -> None:
    photo = Photo(np.array([[100, 100]], np.uint8), np.array([[255, 0]], np.uint8))
    assert over_background(photo, "white").pixels.tolist() == [[100, 255]]
    assert over_background(photo, "red").pixels.tolist() == [[[100, 100, 100], [255, 0, 0]]]
    assert over_background(Photo(GRAY), "red").pixels is GRAY


def test_16_bits_of_alpha_are_put_on_16_bits() -> None:
    photo = Photo(np.array([[1000, 1000]], np.uint16), np.array([[65535, 0]], np.uint16))
    on = over_background(photo, "#808080")
    assert on.pixels.dtype == np.uint16 and on.pixels.tolist() == [[1000, 128 * 257]]


def test_no_colour() -> None:
    with pytest.raises(OptionError, match="'whit' is no colour"):
        over_background(Photo(COLOUR, ALPHA), "whit")
