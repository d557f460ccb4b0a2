"""Words for clusters of vectors, by k-means with a price on each: entropy-constrained vector quantisation.

    x ──► nearest word, |x - w|² + lmbda * bits of w ──► means, shares ──► words, bits ──► ...

A word that is hardly used becomes dear, and is used less: those that stay empty are dropped. Source: Chou, Lookabaugh
and Gray, "Entropy-constrained vector quantization", IEEE Trans. ASSP 37(1), 1989.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

COUNTS = (16, 64, 256)  # of clusters that are tried
FEWEST = 16  # vectors a word: with fewer, words tell of these vectors and of no others
ROUNDS = 12
SEEN = 64  # vectors a word that the rounds look at
ROWS = 4096  # vectors that are compared at once


@dataclass(frozen=True)
class Clusters:
    """words: (M, d) integers in `unit`. bits: (M,) of each. at: (n,) the cluster of each vector. held: (M,) their
    numbers."""

    words: npt.NDArray[np.int64]
    unit: float
    bits: Floats
    at: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]

    @property
    def index_bits(self) -> float:
        """That tell a vector's cluster, a vector."""
        return float(self.bits[self.at].mean())

    def side_bits(self) -> float:
        """That all words take in a model."""
        spreads = self.words.var(0)
        each = 0.5 * np.log2(2 * math.pi * math.e * (spreads + 1 / 12))
        return float(len(self.words) * each.sum()) + 8 * len(self.words)


def cluster(x: Array, count: int, lmbda: float, shared: int, seed: int = 0) -> Clusters:
    """At most `count` clusters of x (n, d), in which a bit costs lmbda.

    shared: vectors that pay for the words, which are no finer than that.
    """
    rng = np.random.default_rng(seed)
    some = x[np.sort(rng.choice(len(x), min(len(x), SEEN * count), replace=False))].astype(np.float64)
    words, bits = some[rng.choice(len(some), count, replace=False)], np.full(count, math.log2(count))
    for _ in range(ROUNDS):
        words, bits = _round(some, words, bits, lmbda)
    words, bits = _round(x, words, bits, lmbda)
    # a word's error is an error of all vectors of its cluster, its bits are paid once
    unit = math.sqrt(6 * lmbda * len(words) / (math.log(2) * shared))
    unit = max(unit, float(np.abs(words).max(initial=0)) / 2**30, np.finfo(np.float64).tiny)
    whole = np.rint(words / unit).astype(np.int64)
    at = _nearest(x, whole * unit, lmbda * bits)
    held = np.bincount(at, minlength=len(whole))
    return Clusters(whole, unit, -np.log2((held + 0.5) / (held + 0.5).sum()), at, held)


def _round(x: Array, words: Floats, bits: Floats, lmbda: float) -> tuple[Floats, Floats]:
    """Better words, of which each has two vectors at least, and their bits."""
    at = _nearest(x, words, lmbda * bits)
    held = np.bincount(at, minlength=len(words))
    order, filled = np.argsort(at, kind="stable"), held > 0
    starts = (np.cumsum(held) - held)[filled]
    means = np.add.reduceat(x[order].astype(np.float64), starts, 0) / held[filled][:, None]
    kept = held[filled] > 1
    if not kept.any():
        kept[:] = True
    shares = held[filled][kept]
    return means[kept], -np.log2(shares / shares.sum())


def _nearest(x: Array, words: Floats, prices: Floats) -> npt.NDArray[np.int64]:
    norms = np.square(words).sum(1) + prices
    parts = [
        np.argmin(norms - 2 * x[first : first + ROWS].astype(np.float64) @ words.T, 1)
        for first in range(0, len(x), ROWS)
    ]
    return np.concatenate(parts)
