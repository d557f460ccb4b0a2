"""Sources with a density: on a grid for Blahut-Arimoto, as samples for everything that learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.theory.curves import Array


def discretise(
    density: Callable[[Array], Array], low: float, high: float, points: int
) -> tuple[Array, Array]:
    """A grid from low to high and the probabilities of its points, (points,) each.

    Args:
        density: of a scalar source, for an array of values; it need not be normalised.
        low: where the grid begins.
        high: where it ends.
        points: how many.

    Raises:
        InputError: where the range is empty or the density is negative, not finite or 0 everywhere.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and points >= 2):
        raise InputError(f"a grid needs 2 points or more and low < high, not {points} from {low} to {high}")
    x = np.linspace(low, high, points)
    return x, normalised(density(x))


def discretise_pair(density: Callable[[Array, Array], Array], x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """p(x, y) on the grids x (n,) and y (m,): (n, m) probabilities.

    Args:
        density: density(x, y) broadcasts.
        x: (n,).
        y: (m,).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return normalised(density(x[:, None], y[None]))


def normalised(weights: npt.ArrayLike) -> Array:
    """Weights as probabilities that sum to 1.

    Raises:
        InputError: where they are none.
    """
    values = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise InputError("a density must be finite and >= 0, and not 0 everywhere on the grid")
    return np.asarray(values / values.sum())


def squared_error(x: npt.ArrayLike, z: npt.ArrayLike) -> Array:
    """(n, m) squared errors between x, (n,) or (n, dims), and z, (m,) or (m, dims); summed over dims."""
    a, b = (np.asarray(v, np.float64) for v in (x, z))
    a, b = (v[:, None] if v.ndim == 1 else v for v in (a, b))
    return np.asarray(sum((a[:, None, i] - b[None, :, i]) ** 2 for i in range(a.shape[1])))


def absolute_error(x: npt.ArrayLike, z: npt.ArrayLike) -> Array:
    """(n, m) absolute errors between the scalars x (n,) and z (m,)."""
    return np.asarray(np.abs(np.asarray(x, np.float64)[:, None] - np.asarray(z, np.float64)))


def hamming(symbols: int) -> Array:
    """(symbols, symbols): 0 on the diagonal, 1 elsewhere."""
    return 1 - np.eye(symbols)


@dataclass(frozen=True)
class Banana:
    """A Gaussian bent to a parabola, rotated and shifted: two dimensions, no formula for R(D).

    x = R (z0, z1 - bend z0^2) + shift, z0 ~ N(0, 3^2), z1 ~ N(0, 0.5^2), bend = 0.1, R a rotation of 120
    degrees, shift (-1, -1). Source: the banana of Balle et al., "Nonlinear transform coding", IEEE JSTSP 15
    (2021), section III.
    """

    scales: tuple[float, float] = (3.0, 0.5)
    bend: float = 0.1
    degrees: float = 120.0
    shift: tuple[float, float] = (-1.0, -1.0)

    @property
    def _rotation(self) -> Array:
        angle = math.radians(self.degrees)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def sample(self, count: int, seed: int) -> Array:
        """(count, 2) float64 independent samples."""
        z = np.random.default_rng(seed).normal(size=(count, 2)) * self.scales
        z[:, 1] -= self.bend * z[:, 0] ** 2
        return np.asarray(z @ self._rotation.T + np.array(self.shift))

    def density(self, x: npt.ArrayLike) -> Array:
        """(n,) densities at the points x (n, 2)."""
        z = (np.asarray(x, np.float64) - np.array(self.shift)) @ self._rotation
        straight = z[:, 1] + self.bend * z[:, 0] ** 2  # the map has determinant 1
        exponent = (z[:, 0] / self.scales[0]) ** 2 + (straight / self.scales[1]) ** 2
        return np.asarray(np.exp(-exponent / 2) / (2 * math.pi * self.scales[0] * self.scales[1]))

    def grid(self, step: float, mass: float = 1e-6) -> tuple[Array, Array]:
        """Grid points (n, 2) at this step where the density matters, and their probabilities (n,).

        Args:
            step: between neighbours.
            mass: what is left out, as a share of the whole: the points of least density.
        """
        corners = self.sample(100_000, 0)
        margin = self.scales[0]
        axes = [np.arange(corners[:, i].min() - margin, corners[:, i].max() + margin, step) for i in (0, 1)]
        points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
        p = normalised(self.density(points))
        order = np.argsort(-p)
        kept = np.sort(order[: int(np.searchsorted(np.cumsum(p[order]), 1 - mass)) + 1])
        return points[kept], normalised(p[kept])
