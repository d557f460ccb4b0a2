"""Parity checks: the same graph everywhere, sums that nest, and belief propagation near the entropy."""

import hashlib
import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.coding import ldpc, polar
from obverse.coding.ldpc_graph import BASE, COLUMNS, Design, graph_of
from obverse.errors import CodingError

DESIGN = Design.of(0.4, 0.45)
SEEDS = st.integers(0, 2**32 - 1)


def channel(entropy: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) random bits and log-odds N(mean, 2 mean) in favour of them, of this entropy."""
    rng = np.random.default_rng(seed)
    mean = 2.0 ** (polar.log2_mean_of(entropy) / polar.UNIT)
    x = rng.integers(0, 2, n).astype(np.uint8)
    odds = (1 - 2.0 * x) * (mean + np.sqrt(2 * mean) * rng.normal(size=n))
    return x, odds.astype(np.float32)


def lanes_of_edges(design: Design, layers: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """(check, bit) of every edge of the whole graph."""
    graph = graph_of(design, layers, lanes)
    layer = np.repeat(np.arange(layers), np.diff(graph.start))
    z = np.arange(lanes)
    checks = layer[:, None] * lanes + z
    bits = graph.column[:, None].astype(int) * lanes + (z - graph.shift[:, None]) % lanes
    return checks.ravel(), bits.ravel()


# -- graphs ----------------------------------------------------------------------------------------------


def test_graphs_never_change():
    # files written by one version are read by another: these must stay as they are
    digest = hashlib.sha256()
    for design, layers, lanes in ((DESIGN, 461, 4), (DESIGN, 500, 1), (Design.of(0.8, 0.82), 840, 2)):
        graph = graph_of(design, layers, lanes)
        for part in (graph.column, graph.shift, graph.start, graph.parent):
            digest.update(part.astype("<i8").tobytes())
    assert digest.hexdigest() == "860e5545d36a83f755919b67383d23c4c5bacdbe0f40493cb2fa3c6a223bdc00"


@pytest.mark.parametrize("entropy", COLUMNS)
def test_columns_fill_the_base_graph(entropy):
    columns = COLUMNS[entropy]
    assert sum(count for _, count in columns) == BASE
    assert min(degree for degree, _ in columns) == 2 and max(degree for degree, _ in columns) < BASE * entropy
    assert dict(columns)[2] < BASE * (entropy + 0.01)


@pytest.mark.parametrize(("entropy", "lanes"), [(0.05, 2), (0.11, 4), (0.4, 8), (0.8, 4)])
def test_graphs_have_the_degrees_and_no_short_cycles(entropy, lanes):
    design = Design.of(entropy, entropy + 0.02)
    graph = graph_of(design, design.layers, lanes)
    degrees, counts = np.unique(np.bincount(graph.column, minlength=BASE), return_counts=True)
    assert tuple(zip(degrees.tolist(), counts.tolist(), strict=True)) == design.columns
    size = np.diff(graph.start)
    assert size.max() - size.min() <= 2  # layers are alike
    pairs = set(zip(np.repeat(np.arange(design.layers), size).tolist(), graph.column.tolist(), strict=True))
    assert len(pairs) == graph.column.size  # never two edges between a layer and a column
    # the chain: no cycle among columns of degree 2
    root = list(range(design.layers))

    def find(k: int) -> int:
        while root[k] != k:
            k = root[k]
        return k

    layer = np.repeat(np.arange(design.layers), size)
    for column in range(dict(design.columns)[2]):
        first, second = (find(k) for k in layer[graph.column == column])
        assert first != second
        root[first] = second


def test_columns_of_low_degree_have_no_cycles_of_length_4():
    lanes = 16
    checks, bits = lanes_of_edges(DESIGN, DESIGN.layers, lanes)
    degree = np.bincount(graph_of(DESIGN, DESIGN.layers, lanes).column, minlength=BASE)
    low = degree[bits // lanes] <= 3
    order = np.lexsort((bits[low], checks[low]))
    ends = np.split(bits[low][order], np.cumsum(np.bincount(checks[low]))[:-1])
    pairs = [(a, b) for members in ends for a, b in itertools.combinations(members.tolist(), 2)]
    assert len(set(pairs)) == len(pairs) > 10_000


# -- sums ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 2, 8]), st.integers(0, 200), SEEDS)
def test_sums_are_those_of_the_edges(lanes, further, seed):
    n = BASE * lanes
    x = np.random.default_rng(seed).integers(0, 2, n).astype(np.uint8)
    count = min(n, DESIGN.bits(n) + further)
    sent = ldpc.sent_bits(x, DESIGN, count)
    assert sent.size == count and sent.max(initial=0) <= 1
    checks, bits = lanes_of_edges(DESIGN, DESIGN.layers, lanes)
    expected = np.bincount(checks, x[bits], DESIGN.bits(n)) % 2
    assert (sent[: expected.size] == expected).all()


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 4]), SEEDS, st.data())
def test_more_bits_go_on_where_fewer_ended(lanes, seed, data):
    n = BASE * lanes
    x = np.random.default_rng(seed).integers(0, 2, n).astype(np.uint8)
    counts = st.integers(DESIGN.bits(n), n)
    few, many = sorted((data.draw(counts), data.draw(counts)))
    assert (ldpc.sent_bits(x, DESIGN, many)[:few] == ldpc.sent_bits(x, DESIGN, few)).all()


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_sums_are_linear(seed):
    x, y = np.random.default_rng(seed).integers(0, 2, (2, 2048)).astype(np.uint8)
    count = DESIGN.bits(2048) + 77
    both = ldpc.sent_bits(x, DESIGN, count) ^ ldpc.sent_bits(y, DESIGN, count)
    assert (ldpc.sent_bits(x ^ y, DESIGN, count) == both).all()


def test_splitting_keeps_every_edge_once():
    whole = sorted(zip(*(part.tolist() for part in lanes_of_edges(DESIGN, DESIGN.layers, 1)), strict=True))
    layers = DESIGN.layers + 300
    graph = graph_of(DESIGN, layers, 1)
    root = np.arange(layers)
    for k in range(layers - 1, DESIGN.layers - 1, -1):
        root[root == k] = graph.parent[k]
    for _ in range(12):
        root = np.where(root >= DESIGN.layers, graph.parent[root], root)
    checks, bits = lanes_of_edges(DESIGN, layers, 1)
    assert sorted(zip(root[checks].tolist(), bits.tolist(), strict=True)) == whole


# -- decoding --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([1, 4]), st.integers(0, 400), SEEDS)
def test_certain_side_information_is_taken(lanes, further, seed):
    n = BASE * lanes
    x = np.random.default_rng(seed).integers(0, 2, n).astype(np.uint8)
    sent = ldpc.sent_bits(x, DESIGN, min(n, DESIGN.bits(n) + further))
    assert (ldpc.decode(np.where(x, -50, 50).astype(np.float32), sent, DESIGN) == x).all()


@pytest.mark.parametrize(
    ("entropy", "gap"), [(0.05, 0.02), (0.11, 0.025), (0.4, 0.05), (0.6, 0.05), (0.8, 0.045)]
)
def test_long_blocks_decode_near_the_entropy(entropy, gap):
    n = 32_768
    design = Design.of(entropy, entropy + gap)
    for seed in range(3):
        x, odds = channel(entropy, n, seed)
        found = ldpc.decode(odds, ldpc.sent_bits(x, design, design.bits(n)), design)
        assert found is not None and (found == x).all()


def test_erasures_are_filled():
    n, share = 16_384, 0.35
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, n).astype(np.uint8)
    odds = np.where(rng.random(n) < share, 0, np.where(x, -40, 40)).astype(np.float32)
    assert (ldpc.decode(odds, ldpc.sent_bits(x, DESIGN, DESIGN.bits(n)), DESIGN) == x).all()


def test_fewer_bits_than_the_entropy_find_nothing_and_more_bits_mend_it():
    n = 16_384
    x, odds = channel(0.5, n, 1)
    assert ldpc.decode(odds, ldpc.sent_bits(x, DESIGN, DESIGN.bits(n)), DESIGN) is None
    for share in np.arange(0.46, 0.7, 0.01):
        found = ldpc.decode(odds, ldpc.sent_bits(x, DESIGN, int(share * n)), DESIGN)
        if found is not None:
            break
    assert (found == x).all() and share < 0.6


def test_what_is_found_has_the_sums_that_were_sent():
    n = 4096
    rng = np.random.default_rng(0)
    found = 0
    for seed in range(12):
        x, odds = channel(0.35, n, seed)
        sent = ldpc.sent_bits(x, DESIGN, DESIGN.bits(n))
        sent[rng.integers(sent.size)] ^= seed % 2
        result = ldpc.decode(odds, sent, DESIGN, 60)
        if result is not None:
            assert (ldpc.sent_bits(result, DESIGN, sent.size) == sent).all()
            found += 1
    assert found >= 6


def test_nothing_is_found_from_nan():
    n = 1024
    sent = np.zeros(DESIGN.bits(n), np.uint8)
    sent[0] = 1
    assert ldpc.decode(np.full(n, np.nan, np.float32), sent, DESIGN) is None


def test_a_design_is_plain_numbers():
    state = json.loads(json.dumps(asdict(DESIGN)))
    again = Design(tuple((d, c) for d, c in state["columns"]), state["layers"])
    assert again == DESIGN


@pytest.mark.parametrize("n", [0, 1, 1000, 1025])
def test_blocks_of_other_sizes_are_refused(n):
    with pytest.raises(CodingError, match="multiple of 1024"):
        ldpc.sent_bits(np.zeros(n, np.uint8), DESIGN, n)
    with pytest.raises(CodingError, match="multiple of 1024"):
        ldpc.decode(np.zeros(n, np.float32), np.zeros(n, np.uint8), DESIGN)


@pytest.mark.parametrize("count", [0, 460, 1025])
def test_other_numbers_of_bits_are_refused(count):
    with pytest.raises(CodingError):
        ldpc.sent_bits(np.zeros(1024, np.uint8), DESIGN, count)
    with pytest.raises(CodingError):
        ldpc.decode(np.zeros(1024, np.float32), np.zeros(count, np.uint8), DESIGN)


@pytest.mark.parametrize(
    "columns", [((2, 400), (3, 600)), ((1, 424), (3, 600)), ((2, 24), (600, 1000)), ((3, 1025),)]
)
def test_impossible_designs_are_refused(columns):
    with pytest.raises(CodingError, match="a design has"):
        ldpc.sent_bits(np.zeros(1024, np.uint8), Design(columns, 450), 450)
