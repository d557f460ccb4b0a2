"""Metadata as sections of a file: each back as it was, and never trusted."""

from __future__ import annotations

import tracemalloc
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest

import obverse
from obverse.codecs.photo_sections import pack_metadata, unpack_metadata, version_of
from obverse.container import Container, Limits, read, write
from obverse.data.conversion import ConversionWarning
from obverse.data.images import Photo
from obverse.errors import DamagedError, InputError, LimitError, RateTargetError
from tests.conftest import smooth_photo

PIXELS = smooth_photo(24, 32)
COLOUR = {"gAMA": b"\0\0\xb1\x8f", "cHRM": bytes(range(32)), "sBIT": b"\5\6\5", "cICP": b"\x09\x10\0\1"}
FULL = Photo(
    PIXELS,
    None,
    b"icc",
    b"exif",
    b"<xmp/>",
    (72.0, 299.9994),
    {"Title": "Tür ♥", "a": "", "Ω": "\ud800"},
    COLOUR,
)


def test_what_is_packed_is_unpacked() -> None:
    sections = pack_metadata(FULL)
    assert list(sections) == ["icc", "exif", "xmp", "dpi", "text", "colour"] and version_of(sections) == 2
    found = unpack_metadata(sections | {"y": b"of the codec"}, Limits())
    assert found == {
        "icc": b"icc",
        "exif": b"exif",
        "xmp": b"<xmp/>",
        "dpi": (72.0, 299.9994),
        "text": {"Title": "Tür ♥", "a": "", "Ω": "?"},
        "colour": COLOUR,
    }
    for name in COLOUR:
        alone = {name: COLOUR[name]}
        assert unpack_metadata(pack_metadata(Photo(PIXELS, colour=alone)), Limits())["colour"] == alone
    assert zlib.decompress(sections["dpi"]) == b"72 299.9994"


def test_what_is_of_version_1_stays_as_it_was() -> None:
    photo = Photo(PIXELS, None, b"icc", b"exif")
    assert pack_metadata(photo) == {"icc": zlib.compress(b"icc", 9), "exif": zlib.compress(b"exif", 9)}
    assert version_of(pack_metadata(photo)) == 1 and version_of(pack_metadata(Photo(PIXELS))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"dpi": (0.0, 72.0)},
        {"dpi": (float("nan"), 72.0)},
        {"dpi": (72.0,)},
        {"dpi": ("a", "b")},
        {"text": {"a": 1}},
        {"text": {1: "a"}},
        {"xmp": b" " * (2**26 + 1)},
        {"colour": {"gAMA": b"123"}},
        {"colour": {"sBIT": b""}},
        {"colour": {"tRNS": b"1234"}},
        {"colour": {"gAMA": 45455}},
    ],
    ids=str,
)
def test_what_cannot_be_stored_is_refused(change: dict) -> None:
    with pytest.raises(InputError, match=r"dpi are|texts of|xmp of|colour chunks of"):
        pack_metadata(replace(FULL, **change))


HOSTILE = {
    "dpi": [
        b"",
        b"72",
        b"72 72 72",
        b"0 72",
        b"nan 72",
        b"inf 72",
        b"72 -1",
        b"a b",
        "７２ 72".encode(),
        b"1e99 72",
    ],
    "colour": [
        b"",
        b"gAMA",
        b"gAMA123",
        b"gAMA12345",
        b"tRNS1234",
        b"gAMA1234cICP1234",
        b"sBIT",
        b"sBIT12345",
        b"gAMA1234gAMA1234",
    ],
    "text": [
        b"",
        b"[]",
        b'{"a": 1}',
        b'{"a": null}',
        b"{",
        b"\xff",
        b"[" * 100000,
        b'"a"',
        b'{"a": "b",}',
        b'{"a": "b"} x',
        b'{"a": [' + b"[]," * 1000 + b"[]]}",
        b'{"a": {"b": "c"}}',
        b'{"a" "b"}',
        b'{"a": "b" "c": "d"}',
    ],
}


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_sections_are_not_trusted(codec: str) -> None:
    good = read(obverse.compress(FULL, codec))
    opened = obverse.open_codec(codec)
    assert opened.decode_photo(good).dpi == FULL.dpi
    for name, payloads in HOSTILE.items():
        for raw in payloads:
            bad = replace(good, sections=good.sections | {name: zlib.compress(raw)})
            with pytest.raises(DamagedError):
                opened.decode_photo(bad)
    for name in ("xmp", "dpi", "text", "colour"):
        with pytest.raises(DamagedError):
            opened.decode_photo(replace(good, sections=good.sections | {name: b"no zlib"}))
        bomb = zlib.compress(bytes(2**26 + 1))
        with pytest.raises(DamagedError, match="length"):
            opened.decode_photo(replace(good, sections=good.sections | {name: bomb}))


