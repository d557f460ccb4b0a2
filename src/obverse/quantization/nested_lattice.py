"""Labels of a nested lattice, and the cells of a uniform quantiser that suit a price of distortion.

    x ──► floor(x / width + phase) = z ──► g . z mod K

Samples whose labels agree lie on a coarser lattice: those are the bins of Wyner and Ziv, made by algebra (Zamir,
Shamai, Erez, "Nested linear/lattice codes for structured multiterminal binning", IEEE Trans. Inform. Theory
2002). For scalars the labels are floor(x / width + phase) mod K.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Distortion = Callable[[Tensor, Tensor], Tensor]
MOST_SHORT, LONGEST = 8_000, 64  # vectors that the search looks at, and their squared length
CANDIDATES = 2_000


def slope_at(distortion: Distortion, x: Tensor, width: Tensor) -> float:
    """d D / d log(width) per component of a uniform quantiser with cells of `width` (d,), around samples x (n, d).

    For MSE width**2 / 6. A fine quantiser's rate falls by one nat per component as log(width) rises by one, so
    lmbda times this is 1 where the quantiser suits lmbda.
    """
    offsets = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    step = 0.05
    up, down = (float(distortion(x, x + offsets * width * math.exp(s)).mean()) for s in (step, -step))
    return (up - down) / (2 * step)


def cell_width(distortion: Distortion, x: Tensor, sigma: Tensor, lmbda: float) -> float:
    """The width, in units of sigma (d,), of the uniform quantiser that suits lmbda, from 0.01 to 100."""
    low, high = math.log(0.01), math.log(100)
    for _ in range(30):
        middle = (low + high) / 2
        if lmbda * slope_at(distortion, x, sigma * math.exp(middle)) < 1:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def short_vectors(dimensions: int) -> np.ndarray:
    """(m, d) all the vectors of Z^d but 0 up to some length, as many as MOST_SHORT allows."""
    most = 1
    while most < LONGEST and _count_short(dimensions, most + 1) <= MOST_SHORT:
        most += 1
    reach = math.isqrt(most)
    vectors = np.zeros((1, 0), np.int64)
    for _ in range(dimensions):
        steps = np.arange(-reach, reach + 1)
        longer = np.concatenate(
            [vectors.repeat(len(steps), axis=0), np.tile(steps, len(vectors))[:, None]], axis=1
        )
        vectors = longer[(longer**2).sum(axis=1) <= most]
    return vectors[np.abs(vectors).any(axis=1)]


def _count_short(dimensions: int, most: int) -> int:
    """How many vectors of Z^d have a squared length of at most `most`: powers of a theta series."""
    one = np.zeros(most + 1)
    for k in range(-math.isqrt(most), math.isqrt(most) + 1):
        one[k * k] += 1
    series = one
    for _ in range(dimensions - 1):
        series = np.convolve(series, one)[: most + 1]
        if series.sum() > MOST_SHORT:
            break
    return int(series.sum())


def lattice_generator(indices: int, dimensions: int) -> np.ndarray:
    """(d,) g such that the points z of Z^d with g . z = 0 mod K keep the largest distance from each other found.

    The labels g . z mod K are those of a nested lattice, whose binning is as good as that distance (Zamir,
    Shamai, Erez, "Nested linear/lattice codes for structured multiterminal binning", 2002). Searched are
    Korobov's form g = (1, a, a^2, ...) mod K, and CANDIDATES at random.
    """
    if dimensions == 1:
        return np.ones(1, np.int64)
    short = short_vectors(dimensions)
    length = (short**2).sum(axis=1)
    rng = np.random.default_rng(0)
    korobov = [[pow(a, i, indices) for i in range(dimensions)] for a in range(1, min(indices, 256))]
    candidates = np.concatenate([korobov, rng.integers(1, indices, size=(CANDIDATES, dimensions))])
    best, best_rank = candidates[0], (-1.0, 0.0)
    for g in candidates:
        inside = length[(short @ g) % indices == 0]
        shortest = float(inside.min()) if len(inside) else math.inf
        rank = (shortest, -float((inside == shortest).sum()))
        if rank > best_rank:
            best, best_rank = g, rank
    return best


def nested_labels(white: Tensor, width: float, phase: Tensor, generator: Tensor, indices: int) -> Tensor:
    """Labels of a nested lattice: g . floor(x / width + phase) mod K.

    Args:
        white: x (n, d) in units of sigma_{x|y}.
        width: of the cells.
        phase: (d,) in cells.
        generator: g (d,).
        indices: K.
    """
    cells = torch.floor(white / width + phase).to(torch.int64)
    return (cells * generator).sum(dim=1) % indices
