"""Messages: round trips in every layout, sizes, misuse, and damaged bytes."""

import contextlib
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import obverse.coding.message as module
from obverse.coding import Message, TableFamily
from obverse.coding.message import LANES_FROM
from obverse.errors import CodingError, DamagedError, MessageEmptyError, TableError

INT32 = st.integers(-(2**31), 2**31 - 1)
ESCAPES = TableFamily.gaussian([0.11, 1.0, 30.0])
PLAIN = TableFamily.categorical([[1, 2, 0, 5], [0, 1, 0, 0]], low=-1)  # table 1 holds only the value 0
SIZES = (40, LANES_FROM + 3, 80_001)  # plain, lanes, parts


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PARTS_FROM", 70_000)


def sample(count, seed=0, tables=3):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, tables, count)
    return np.round(rng.normal(size=count) * np.array([0.11, 1, 30])[index]).astype(np.int32), index


def scrambled(count, seed):
    """Numbers that no version of NumPy will change."""
    x = np.arange(count, dtype=np.uint64) * np.uint64(6364136223846793005) + np.uint64(seed)
    for _ in range(3):
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (x >> np.uint64(33)).astype(np.int64)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["gaussian", "laplace", "logistic"]),
    st.integers(8, 24),
    st.floats(0.05, 50),
    st.floats(-1000, 1000),
    st.lists(st.one_of(INT32, st.integers(-100, 100)), max_size=40),
)
def test_any_int32_round_trip(builder, precision, scale, mean, symbols):
    if precision < 10:
        with pytest.raises(TableError):
            getattr(TableFamily, builder)(scale, mean, precision)
        return
    family = getattr(TableFamily, builder)([scale, 2 * scale], mean, precision)
    values = np.array(symbols, np.int64)
    index = np.arange(len(values)) % 2
    message = Message()
    message.push(values, family, index)
    assert message.bits == pytest.approx(family.bits(values, index).sum(), rel=2e-3, abs=0.5)
    again = Message.from_bytes(message.to_bytes())
    assert again == message
    assert again.pop(family, index).tolist() == symbols
    assert again.empty and again.bits == 0 and again.to_bytes() == b""


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(1, 50), st.integers(10, 24), st.integers(-(2**31), 2**31 - 51))
def test_categorical_and_uniform_round_trip(data, count, precision, low):
    weights = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count).filter(any))
    possible = [low + k for k, weight in enumerate(weights) if weight]
    symbols = data.draw(st.lists(st.sampled_from(possible), max_size=40))
    message = Message()
    families = TableFamily.categorical(weights, precision, low), TableFamily.uniform(count, precision, low)
    for family in families:
        message.push(np.array(symbols, np.int64), family)
    for family in families[::-1]:
        assert message.pop(family, np.zeros(len(symbols), int)).tolist() == symbols
    assert message.empty


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.tuples(st.just(-1), INT32), st.tuples(st.integers(0, 31), INT32)), max_size=30))
def test_stack_order(steps):
    message = Message()
    for bits, value in steps:
        if bits < 0:
            message.push(value, ESCAPES, 1)
        else:
            message.push_bits(value % (1 << bits), bits)
    for bits, value in steps[::-1]:
        got = message.pop(ESCAPES, 1) if bits < 0 else message.pop_bits(bits)
        assert got == (value if bits < 0 else value % (1 << bits))
    assert message.empty


def test_shapes():
    message = Message()
    message.push(7, ESCAPES, 2)
    message.push([], ESCAPES)
    message.push(np.zeros((0, 3), np.int32), ESCAPES, np.zeros((0, 3), np.uint8))
    message.push(np.arange(6).reshape(2, 3).T, ESCAPES, np.full((3, 2), 1))
    assert message.pop(ESCAPES, np.full((3, 2), 1)).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert message.pop(ESCAPES, np.zeros((0, 3), int)).shape == (0, 3)
    last = message.pop(ESCAPES, 2)
    assert last.shape == () and last == 7 and last.dtype == np.int32
    assert message.empty


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int16, ">i4", np.int64, np.uint64])
def test_integer_kinds_and_read_only(kind):
    values = np.array([0, 1, 1], kind)
    values.flags.writeable = False
    message = Message()
    message.push(values, ESCAPES, values)
    assert message.pop(ESCAPES, values).tolist() == [0, 1, 1]


