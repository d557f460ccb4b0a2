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

Sources are compiled once and cached on disk. Return codes instead of exceptions keep the loops fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

OK, EMPTY, BAD_INDEX, NO_ESCAPE, NO_ROOM, BAD_DATA = 0, 1, 2, 3, 4, 5
LOW = np.uint64(1 << 32)  # the smallest state, and the state of an empty message
LANES = 4
BUCKET_BITS = 10  # a table's first guess is looked up by the top bits of the slot

_U32 = np.uint64(32)
_U64 = np.uint64(64)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_WORD = np.uint64(0xFFFFFFFF)

Words = np.ndarray[Any, np.dtype[np.uint32]]


@njit(cache=True, nogil=True)
def push_interval(x, words, n, start, freq, precision):  # type: ignore[no-untyped-def]
    """One push of [start, start + freq) out of 2**precision; freq < 2**precision. -> state, words used."""
    if x >= freq << (_U64 - precision):
        words[np.uint64(n)] = np.uint32(x & _WORD)
        n += 1
        x >>= _U32
    q = x // freq
    return (q << precision) + start + (x - q * freq), n


@njit(cache=True, nogil=True)
def push_bits(x, words, n, value, bits):  # type: ignore[no-untyped-def]
    """`value` < 2**bits as `bits` <= 31 raw bits."""
    if bits == 0:
        return x, n
    if x >> (_U64 - bits) != _ZERO:
        words[np.uint64(n)] = np.uint32(x & _WORD)
        n += 1
        x >>= _U32
    return (x << bits) | value, n


@njit(cache=True, nogil=True)
def pop_bits(x, words, n, bits):  # type: ignore[no-untyped-def]
    """-> state, words left (-1: the message is empty), value."""
    if bits == 0:
        return x, n, _ZERO
    value = x & ((_ONE << bits) - _ONE)
    x >>= bits
    if x < LOW:
        if n == 0:
            return x, -1, value
        n -= 1
        x = (x << _U32) | np.uint64(words[np.uint64(n)])
    return x, n, value


@njit(cache=True, nogil=True)
def push_escape(x, words, n, value, low, size):  # type: ignore[no-untyped-def]
    """The distance of `value` from the support [low, low + size), as sign and Elias gamma code."""
    above = value >= low + size
    if size == 0:
        above = value >= low
        distance = value - low if above else low - value - 1
    else:
        distance = value - (low + size) if above else low - value - 1
    m = np.uint64(distance) + _ONE
    length = _ZERO
    while m >> (length + _ONE) != _ZERO:
        length += _ONE
    rest = m - (_ONE << length)
    high = length - min(length, np.uint64(16))
    x, n = push_bits(x, words, n, rest >> np.uint64(16), high)
    x, n = push_bits(x, words, n, rest & np.uint64(0xFFFF), min(length, np.uint64(16)))
    x, n = push_bits(x, words, n, length, np.uint64(6))
    return push_bits(x, words, n, np.uint64(above), _ONE)


@njit(cache=True, nogil=True)
def pop_escape(x, words, n, low, size):  # type: ignore[no-untyped-def]
    """-> state, words left (-1 empty, -2 not a code that `push_escape` writes), value."""
    x, n, above = pop_bits(x, words, n, _ONE)
    if n < 0:
        return x, n, 0
    x, n, length = pop_bits(x, words, n, np.uint64(6))
    if n < 0:
        return x, n, 0
    if length > np.uint64(32):
        return x, -2, 0
    few = min(length, np.uint64(16))
    x, n, bottom = pop_bits(x, words, n, few)
    if n < 0:
        return x, n, 0
    x, n, top = pop_bits(x, words, n, length - few)
    if n < 0:
        return x, n, 0
    distance = np.int64((_ONE << length) + (top << np.uint64(16)) + bottom) - 1
    value = low + size + distance if above == _ONE else low - 1 - distance
    if value < -(2**31) or value >= 2**31:
        return x, -2, 0
    return x, n, value


@njit(cache=True, nogil=True)
def push_symbol(x, words, n, value, low, size, offset, escape, cdf, precision):  # type: ignore[no-untyped-def]
    """-> state, words used (-1: the table gives the value no probability)."""
    v = np.uint64(value - low)  # below the support wraps to a huge number
    if v < np.uint64(size):
        at = offset + v
        start = np.uint64(cdf[at])
        freq = np.uint64(cdf[at + _ONE]) - start
        if freq == _ZERO:
            return x, -1
        if freq >> precision == _ZERO:
            x, n = push_interval(x, words, n, start, freq, precision)
        return x, n
    if not escape:
        return x, -1
    x, n = push_escape(x, words, n, value, low, size)
    at = offset + np.uint64(size)
    start = np.uint64(cdf[at])
    freq = np.uint64(cdf[at + _ONE]) - start
    if freq >> precision == _ZERO:
        x, n = push_interval(x, words, n, start, freq, precision)
    return x, n


@njit(cache=True, nogil=True)
def pop_symbol(x, words, n, low, size, offset, cdf, first, precision):  # type: ignore[no-untyped-def]
    """-> state, words left (-1: empty, -2: bad data), value."""
    slot = x & ((_ONE << precision) - _ONE)
    at = offset + np.uint64(first[slot >> (precision - np.uint64(BUCKET_BITS))])
    end = np.uint64(cdf[at + _ONE])
    while end <= slot:
        at += _ONE
        end = np.uint64(cdf[at + _ONE])
    start = np.uint64(cdf[at])
    x = (end - start) * (x >> precision) + slot - start
    if x < LOW:
        if n == 0:
            return x, -1, 0
        n -= 1
        x = (x << _U32) | np.uint64(words[np.uint64(n)])
    v = np.int64(at - offset)
    if v == size:
        return pop_escape(x, words, n, low, size)
    return x, n, low + v


