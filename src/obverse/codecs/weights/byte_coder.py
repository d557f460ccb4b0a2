"""Bytes by tables of frequencies, fast: range asymmetric numeral systems with small states, compiled by Numba.

bytes, a table for each ──► encode ──► words of 16 bits
words, the same tables ──► decode ──► bytes

`obverse.coding.Message` is a stack that other codecs share; tensors have hundreds of millions of bytes, of which
nothing is pushed later, so here four states of 32 bits in [2^16, 2^32) code every fourth byte each, with frequencies
out of 2^12, which takes less time. For a byte of frequency f and cumulative frequency c:

    encode, from the last byte to the first   x -> (x // f) * 2^12 + c + x % f       a word goes first if x >= f * 2^20
    decode, from the first to the last        x -> f * (x >> 12) + (x mod 2^12) - c  a word comes if x < 2^16

A table is 2^12 numbers, one for each value of x mod 2^12: the byte, f << 8 and (x mod 2^12 - c) << 20; for the encoder
it is 256 numbers, f << 16 and c. The loops trust their callers for tables and sizes, and nothing for words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import DamagedError
from obverse.jit import njit

Bytes = npt.NDArray[np.uint8]

PRECISION = 12
TOTAL = 1 << PRECISION
LANES = 4
STATES = 2 * LANES  # words that hold the states at the beginning

_LOW = np.uint32(1 << 16)
_MASK = np.uint32(TOTAL - 1)
_BITS = np.uint32(PRECISION)
_SPARE = np.uint32(32 - PRECISION)
_16 = np.uint32(16)
_8 = np.uint32(8)
_20 = np.uint32(20)
_BYTE = np.uint32(255)
_WORD = np.uint32(0xFFFF)

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "error_model": "numpy"}
compiled: Any = njit(**_OPTIONS)
inline: Any = njit(forceinline=True, **_OPTIONS)


def normalised(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Frequencies out of 2^12 of counts, near to them, so that every counted byte has at least 1.

    Args:
        counts: (tables, 256), each row with at least two above 0.

    Returns:
        (tables, 256) whole numbers, each below 2^12, with the sum 2^12 in each row.
    """
    shares = counts * (TOTAL / counts.sum(1, keepdims=True))
    frequencies = np.where(counts > 0, np.maximum(shares.astype(np.int64), 1), 0)
    spare = TOTAL - frequencies.sum(1)
    # one more for those that were cut most
    order = np.argsort(np.where(counts > 0, frequencies - shares, np.inf), axis=1, kind="stable")
    np.put_along_axis(
        frequencies, order, np.take_along_axis(frequencies, order, 1) + (np.arange(256) < spare[:, None]), 1
    )
    for row in np.flatnonzero(
        spare < 0
    ):  # the rare ones got more than their share: the most frequent ones pay
        while (over := int(frequencies[row].sum()) - TOTAL) > 0:
            most = int(np.argmax(frequencies[row]))
            frequencies[row, most] -= min(over, max(1, int(frequencies[row, most]) // 16))
    return frequencies.astype(np.uint16)


def encoder_table(frequencies: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint32]:
    """(n, 256) frequencies -> (n, 256), what `encode` reads."""
    wide = frequencies.astype(np.uint32)
    starts = np.cumsum(wide, axis=1, dtype=np.uint32) - wide
    return (wide << _16) | starts


def decoder_table(frequencies: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint32]:
    """(n, 256) frequencies, each row with the sum 2^12 -> (n, 4096), what `decode` reads."""
    wide = frequencies.astype(np.uint32)
    starts = np.cumsum(wide, axis=1, dtype=np.uint32) - wide
    tables = np.empty((len(wide), TOTAL), np.uint32)
    slots = np.arange(TOTAL, dtype=np.uint32)
    for row in range(len(wide)):
        values = np.repeat(np.arange(256, dtype=np.uint32), wide[row])
        tables[row] = values | (wide[row][values] << _8) | ((slots - starts[row][values]) << _20)
    return tables


def encode(data: Bytes, frequencies: npt.NDArray[np.uint16], contexts: Bytes | None = None) -> bytes:
    """Args:
    data: (n,), contiguous.
    frequencies: (tables, 256); each table has more than one byte with a frequency, and all that occur have one.
    contexts: (n,), which table each byte has; None for the only one.
    """
    table = encoder_table(frequencies).ravel()
    words = np.empty(len(data) + STATES, np.uint16)
    chosen = contexts is not None
    start = _encode_chosen(data, contexts, table, words) if chosen else _encode(data, table, words)
    return words[start:].astype("<u2", copy=False).tobytes()


def decode(
    payload: bytes | memoryview,
    out: Bytes,
    frequencies: npt.NDArray[np.uint16],
    contexts: Bytes | None = None,
) -> None:
    """Fill `out`, (n,) uint8, contiguous.

    Raises:
        DamagedError: for what `encode` did not write.
    """
    if len(payload) % 2 or len(payload) < 2 * STATES:
        raise DamagedError("the bytes of a tensor end early, or have bytes too many")
    words = np.frombuffer(payload, "<u2").astype(np.uint16, copy=False)
    table = decoder_table(frequencies).ravel()
    chosen = contexts is not None
    if not (_decode_chosen(words, out, contexts, table) if chosen else _decode(words, out, table)):
        raise DamagedError("the bytes of a tensor do not end where they should")


@inline
def _put(x, entry, words, p):  # type: ignore[no-untyped-def]
    frequency = entry >> _16
    words[np.uint64(p - 1)] = np.uint16(x & _WORD)  # counts only if x is too large
    large = x >= frequency << _SPARE
    p -= np.int64(large)
    x = x >> _16 if large else x
    quotient = x // frequency
    return np.uint32((quotient << _BITS) + (entry & _WORD) + (x - quotient * frequency)), p


@inline
def _take(x, entry, words, p):  # type: ignore[no-untyped-def]
    x = np.uint32(((entry >> _8) & _MASK) * (x >> _BITS) + (entry >> _20))
    small = x < _LOW
    word = np.uint32(words[np.uint64(p)])
    p += np.int64(small)
    return np.uint32((x << _16) | word) if small else x, p


@inline
def _states_out(a, b, c, d, words, p):  # type: ignore[no-untyped-def]
    words[p - 8], words[p - 7] = np.uint16(a & _WORD), np.uint16(a >> _16)
    words[p - 6], words[p - 5] = np.uint16(b & _WORD), np.uint16(b >> _16)
    words[p - 4], words[p - 3] = np.uint16(c & _WORD), np.uint16(c >> _16)
    words[p - 2], words[p - 1] = np.uint16(d & _WORD), np.uint16(d >> _16)
    return p - 8


@inline
def _state_in(words, at):  # type: ignore[no-untyped-def]
    return np.uint32(np.uint32(words[at]) | (np.uint32(words[at + 1]) << _16))


@compiled
def _encode(data, table, words):  # type: ignore[no-untyped-def]
    """-> where the words begin."""
    a = b = c = d = _LOW
    p = len(words)
    n = len(data)
    for i in range(n - 1, (n & ~3) - 1, -1):  # the last ones, of the lanes 2, 1, 0
        entry = table[np.uint64(data[i])]
        if i & 3 == 0:
            a, p = _put(a, entry, words, p)
        elif i & 3 == 1:
            b, p = _put(b, entry, words, p)
        else:
            c, p = _put(c, entry, words, p)
    for i in range((n & ~3) - 4, -1, -4):
        d, p = _put(d, table[np.uint64(data[np.uint64(i + 3)])], words, p)
        c, p = _put(c, table[np.uint64(data[np.uint64(i + 2)])], words, p)
        b, p = _put(b, table[np.uint64(data[np.uint64(i + 1)])], words, p)
        a, p = _put(a, table[np.uint64(data[np.uint64(i)])], words, p)
    return _states_out(a, b, c, d, words, p)


@compiled
def _encode_chosen(data, contexts, table, words):  # type: ignore[no-untyped-def]
    """`_encode`, where each byte has its table."""
    a = b = c = d = _LOW
    p = len(words)
    n = len(data)
    for i in range(n - 1, (n & ~3) - 1, -1):
        entry = table[(np.uint64(contexts[i]) << np.uint64(8)) | np.uint64(data[i])]
        if i & 3 == 0:
            a, p = _put(a, entry, words, p)
        elif i & 3 == 1:
            b, p = _put(b, entry, words, p)
        else:
            c, p = _put(c, entry, words, p)
    for i in range((n & ~3) - 4, -1, -4):
        d, p = _put(d, _chosen(data, contexts, table, i + 3), words, p)
        c, p = _put(c, _chosen(data, contexts, table, i + 2), words, p)
        b, p = _put(b, _chosen(data, contexts, table, i + 1), words, p)
        a, p = _put(a, _chosen(data, contexts, table, i), words, p)
    return _states_out(a, b, c, d, words, p)


@inline
def _chosen(data, contexts, table, i):  # type: ignore[no-untyped-def]
    at = np.uint64(i)
    return table[(np.uint64(contexts[at]) << np.uint64(8)) | np.uint64(data[at])]


@compiled
def _decode(words, out, table):  # type: ignore[no-untyped-def]
    """-> whether the words end where they should, with the states that an encoder begins with."""
    a, b, c, d = _state_in(words, 0), _state_in(words, 2), _state_in(words, 4), _state_in(words, 6)
    p = 8
    n, end = len(out), len(words)
    i = 0
    while i + 4 <= n and p + 4 <= end:
        e = table[np.uint64(a & _MASK)]
        f = table[np.uint64(b & _MASK)]
        g = table[np.uint64(c & _MASK)]
        h = table[np.uint64(d & _MASK)]
        out[np.uint64(i)] = np.uint8(e & _BYTE)
        out[np.uint64(i + 1)] = np.uint8(f & _BYTE)
        out[np.uint64(i + 2)] = np.uint8(g & _BYTE)
        out[np.uint64(i + 3)] = np.uint8(h & _BYTE)
        a, p = _take(a, e, words, p)
        b, p = _take(b, f, words, p)
        c, p = _take(c, g, words, p)
        d, p = _take(d, h, words, p)
        i += 4
    while i < n:
        entry = table[np.uint64(a & _MASK)]
        out[i] = np.uint8(entry & _BYTE)
        if p < end:
            a, p = _take(a, entry, words, p)
        else:
            a = np.uint32(((entry >> _8) & _MASK) * (a >> _BITS) + (entry >> _20))
            if a < _LOW:
                return False
        a, b, c, d = b, c, d, a
        i += 1
    return p == end and a == _LOW and b == _LOW and c == _LOW and d == _LOW


@compiled
def _decode_chosen(words, out, contexts, table):  # type: ignore[no-untyped-def]
    """`_decode`, where each byte has its table."""
    a, b, c, d = _state_in(words, 0), _state_in(words, 2), _state_in(words, 4), _state_in(words, 6)
    p = 8
    n, end = len(out), len(words)
    i = 0
    while i + 4 <= n and p + 4 <= end:
        e = table[(np.uint64(contexts[np.uint64(i)]) << np.uint64(12)) | np.uint64(a & _MASK)]
        f = table[(np.uint64(contexts[np.uint64(i + 1)]) << np.uint64(12)) | np.uint64(b & _MASK)]
        g = table[(np.uint64(contexts[np.uint64(i + 2)]) << np.uint64(12)) | np.uint64(c & _MASK)]
        h = table[(np.uint64(contexts[np.uint64(i + 3)]) << np.uint64(12)) | np.uint64(d & _MASK)]
        out[np.uint64(i)] = np.uint8(e & _BYTE)
        out[np.uint64(i + 1)] = np.uint8(f & _BYTE)
        out[np.uint64(i + 2)] = np.uint8(g & _BYTE)
        out[np.uint64(i + 3)] = np.uint8(h & _BYTE)
        a, p = _take(a, e, words, p)
        b, p = _take(b, f, words, p)
        c, p = _take(c, g, words, p)
        d, p = _take(d, h, words, p)
        i += 4
    while i < n:
        entry = table[(np.uint64(contexts[i]) << np.uint64(12)) | np.uint64(a & _MASK)]
        out[i] = np.uint8(entry & _BYTE)
        if p < end:
            a, p = _take(a, entry, words, p)
        else:
            a = np.uint32(((entry >> _8) & _MASK) * (a >> _BITS) + (entry >> _20))
            if a < _LOW:
                return False
        a, b, c, d = b, c, d, a
        i += 1
    return p == end and a == _LOW and b == _LOW and c == _LOW and d == _LOW
