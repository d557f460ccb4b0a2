"""Bytes by tables: every length comes back, in nearly as many bits as their entropy, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.weights import byte_coder
from obverse.errors import DamagedError


def test_frequencies_add_up_and_keep_what_is_rare() -> None:
    rng = np.random.default_rng(0)
    counts = np.concatenate(
        [rng.integers(0, 9, (20, 256)), np.eye(1, 256, dtype=np.int64) * 10**9 + np.eye(1, 256, 7, dtype=np.int64),
         np.eye(1, 256, dtype=np.int64) * 10**9 + 1]
    )  # fmt: skip
    frequencies = byte_coder.normalised(counts)
    assert (frequencies.sum(1, dtype=np.int64) == byte_coder.TOTAL).all()
    assert ((frequencies > 0) == (counts > 0)).all() and frequencies.max() < byte_coder.TOTAL


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 5))
def test_what_is_coded_comes_back(seed: int, count: int, tables: int) -> None:
    rng = np.random.default_rng(seed)
    frequencies = byte_coder.normalised(
        rng.integers(0, 50, (tables, 256)) ** 2 + np.eye(tables, 256, dtype=np.int64)
    )
    contexts = rng.integers(0, tables, count).astype(np.uint8)
    data = np.array([rng.choice(np.flatnonzero(frequencies[c])) for c in contexts], np.uint8)
    given_contexts = contexts if tables > 1 else None
    coded = byte_coder.encode(data, frequencies, given_contexts)
    out = np.empty_like(data)
    byte_coder.decode(coded, out, frequencies, given_contexts)
    assert np.array_equal(out, data)
    for wrong in (coded[:-2], coded + b"\0\0", coded[:-1], b""):
        with pytest.raises(DamagedError):
            byte_coder.decode(wrong, out, frequencies, given_contexts)


def test_the_length_is_the_entropy() -> None:
    rng = np.random.default_rng(1)
    data = np.clip(np.rint(rng.standard_normal(200_000) * 3 + 100), 0, 255).astype(np.uint8)
    counts = np.bincount(data, minlength=256)
    shares = counts[counts > 0] / len(data)
    entropy = -float((shares * np.log2(shares)).sum()) * len(data) / 8
    coded = byte_coder.encode(data, byte_coder.normalised(counts[None]))
    assert entropy < len(coded) < 1.002 * entropy + 20
