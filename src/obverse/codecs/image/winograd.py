"""3x3 convolutions by products of matrices, with 4 multiplications an output instead of 9.

A tile of 4x4 inputs d gives 2x2 outputs  A' [ (G g G') * (B' d B) ] A  of the kernel g: Winograd's minimal filtering
F(2x2, 3x3). Summed over channels it is a matrix product for each of the 16 places (Lavin and Gray, "Fast algorithms
for convolutional neural networks", CVPR 2016). Sums and differences are rounded, so this is for what may be floats.

    padded rows ──► B' d B ──► (16, tiles, in) @ (16, in, out) ──► A' m A ──► rows
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

TILES = 128  # that are computed at once, about: what they take stays in the cache

Floats = npt.NDArray[np.float32]

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G


def transformed(weight: Floats) -> Floats:
    """(out, in, 3, 3) -> (16, in, out), what `convolve` multiplies with."""
    out, inside = weight.shape[:2]
    # rows of the places (column, row), columns of the kernel's (row, column)
    every = np.einsum("ra,cb->crab", _KERNEL, _KERNEL).reshape(16, 9).astype(np.float32)
    both = np.matmul(every, weight.transpose(2, 3, 1, 0).reshape(9, inside * out))
    return both.reshape(16, inside, out)


def padded(height: int, width: int, channels: int) -> Floats:
    """Zeros that hold (height, width, channels) from [1, 1] on, with the margin that `convolve` needs."""
    return np.zeros((height + height % 2 + 2, width + width % 2 + 2, channels), np.float32)


def convolve(x: Floats, weight: Floats) -> Iterator[tuple[int, Floats]]:
    """A convolution of stride 1, some rows after the other.

    Args:
        x: what `padded` made, filled.
        weight: what `transformed` made.

    Yields:
        The first row; rows (n, width, out) from there on, both even: one row and column may be beyond the end. They
        are to be used before the next ones, which take their place.
    """
    channels, out = weight.shape[1:]
    n, m = x.shape[0] // 2 - 1, x.shape[1] // 2 - 1
    step = min(n, max(1, TILES // m))
    rows = np.empty((4, step, 2 * m + 2, channels), np.float32)
    both = np.empty((4, 4, step, m, channels), np.float32)
    products = np.empty((4, 4, step, m, out), np.float32)
    halves = np.empty((2, 4, step, m, out), np.float32)
    result = np.empty((step, 2, m, 2, out), np.float32)
    for begin in range(0, n, step):
        first = min(begin, n - step)  # at the end some are computed again
        part = x[2 * first : 2 * (first + step) + 2]
        _filtered(part[:-2:2], part[1:-1:2], part[2::2], part[3::2], rows)
        _filtered(rows[:, :, :-2:2], rows[:, :, 1:-1:2], rows[:, :, 2::2], rows[:, :, 3::2], both)
        flat = both.reshape(16, step * m, channels)
        np.matmul(flat, weight, out=products.reshape(16, step * m, out))
        _collected(products, halves[0], halves[1])
        for column in range(2):
            _collected(halves[column], result[:, 0, :, column], result[:, 1, :, column])
        yield 2 * begin, result[begin - first :].reshape(-1, 2 * m, out)


def _filtered(a: Floats, b: Floats, c: Floats, d: Floats, out: Floats) -> None:
    """B' of four neighbours."""
    np.subtract(a, c, out=out[0])
    np.add(b, c, out=out[1])
    np.subtract(c, b, out=out[2])
    np.subtract(b, d, out=out[3])


def _collected(products: Floats, first: Floats, second: Floats) -> None:
    """A' of four products: two outputs."""
    np.add(products[0], products[1], out=first)
    first += products[2]
    np.subtract(products[1], products[2], out=second)
    second -= products[3]
