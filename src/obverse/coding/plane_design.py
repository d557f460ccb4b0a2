"""How many bits of a plane to send: measured, since the sender cannot see whether they were enough.

For sample blocks the least number of bits from which each can be found is searched for. What is sent is a quantile of
that need: so many blocks as were asked for may need more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from obverse.coding import ldpc, polar
from obverse.coding.planes import SMALLEST, Bits, Indices, Odds, Plane, Rows, plane_odds, plane_of

RAW_FROM = 0.985  # planes of which more than this part would be sent go raw
CHECKS_FROM = (
    16_384  # bits of a block and bits of entropy from which parity checks need fewer bits than polar
)
CHECKS_ABOVE = 0.03  # codes (benchmarks/slepian_wolf.py)
NEVER = 1e-7  # bits of entropy: not one bit in a hundred blocks is in doubt
LEAST = 32  # bits sent of any plane
LAYERS = 1_024  # the parity checks of a block come in as many parts

Decodes = Callable[[Bits, Odds, int], bool]
Progress = Callable[[float], None]
"""What is told of a design: the share of it that is done, 0 to 1."""


def design_plane(
    u: Indices,
    rows: Rows,
    b: int,
    entropy: float,
    block: int,
    failure: float,
    lists: int,
    rng: np.random.Generator,
    progress: Progress = lambda share: None,
) -> Plane:
    """The code of plane b for blocks up to `block`.

    Args:
        u: (n,) samples.
        rows: as for `plane_odds`.
        b: number of the plane.
        entropy: of the plane in bits.
        block: indices of the largest block.
        failure: how often it may not be found.
        lists: paths of a polar code that are followed.
        rng: draws the sample blocks.
        progress: called after each sample block.
    """
    sizes = [SMALLEST << k for k in range((block // SMALLEST).bit_length())]
    log2_mean = polar.log2_mean_of(min(max(entropy, 1e-5), 0.999))
    if entropy > RAW_FROM - 0.005:
        return Plane(entropy, tuple(sizes), log2_mean)
    if entropy < NEVER:
        return Plane(entropy, (LEAST,) * len(sizes), log2_mean)
    x, odds = plane_of(u, b), plane_odds(rows, u, b)

    own = np.logaddexp(0, np.where(x == 1, odds, -odds).astype(np.float64)) / math.log(
        2
    )  # bits of information

    checks = block >= CHECKS_FROM and entropy > CHECKS_ABOVE
    last = min(block, CHECKS_FROM) if checks else block
    tries, tries_of_checks = (64 if entropy < 0.05 else 32), 20
    work, done = tries * (SMALLEST + last) + checks * tries_of_checks * block, 0  # in bits that are decoded

    def need(n: int, tries: int, decodes: Decodes, guess: float, unit: int) -> float:
        """Bits a bit beyond the entropy with which a block of n fails this rarely."""
        nonlocal done
        losses = []
        for _ in range(tries):
            chosen = rng.integers(0, x.size, n)
            information = float(own[chosen].mean())
            start = int(n * max(0.0, information + guess)) // unit * unit
            losses.append(_need(x[chosen], odds[chosen], decodes, start, unit) / n - information)
            done += n
            progress(done / work)
        # a new block holds more or less information than the mean, which is itself an estimate
        spread = float(own.std()) * math.sqrt(1 / n + 1 / x.size)
        return _quantile(losses, spread, failure)

    def by_polar(block: Bits, soft: Odds, count: int) -> bool:
        sent = polar.order(log2_mean, block.size.bit_length() - 1)[:count]
        found, _ = polar.list_decode(soft, sent, polar.transform(block)[sent], log2_mean, lists)
        return any(np.array_equal(candidate, block) for candidate in found)

    def graph(layers: int) -> ldpc.Design:
        return ldpc.Design.of(entropy, layers / LAYERS)

    def by_checks(block: Bits, soft: Odds, count: int) -> bool:
        design = graph(count * LAYERS // block.size)
        found = ldpc.decode(soft, ldpc.sent_bits(block, design, design.bits(block.size)), design)
        return found is not None and np.array_equal(found, block)

    gaps = [
        max(need(n, tries, by_polar, guess, max(1, n // 2048)), LEAST / n)
        for n, guess in ((SMALLEST, 0.05), (last, -0.005))
    ]
    counts = _between(entropy, gaps[0], gaps[1], sizes, last)
    if not checks:
        return Plane(entropy, counts, log2_mean)
    unit = block // LAYERS
    design = graph(math.ceil((entropy + need(block, tries_of_checks, by_checks, 0.008, unit)) * LAYERS))
    return Plane(entropy, (*counts[:-1], min(block, design.bits(block))), log2_mean, design)


def _need(block: Bits, soft: Odds, decodes: Decodes, start: int, unit: int) -> int:
    """The least number of bits, a multiple of unit, from which a block is found; looked for from start on."""
    n = block.size
    width = max(1, n // (100 * unit)) * unit
    high = start
    if decodes(block, soft, high):
        low = high
        while low > 0 and decodes(block, soft, low):
            low, high = max(0, low - width), low
    else:
        low = high
        while high < n and not decodes(block, soft, high):
            low, high = high, min(n, high + width)
    while high - low > unit:
        middle = (low + high) // (2 * unit) * unit
        low, high = (low, middle) if decodes(block, soft, middle) else (middle, high)
    return high


def _quantile(losses: list[float], spread: float, failure: float) -> float:
    """What a new block exceeds with this probability: the losses of a code, whose mean and deviation are estimates
    themselves (Student's t, to first order), and information of this standard deviation."""
    tries = len(losses)
    z = _deviations(failure)
    t = z * (1 + (z * z + 1) / (4 * (tries - 1))) * math.sqrt(1 + 1 / tries)
    return float(np.mean(losses)) + math.hypot(t * float(np.std(losses, ddof=1)), z * spread)


def _between(
    entropy: float, gap_first: float, gap_last: float, sizes: list[int], last: int
) -> tuple[int, ...]:
    """Bits sent of blocks of each size, from the gaps of the first one and of `last`: the logarithm of the gap is
    taken to be linear in that of the size."""
    counts = []
    for k, n in enumerate(sizes):
        share = k / max(1, (last // sizes[0]).bit_length() - 1)
        gap = math.exp((1 - share) * math.log(gap_first) + share * math.log(gap_last))
        count = math.ceil(n * (entropy + gap))
        counts.append(n if count > RAW_FROM * n else count)
    return tuple(counts)


def _deviations(probability: float) -> float:
    """How many standard deviations a normal variable exceeds with this probability."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > probability else (low, middle)
    return low
