"""16 bits a channel in colour or with alpha, without loss: every size, every method, nothing larger than it must be."""

from __future__ import annotations

import contextlib
import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import obverse
from obverse.codecs.image_lossless import methods
from obverse.codecs.image_lossless.codec import ImageLosslessCodec
from obverse.codecs.image_lossless.raster import LEVELS
from obverse.codecs.image_lossless.value_lists import pack_list
from obverse.container import Container, Limits, read, write
from obverse.container.varint import encode_varint
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo
from obverse.errors import DamagedError, LimitError, ObverseError
from tests.codecs.image_lossless.cases import deep_colour, drawing, method_of, twelve_bits
from tests.conftest import smooth_photo

NAME = "image-lossless"
OVERHEAD = 64
KIND = {2: 5, 3: 6, 4: 7}  # channels: what the header calls it


@pytest.fixture(scope="module")
def codec() -> ImageLosslessCodec:
    return obverse.open_codec(NAME)


def there_and_back(array: np.ndarray) -> bytes:
    data = obverse.compress(array, codec=NAME)
    decoded = obverse.decompress(data)
    assert decoded.dtype == np.uint16 and np.array_equal(decoded, array)
    assert read(data).config[0] == KIND[array.shape[2]] and read(data).version == 2
    return data


# -- pixels -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 50), st.integers(1, 50), st.sampled_from([2, 3, 4]), st.sampled_from([1, 2, 9, 300, 65536]),
    st.sampled_from([1, 16, 257]), st.integers(0, 99),
)  # fmt: skip
def test_any_shape_and_any_values(height, width, channels, values, factor, seed):
    rng = np.random.default_rng(seed)
    array = (rng.integers(0, values, (height, width, channels)) * factor % 65536).astype(np.uint16)
    assert len(there_and_back(array)) <= array.nbytes + OVERHEAD


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (63, 65)])
def test_odd_sizes_and_extremes(size, channels):
    rng = np.random.default_rng(0)
    for array in (
        np.zeros((*size, channels)),
        np.full((*size, channels), 65535),
        rng.integers(0, 2, (*size, channels)) * 65535,
        np.resize(np.arange(65536), (*size, channels)),
        65535 - np.resize(np.arange(0, 65536, 7), (*size, channels)),
    ):
        there_and_back(array.astype(np.uint16))


def test_colours_are_coded_by_the_model_and_shared_noise_costs_once():
    data = there_and_back(deep_colour())
    assert method_of(data) == methods.DEEP
    apart = sum(
        len(obverse.compress(np.ascontiguousarray(p), codec=NAME)) for p in deep_colour().transpose(2, 0, 1)
    )
    assert len(data) < 0.9 * apart


def test_noise_of_each_channel_is_coded_by_itself():
    assert method_of(there_and_back(deep_colour(0, 900))) == methods.CHANNELS


def test_8_bits_in_16_cost_as_8():
    photo = smooth_photo(90, 120)
    eight = len(obverse.compress(photo, codec=NAME))
    for factor in (1, 256, 257):
        data = there_and_back(photo.astype(np.uint16) * factor)
        assert len(data) < eight + 200
    alpha = np.tile(np.arange(120, dtype=np.uint16) * 257, (90, 1))
    assert len(there_and_back(np.dstack([photo.astype(np.uint16) * 257, alpha]))) < eight + 500


@pytest.mark.parametrize("factors", [(16, 16, 16), (9, 16, 12)], ids=["one factor", "a factor each"])
def test_values_that_never_occur_cost_nothing(factors):
    """12 bits of a camera, as 16: by one factor, or by one for each colour as white balance has it."""
    rng = np.random.default_rng(0)
    twelve = smooth_photo(200, 300).astype(np.uint16) * 14 + rng.integers(
        0, 20, (200, 300, 3), dtype=np.uint16
    )
    spread = (twelve * np.array(factors)).astype(np.uint16)
    data = there_and_back(spread)
    assert method_of(data) == methods.LISTED
    assert len(data) < 1.02 * len(there_and_back(twelve)) + 1000


