"""The inner loops of the coder: range asymmetric numeral systems, compiled by Numba.

One state x is an integer in [2**32, 2**64) on top of a stack of 32-bit words (Duda, "Asymmetric
numeral systems", arXiv:1311.2540). For a symbol of integer frequency f, cumulative frequency c and
2**precision in total:

    push   x -> (x // f) * 2**precision + c + x % f      a word moves to the stack first if x would overflow
    pop    s  = x mod 2**precision finds the symbol;  x -> f * (x >> precision) + s - c,  a word comes back

Each is the exact inverse of the other. The `*_lanes` loops run four independent states over one stack,
which hides the latency of the division; `message.py` says how four states begin and end.

Symbols outside a table's support go through the table's last entry, the escape, followed by the
Elias gamma code of their distance from the support in raw bits.

Where a processor could only guess a branch (does a word move? is it this interval or the next?) both ways
are computed and one is selected: a wrong guess costs more than the arithmetic of a whole symbol. For the
same reason the small functions are forced inline (three times faster than calls).

Nothing here allocates, so Numba's runtime for that is off (`_nrt=False`). With it on, each symbol counts
references to its arrays up and down, atomically, which takes up to twice as long as the coding itself.

The loops trust their callers: indices of tables are within range, families are valid, `words` has at
least one entry. Sources are compiled once and cached on disk. Return codes instead of exceptions keep
the loops fast.

The arguments that describe a family, as `TableFamily` prepares them:

    rows       (4 T) int64, for each table: its offset in the cdf; size of its support; value minus cdf
               entry; 0. Flat, as Numba multiplies by the strides of (T, 4) at run time
    cdf        uint32, all tables one after the other, and one more entry that is read but never used
    first      uint32: for table t and bucket b (the top bits of a slot), at t * 2**BUCKET_BITS + b, the first
               cdf entry whose interval reaches into the bucket: where the search for a slot starts
    precision  the bits of a slot
    escape     whether the last interval of each table is the escape
"""

from __future__ import annotations

from typing import Any

import numpy as np

from obverse.jit import njit

OK, EMPTY, NO_ESCAPE, NO_ROOM, BAD_DATA = 0, 1, 2, 3, 4
LOW = np.uint64(1 << 32)  # the smallest state, and the state of an empty message
LANES = 4
BUCKET_BITS = 10

_U32 = np.uint64(32)
_U64 = np.uint64(64)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
_BUCKET_BITS = np.uint64(BUCKET_BITS)
_WORD = np.uint64(0xFFFFFFFF)

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
compiled: Any = njit(**_OPTIONS)
inline: Any = njit(forceinline=True, **_OPTIONS)


@inline
def push_interval(x, words, n, start, freq, precision):  # type: ignore[no-untyped-def]
    """One push of [start, start + freq) out of 2**precision; freq < 2**precision. -> state, words used."""
    words[np.uint64(n)] = np.uint32(x & _WORD)  # counts only if x is too large
    large = x >= freq << (_U64 - precision)
    n += np.int64(large)
    x = x >> _U32 if large else x
    q = x // freq
    return (q << precision) + start + (x - q * freq), n


@inline
def refill(x, words, n):  # type: ignore[no-untyped-def]
    """A word comes back if x is too small. -> state, words left (negative: there was none)."""
    small = x < LOW
    n -= np.int64(small)
    word = np.uint64(words[np.uint64(max(n, 0))])
    return ((x << _U32) | word if small else x), n


@inline
def push_bits(x, words, n, value, bits):  # type: ignore[no-untyped-def]
    """`value` < 2**bits as `bits` <= 31 raw bits."""
    if bits == 0:
        return x, n
    if x >> (_U64 - bits) != _ZERO:
        words[np.uint64(n)] = np.uint32(x & _WORD)
        n += 1
        x >>= _U32
    return (x << bits) | value, n


@inline
def pop_bits(x, words, n, bits):  # type: ignore[no-untyped-def]
    """-> state, words left (-1: the message is empty), value."""
    value = x & ((_ONE << bits) - _ONE)
    x, n = refill(x >> bits, words, n)
    return x, n, value


@compiled
def push_escape(x, words, n, value, low, size):  # type: ignore[no-untyped-def]
    """The distance of `value` from the support [low, low + size), as sign and Elias gamma code."""
    above = value >= low + size
    distance = value - (low + size) if above else low - value - 1
    m = np.uint64(distance) + _ONE
    length = _ZERO
    while m >> (length + _ONE) != _ZERO:
        length += _ONE
    rest = m - (_ONE << length)
    few = min(length, np.uint64(16))
    x, n = push_bits(x, words, n, rest >> np.uint64(16), length - few)
    x, n = push_bits(x, words, n, rest & np.uint64(0xFFFF), few)
    x, n = push_bits(x, words, n, length, np.uint64(6))
    return push_bits(x, words, n, np.uint64(above), _ONE)


@compiled
def pop_escape(x, words, n, low, size):  # type: ignore[no-untyped-def]
    """-> state, words left (-1: empty, -2: not a code that `push_escape` writes), value."""
    x, n, above = pop_bits(x, words, n, _ONE)
    if n < 0:
        return x, -1, 0
    x, n, length = pop_bits(x, words, n, np.uint64(6))
    if n < 0:
        return x, -1, 0
    if length > _U32:
        return x, -2, 0
    few = min(length, np.uint64(16))
    x, n, bottom = pop_bits(x, words, n, few)
    if n < 0:
        return x, -1, 0
    x, n, top = pop_bits(x, words, n, length - few)
    if n < 0:
        return x, -1, 0
    distance = np.int64((_ONE << length) + (top << np.uint64(16)) + bottom) - 1
    value = low + size + distance if above == _ONE else low - 1 - distance
    if value < -(2**31) or value >= 2**31:
        return x, -2, 0
    return x, n, value


