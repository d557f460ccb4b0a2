"""Polar codes: the transform, the order both sides compute, and list decoding where the answer is known."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.coding import polar
from obverse.errors import CodingError

SEEDS = st.integers(0, 2**32 - 1)


def channel(entropy: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) random bits and log-odds N(mean, 2 mean) in favour of them, of this entropy."""
    rng = np.random.default_rng(seed)
    mean = 2.0 ** (polar.log2_mean_of(entropy) / polar.UNIT)
    x = rng.integers(0, 2, n).astype(np.uint8)
    odds = (1 - 2.0 * x) * (mean + np.sqrt(2 * mean) * rng.normal(size=n))
    return x, odds.astype(np.float32)


def cost(x: np.ndarray, odds: np.ndarray) -> float:
    """-ln P(x), by the definition."""
    return float(np.logaddexp(0, np.where(x == 1, odds, -odds).astype(np.float64)).sum())


# -- transform -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10), SEEDS)
def test_transform_is_its_own_inverse_and_linear(m, seed):
    x, y = np.random.default_rng(seed).integers(0, 2, (2, 1 << m)).astype(np.uint8)
    before = x.copy()
    u = polar.transform(x)
    assert (x == before).all()
    assert (polar.transform(u) == x).all()
    assert (polar.transform(x ^ y) == u ^ polar.transform(y)).all()


@pytest.mark.parametrize("m", range(7))
def test_transform_is_the_kronecker_power(m):
    matrix = np.ones((1, 1), int)
    for _ in range(m):
        matrix = np.kron(matrix, [[1, 0], [1, 1]])
    x = np.random.default_rng(m).integers(0, 2, 1 << m).astype(np.uint8)
    assert (polar.transform(x) == x @ matrix % 2).all()


# -- the order -------------------------------------------------------------------------------------------


def test_order_never_changes():
    # files written by one version are read by another: these must stay as they are
    digest = hashlib.sha256()
    for log2_mean, m in itertools.product((-4096, 0, 1500, 3000), (0, 1, 10, 14)):
        digest.update(polar.order(log2_mean, m).astype("<i8").tobytes())
    assert digest.hexdigest() == "0b371966a48b8e360d119cca845202f5fc960f2dd2cc969e2c0a45852813efc7"


@settings(deadline=None)
@given(st.integers(-12 * polar.UNIT, 8 * polar.UNIT), st.integers(0, 9))
def test_order_is_a_permutation_from_the_least_reliable(log2_mean, m):
    order = polar.order(log2_mean, m)
    assert sorted(order.tolist()) == list(range(1 << m))
    assert (np.diff(polar.reliabilities(log2_mean, m)[order]) >= 0).all()
    assert order[0] == 0 and order[-1] == (1 << m) - 1


@settings(deadline=None)
@given(st.integers(-6 * polar.UNIT, 6 * polar.UNIT), st.integers(1, 10))
def test_order_respects_domination(log2_mean, m):
    # a bit is at least as reliable as one whose index lacks some of its ones (universal partial order)
    t = polar.reliabilities(log2_mean, m)
    index = np.arange(1 << m)
    for bit in range(m):
        with_it = index[index >> bit & 1 == 1]
        assert (t[with_it] >= t[with_it ^ (1 << bit)]).all()


@settings(deadline=None)
@given(st.integers(-14 * polar.UNIT, 9 * polar.UNIT))
def test_check_node_loses_and_rises_with_its_input(t):
    here, above = polar.check_node(np.array([t, t + 1]))
    assert here < t and here <= above


@pytest.mark.parametrize("entropy", [0.01, 0.11, 0.413, 0.5, 0.805, 0.98])
def test_polarisation_keeps_the_entropy(entropy):
    log2_mean = polar.log2_mean_of(entropy)
    assert polar.entropy_of(log2_mean) == pytest.approx(entropy, abs=1e-3)
    both = [polar.check_node(np.array([log2_mean]))[0], log2_mean + polar.UNIT]
    assert np.mean([polar.entropy_of(int(t)) for t in both]) == pytest.approx(entropy, abs=2e-3)


