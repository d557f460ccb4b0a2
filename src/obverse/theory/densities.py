"""From samples of scalars, or of pairs of scalars, to a density on a grid that Blahut-Arimoto can take.

The density is a mixture of Gaussians that as many components make up as the samples can tell (`mixtures`), so that
sharp and broad parts both keep their shape; the probability of a grid point is that of its whole cell, so that no
narrow part falls between two points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.curves import Array
from obverse.theory.mixtures import ConditionalDensity, fit_density
from obverse.theory.sources import normalised

MOST_SAMPLES = 120_000  # that a mixture is fitted to
MOST_SYMBOLS = 64
FEWEST_OF_A_SYMBOL = 30
REPEATED = 0.5  # of the samples, whose values differ: with fewer, values are taken to be rounded


def density_of(x: npt.ArrayLike, points: int = 500) -> tuple[Array, Array]:
    """Grid (points,) and probabilities (points,) from scalar samples (n,)."""
    values = thinned(unrounded(check_scalars(x, "x")))[0]
    grid = grid_over(values, points)
    return grid, normalised(fit_density(values, None, None).cells(grid, np.zeros(1))[0])


def joint_density_of(
    x: npt.ArrayLike, y: npt.ArrayLike, points: int = 360, side_points: int = 160
) -> tuple[Array, Array]:
    """Grid of x (points,) and p(x, y) (points, side values) from scalar pairs (n,) and (n,).

    Where y has at most 64 values, each many times, they are its alphabet, and x has a density for each; otherwise y
    has about side_points values.

    Raises:
        InputError: for pairs of unequal length, constant or NaN.
    """
    a, b, symbols = check_pairs(x, y)
    a, b = thinned(a, b)
    grid = grid_over(a, points)
    grid, joint, _ = joint_on(grid, fit_density(a, b, symbols), b, side_points)
    return grid, joint


def check_pairs(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array, Array | None]:
    """(n,) float64 x and y, and the symbols of y where it is a few.

    Raises:
        InputError: for pairs of unequal length, constant or NaN, and where y tells x.
    """
    a, b = check_scalars(x, "x"), check_scalars(y, "side information y")
    if len(a) != len(b):
        raise InputError(f"there are {len(a)} samples of x but {len(b)} of its side information y")
    a = unrounded(a)
    values, counts = np.unique(b, return_counts=True)
    if len(values) <= MOST_SYMBOLS and counts.min() >= FEWEST_OF_A_SYMBOL:
        for value in values:
            if not np.ptp(a[b == value]) > 0:
                raise InputError(f"x is constant where the side information is {value:g}: not a density")
        return a, b, values
    slope = float(((a - a.mean()) * (b - b.mean())).mean() / b.var())
    if not (a - slope * (b - b.mean())).std() > 1e-6 * a.std():
        raise InputError("x is a linear function of its side information: it needs no bits at all")
    return a, b, None


def joint_on(
    grid: Array, density: ConditionalDensity, y: Array, side_points: int
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """p(x, y) on a grid of x.

    Returns:
        The points of the grid that ever happen.
        p(x, y) there, for each symbol, or for about `side_points` values of y.
        (points,) which of the grid's points they are.
    """
    if density.symbols is not None:
        values, counts = np.unique(y, return_counts=True)
        weights = counts / len(y)
    else:
        values, weights = _side_values(y, side_points)
    joint = normalised(density.cells(grid, values).T * weights)
    rows = joint.sum(1) > 1e-12
    return grid[rows], normalised(joint[rows]), rows


def _side_values(y: Array, count: int) -> tuple[Array, Array]:
    """Values of y and their probabilities: half of them as dense as the samples, half of them evenly over their range,
    for where neighbours are far from each other an encoder for the grid relies on gaps that y does not have."""
    ordered = np.sort(y)
    part = np.arange(len(y)) / (len(y) - 1)
    place = (part + (ordered - ordered[0]) / (ordered[-1] - ordered[0])) / 2
    values = np.unique(np.interp((np.arange(count) + 0.5) / count, place, ordered))
    counts = np.bincount(np.searchsorted((values[1:] + values[:-1]) / 2, ordered), minlength=len(values))
    return values[counts > 0], counts[counts > 0] / len(y)


def symbols_of(x: npt.ArrayLike, what: str = "x") -> tuple[Array, npt.NDArray[np.int64]]:
    """The distinct values of scalar samples and each sample's index.

    Raises:
        InputError: for more than 64.
    """
    values, indices = np.unique(check_scalars(x, what), return_inverse=True)
    if len(values) > MOST_SYMBOLS:
        raise InputError(
            f"{what} has {len(values)} different values, more than the {MOST_SYMBOLS} that can be told apart as "
            "symbols: quantise it first, or take squared error"
        )
    return values, indices.astype(np.int64)


def grid_over(values: Array, points: int) -> Array:
    """An even grid (points,) over the samples and a little beyond."""
    low, high = float(values.min()), float(values.max())
    margin = 0.03 * (high - low)
    return np.linspace(low - margin, high + margin, points)


def unrounded(values: Array) -> Array:
    """Samples of which many have the same value, spread evenly over the step between values: rounded numbers have no
    density, but as far as distortions beyond the step go they are like the numbers before they were rounded."""
    distinct = np.unique(values)
    if len(distinct) > REPEATED * len(values):
        return values
    step = float(np.median(np.diff(distinct)))
    return values + step * (np.random.default_rng(0).random(len(values)) - 0.5)


def thinned(*arrays: Array, most: int = MOST_SAMPLES) -> list[Array]:
    """The same evenly spread samples of each array, at most so many; consecutive ones may be dependent."""
    count = len(arrays[0])
    if count <= most:
        return list(arrays)
    chosen = np.linspace(0, count - 1, most).astype(int)
    return [array[chosen] for array in arrays]


def check_scalars(values: npt.ArrayLike, what: str) -> Array:
    """(n,) float64.

    Raises:
        InputError: for what are no scalars, fewer than 50, constant or not finite.
    """
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
