"""PNG's filters: inverted exactly, and the same as a PNG reader's."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from obverse.data.row_filters import filter_rows, unfilter_rows
from tests.conftest import smooth_photo


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 8), st.booleans(), st.integers(0, 99))
def test_round_trip(height, width, step, adaptive, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (height, width * step), dtype=np.uint8).cumsum(axis=1, dtype=np.uint8)
    filtered = filter_rows(rows, step, adaptive)
    assert filtered.shape == (height, 1 + width * step)
    assert np.array_equal(unfilter_rows(filtered, step), rows)


def test_a_png_reader_understands_them():
    """All five filters, read by Pillow."""
    photo = smooth_photo(60, 50, seed=3)
    photo[20:30] = np.arange(50, dtype=np.uint8)[None, :, None] * 5
    photo[30:34] = photo[29]
    filtered = filter_rows(photo.reshape(60, 150), 3)
    for i in range(5):  # force each filter once: any row may have any
        again = filtered.copy()
        rows = photo.reshape(60, 150)
        again[7, 0] = i
        left = np.concatenate([np.zeros(3, np.uint8), rows[7, :-3]]).astype(int)
        above, corner = (
            (rows[6]).astype(int),
            np.concatenate([np.zeros(3, np.uint8), rows[6, :-3]]).astype(int),
        )
        p = left + above - corner
        paeth = np.where(
            (abs(p - left) <= abs(p - above)) & (abs(p - left) <= abs(p - corner)),
            left,
            np.where(abs(p - above) <= abs(p - corner), above, corner),
        )
        expected = (0, left, above, (left + above) // 2, paeth)[i]
        again[7, 1:] = (rows[7].astype(int) - expected) % 256
        assert np.array_equal(unfilter_rows(again, 3), rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 50, 60, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered.tobytes()))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png + chunk(b"IEND", b"")))), photo)
    assert len(set(filtered[:, 0])) > 1


@pytest.mark.parametrize("number", [5, 255])
def test_a_filter_that_there_is_not(number):
    filtered = filter_rows(np.zeros((3, 4), np.uint8), 1)
    filtered[1, 0] = number
    assert unfilter_rows(filtered, 1) is None