@inline
def push_symbol(x, words, n, value, t, rows, cdf, precision, escape):  # type: ignore[no-untyped-def]
    """-> state, words used (-1: the table gives the value no probability)."""
    row = t << _TWO
    offset, size, shift = rows[row], rows[row + _ONE], rows[row + _TWO]
    at = np.uint64(np.int64(value) - shift)
    if at - np.uint64(offset) >= np.uint64(size):  # below the support wraps to a huge number
        if not escape:
            return x, -1
        x, n = push_escape(x, words, n, np.int64(value), offset + shift, size)
        at = np.uint64(offset + size)
    start = np.uint64(cdf[at])
    freq = np.uint64(cdf[at + _ONE]) - start
    if freq == _ZERO:
        return x, -1
    if freq >> precision == _ZERO:  # else the only value of its table, which costs nothing
        x, n = push_interval(x, words, n, start, freq, precision)
    return x, n


@inline
def pop_symbol(x, words, n, t, rows, cdf, first, precision):  # type: ignore[no-untyped-def]
    """-> state, words left (-1: empty, -2: bad data), value."""
    slot = x & ((_ONE << precision) - _ONE)
    at = np.uint64(first[(t << _BUCKET_BITS) + (slot >> (precision - _BUCKET_BITS))])
    once = np.uint64(cdf[at + _ONE]) <= slot
    twice = once & (np.uint64(cdf[at + _TWO]) <= slot)
    at += np.uint64(once) + np.uint64(twice)
    end = np.uint64(cdf[at + _ONE])
    while end <= slot:
        at += _ONE
        end = np.uint64(cdf[at + _ONE])
    start = np.uint64(cdf[at])
    x, n = refill((end - start) * (x >> precision) + slot - start, words, n)
    row = t << _TWO
    offset, size, shift = rows[row], rows[row + _ONE], rows[row + _TWO]
    if np.int64(at) == offset + size:
        if n < 0:
            return x, n, shift
        return pop_escape(x, words, n, offset + shift, size)
    return x, n, np.int64(at) + shift


@compiled
def push_one_state(x, words, n, symbols, index, begin, end, rows, cdf, precision, escape):  # type: ignore[no-untyped-def]
    """Push symbols[begin:end], last first, on one state. -> code, position, state, words used."""
    room = len(words) - 8
    for i in range(end - 1, begin - 1, -1):
        if n > room:
            return NO_ROOM, i, x, n
        at = np.uint64(i)
        x, n = push_symbol(x, words, n, symbols[at], np.uint64(index[at]), rows, cdf, precision, escape)
        if n < 0:
            return NO_ESCAPE, i, x, n
    return OK, begin, x, n


@compiled
def pop_one_state(x, words, n, symbols, index, begin, end, rows, cdf, first, precision):  # type: ignore[no-untyped-def]
    """Pop into symbols[begin:end], first first. -> code, state, words left."""
    for i in range(begin, end):
        at = np.uint64(i)
        x, n, symbols[at] = pop_symbol(x, words, n, np.uint64(index[at]), rows, cdf, first, precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), x, n
    return OK, x, n


@compiled
def push_lanes(states, words, n, symbols, index, end, rows, cdf, precision, escape):  # type: ignore[no-untyped-def]
    """Push symbols[0:end], last first, symbol i on state i mod 4; end is a multiple of 4."""
    x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    room = len(words) - 32
    for i in range(end - 4, -1, -4):
        if n > room:
            return NO_ROOM, i, n
        a = np.uint64(i)
        b, c, d = a + _ONE, a + _TWO, a + _THREE
        x3, n = push_symbol(x3, words, n, symbols[d], np.uint64(index[d]), rows, cdf, precision, escape)
        if n < 0:
            return NO_ESCAPE, i + 3, n
        x2, n = push_symbol(x2, words, n, symbols[c], np.uint64(index[c]), rows, cdf, precision, escape)
        if n < 0:
            return NO_ESCAPE, i + 2, n
        x1, n = push_symbol(x1, words, n, symbols[b], np.uint64(index[b]), rows, cdf, precision, escape)
        if n < 0:
            return NO_ESCAPE, i + 1, n
        x0, n = push_symbol(x0, words, n, symbols[a], np.uint64(index[a]), rows, cdf, precision, escape)
        if n < 0:
            return NO_ESCAPE, i, n
    states[0], states[1], states[2], states[3] = x0, x1, x2, x3
    return OK, 0, n


@compiled
def pop_lanes(states, words, n, symbols, index, end, rows, cdf, first, precision):  # type: ignore[no-untyped-def]
    """Pop into symbols[0:end], the mirror of `push_lanes`."""
    x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    for i in range(0, end, 4):
        a = np.uint64(i)
        b, c, d = a + _ONE, a + _TWO, a + _THREE
        x0, n, symbols[a] = pop_symbol(x0, words, n, np.uint64(index[a]), rows, cdf, first, precision)
        if n < 0:
            break
        x1, n, symbols[b] = pop_symbol(x1, words, n, np.uint64(index[b]), rows, cdf, first, precision)
        if n < 0:
            break
        x2, n, symbols[c] = pop_symbol(x2, words, n, np.uint64(index[c]), rows, cdf, first, precision)
        if n < 0:
            break
        x3, n, symbols[d] = pop_symbol(x3, words, n, np.uint64(index[d]), rows, cdf, first, precision)
        if n < 0:
            break
    if n < 0:
        return (EMPTY if n == -1 else BAD_DATA), n
    states[0], states[1], states[2], states[3] = x0, x1, x2, x3
    return OK, n