@njit(cache=True, nogil=True)
def push_one_state(x, words, n, symbols, index, first_symbol, end, lows, sizes, offsets, escape, cdf, precision):  # type: ignore[no-untyped-def]
    """Push symbols[first_symbol:end], last first, on one state. -> code, position, state, words used."""
    room = len(words) - 8
    for i in range(end - 1, first_symbol - 1, -1):
        t = np.uint64(index[np.uint64(i)])
        if t >= np.uint64(len(lows)):
            return BAD_INDEX, i, x, n
        if n > room:
            return NO_ROOM, i, x, n
        x, n = push_symbol(x, words, n, np.int64(symbols[np.uint64(i)]), lows[t], sizes[t], offsets[t], escape, cdf, precision)
        if n < 0:
            return NO_ESCAPE, i, x, n
    return OK, first_symbol, x, n


@njit(cache=True, nogil=True)
def pop_one_state(x, words, n, symbols, index, first_symbol, end, lows, sizes, offsets, cdf, first, precision):  # type: ignore[no-untyped-def]
    """Pop into symbols[first_symbol:end], first first. -> code, state, words left."""
    for i in range(first_symbol, end):
        t = np.uint64(index[np.uint64(i)])
        if t >= np.uint64(len(lows)):
            return BAD_INDEX, x, n
        x, n, value = pop_symbol(x, words, n, lows[t], sizes[t], offsets[t], cdf, first[t], precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), x, n
        symbols[np.uint64(i)] = value
    return OK, x, n


@njit(cache=True, nogil=True)
def push_lanes(states, words, n, symbols, index, end, lows, sizes, offsets, escape, cdf, precision):  # type: ignore[no-untyped-def]
    """Push symbols[0:end], last first, symbol i on state i mod 4; end is a multiple of 4."""
    x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    room = len(words) - 32
    tables = np.uint64(len(lows))
    for i in range(end - 4, -1, -4):
        at = np.uint64(i)
        t3, t2 = np.uint64(index[at + np.uint64(3)]), np.uint64(index[at + np.uint64(2)])
        t1, t0 = np.uint64(index[at + _ONE]), np.uint64(index[at])
        if t3 >= tables or t2 >= tables or t1 >= tables or t0 >= tables:
            return BAD_INDEX, i, n
        if n > room:
            return NO_ROOM, i, n
        x3, n = push_symbol(x3, words, n, np.int64(symbols[np.uint64(i + 3)]), lows[t3], sizes[t3], offsets[t3], escape, cdf, precision)
        if n < 0:
            return NO_ESCAPE, i + 3, n
        x2, n = push_symbol(x2, words, n, np.int64(symbols[np.uint64(i + 2)]), lows[t2], sizes[t2], offsets[t2], escape, cdf, precision)
        if n < 0:
            return NO_ESCAPE, i + 2, n
        x1, n = push_symbol(x1, words, n, np.int64(symbols[np.uint64(i + 1)]), lows[t1], sizes[t1], offsets[t1], escape, cdf, precision)
        if n < 0:
            return NO_ESCAPE, i + 1, n
        x0, n = push_symbol(x0, words, n, np.int64(symbols[np.uint64(i)]), lows[t0], sizes[t0], offsets[t0], escape, cdf, precision)
        if n < 0:
            return NO_ESCAPE, i, n
    states[0], states[1], states[2], states[3] = x0, x1, x2, x3
    return OK, 0, n


@njit(cache=True, nogil=True)
def pop_lanes(states, words, n, symbols, index, end, lows, sizes, offsets, cdf, first, precision):  # type: ignore[no-untyped-def]
    """Pop into symbols[0:end], the mirror of `push_lanes`."""
    x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    tables = np.uint64(len(lows))
    for i in range(0, end, 4):
        at = np.uint64(i)
        t0, t1 = np.uint64(index[at]), np.uint64(index[at + _ONE])
        t2, t3 = np.uint64(index[at + np.uint64(2)]), np.uint64(index[at + np.uint64(3)])
        if t3 >= tables or t2 >= tables or t1 >= tables or t0 >= tables:
            return BAD_INDEX, n
        x0, n, v = pop_symbol(x0, words, n, lows[t0], sizes[t0], offsets[t0], cdf, first[t0], precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), n
        symbols[np.uint64(i)] = v
        x1, n, v = pop_symbol(x1, words, n, lows[t1], sizes[t1], offsets[t1], cdf, first[t1], precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), n
        symbols[np.uint64(i + 1)] = v
        x2, n, v = pop_symbol(x2, words, n, lows[t2], sizes[t2], offsets[t2], cdf, first[t2], precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), n
        symbols[np.uint64(i + 2)] = v
        x3, n, v = pop_symbol(x3, words, n, lows[t3], sizes[t3], offsets[t3], cdf, first[t3], precision)
        if n < 0:
            return (EMPTY if n == -1 else BAD_DATA), n
        symbols[np.uint64(i + 3)] = v
    states[0], states[1], states[2], states[3] = x0, x1, x2, x3
    return OK, n
