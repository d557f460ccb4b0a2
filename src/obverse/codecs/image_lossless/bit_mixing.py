"""Yes-or-no decisions, each with a probability that encoder and decoder learn alike, in integers.

    contexts ──► counters ──► stretch ──► mix ──► squash ──► p(bit = 1)
        ▲           ▲                      ▲                    │
        └───────────┴──────── learn from the bit ◄──────────────┘

Each context has a counter, a probability that moves to the bits seen there, the slower the more they were. The
mixer weighs what the counters say, in the domain stretch(p) = ln(p / (1 - p)), and moves its weights along the
gradient of the code length (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005).
There are several sets of weights, of which the caller chooses one for each kind of decision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding.logistic_mixture import SIGMOID
from obverse.coding.rans import inline, refill

INPUTS = 9  # contexts of a decision
PRECISION = 16  # bits of a probability
LIMIT = 11 * 256  # stretch(p) counts in 1/256 nat and stays within 11 nats, where p is about 2**-16
LAST_COUNT = 255  # a counter that has seen so many bits goes on learning at that rate
FIRST_WEIGHT = 18_000  # of each input, in 2**-16

Array = npt.NDArray[Any]


def _make_tables() -> tuple[Array, Array, Array]:
    """squash by the integer sigmoid of `logistic_mixture`, stretch as its inverse, learning rates 1 / (n + 1.6)."""
    u = (np.arange(-LIMIT, LIMIT + 1, dtype=np.int64) << 12) + (16 << 20)  # 2**-20 nats from -16 nats
    at = u >> 15
    p = (SIGMOID[at] + ((SIGMOID[at + 1] - SIGMOID[at]) * (u & 32767) >> 15)) >> 12
    squash = np.clip(p, 1, 65535)
    stretch = np.clip(np.searchsorted(squash, np.arange(4096) * 16 + 8), 0, 2 * LIMIT) - LIMIT
    rates = 10 * 65536 // (10 * np.arange(LAST_COUNT + 1) + 16)
    return squash.astype(np.int32), stretch.astype(np.int32), rates.astype(np.int32)


SQUASH, STRETCH, RATES = _make_tables()


def new_counters(size: int) -> Array:
    """2**size counters for each context: (p - 1/2) 2**32, and how many bits it has seen in the last 10 bits."""
    return np.zeros(INPUTS << size, np.int32)


SPREAD = np.int64(-7046029254386353131)  # 2**64 divided by the golden ratio, as a signed number


@inline
def join(h, value):  # type: ignore[no-untyped-def]
    """One more number into a hash."""
    h = (h ^ np.int64(value)) * SPREAD
    return h ^ ((h >> 29) & np.int64(0x7FFFFFFFF))


@inline
def put(at, i, h, size):  # type: ignore[no-untyped-def]
    """Choose the counter of context number i by a hash; contexts that share one learn from each other's bits."""
    place = np.uint64(h * SPREAD) >> (np.uint64(64) - np.uint64(size))
    at[i] = (np.int64(i) << size) + np.int64(place)


@inline
def code_bit(decoding, bit, p, record, x, words, n):  # type: ignore[no-untyped-def]
    """Pop a bit with p(1) = p / 2**16, or record it for the encoder. -> bit, state, words left or bits recorded."""
    if decoding:
        slot = np.int64(x & np.uint64(65535))
        bit = np.int64(slot < p)
        length = p if bit else 65536 - p
        x = np.uint64(length) * (x >> np.uint64(PRECISION)) + np.uint64(slot if bit else slot - p)
        x, n = refill(x, words, n)
    else:
        record[n] = np.uint32(2 * p + bit)
        n += 1
    return bit, x, n


@inline
def decide(decoding, bit, record, x, words, n, at, inputs, mixer, counters, weights, squash, stretch, rates):  # type: ignore[no-untyped-def]
    """Code one bit and learn from it. -> bit, state, words left or decisions recorded."""
    total = np.int64(0)
    for i in range(INPUTS):
        s = np.int64(stretch[(counters[at[i]] >> 20) + 2048])
        inputs[i] = s
        total += np.int64(weights[mixer, i]) * s
    p = np.int64(squash[min(max(total >> 16, -LIMIT), LIMIT) + LIMIT])
    bit, x, n = code_bit(decoding, bit, p, record, x, words, n)
    error = (bit << 16) - p
    target = np.int64(2097151) if bit else np.int64(-2097152)
    for i in range(INPUTS):
        weights[mixer, i] += (inputs[i] * error + 8192) >> 14
        cell = np.int64(counters[at[i]])
        count = cell & 1023
        q = cell >> 10
        q += ((target - q) * rates[count]) >> 16
        counters[at[i]] = (q << 10) + min(count + 1, LAST_COUNT)
    return bit, x, n


@inline
def magnitude(v):  # type: ignore[no-untyped-def]
    """How many bits v >= 0 has: 0, 1, 2 to 3, 4 to 7, ... as 0, 1, 2, 3, ..."""
    m = np.int64(0)
    while v > 0:
        v >>= 1
        m += 1
    return m