def test_a_little_noise_is_coded_as_well_as_it_is_in_8_bits():
    """The model learned from 8 bits; what it is told of the size of errors is brought to where it learned."""
    rows, columns = np.mgrid[:128, :160]
    ramps = 4 * np.dstack([rows + columns, 2 * rows, 2 * columns])
    fine = np.random.default_rng(0).integers(0, 4, (128, 160, 3))  # 2 bits a value
    low = there_and_back((20_000 + ramps + fine).astype(np.uint16))
    assert len(low) < 3.3 / 16 * ramps.size * 2


def test_alpha_that_is_full_costs_a_few_bytes():
    photo = deep_colour()
    full = np.full((48, 60, 1), 65535, np.uint16)
    assert len(there_and_back(np.concatenate([photo, full], axis=2))) < len(there_and_back(photo)) + 16


def test_colours_that_are_all_grey_cost_as_gray():
    gray = deep_colour()[:, :, 1]
    colour = there_and_back(np.dstack([gray] * 3))
    assert method_of(colour) == methods.GRAY
    assert len(colour) <= len(obverse.compress(gray, codec=NAME)) + 8


def test_flat_images_are_tiny():
    for colour in ([1, 2, 60000, 5], [7, 7, 7], [0, 65535]):
        assert len(there_and_back(np.full((900, 800, len(colour)), colour, np.uint16))) < 100


def test_noise_grows_by_at_most_64_bytes():
    for shape in ((1, 1, 3), (5, 3, 2), (64, 64, 4), (200, 300, 3), (9, 9, 3)):
        array = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
        assert len(there_and_back(array)) <= array.nbytes + OVERHEAD


def test_drawings_and_patterns_are_small():
    few = (drawing(16) * np.array([100, 201, 257])).astype(np.uint16)
    assert len(there_and_back(few)) < 0.06 * few.nbytes
    tile = np.random.default_rng(0).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    data = there_and_back(np.tile(tile, (4, 3, 1)))
    assert method_of(data) == methods.FILTERED and len(data) < 1.1 * tile.nbytes
    colours = np.random.default_rng(0).integers(0, 65536, (200, 4), dtype=np.uint16)
    data = there_and_back(colours[np.random.default_rng(1).integers(0, 200, (80, 90))])
    assert method_of(data) == methods.PALETTE


def test_large_images_have_stripes_of_which_rows_are_read_and_the_whole_ones_recovered(codec, monkeypatch):
    monkeypatch.setattr("obverse.codecs.image_lossless.codec.STRIPE_PIXELS", 1000)
    array = np.dstack([twelve_bits(), deep_colour()[:, :, 0]])
    photo = Photo(array[:, :, :3].copy(), array[:, :, 3].copy(), b"profile", b"Exif\0\0abc")
    data = write(codec.encode(photo))
    container = read(data)
    assert len(container.items) == 5 and container.version == 2
    again = codec.decode_photo(container)
    assert np.array_equal(again.array(), array) and (again.icc, again.exif) == (photo.icc, photo.exif)
    assert np.array_equal(codec.decode_rows(data, 10, 30), array[10:30])
    damaged = bytearray(data)
    damaged[data.index(container.items[1]) + 5] ^= 1
    pixels, missing = codec.recover(bytes(damaged))
    assert pixels.dtype == np.uint16 and (pixels != array).any(axis=(1, 2)).sum() == container.config[1]
    assert missing[0] == "rows 16 to 31 are missing, and black: stripe 1 is lost"


def test_the_rate_of_the_model_is_that_of_the_file(codec):
    for array in (deep_colour(), twelve_bits(), np.dstack([deep_colour(), deep_colour()[:, :, 0]])):
        bits = codec.rate_bits(array)[0]
        assert bits == pytest.approx(8 * len(codec.encode(array).sections["x"]), rel=0.01)


def test_files_of_a_pillow_image_and_an_array_are_the_same():
    array = deep_colour()
    png = write_photo(Photo(array), "a.png", exact=True)
    assert obverse.compress(Image.open(io.BytesIO(png)), codec=NAME) == obverse.compress(array, codec=NAME)


# -- bad input --------------------------------------------------------------------------------------------