def test_many_tables_use_the_wide_index():
    family = TableFamily.gaussian(np.linspace(0.2, 9, 300), precision=12)
    symbols, index = sample(900)[0], np.arange(900) % 300
    message = Message()
    message.push(symbols, family, index)
    assert np.array_equal(message.pop(family, index), symbols)


def test_one_symbol_alphabet_costs_nothing():
    one = TableFamily.categorical([1.0], low=5)
    for count in (1, 100, LANES_FROM):
        message = Message()
        message.push(np.full(count, 5), one)
        assert len(message.to_bytes()) <= 5
        assert (message.pop(one, np.zeros(count, int)) == 5).all() and message.empty


BAD = [
    (ESCAPES, [0.5], 0),
    (ESCAPES, [np.nan], 0),
    (ESCAPES, ["a"], 0),
    (ESCAPES, [None], 0),
    (ESCAPES, [2**31], 0),
    (ESCAPES, [-(2**31) - 1], 0),
    (ESCAPES, [2**70], 0),
    (ESCAPES, np.array([2**64 - 1], np.uint64), 0),
    (ESCAPES, [0], 3),
    (ESCAPES, [0], -1),
    (ESCAPES, [0], np.array([200], np.uint8)),
    (ESCAPES, [0], 0.0),
    (ESCAPES, [0], [np.nan]),
    (ESCAPES, [0, 1], [0]),
    (ESCAPES, [0, 1], [[0, 1]]),
    (PLAIN, [-2], 0),
    (PLAIN, [3], 0),
    (PLAIN, [1], 0),  # frequency zero
    (PLAIN, [-1], 1),
    (PLAIN, [2**31 - 1], 0),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused_push_changes_nothing(case):
    family, symbols, index = BAD[case]
    message = Message.random(5, 1)
    before = message.to_bytes()
    with pytest.raises(TableError):
        message.push(symbols, family, index)
    assert message.to_bytes() == before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", [0, 1, -1])
def test_refused_push_changes_nothing_in_any_layout(size, where, small_parts):
    message = Message()
    message.push(np.arange(-50, 50), ESCAPES, 2)
    before = message.to_bytes()
    symbols = np.tile([-1, 0, 2, 2], size // 4 + 1)[:size]
    symbols[where] = 1
    with pytest.raises(TableError, match="value 1 "):
        message.push(symbols, PLAIN)
    assert message.to_bytes() == before
    index = np.zeros(size, np.uint8)
    index[where] = 2
    with pytest.raises(TableError):
        message.push(np.zeros(size, int), PLAIN, index)
    with pytest.raises(TableError):
        message.pop(PLAIN, index)
    assert message.to_bytes() == before
    assert np.array_equal(message.pop(ESCAPES, np.full(100, 2)), np.arange(-50, 50))


@pytest.mark.parametrize(("value", "bits"), [(0, -1), (0, 32), (1, 0), (-1, 5), (32, 5)])
def test_bad_raw_bits(value, bits):
    message = Message()
    with pytest.raises(TableError):
        message.push_bits(value, bits)
    if not 0 <= bits <= 31:
        with pytest.raises(TableError):
            message.pop_bits(bits)
    assert message.empty


@pytest.mark.parametrize("size", SIZES)
def test_popping_more_than_was_pushed(size, small_parts):
    symbols, index = sample(size)
    with pytest.raises(MessageEmptyError):
        Message().pop(ESCAPES, index)
    message = Message()
    message.push(symbols, ESCAPES, index)
    message.pop(ESCAPES, index)
    with pytest.raises(MessageEmptyError):
        message.pop(ESCAPES, [0])
    with pytest.raises(MessageEmptyError):
        message.pop_bits(1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(1, 10), st.integers(0, 1000))
def test_popping_a_few_more(count, more, seed):
    symbols, index = sample(count + more, seed)
    message = Message()
    message.push(symbols[more:], ESCAPES, index[more:])
    with pytest.raises(CodingError):
        message.pop(ESCAPES, np.append(index[more:], index[:more]))


@pytest.mark.parametrize("size", [1, 100, LANES_FROM - 1, LANES_FROM, LANES_FROM + 1, LANES_FROM + 4097])
@pytest.mark.parametrize("table", [0, 1, 2])
@pytest.mark.parametrize("before", [0, 3])
def test_size_is_the_information(size, table, before):
    family = TableFamily.gaussian([0.11, 1.0, 30.0], precision=24)
    scale = [0.11, 1.0, 30.0][table]
    symbols = np.round(np.random.default_rng(size).normal(size=size) * scale).astype(np.int32)
    message = Message()
    message.push(np.arange(before), family, 2)
    start = message.bits
    message.push(symbols, family, table)
    ideal = start + family.bits(symbols, table).sum()
    assert abs(message.bits - ideal) < 20 + 2e-5 * ideal
    if size < LANES_FROM:
        assert abs(message.bits - ideal) < 0.1 + 2e-5 * ideal
    assert len(message.to_bytes()) <= ideal / 8 * (1 + 2e-5) + 8


@pytest.mark.parametrize("size", [*SIZES, LANES_FROM, 70_000, 100_003])
@pytest.mark.parametrize("interleave", [True, False])
def test_long_arrays(size, interleave, small_parts):
    symbols, index = sample(size, size)
    symbols[[0, 5, -1]] = -(2**31), 2**31 - 1, 12345
    message = Message(interleave)
    message.push([1, 2], ESCAPES, 1)
    message.push(symbols, ESCAPES, index)
    message.push(symbols, ESCAPES, index)
    again = Message.from_bytes(message.to_bytes(), interleave)
    assert np.array_equal(again.pop(ESCAPES, index), symbols)
    assert np.array_equal(again.pop(ESCAPES, index), symbols)
    assert again.pop(ESCAPES, [1, 1]).tolist() == [1, 2] and again.empty


def test_long_arrays_of_escapes_outgrow_the_room(small_parts):
    for size in SIZES[1:]:
        symbols = scrambled(size, 1).astype(np.int32) - 2**30
        message = Message()
        message.push(symbols, ESCAPES, 0)
        assert np.array_equal(message.pop(ESCAPES, np.zeros(size, int)), symbols) and message.empty


def test_four_million():
    symbols = (scrambled(4_000_001, 3) % 3 - 1).astype(np.int32)
    family = TableFamily.uniform(3, low=-1)
    message = Message()
    message.push(symbols, family)
    index = np.zeros(len(symbols), np.uint8)
    assert len(message.to_bytes()) < family.bits(symbols, 0).sum() / 8 * (1 + 1e-5) + 64
    assert np.array_equal(message.pop(family, index), symbols) and message.empty


def test_plain_is_the_short_layout():
    symbols, index = sample(LANES_FROM - 1)
    one, other = Message(), Message(interleave=False)
    one.push(symbols, ESCAPES, index)
    other.push(symbols, ESCAPES, index)
    assert one == other and one.to_bytes() == other.to_bytes()
    parts = Message(interleave=False)  # a long plain array is its short pieces, last first
    symbols, index = sample(LANES_FROM + 1000)
    whole = Message(interleave=False)
    whole.push(symbols, ESCAPES, index)
    for end in range(len(symbols), 0, -1000):
        here = slice(max(end - 1000, 0), end)
        parts.push(symbols[here], ESCAPES, index[here])
    assert parts == whole


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_bits_back(seed, count):
    family = TableFamily.categorical(np.random.default_rng(seed).dirichlet(np.full(20, 0.5), 3), 16)
    index = np.arange(count) % 3
    message = Message.random(count // 2 + 8, seed)
    before = message.copy()
    symbols = message.pop(family, index)
    assert message != before
    message.push(symbols, family, index)
    assert message == before and message.to_bytes() == before.to_bytes()


def test_bits_back_of_a_long_array():
    index = np.arange(50_000) % 2
    family = TableFamily.categorical([[1, 2, 3], [5, 0, 1]])
    message = Message.random(4000, 0)
    before = message.copy()
    message.push(message.pop(family, index), family, index)
    assert message == before


def test_random_of_no_words():
    message = Message.random(0, 0)
    with pytest.raises(MessageEmptyError):
        message.pop(TableFamily.uniform(1024), np.zeros(40, int))


def test_copy_and_equality():
    message = Message.random(3, 0)
    other = message.copy()
    other.push([1], ESCAPES, 1)
    assert other != message and message == Message.random(3, 0) and message != "message"
    with pytest.raises(TypeError):
        hash(message)
    assert "bits" in repr(message)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.booleans(), st.sampled_from([1, 100]))
def test_garbage_raises_only_our_errors(data, interleave, count):
    try:
        message = Message.from_bytes(data, interleave)
        assert message.to_bytes() == data  # only one message has these bytes
        message.pop(ESCAPES, np.arange(count) % 3)
    except (DamagedError, CodingError):
        pass


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 40_000), st.sampled_from(SIZES[1:]))
def test_garbage_in_the_long_layouts(seed, size, count):
    data = np.random.default_rng(seed).bytes(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARTS_FROM", 70_000)
        with contextlib.suppress(DamagedError, CodingError):
            Message.from_bytes(data).pop(ESCAPES, np.arange(count) % 3)


@pytest.mark.parametrize("size", SIZES)
def test_truncated(size, small_parts):
    symbols, index = sample(size)
    message = Message()
    message.push(symbols, ESCAPES, index)
    data = message.to_bytes()
    cuts = range(len(data)) if size == SIZES[0] else [0, 1, 4, 5, 8, 999, len(data) // 2, len(data) - 1]
    for cut in cuts:
        for piece in (data[:cut], data[len(data) - cut :]):
            try:
                got = Message.from_bytes(piece).pop(ESCAPES, index)
            except (DamagedError, CodingError):
                continue
            assert not np.array_equal(got, symbols)


@pytest.mark.parametrize("size", SIZES[1:])
def test_flipped_bytes(size, small_parts):
    symbols, index = sample(size)
    message = Message()
    message.push(symbols, ESCAPES, index)
    data = message.to_bytes()
    for place in [0, 1, 100, len(data) // 2, *range(len(data) - 24, len(data))]:
        damaged = bytearray(data)
        damaged[place] ^= 0x5A
        try:
            got = Message.from_bytes(bytes(damaged)).pop(ESCAPES, index)
        except (DamagedError, CodingError):
            continue
        assert not np.array_equal(got, symbols)


# -- golden bytes: messages that were once written must stay readable ---------------------------------

GOLDEN = TableFamily.from_frequencies(
    [[1, 3, 0, 200, 800, 19, 1], [1024], [500, 500, 24], [1023, 1]], [-3, 2, 0, 5], 10, True
)
PLAIN_HEX = "03f4bf07bba13f9aaf567a03de59467c05062595fdffff7f0080ff7bfffb0a0005a2514604"
SHA256 = {
    "plain": "2f1fbbd8e04e210f69980b107109547d327de95c9a1a42b6e3d4d480f03848f6",
    "lanes": "7ba542e0ddc5a26b163f0ae5fd1e63972f39765c0e1b85453fec83c337d32f3c",
    "parts": "0740ddae464048dd2899f2bbba70328e5108b5b99a4135acc7c03cc1a957ac1c",
}


def golden(count, seed):
    index, r = scrambled(count, seed) % 4, scrambled(count, seed + 1)
    choices = [
        np.array([-3, -2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2])[r % 15],
        3 + r % 3,
        r % 2,
        np.where(r % 97 == 0, r % 4001 - 2000, 5),
    ]
    return np.choose(index, choices).astype(np.int32), index


def test_golden_short():
    symbols, index = golden(60, 1)
    symbols[:2] = -(2**31), 2**31 - 1
    message = Message.from_bytes(bytes.fromhex(PLAIN_HEX))
    assert message.pop_bits(7) == 5
    assert np.array_equal(message.pop(GOLDEN, index), symbols) and message.empty
    message.push(symbols, GOLDEN, index)
    message.push_bits(5, 7)
    assert message.to_bytes().hex() == PLAIN_HEX


@pytest.mark.parametrize(
    ("layout", "count", "seed"), [("plain", 20_003, 2), ("lanes", 20_003, 2), ("parts", 80_001, 3)]
)
def test_golden_long(layout, count, seed, small_parts):
    symbols, index = golden(count, seed)
    message = Message(interleave=layout != "plain")
    message.push(symbols, GOLDEN, index)
    assert hashlib.sha256(message.to_bytes()).hexdigest() == SHA256[layout]
    assert np.array_equal(message.pop(GOLDEN, index), symbols) and message.empty
