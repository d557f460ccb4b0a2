"""The frozen files of `image-lossless` are of every kind and every method, and keep what belongs to an image."""

from pathlib import Path

import numpy as np

import obverse
from obverse.codecs.image_lossless.codec import KINDS
from obverse.codecs.image_lossless.methods import (
    CHANNELS,
    DEEP,
    DRAWING,
    FILTERED,
    GRAY,
    LISTED,
    PALETTE,
    RASTER,
    RAW,
    SPLIT,
)
from obverse.container import read

FILES = sorted((Path(__file__).parent / "golden").glob("*.obv"))


def test_every_kind_and_every_method_has_a_file():
    containers = [read(path) for path in FILES]
    assert {container.config[0] for container in containers} == set(range(len(KINDS)))
    assert any(container.items for container in containers)
    stripes = [container.sections["x"] for container in containers if "x" in container.sections]
    assert {data[0] for data in stripes} == {
        RAW, RASTER, PALETTE, DRAWING, FILTERED, SPLIT, GRAY, DEEP, CHANNELS, LISTED,
    }  # fmt: skip


def test_metadata_of_version_2_come_back():
    photo = obverse.open_codec("image-lossless").decode_photo(
        read(Path(__file__).parent / "golden" / "image-metadata.obv")
    )
    assert (photo.icc, photo.exif, photo.xmp, photo.dpi, photo.text) == (
        b"profile", b"Exif\0\0data", b"<x:xmpmeta/>", (300.0, 150.5), {"Title": "a slope", "Author": "Žofie"},
    )  # fmt: skip


def test_what_a_png_said_of_its_colours_comes_back():
    photo = obverse.open_codec("image-lossless").decode_photo(
        read(Path(__file__).parent / "golden" / "image-png-colour.obv")
    )
    assert photo.colour == {
        "gAMA": b"\0\0\xb1\x8f", "cHRM": bytes(range(32)), "cICP": b"\x09\x10\0\1", "sBIT": b"\5",
    }  # fmt: skip


def test_profile_and_exif_come_back():
    photo = obverse.open_codec("image-lossless").decode_photo(
        read(Path(__file__).parent / "golden" / "image-stripes.obv")
    )
    assert (photo.icc, photo.exif) == (b"profile" * 9, b"Exif\0\0" + bytes(range(64)))
    assert photo.alpha is not None and np.unique(photo.alpha).size == 60
