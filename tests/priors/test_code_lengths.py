"""Tables from code lengths: whole numbers, the same for the same bytes, whatever the bytes."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obverse.coding import Message
from obverse.errors import DamagedError
from obverse.priors.code_lengths import LONGEST, PRECISION, WEIGHTS, eighth_root, lengths_of, tables_of


@given(st.integers(0, 10**80))
@settings(deadline=None)
def test_roots_are_exact(value):
    root = eighth_root(value)
    assert root**8 <= value < (root + 1) ** 8


def test_weights_halve_every_bit():
    assert WEIGHTS[0] == 1 << 24 and WEIGHTS[8] == 1 << 23 and WEIGHTS[80] == 1 << 14
    assert (np.diff(WEIGHTS) <= 0).all() and WEIGHTS.min() >= 1
    np.testing.assert_allclose(WEIGHTS[:80], 2.0 ** (24 - np.arange(80) / 8), rtol=1e-4)


@given(st.lists(st.binary(min_size=2, max_size=40), min_size=1, max_size=5), st.integers(-1000, 1000))
@example([b"\xba\xb9\xb9"], 0)  # lengths whose weights round to the same
@settings(deadline=None)
def test_any_bytes_make_tables(rows, low):
    sizes = np.array([len(row) for row in rows])
    lengths = np.frombuffer(b"".join(rows), np.uint8)
    tables = tables_of(lengths, sizes, np.full(len(rows), low))
    for t, row in enumerate(rows):
        frequencies = tables.frequencies(t)
        assert len(frequencies) == len(row) and frequencies.sum() == 1 << PRECISION and frequencies.min() >= 1
        # shorter codes never mean fewer
        order = np.argsort(np.minimum(np.frombuffer(row, np.uint8), LONGEST), kind="stable")
        assert (np.diff(frequencies[order]) <= 0).all()


def test_rounding_code_lengths_costs_next_to_nothing():
    rng = np.random.default_rng(0)
    for size in (2, 3, 9, 60):
        p = rng.dirichlet(np.ones(size))
        p = np.maximum(p, 1e-3) / np.maximum(p, 1e-3).sum()
        lengths = lengths_of(p)
        q = tables_of(lengths, np.array([size]), np.array([0])).frequencies(0) / 2**PRECISION
        assert 0 <= (p * np.log2(p / q)).sum() < 0.003


def test_tables_code_what_they_are_for():
    lengths = lengths_of(np.array([0.7, 0.2, 0.05, 0.05]))
    tables = tables_of(lengths, np.array([4]), np.array([-1]))
    symbols = np.array([0, -1, -1, 1, 100, -7])
    message = Message()
    message.push(symbols, tables)
    np.testing.assert_array_equal(message.pop(tables, np.zeros(6, np.uint8)), symbols)
    assert message.empty


@pytest.mark.parametrize(
    ("count", "sizes", "lows"),
    [
        (4, [3], [0]),
        (4, [1, 3], [0, 0]),
        (4, [4], [0, 0]),
        (4, [4], [2**31]),
        (5000, [5000], [0]),
        (0, [], []),
    ],
)
def test_what_does_not_fit_is_refused(count, sizes, lows):
    with pytest.raises(DamagedError):
        tables_of(np.zeros(count, np.uint8), np.array(sizes, np.int64), np.array(lows, np.int64))
