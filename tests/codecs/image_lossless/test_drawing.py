"""The model of drawings: round trips, what it is good at, and messages that nobody wrote."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from obverse.codecs.image_lossless import bit_mixing
from obverse.codecs.image_lossless import drawing as graphics
from obverse.errors import DamagedError, ObverseError


def indices(height: int, width: int, colours: int, seed: int) -> np.ndarray:
    """(H, W, 1): rectangles of few colours."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 1), np.uint8)
    for _ in range(8):
        y, x = rng.integers(height), rng.integers(width)
        image[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = rng.integers(colours)
    return image


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(1, 256), st.integers(0, 99))
def test_round_trip_of_channels(height, width, channels, values, seed):
    image = np.random.default_rng(seed).integers(0, values, (height, width, channels)).astype(np.uint8)
    data = graphics.encode(image, 0, 10**9)
    assert np.array_equal(graphics.decode(data, height, width, channels, 0), image)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.booleans(), st.integers(0, 99))
def test_round_trip_of_a_palette(height, width, bits, drawn, seed):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 1 << bits, (height, width, 1)).astype(np.uint8)
    image = indices(height, width, 1 << bits, seed) if drawn else noise
    data = graphics.encode(image, bits, 10**9)
    assert np.array_equal(graphics.decode(data, height, width, 1, bits), image)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.sampled_from([3, 300, 65536]))
def test_round_trip_of_16_bits(height, width, seed, values):
    image = np.random.default_rng(seed).integers(0, values, (height, width, 1)).astype("<u2")
    symbols = image.view(np.uint8).reshape(height, width, 2)
    data = graphics.encode(symbols, 16, 10**9)
    assert np.array_equal(graphics.decode(data, height, width, 2, 16), symbols)


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (2, 2)])
def test_odd_shapes(shape):
    image = np.random.default_rng(0).integers(0, 3, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(graphics.decode(graphics.encode(image, 0, 10**9), *shape, 3, 0), image)


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_pieces_of_any_length_give_the_same_message(monkeypatch, piece):
    """The encoder stops and goes on anywhere: between rows, after a row's first decision, within a row."""
    image = np.repeat(indices(40, 30, 4, 1), 3, axis=0)
    image[:, ::7] += np.random.default_rng(0).integers(0, 2, (120, 5, 1)).astype(np.uint8)
    whole = graphics.encode(image, 3, 10**9)
    monkeypatch.setattr(graphics, "PIECE", piece)
    assert graphics.encode(image, 3, 10**9) == whole


def test_a_flat_image_costs_next_to_nothing():
    assert len(graphics.encode(np.full((700, 900, 3), 9, np.uint8), 0, 10**9)) < 16


def test_repeated_rows_cost_next_to_nothing():
    row = np.random.default_rng(0).integers(0, 256, (1, 300, 3), dtype=np.uint8)
    assert len(graphics.encode(np.repeat(row, 400, axis=0), 0, 10**9)) < 1100  # the first row alone is 900


def test_text_takes_less_than_half_of_png():
    image = Image.new("L", (300, 160), 255)
    draw = ImageDraw.Draw(image)
    words = [
        "to",
        "see",
        "what",
        "compresses",
        "well",
        "one",
        "writes",
        "the",
        "same",
        "few",
        "words",
        "again",
    ]
    rng = np.random.default_rng(0)
    for y in range(0, 160, 14):
        draw.text((2, y), " ".join(rng.choice(words, 9)), fill=0)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    data = graphics.encode(np.asarray(image)[:, :, None], 0, 10**9)
    assert len(data) < 0.5 * len(png.getvalue())


def test_noise_costs_about_what_it_holds():
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    assert image.size < len(graphics.encode(image, 0, 10**9)) < 1.06 * image.size


def test_too_many_bytes_are_given_up():
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    assert graphics.encode(image, 0, 1000) is None


def test_a_message_of_other_pixels_is_noticed():
    image = indices(30, 30, 5, 0)
    data = graphics.encode(image, 3, 10**9)
    with pytest.raises(DamagedError, match="more than its pixels"):
        graphics.decode(data, 20, 30, 1, 3)
    with pytest.raises(ObverseError):
        graphics.decode(data, 60, 60, 1, 3)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from([(1, 1), (1, 5), (3, 0), (4, 0), (1, 0), (2, 16)]))
def test_any_bytes_decode_or_raise_our_errors(data, kind):
    channels, bits = kind
    with contextlib.suppress(ObverseError):
        assert graphics.decode(data, 12, 9, channels, bits).shape == (12, 9, channels)


def test_tables_are_what_they_say():
    """squash is the logistic function, stretch its inverse; both rise, and certainty is never reached."""
    x = np.arange(-bit_mixing.LIMIT, bit_mixing.LIMIT + 1) / 256
    assert np.abs(bit_mixing.SQUASH - 65536 / (1 + np.exp(-x))).max() < 2
    assert bit_mixing.SQUASH.min() >= 1 and bit_mixing.SQUASH.max() <= 65535
    assert (np.diff(bit_mixing.SQUASH) >= 0).all() and (np.diff(bit_mixing.STRETCH) >= 0).all()
    p = (np.arange(4096) + 0.5) / 4096
    inner = slice(16, -16)
    assert np.abs(bit_mixing.STRETCH / 256 - np.log(p / (1 - p)))[inner].max() < 0.02