def test_all_sections_together_are_held_to_the_memory_that_there_may_be() -> None:
    million = zlib.compress(bytes(10**6))
    sections = dict.fromkeys(("icc", "exif", "xmp"), million)
    assert len(unpack_metadata(sections, Limits(memory=4 * 10**6))["xmp"]) == 10**6
    with pytest.raises(LimitError, match=r"memory=4000000\)"):
        unpack_metadata(sections, Limits(memory=4 * 10**6 - 1))


@pytest.mark.parametrize("count", [1, 10**4])
def test_texts_are_held_to_the_memory_that_they_become(count: int) -> None:
    texts = {str(number): "x" * (10**6 // count) for number in range(count)}
    sections = pack_metadata(Photo(PIXELS, text=texts))
    assert unpack_metadata(sections, Limits(memory=16 * 10**6))["text"] == texts
    with pytest.raises(LimitError, match="memory="):
        unpack_metadata(sections, Limits(memory=9 * 10**6))


def test_json_of_lists_is_refused_before_it_is_made() -> None:
    nested = zlib.compress(b'{"a":[' + b"[]," * 10**6 + b"[]]}")
    tracemalloc.start()
    with pytest.raises(DamagedError, match="no map of text to text"):
        unpack_metadata({"text": nested}, Limits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 10**6  # json.loads takes more than 60


def test_texts_are_read_however_json_puts_its_gaps() -> None:
    told = b'\n{ "a" :"b\\n\\"{[," ,\t"c":"", "a":"d" } '
    assert unpack_metadata({"text": zlib.compress(told)}, Limits())["text"] == {"a": "d", "c": ""}
    assert unpack_metadata({"text": zlib.compress(b"{}")}, Limits())["text"] == {}


@pytest.mark.parametrize("codec", ["image", "image-lossless"])
def test_version_1_has_no_sections_of_version_2(codec: str) -> None:
    """A reader of version 1 would refuse them, so that a file of version 1 with them was written by nobody."""
    good = read(obverse.compress(FULL, codec))
    assert good.version == 2
    old = Container(good.codec, good.config, good.shape, good.sections, good.model)
    with pytest.raises(DamagedError, match="other sections"):
        obverse.decompress(write(old))


def test_items_of_version_2_are_not_in_a_stream_of_version_1() -> None:
    noise = np.random.default_rng(0).integers(0, 64, (1100, 1000), np.uint8)
    good = read(obverse.compress(Photo(noise, xmp=b"<xmp/>"), "image-lossless"))
    assert good.config[2] == ["xmp"]
    old = Container(good.codec, good.config, good.shape, {}, good.model, items=good.items)
    with pytest.raises(DamagedError, match="other items"):
        obverse.decompress(write(old))


def test_the_resolution_takes_few_bytes() -> None:
    plain, with_dpi = (
        write(read(obverse.compress(p))) for p in (Photo(PIXELS), Photo(PIXELS, dpi=(72.0, 72.0)))
    )
    assert len(with_dpi) - len(plain) <= 24


def test_stereo_keeps_them_too() -> None:
    from tests.codecs.stereo.cases import EXAMPLES

    left = EXAMPLES[0].side_info()
    right = replace(FULL, pixels=EXAMPLES[0].data())
    codec = obverse.open_codec("stereo")
    again = codec.decode_photo(read(write(codec.encode(right))), side_info=left)
    assert (again.xmp, again.dpi, again.text["Title"]) == (FULL.xmp, FULL.dpi, FULL.text["Title"])


def test_they_give_way_to_a_target_in_bytes() -> None:
    """A photo is not refused because of its texts."""
    text = "".join(map(chr, np.random.default_rng(0).integers(33, 127, 9000)))
    photo = replace(FULL, text={"Comment": text})
    wanted = obverse.compress(Photo(PIXELS, None, b"icc", b"exif"), max_bytes=2000)
    with pytest.warns(ConversionWarning, match="XMP data, resolution and texts are left out"):
        assert obverse.compress(photo, max_bytes=2000) == wanted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(obverse.compress(photo, max_bytes=20000)).version == 2
    with pytest.raises(RateTargetError):
        obverse.compress(Photo(PIXELS, text=photo.text), max_bytes=10)
