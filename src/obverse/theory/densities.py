"""From samples of scalars, or of pairs of scalars, to a density on a grid that Blahut-Arimoto can take.

A Gaussian kernel at each sample, after the samples have been drawn a little towards their mean, so that mean and
covariance of the density are those of the samples. Of a pair, y and what is left of x after its regression on
y are smoothed, not x itself: a strong dependence is not smeared, and for a Gaussian pair the rates are right
whatever the width. Details finer than the width are lost; the rates are estimates, not bounds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.curves import Array
from obverse.theory.sources import normalised

MAX_KERNELS = 40_000
MAX_SYMBOLS = 64


def density_of(x: npt.ArrayLike, points: int = 500) -> tuple[Array, Array]:
    """Grid (points,) and probabilities (points,) from scalar samples (n,). Width: Silverman's, n^(-1/5)."""
    values = _thinned(_scalars(x, "x"))[0]
    grid = _grid(values, points, _width(len(values), 1))
    kernels = _kernels(values, grid, _width(len(values), 1))
    return grid, normalised(kernels.sum(1))


def joint_density_of(
    x: npt.ArrayLike, y: npt.ArrayLike, points: int = 300, side_points: int = 150
) -> tuple[Array, Array]:
    """Grid of x (points,) and p(x, y) (points, side values) from scalar pairs (n,) and (n,).

    Where y has at most 64 values, each many times, they are its alphabet, and x has a kernel density for each;
    otherwise y has a grid of side_points.

    Raises:
        InputError: for pairs of unequal length, constant or NaN.
    """
    a, b = _scalars(x, "x"), _scalars(y, "side information y")
    if len(a) != len(b):
        raise InputError(f"there are {len(a)} samples of x but {len(b)} of its side information y")
    values, counts = np.unique(b, return_counts=True)
    if len(values) <= MAX_SYMBOLS and counts.min() >= 30:
        grid = _grid(a, points, _width(int(counts.min()), 1))
        columns = []
        for value, count in zip(values, counts, strict=True):
            part = _thinned(a[b == value])[0]
            if not np.ptp(part) > 0:
                raise InputError(f"x is constant where the side information is {value:g}: not a density")
            columns.append(normalised(_kernels(part, grid, _width(len(part), 1)).sum(1)) * count)
        return _trimmed(grid, np.stack(columns, 1))
    a, b = _thinned(a, b)
    width = _width(len(a), 2)
    slope = float(((a - a.mean()) * (b - b.mean())).mean() / b.var())
    rest = a - slope * (b - b.mean())
    if not rest.std() > 1e-6 * a.std():
        raise InputError("x is a linear function of its side information: it needs no bits at all")
    rest_grid = _grid(rest, 2 * points, width)
    y_grid = _grid(b, side_points, width)
    density = _kernels(rest, rest_grid, width) @ _kernels(b, y_grid, width).T  # (rest, y)
    x_grid = _grid(a, points, width)
    joint = np.stack(
        [
            np.interp(x_grid - slope * (value - b.mean()), rest_grid, density[:, i], left=0, right=0)
            for i, value in enumerate(y_grid)
        ],
        1,
    )
    return _trimmed(x_grid, joint)


def symbols_of(x: npt.ArrayLike, what: str = "x") -> tuple[Array, npt.NDArray[np.int64]]:
    """The distinct values of scalar samples and each sample's index.

    Raises:
        InputError: for more than 64.
    """
    values, indices = np.unique(_scalars(x, what), return_inverse=True)
    if len(values) > MAX_SYMBOLS:
        raise InputError(
            f"{what} has {len(values)} different values, more than the {MAX_SYMBOLS} that can be told apart as "
            "symbols: quantise it first, or take squared error"
        )
    return values, indices.astype(np.int64)


def _trimmed(grid: Array, joint: Array) -> tuple[Array, Array]:
    """Without the points and side values that practically never happen."""
    p = normalised(joint)
    rows, columns = p.sum(1) > 1e-12, p.sum(0) > 1e-12
    return grid[rows], normalised(p[np.ix_(rows, columns)])


def _width(count: int, dims: int) -> float:
    """Silverman's width in standard deviations for `dims` dimensions."""
    return float((4 / (count * (dims + 2))) ** (1 / (dims + 4)))


def _grid(values: Array, points: int, width: float) -> Array:
    margin = 4 * width * float(values.std())
    return np.linspace(values.min() - margin, values.max() + margin, points)


def _kernels(values: Array, grid: Array, width: float) -> Array:
    """(grid, samples): Gaussians of standard deviation width * std around samples drawn towards the mean."""
    h = width * float(values.std())
    # scaled by this, the samples' variance and the kernel's add up to the variance that there was
    centres = values.mean() + (values - values.mean()) * np.sqrt(max(1 - width**2, 0.0))
    return np.asarray(np.exp(-(((grid[:, None] - centres) / h) ** 2) / 2))


def _thinned(*arrays: Array) -> list[Array]:
    """The same evenly spread samples of each array, at most 40,000; consecutive ones may be dependent."""
    count = len(arrays[0])
    if count <= MAX_KERNELS:
        return list(arrays)
    chosen = np.linspace(0, count - 1, MAX_KERNELS).astype(int)
    return [array[chosen] for array in arrays]


def _scalars(values: npt.ArrayLike, what: str) -> Array:
    x = np.asarray(values)
    if x.dtype.kind not in "fiub":
        raise InputError(f"{what} must hold real numbers, not {x.dtype}")
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 1 or len(x) < 50:
        raise InputError(f"{what} must be an array (n,) of at least 50 scalars, not {x.shape}")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        raise InputError(f"{what} holds NaN or infinite values: remove them first")
    if not np.ptp(x) > 0:
        raise InputError(f"{what} is constant: there is nothing to code or to know")
    return x
