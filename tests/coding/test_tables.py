"""Tables: what they accept, that they sum up, and that they cost what the probabilities say."""

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.coding import Message, TableFamily, quantise
from obverse.errors import TableError

BUILDERS = [TableFamily.gaussian, TableFamily.laplace, TableFamily.logistic]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=True), min_size=1, max_size=60),
    st.integers(10, 24),
    st.booleans(),
)
def test_quantise_sums_and_keeps_zeros(probabilities, precision, allow_zero):
    p = np.array(probabilities)
    if p.sum() == 0:
        with pytest.raises(TableError):
            quantise(p, precision, allow_zero)
        return
    f = quantise(p, precision, allow_zero)
    assert f.sum() == 1 << precision
    assert ((f > 0) == ((p > 0) | (not allow_zero))).all()


def test_quantise_is_near_the_entropy():
    p = np.random.default_rng(0).dirichlet(np.full(200, 0.3))
    f = quantise(p, 16) / 65536
    assert 0 <= float((p * np.log2(np.maximum(p, 1e-300) / f)).sum()) < 0.003


@pytest.mark.parametrize(
    "probabilities",
    [[], [0, 0], [1, -1], [1, np.nan], [1, np.inf], [1e308] * 3, [[1, 2]], 3.0, ["a"], [None], [1] * 1025],
)
def test_quantise_refuses(probabilities):
    with pytest.raises(TableError):
        quantise(probabilities, 10)


def test_tiny_probability_stays_possible():
    assert (quantise([1e308, 1e-300], 10, allow_zero=True) == [1023, 1]).all()


@pytest.mark.parametrize("precision", [9, 25, 0, -1, 16.0, "16", None])
@pytest.mark.parametrize("builder", [*BUILDERS, TableFamily.uniform, TableFamily.categorical])
def test_precision_out_of_range(builder, precision):
    with pytest.raises(TableError):
        builder(2, precision=precision)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, [], [1, -1], [[1.0]], "wide", None])
def test_bad_scale(builder, scale):
    with pytest.raises(TableError):
        builder(scale)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("mean", [np.nan, np.inf, 2.0**31, -1e300, [], [0, 1, 2], [[0.0]]])
def test_bad_mean(builder, mean):
    with pytest.raises(TableError):
        builder([1.0, 2.0], mean)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("precision", [10, 16])
@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-3, 1.0, 1e3, 1e12, 1e300])
def test_extreme_scales(builder, precision, scale):
    family = builder(scale, 0.25, precision)
    assert family.frequencies(0).sum() == 1 << precision
    assert (family.frequencies(0) > 0).all()


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_bad_uniform(count):
    with pytest.raises(TableError):
        TableFamily.uniform(count, 10)


def test_uniform_is_exact():
    assert (TableFamily.uniform(256, 12).frequencies(0) == 16).all()


@pytest.mark.parametrize(
    ("cdf", "offsets", "lows", "escape"),
    [
        ([0, 1024], [0, 2], [2**31], False),  # not within int32
        ([0, 1, 1024], [0, 3], [2**31 - 1], False),  # its last value is not
        ([0, 1024], [0, 2], [-(2**31) - 1], False),
        ([0, 1024], [0, 2], [-(2**63)], False),
        ([0, 1024], [0, 2], [0.5], False),
        ([0, 1024], [0, 2], [np.nan], False),
        ([0, 1024], [0, 2], [], False),
        ([0, 1024], [0, 2], [[0]], False),
        ([0.0, 1024.0], [0, 2], [0], False),
        ([0, 1023], [0, 2], [0], False),
        ([1, 1024], [0, 2], [0], False),
        ([0, 7, 5, 1024], [0, 4], [0], False),
        ([0, -5, 1024], [0, 3], [0], False),
        ([0, 2**32, 1024], [0, 3], [0], False),
        ([0, 1024, 1024], [0, 3], [0], True),  # escape of no probability
        ([0, 1024, 0, 1024], [0, 2], [0], False),
        ([0, 1024, 0, 1024], [0, 2**63 - 1, 4], [0, 0], False),
        ([0, 1024, 0, 1024], [0, -2, 4], [0, 0], False),
        ([0, 1024, 0, 1024], [0, 1, 4], [0, 0], False),
        ([], [0], [], False),
    ],
)
def test_family_refuses(cdf, offsets, lows, escape):
    with pytest.raises(TableError):
        TableFamily(cdf, offsets, lows, 10, escape)


@pytest.mark.parametrize(
    "rows", [[], [[]], [[1023]], [[-1, 1025]], [[512.0, 512.0]], [[[1024]]], [[2**63 - 1, 2**63 - 1]]]
)
def test_from_frequencies_refuses(rows):
    with pytest.raises(TableError):
        TableFamily.from_frequencies(rows, np.zeros(len(rows), np.int64), 10, False)


@pytest.mark.parametrize("low", [2**31, -(2**31) - 1, 2**70, 0.5])
def test_categorical_low_refused(low):
    with pytest.raises(TableError):
        TableFamily.categorical([1, 1], low=low)


def test_support_may_touch_the_ends_of_int32():
    for low in (-(2**31), 2**31 - 2):
        family = TableFamily.categorical([1, 3], low=low)
        message = Message()
        message.push([low, low + 1], family)
        assert message.pop(family, [0, 0]).tolist() == [low, low + 1]


def test_state_round_trip():
    family = TableFamily.laplace([0.3, 5], [0.5, -100])
    again = TableFamily.from_state(family.state())
    assert all(np.array_equal(family.state()[key], again.state()[key]) for key in family.state())
    assert np.array_equal(family.first, again.first)


def test_bits():
    family = TableFamily.from_frequencies([[512, 256, 255, 1]], [0], 10, True)
    assert family.bits([0, 1, 3, -1, 4], 0).tolist() == [1, 2, 17, 17, 18]
    plain = TableFamily.categorical([1, 0, 1])
    assert plain.bits([0, 1, 5, -1], 0).tolist() == [1, np.inf, np.inf, np.inf]
    for symbols, index in (([0.5], 0), ([0], 1), ([0], -1), ([0], [0.0]), ([0, 1], [0, 0, 0])):
        with pytest.raises(TableError):
            family.bits(symbols, index)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 100), st.floats(0.1, 10))
def test_code_length_agrees_with_constriction(seed, count, concentration):
    rng = np.random.default_rng(seed)
    p = np.maximum(rng.dirichlet(np.full(count, concentration)), 1e-5)
    p /= p.sum()
    symbols = rng.choice(count, 3000, p=p).astype(np.int32)
    family = TableFamily.categorical(p, 24)
    ours = family.bits(symbols, 0).sum()
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols, constriction.stream.model.Categorical(p, perfect=False))
    message = Message()
    message.push(symbols, family)
    truth = -np.log2(p[symbols]).sum()
    assert abs(ours - truth) < 1 + 1e-3 * truth
    assert abs(ours - 32 * len(coder.get_compressed())) < 96 + 1e-3 * truth
    assert abs(8 * len(message.to_bytes()) - 32 * len(coder.get_compressed())) < 96 + 1e-3 * truth
