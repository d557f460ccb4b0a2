"""Tables of point symbols: what they say a symbol costs is what it costs, and they name as many symbols as pay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.plug_and_play.point_grid import PointGrid
from obverse.codecs.plug_and_play.point_tables import PointTables
from obverse.codecs.plug_and_play.quantiser import normal_grid
from obverse.coding import Message

UNIFORM = PointGrid("uniform", np.float32([[0, 1], [0, 1]]))


def dyadic(seed: int, n: int, top: int) -> np.ndarray:
    """Symbols (1, 2, n) of which small ones are likely."""
    rng = np.random.default_rng(seed)
    return np.minimum(rng.geometric(0.3, (1, 2, n)) - 1, top).astype(np.int32)


@given(st.integers(0, 1000), st.integers(1, 300), st.sampled_from([0.02, 1.0]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_symbol_can_be_coded_and_comes_back(seed, n, smoothing, even):
    grid = normal_grid(2, 6)
    counted = dyadic(seed, n, 62)
    tables = PointTables.of(counted, grid, smoothing, 4.0)
    symbols = np.random.default_rng(seed).integers(0, 63, (1, 2, 50)).astype(np.int32)
    index = np.repeat(np.arange(2), 50)
    message = Message()
    message.push(symbols.ravel(), tables.family, index)
    assert message.bits == pytest.approx(tables.bits(symbols).sum(), rel=0.01, abs=2)
    np.testing.assert_array_equal(
        Message.from_bytes(message.to_bytes()).pop(tables.family, index), symbols.ravel()
    )


def test_many_symbols_cost_their_entropy():
    symbols = dyadic(0, 50_000, 62)
    tables = PointTables.of(symbols, normal_grid(2, 6))
    share = np.bincount(symbols[0, 0]) / 50_000
    share = share[share > 0]
    assert tables.bits(symbols)[0, 0].mean() == pytest.approx(-(share * np.log2(share)).sum(), rel=0.01)


def test_a_group_that_is_always_the_same_costs_next_to_nothing():
    symbols = np.zeros((1, 2, 10_000), np.int32)
    tables = PointTables.of(symbols, normal_grid(2, 12))
    assert tables.sizes.tolist() == [2, 2]
    assert tables.bits(symbols).sum() < 4


def test_uniform_symbols_of_both_signs_are_named():
    symbols = np.random.default_rng(1).normal(0, 5, (3, 2, 4000)).round().astype(np.int32)
    tables = PointTables.of(symbols, UNIFORM)
    assert (tables.lows < -8).all()
    sigma = 5.0
    assert tables.bits(symbols).mean() == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * sigma**2), rel=0.01)


def test_far_and_few_go_through_the_escape():
    symbols = np.zeros((1, 2, 3000), np.int32)
    symbols[0, 0, 7] = 2**29
    symbols[0, 1, 9] = -(2**29)
    tables = PointTables.of(symbols, UNIFORM)
    assert tables.sizes.max() < 10
    assert tables.bits(symbols).sum() < 200


def test_where_lengths_are_paid_for_tables_are_short():
    symbols = dyadic(3, 200, 62)
    grid = normal_grid(2, 12)
    assert (
        PointTables.of(symbols, grid, 0.02, 8.0).sizes.sum()
        <= PointTables.of(symbols, grid, 0.02, 0.0).sizes.sum()
    )
    assert PointTables.of(symbols, grid, 0.02, 8.0).sizes.max() <= 64


def test_point_bits_are_those_of_each_symbol():
    grid = normal_grid(2, 6)
    tables = PointTables.of(dyadic(4, 500, 62), grid)
    symbols = np.random.default_rng(0).integers(0, 63, (5, 2, 9)).astype(np.int32)
    wanted = tables.point_bits(grid)[np.arange(2)[None, :, None], symbols]
    np.testing.assert_allclose(tables.bits(symbols), wanted, rtol=1e-5)


def test_point_bits_of_tables_that_begin_late_or_end_early_count_the_escape():
    grid = PointGrid("points", np.arange(40, dtype=np.float32)[None])
    symbols = np.random.default_rng(0).integers(10, 20, (1, 1, 5000)).astype(np.int32)
    tables = PointTables.of(symbols, grid)
    tables = PointTables(tables.lengths[7:], tables.sizes - 7, tables.lows + 7, tables.contexts)
    every = np.arange(40, dtype=np.int32)[None, None]
    np.testing.assert_allclose(tables.point_bits(grid), tables.bits(every)[0], rtol=1e-6)
