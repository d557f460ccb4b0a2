"""Polar codes for bits that the receiver half knows: which bits to send, and how to find the others.

    sender      x ──► transform ──► u ──► the least reliable of u, in the order both know ──► receiver
    receiver    log-odds of x (from side information), those bits of u ──► successive-cancellation list ──► x

`transform` turns n = 2**m bits x into n bits u = x F^(⊗m) of which, given the receiver's side information and the
bits before it, each is either nearly certain or nearly unknown. Only the unknown ones are sent (Arikan, "Source
polarization", ISIT 2010). More bits of the same order make the decoding safer, so one code serves every rate,
and a receiver that can ask is sent the next bits of the order.

The order comes from density evolution under a Gaussian approximation (Chung, Richardson, Urbanke 2001; Trifonov
2012) in integer arithmetic, since sender and receiver must agree on it. The decoder computes in floating point:
what it finds is verified by a checksum, so a last bit that differs on another machine can only turn a decoding
into an error, never into wrong data.

The list decoder is that of Tal and Vardy (2015) over log-odds with the exact path metric (Balatsoukas-Stimming,
Parizi, Burg 2015). Subtrees whose bits are all known, or all reliable, are decided at once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import CodingError
from obverse.jit import njit

Bits = npt.NDArray[np.uint8]

FRACTION = 10  # log2 of a mean log-odds is held in units of 2**-FRACTION
UNIT = 1 << FRACTION
LOWEST, HIGHEST = -12 * UNIT, 8 * UNIT  # log2_mean of the channels that codes are made for
SURE = round(math.log2(60.0) * UNIT)  # a bit whose mean log-odds are 60 errs once in 4e7

# How much log2 of the mean log-odds of a bit falls when it is added to another of the same mean (a check node):
# one entry for each quarter of an octave, from 2**-12 to 2**8, such that the entropy of the sum is exact
# (1 - h = sum over k of E[tanh(L/2)**2k]**2 / (2k (2k-1) ln 2)) if both are Gaussian.
LOSS_LOW, LOSS_STEP = -12 * UNIT, UNIT // 4
LOSS = np.array(
    [
        13312, 13056, 12800, 12544, 12288, 12032, 11776, 11520, 11264, 11008, 10752, 10496, 10240, 9984, 9728,
        9472, 9216, 8960, 8704, 8448, 8192, 7936, 7680, 7424, 7168, 6912, 6688, 6438, 6189, 5941, 5694, 5450,
        5207, 4966, 4728, 4493, 4260, 4032, 3807, 3587, 3372, 3162, 2958, 2760, 2569, 2384, 2206, 2035, 1872,
        1716, 1567, 1425, 1291, 1164, 1044, 932, 827, 729, 638, 555, 480, 412, 352, 299, 253, 213, 179, 151,
        127, 107, 90, 76, 64, 54, 45, 38, 32, 27, 23, 19, 16,
    ],
    np.int64,
)  # fmt: skip


def transform(x: Bits) -> Bits:
    """(n,) bits, n a power of two -> x F^(⊗m), F = [[1, 0], [1, 1]], over GF(2); its own inverse.

    Raises:
        CodingError: where n is no power of two.
    """
    _check_size(len(x))
    u = x.copy()
    _transform(u)
    return u


@njit(cache=True, nogil=True)
def _transform(u: Any) -> None:
    half = 1
    while half < u.size:
        for start in range(0, u.size, 2 * half):
            for i in range(start, start + half):
                u[i] ^= u[i + half]
        half *= 2


def _check_size(n: int) -> None:
    if n < 1 or n & (n - 1):
        raise CodingError(f"a polar code covers a power of two of bits, not {n}")


# -- which bits are unreliable -----------------------------------------------------------------------


def check_node(t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """log2 of mean log-odds (units of 1 / UNIT) before -> after a check node; integers throughout."""
    place = np.clip((t - LOSS_LOW) // LOSS_STEP, 0, len(LOSS) - 2)
    into = t - LOSS_LOW - place * LOSS_STEP
    inside = LOSS[place] + ((LOSS[place + 1] - LOSS[place]) * into) // LOSS_STEP
    loss = np.where(t < LOSS_LOW, UNIT - t, np.where(into > LOSS_STEP, LOSS[-1], inside))
    return np.asarray(t - loss, np.int64)


@lru_cache(maxsize=32)
def reliabilities(log2_mean: int, m: int) -> npt.NDArray[np.int64]:
    """(2**m,) log2 of the mean log-odds (units of 1 / UNIT) of each u given those before it.

    Args:
        log2_mean: the same of each x given the side information; see `log2_mean_of`.
        m: log2 of the number of bits.
    """
    t = np.array([log2_mean], np.int64)
    for _ in range(m):
        t = np.stack([check_node(t), t + UNIT], axis=1).ravel()
    t.flags.writeable = False
    return t


@lru_cache(maxsize=32)
def order(log2_mean: int, m: int) -> npt.NDArray[np.int64]:
    """(2**m,) positions of u, the least reliable first; of equally reliable ones, the first first."""
    result = np.argsort(reliabilities(log2_mean, m), kind="stable")
    result.flags.writeable = False
    return result


def entropy_of(log2_mean: int) -> float:
    """Bits of entropy left in a bit whose log-odds are N(mean, 2 mean) in favour of its value."""
    mean = 2.0 ** (log2_mean / UNIT)
    z = np.linspace(max(-12.0, -math.sqrt(mean / 2) - 12.0), 12.0, 4001)
    density = np.exp(-z * z / 2)
    odds = mean + math.sqrt(2 * mean) * z
    return float(
        (density * np.logaddexp(0, -odds)).sum() * (z[1] - z[0]) / math.sqrt(2 * math.pi) / math.log(2)
    )


def log2_mean_of(entropy_bits: float) -> int:
    """The inverse of `entropy_of`, by bisection; what a designer stores, never what a decoder computes."""
    low, high = LOWEST, HIGHEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if entropy_of(middle) > entropy_bits else (low, middle)
    return low


# -- list decoding -----------------------------------------------------------------------------------


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _softplus_tail(t: Any) -> Any:
    """ln(1 + exp(-t)) for t >= 0 within 0.0002, by a rational function that vectorises."""
    p = np.float32(1.0) + t * (
        np.float32(0.179861)
        + t * (np.float32(0.0377059) + t * (np.float32(0.00188118) + t * np.float32(0.00018567)))
    )
    p = p * p
    return np.float32(0.6931472) / (p * p)


@njit(cache=True, nogil=True, error_model="numpy")
def _check(a: Any, b: Any, out: Any, n: int) -> None:
    """Log-odds of the sum of two bits."""
    for i in range(n):
        x, y = a[i], b[i]
        least = min(abs(x), abs(y))
        sign = np.float32(1.0) if (x < 0) == (y < 0) else np.float32(-1.0)
        out[i] = sign * least + _softplus_tail(abs(x + y)) - _softplus_tail(abs(x - y))


@njit(cache=True, nogil=True, error_model="numpy")
def _bit(a: Any, b: Any, left: Any, out: Any, n: int) -> None:
    """Log-odds of the second bit once the sum is known."""
    for i in range(n):
        out[i] = b[i] - a[i] if left[i] else b[i] + a[i]


@njit(cache=True, nogil=True)
def _penalty(odds: Any, x: Any, n: int) -> float:
    """-ln P(x) of bits with these log-odds."""
    total = np.float32(0.0)
    for i in range(n):
        t = -odds[i] if x[i] else odds[i]
        total += max(np.float32(0.0), -t) + _softplus_tail(abs(t))
    return float(total)


@njit(cache=True, nogil=True)
def _fork(
    base: int, m: int, alive: int, lists: int, top: Any, odds: Any, slots: Any, out: Any, sum_slots: Any, metric: Any
) -> int:  # fmt: skip
    """One bit that is neither known nor reliable: every path with either value, the best `lists` of them kept."""
    costs = np.empty(2 * alive, np.float64)
    bits = np.empty(lists, np.uint8)
    likely = np.empty(alive, np.uint8)
    for p in range(alive):
        odd = odds[base + slots[0, p]] if m > 0 else top[0]
        likely[p] = odd < 0
        tail = float(_softplus_tail(abs(odd)))
        costs[p] = metric[p] + tail  # the likelier value
        costs[alive + p] = metric[p] + tail + abs(odd)
    if 2 * alive <= lists:
        keep = 2 * alive
        bound = np.inf
    else:
        keep = lists
        bound = np.partition(costs, keep - 1)[keep - 1]
    # paths whose likelier value falls out free their place; second values kept move into free places
    free = np.empty(lists, np.int64)
    frees = 0
    taken = 0
    stays = np.zeros(lists, np.bool_)
    doubled = np.zeros(lists, np.bool_)
    for p in range(alive):
        if costs[p] <= bound and taken < keep:
            stays[p] = True
            taken += 1
    for p in range(alive):
        if taken < keep and costs[alive + p] <= bound:
            doubled[p] = True
            taken += 1
    for p in range(lists):
        if p >= alive or not stays[p]:
            free[frees] = p
            frees += 1
    used = 0
    for p in range(alive):
        if stays[p]:
            bits[p] = likely[p]
    for p in range(alive):
        if doubled[p]:
            q = free[used]
            used += 1
            for level in range(m + 1):
                slots[level, q] = slots[level, p]
                sum_slots[level, q] = sum_slots[level, p]
            metric[q] = costs[alive + p]
            bits[q] = 1 - likely[p]
    for p in range(alive):
        if stays[p]:
            metric[p] = costs[p]
    for p in range(taken):
        out[base + p] = bits[p]
    return taken


@njit(cache=True, nogil=True, error_model="numpy")
def _decode(top: Any, kinds: Any, known: Any, m: int, lists: int, found: Any, metric: Any) -> int:
    """Follow up to `lists` paths through the tree, depth first; fills found (lists, n) and metric (lists,), the
    -ln P of each path, in nats; returns how many paths there are.

    A node of level l stands for 2**l bits. odds: their log-odds, level l of slot p at lists * (2**l - 1) + p * 2**l;
    slots[l, p] is the slot of path p, so that a path that splits copies numbers, not log-odds. sums: the decided
    x of left (0) and right (1) children in the same layout, sum_slots for the left ones.
    """
    n = 1 << m
    odds = np.empty(lists * n, np.float32)
    slots = np.zeros((m + 1, lists), np.int32)
    sum_slots = np.zeros((m + 1, lists), np.int32)
    sums = np.empty((2, lists * (2 * n - 1)), np.uint8)
    work = np.empty(n, np.uint8)
    phase = np.zeros(m + 1, np.int8)  # how many children of the node open at this level are decided
    alive, level, start = 1, m, 0
    metric[0] = 0.0
    while True:
        size = 1 << level
        half = size >> 1
        base = lists * (size - 1)
        below = lists * (half - 1)
        kind = kinds[(1 << (m - level)) + (start >> level)]
        if kind == 0 and level > 0 and phase[level] < 2:
            left_known = phase[level] == 1
            for p in range(alive):
                here = top if level == m else odds[base + slots[level, p] * size :]
                if left_known:
                    _bit(here, here[half:], sums[0, below + p * half :], odds[below + p * half :], half)
                    sum_slots[level - 1, p] = p
                else:
                    _check(here, here[half:], odds[below + p * half :], half)
                slots[level - 1, p] = p
            if left_known:
                start += half
            phase[level] += 1
            level -= 1
            phase[level] = 0
            continue
        side = 0 if level == m else (start >> level) & 1
        out = sums[side]
        if kind == 1:  # all known
            x = work[:size]
            x[:] = known[start : start + size]
            _transform(x)
            for p in range(alive):
                here = top if level == m else odds[base + slots[level, p] * size :]
                metric[p] += _penalty(here, x, size)
                out[base + p * size : base + p * size + size] = x
        elif kind == 2:  # all reliable
            for p in range(alive):
                here = top if level == m else odds[base + slots[level, p] * size :]
                x = out[base + p * size :]
                total = np.float32(0.0)
                for i in range(size):
                    x[i] = here[i] < 0
                    total += _softplus_tail(abs(here[i]))
                metric[p] += total
        elif level == 0:
            alive = _fork(base, m, alive, lists, top, odds, slots, out, sum_slots, metric)
        else:  # both children are decided
            for p in range(alive):
                left = sums[0, below + sum_slots[level - 1, p] * half :]
                right = sums[1, below + p * half :]
                x = out[base + p * size :]
                for i in range(half):
                    x[i] = left[i] ^ right[i]
                    x[half + i] = right[i]
        if level == m:
            break
        level += 1
        start = (start >> level) << level
    base = lists * (n - 1)
    for p in range(alive):
        found[p] = sums[0, base + p * n : base + p * n + n]
    return alive


def node_kinds(sent: npt.NDArray[np.bool_], reliable: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """For every subtree in heap order (the whole is 1): 1 if all its bits are sent, 2 if all are reliable, 0."""
    n = len(sent)
    kinds = np.zeros(2 * n, np.uint8)
    kinds[n:] = np.where(sent, 1, np.where(reliable, 2, 0))
    for k in range(n.bit_length() - 2, -1, -1):
        first = 1 << k
        below = kinds[2 * first : 4 * first]
        kinds[first : 2 * first] = np.where(below[0::2] == below[1::2], below[0::2], 0)
    return kinds


def list_decode(
    log_odds: npt.NDArray[np.float32], sent: npt.NDArray[np.int64], values: Bits, log2_mean: int, lists: int
) -> tuple[Bits, npt.NDArray[np.float64]]:
    """The likeliest x, the best first.

    Args:
        log_odds: (n,) ln P(x = 0) / P(x = 1) of each bit given the side information.
        sent: positions of u that are known.
        values: the bits at these positions.
        log2_mean: as for `order`.
        lists: paths followed at once.

    Returns:
        (k, n) bits, k <= lists.
        (k,) -ln P of each, in nats.

    Raises:
        CodingError: where n is no power of two, or lists is less than 1.
    """
    n = len(log_odds)
    _check_size(n)
    if lists < 1:
        raise CodingError(f"a list decoder follows 1 path or more, not {lists}")
    m = n.bit_length() - 1
    known = np.zeros(n, np.uint8)
    known[sent] = values
    is_sent = np.zeros(n, bool)
    is_sent[sent] = True
    kinds = node_kinds(is_sent, reliabilities(log2_mean, m) > SURE)
    found = np.empty((lists, n), np.uint8)
    metric = np.zeros(lists, np.float64)
    count = _decode(np.ascontiguousarray(log_odds, np.float32), kinds, known, m, lists, found, metric)
    best = np.argsort(metric[:count], kind="stable")
    return found[best], metric[best]
