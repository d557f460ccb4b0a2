"""Every frozen file of `image-lossless` decodes to the very pixels that it was made of."""

from pathlib import Path

import numpy as np
import pytest

import obverse
from obverse.codecs.image_lossless.codec import KINDS
from obverse.codecs.image_lossless.methods import DRAWING, FILTERED, GRAY, PALETTE, RASTER, RAW, SPLIT
from obverse.container import read
from obverse.data.images import read_photo

FILES = sorted((Path(__file__).parent / "lossless").glob("image-*.obv"))


def test_every_kind_and_every_method_has_a_file():
    containers = [read(path) for path in FILES]
    assert {container.config[0] for container in containers} == set(range(len(KINDS)))
    assert any(container.items for container in containers)
    stripes = [container.sections["x"] for container in containers if "x" in container.sections]
    assert {data[0] for data in stripes} == {RAW, RASTER, PALETTE, DRAWING, FILTERED, SPLIT, GRAY}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_decodes_to_the_frozen_pixels(path):
    codec, wanted = obverse.open_codec("image-lossless"), read_photo(path.with_suffix(".png"), exact=True)
    decoded = codec.decode_photo(read(path))
    assert decoded.array().dtype == wanted.array().dtype
    assert np.array_equal(decoded.array(), wanted.array())
    assert (decoded.icc, decoded.exif) == (wanted.icc, wanted.exif)