def test_entropy_falls_with_the_mean():
    values = [polar.entropy_of(t) for t in range(-12 * polar.UNIT, 8 * polar.UNIT, 512)]
    assert values[0] > 0.999 and values[-1] < 1e-6 and (np.diff(values) < 0).all()


# -- list decoding ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.sampled_from([1, 2, 3, 8]), SEEDS)
def test_all_sent_needs_no_side_information(m, lists, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, 1 << m).astype(np.uint8)
    odds = rng.normal(size=x.size).astype(np.float32)
    order = polar.order(0, m)
    found, metric = polar.list_decode(odds, order, polar.transform(x)[order], 0, lists)
    assert found.shape == (1, x.size) and (found[0] == x).all()
    assert metric[0] == pytest.approx(cost(x, odds), rel=1e-3, abs=1e-2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.sampled_from([1, 2, 3, 8]), st.integers(-4096, 6000), SEEDS)
def test_none_sent_takes_certain_side_information(m, lists, log2_mean, seed):
    x = np.random.default_rng(seed).integers(0, 2, 1 << m).astype(np.uint8)
    odds = np.where(x, -60, 60).astype(np.float32)
    nothing = np.empty(0, np.int64)
    found, metric = polar.list_decode(odds, nothing, np.empty(0, np.uint8), log2_mean, lists)
    assert (found[0] == x).all() and metric[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("sent", [(), (0,)])
def test_one_bit(sent):
    # m = 0: the transform does nothing; the two values cost what their log-odds say
    found, metric = polar.list_decode(
        np.array([-1.5], np.float32), np.array(sent, np.int64), np.zeros(len(sent), np.uint8), 0, 4
    )
    if sent:
        assert found.tolist() == [[0]]
        assert metric == pytest.approx([np.log1p(np.exp(1.5))], abs=1e-3)
    else:
        assert found.tolist() == [[1], [0]]
        assert metric == pytest.approx([np.log1p(np.exp(-1.5)), np.log1p(np.exp(1.5))], abs=1e-3)


def test_two_bits():
    # m = 1: u = (x0 + x1, x1); knowing the sum leaves the two pairs that have it
    odds = np.array([2.0, -0.5], np.float32)
    found, metric = polar.list_decode(odds, np.array([0]), np.array([1], np.uint8), 0, 8)
    assert found.tolist() == [[0, 1], [1, 0]]
    assert metric == pytest.approx([cost(x, odds) for x in found], abs=2e-3)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.data())
def test_a_list_of_everything_is_exhaustive_search(m, data):
    # with as many paths as there are words, list decoding finds every word that agrees, with its cost
    n = 1 << m
    count = data.draw(st.integers(max(0, n - 7), n))
    x, odds = channel(0.5, n, data.draw(SEEDS))
    order = polar.order(0, m)
    sent, u = order[:count], polar.transform(x)
    # -12 units: nothing counts as reliable, so that every bit forks
    found, metric = polar.list_decode(odds, sent, u[sent], -12 * polar.UNIT, 1 << (n - count))
    words = np.array(list(itertools.product((0, 1), repeat=n - count)), np.uint8).reshape(
        1 << (n - count), n - count
    )
    every = np.empty((len(words), n), np.uint8)
    every[:, sent], every[:, order[count:]] = u[sent], words
    expected = sorted(cost(polar.transform(word), odds) for word in every)
    assert len(found) == len(words) and len({word.tobytes() for word in found}) == len(words)
    assert metric == pytest.approx(expected, abs=0.02)
    for word, value in zip(found, metric, strict=True):
        assert value == pytest.approx(cost(word, odds), abs=0.02)
        assert (polar.transform(word)[sent] == u[sent]).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(4, 10), st.sampled_from([1, 2, 5, 8, 32]), st.floats(0.1, 0.9), SEEDS)
def test_paths_agree_with_what_was_sent_and_cost_what_they_say(m, lists, share, seed):
    x, odds = channel(0.45, 1 << m, seed)
    log2_mean = polar.log2_mean_of(0.45)
    sent = polar.order(log2_mean, m)[: int(share * x.size)]
    u = polar.transform(x)
    found, metric = polar.list_decode(odds, sent, u[sent], log2_mean, lists)
    assert 1 <= len(found) <= lists and (np.diff(metric) >= 0).all()
    assert len({word.tobytes() for word in found}) == len(found)
    for word, value in zip(found, metric, strict=True):
        assert (polar.transform(word)[sent] == u[sent]).all()
        assert value == pytest.approx(cost(word, odds), rel=2e-3, abs=0.05)