def stripe(data: bytes, kind: int = 6, shape: tuple[int, int] = (12, 10), version: int = 2) -> Container:
    return Container(
        NAME, {0: kind}, shape, {"x": data}, obverse.open_codec(NAME).fingerprint, version=version
    )


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10), st.binary(max_size=200), st.integers(4, 7))
def test_any_stripe_decodes_or_raises_our_errors(method, data, kind):
    with contextlib.suppress(DamagedError):
        assert obverse.open_codec(NAME).decode(stripe(bytes([method]) + data, kind)).shape[:2] == (12, 10)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(["deep", "twelve", "alpha", "own"]))
def test_changed_stripes_decode_or_raise_our_errors(codec, place, change, kind):
    array = {
        "deep": deep_colour(), "twelve": twelve_bits(), "own": deep_colour(0, 900),
        "alpha": np.dstack([drawing(16)[:48, :60].astype(np.uint16) * 257, deep_colour()[:, :, 0]]),
    }[kind]  # fmt: skip
    array = array[:16, :20]
    container = codec.encode(array)
    data = bytearray(container.sections["x"])
    data[place % len(data)] ^= change
    with contextlib.suppress(DamagedError):
        assert codec.decode(stripe(bytes(data), container.config[0], (16, 20))).shape == array.shape


def test_lists_that_are_none_are_refused(codec):
    one = pack_list(np.array([5, 900]))
    ranks = b"\x00" + bytes(360)
    assert set(codec.decode(stripe(b"\x09\x01" + one + ranks)).ravel()) == {5}
    empty = zlib.compress(bytes(8192))
    for data in (
        b"\x09", b"\x09\x00" + ranks, b"\x09\x02" + one + one + ranks, b"\x09\x03" + one + one + ranks,
        b"\x09\x01" + one + b"\x00" + b"\x02" * 360, b"\x09\x01" + one, b"\x09\x01" + one[:-3],
        b"\x09\x01" + encode_varint(len(empty)) + empty + ranks, b"\x09\x01" + one + b"\x09\x01" + one + ranks,
    ):  # fmt: skip
        with pytest.raises(DamagedError):
            codec.decode(stripe(data))


def test_levels_and_depths_that_are_none_are_refused(codec):
    data = bytearray(codec.encode(deep_colour()[:12, :10]).sections["x"])
    assert data[0] in (methods.DEEP, methods.CHANNELS)
    coded = bytes([methods.DEEP]) + codec.raster.encode_deep(
        deep_colour()[:12, :10].transpose(2, 0, 1).copy(), 60
    )
    assert np.array_equal(codec.decode(stripe(coded)), deep_colour()[:12, :10])
    for place, values in ((1, (LEVELS.start - 1, LEVELS.stop, 255)), (2, (7, 17))):
        for value in values:
            changed = bytearray(coded)
            changed[place] = value
            with pytest.raises(DamagedError):
                codec.decode(stripe(bytes(changed)))


def test_methods_of_16_bits_are_not_those_of_8(codec):
    data = codec.encode(deep_colour()[:12, :10]).sections["x"]
    for kind in (0, 1, 2, 3):
        with pytest.raises(DamagedError):
            codec.decode(stripe(data, kind))
    with pytest.raises(DamagedError, match="kind"):
        codec.decode(stripe(data, 6, version=1))
    with pytest.raises(DamagedError, match="method 3"):  # drawings are of four symbols a pixel, at most
        codec.decode(stripe(b"\x03" + bytes(40)))


def test_every_truncation_and_many_bit_flips_are_noticed():
    data = obverse.compress(deep_colour()[:20, :24], codec=NAME)
    for length in range(0, len(data), 7):
        with pytest.raises(ObverseError):
            obverse.decompress(data[:length])
    for bit in np.random.default_rng(0).choice(8 * len(data), 100, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ObverseError):
            obverse.decompress(bytes(flipped))


def test_a_small_file_cannot_ask_for_much_memory(codec):
    for method in (methods.DEEP, methods.CHANNELS, methods.LISTED, methods.SPLIT):
        with pytest.raises(LimitError, match="memory"):
            codec.decode(stripe(bytes([method]) + bytes(100), 7, (2**14, 2**14)))
    assert len(obverse.compress(np.full((2, 2, 3), 9, np.uint16), codec=NAME, limits=Limits())) < 100