def test_erasures_are_filled_from_the_sums():
    # positions about which nothing is known, the others certain: the sent sums determine them (binary erasure)
    m, share = 12, 0.3
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, 1 << m).astype(np.uint8)
    erased = rng.random(x.size) < share
    odds = np.where(erased, 0, np.where(x, -40, 40)).astype(np.float32)
    log2_mean = polar.log2_mean_of(share)
    u, order = polar.transform(x), polar.order(log2_mean, m)
    found, _ = polar.list_decode(
        odds, order[: int(0.42 * x.size)], u[order[: int(0.42 * x.size)]], log2_mean, 32
    )
    assert (found[0] == x).all()


def test_larger_lists_decode_more_blocks_and_never_at_a_higher_cost_on_average():
    n, entropy, lists = 1024, 0.4, (1, 4, 16)
    log2_mean = polar.log2_mean_of(entropy)
    sent = polar.order(log2_mean, 10)[: int(0.5 * n)]
    right, costs = np.zeros(3, int), np.zeros(3)
    for seed in range(80):
        x, odds = channel(entropy, n, seed)
        for k, paths in enumerate(lists):
            found, metric = polar.list_decode(odds, sent, polar.transform(x)[sent], log2_mean, paths)
            right[k] += any((word == x).all() for word in found)
            costs[k] += metric[0]
    assert right[0] < right[1] <= right[2] and right[2] > 60
    assert costs[0] >= costs[1] >= costs[2]


def test_the_sent_word_bounds_the_best_metric():
    # where the true word is found it is a path, so the best path costs no more than it does
    n, log2_mean = 1024, polar.log2_mean_of(0.4)
    sent = polar.order(log2_mean, 10)[: int(0.55 * n)]
    for seed in range(20):
        x, odds = channel(0.4, n, seed)
        found, metric = polar.list_decode(odds, sent, polar.transform(x)[sent], log2_mean, 8)
        if any((word == x).all() for word in found):
            assert metric[0] <= cost(x, odds) * 1.001


@pytest.mark.parametrize("entropy", [0.1, 0.4, 0.8])
def test_long_blocks_decode_near_the_entropy(entropy):
    m = 14
    x, odds = channel(entropy, 1 << m, 7)
    log2_mean = polar.log2_mean_of(entropy)
    sent = polar.order(log2_mean, m)[: int((entropy + 0.085) * x.size)]
    found, _ = polar.list_decode(odds, sent, polar.transform(x)[sent], log2_mean, 8)
    assert (found[0] == x).all()


def test_node_kinds():
    sent = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    reliable = np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    kinds = polar.node_kinds(sent, reliable)
    assert kinds[8:].tolist() == [1, 1, 1, 0, 0, 2, 2, 2]
    assert kinds[4:8].tolist() == [1, 0, 0, 2] and kinds[1:4].tolist() == [0, 0, 0]


def test_all_reliable_bits_are_decided_by_their_signs():
    m = 8
    odds = channel(0.01, 1 << m, 0)[1]
    nothing = np.empty(0, np.int64)
    found, metric = polar.list_decode(odds, nothing, np.empty(0, np.uint8), 8 * polar.UNIT, 4)
    assert (polar.reliabilities(8 * polar.UNIT, m)[0] > polar.SURE) == (len(found) == 1 and metric.size == 1)
    assert (found[0] == (odds < 0)).all()


def test_sizes_that_kernels_cannot_take():
    for n in (0, 3, 1000):
        with pytest.raises(CodingError, match="power of two"):
            polar.transform(np.zeros(n, np.uint8))
        with pytest.raises(CodingError, match="power of two"):
            polar.list_decode(np.zeros(n, np.float32), np.arange(1), np.zeros(1, np.uint8), 0, 4)
    with pytest.raises(CodingError, match="path"):
        polar.list_decode(np.zeros(4, np.float32), np.arange(1), np.zeros(1, np.uint8), 0, 0)
