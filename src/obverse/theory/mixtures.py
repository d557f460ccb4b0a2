"""p(x|y) of scalar pairs as a mixture of Gaussians that as many components make up as the samples can tell.

    pairs ──► Gaussian mixture of (x, y) by EM ──► each component split in two ──► EM ──► ...
                             └── of all sizes, the one under which pairs kept out are most likely given y

A component is a piece of a straight line in (x, y) with a width: two sharp branches, noise of several widths, edges and
bends each get as many pieces as they need, where a kernel of one width blurs them all. Of side information that is a
few symbols each symbol has a mixture of its own; without side information there is one.

EM: Dempster, Laird, Rubin (1977). That the log-likelihood of pairs kept out chooses the size: Smyth (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.jit import njit
from obverse.theory.curves import NATS_PER_BIT, Array

MOST_COMPONENTS = 128
LEAST_COUNT = 12.0  # samples that keep a component alive
MOST_STEPS = 150  # of EM for each size
SETTLED = 1e-4  # nats a sample that ten steps gain, below which EM ends
NARROWEST = 1e-3  # standard deviation of a component, of all samples': densities stay bounded
CHOSEN_ON = 0.15  # share of the samples that choose the number of components

Parts = tuple[Array, Array, Array, Array, Array, Array]


@dataclass(frozen=True)
class Mixture:
    """p(x|y) = sum_k w_k(y) N(x; at_k + slope_k (y - y_k), variance_k), w_k(y) ~ weight_k N(y; y_k, y_variance_k).

    All are (components,) arrays; without side information y is 0 throughout.
    """

    log_weights: Array
    y_means: Array
    y_variances: Array
    x_means: Array
    slopes: Array
    variances: Array

    def parts(self) -> Parts:
        """The arrays, as the kernels take them."""
        return (
            self.log_weights, self.y_means, self.y_variances, self.x_means, self.slopes, self.variances
        )  # fmt: skip

    def log_density(self, x: Array, y: Array, noise: float = 0.0) -> Array:
        """(n,) ln p(x + noise | y), the noise Gaussian of this variance."""
        out = np.empty(len(x))
        _log_conditional(x, y, *self.parts(), noise, out)
        return out

    def expectation(self, u: Array, y: Array, noise: float) -> Array:
        """(n,) E[x | u, y] where u = x + Gaussian noise of this variance."""
        out = np.empty(len(u))
        _expectation(u, y, *self.parts(), noise, out)
        return out

    def cumulative(self, edges: Array, y: Array) -> Array:
        """(len(y), edges) P(x <= edge | y)."""
        out = np.zeros((len(y), len(edges)))
        _cumulative(edges, y, *self.parts(), out)
        return out

    def distribution_at(self, x: Array, y: Array) -> Array:
        """(n,) P(X <= x | y) of each pair: uniform and independent of y where the mixture is right."""
        out = np.zeros((len(x), 1))
        _cumulative_each(x, y, *self.parts(), out[:, 0])
        return np.asarray(out[:, 0])


@dataclass(frozen=True)
class ConditionalDensity:
    """p(x|y): one mixture, or one for each symbol of y.

    Attributes:
        mixtures: one, or one for each symbol.
        symbols: the values of y, rising, or None where y is a number or not there.
        gaussian: whether nothing more than one Gaussian (for each symbol) was found.
    """

    mixtures: tuple[Mixture, ...]
    symbols: Array | None
    gaussian: bool

    def log_density(self, x: Array, y: Array, noise: float = 0.0) -> Array:
        """(n,) ln p(x + noise | y), the noise Gaussian of this variance."""
        return self._each(lambda mixture, part, zero: mixture.log_density(x[part], zero, noise), y)

    def expectation(self, u: Array, y: Array, noise: float) -> Array:
        """(n,) E[x | u, y] where u = x + Gaussian noise of this variance."""
        return self._each(lambda mixture, part, zero: mixture.expectation(u[part], zero, noise), y)

    def distribution_at(self, x: Array, y: Array) -> Array:
        """(n,) P(X <= x | y) of each pair."""
        return self._each(lambda mixture, part, zero: mixture.distribution_at(x[part], zero), y)

    def cells(self, grid: Array, y: Array) -> Array:
        """(len(y), points) P(x in the cell around each point of an even grid | y); what is beyond is in the last."""
        edges = (grid[1:] + grid[:-1]) / 2

        def of(mixture: Mixture, _: npt.NDArray[np.bool_], zero: Array) -> Array:
            inner = mixture.cumulative(edges, zero)
            ones = np.ones((len(zero), 1))
            return np.maximum(np.diff(np.concatenate([0 * ones, inner, ones], 1), axis=1), 0)

        return self._each(of, y)

    def _each(self, of: Callable[[Mixture, npt.NDArray[np.bool_], Array], Array], y: Array) -> Array:
        """What `of` says of each part of the samples that shares a mixture."""
        if self.symbols is None:
            return of(self.mixtures[0], np.ones(len(y), np.bool_), y)
        places = [np.flatnonzero(y == symbol) for symbol in self.symbols]
        parts = [
            of(mixture, y == symbol, np.zeros(len(place)))
            for symbol, mixture, place in zip(self.symbols, self.mixtures, places, strict=True)
        ]
        out = np.concatenate(parts)
        out[np.concatenate(places)] = out.copy()
        return out


def fit_density(x: Array, y: Array | None, symbols: Array | None, seed: int = 0) -> ConditionalDensity:
    """The mixture, or one for each symbol of y, under which x is most likely given y.

    Args:
        x: (n,) finite, not constant (for each symbol).
        y: (n,) finite; None without side information.
        symbols: the values of y where it is a few symbols.
        seed: of the order of the samples, and of the splits.
    """
    if symbols is None or y is None:
        mixture, linear = _fit(x, np.zeros(len(x)) if y is None else y, y is None, seed)
        return ConditionalDensity((mixture,), None, linear)
    found = [_fit(x[y == symbol], np.zeros(int((y == symbol).sum())), True, seed) for symbol in symbols]
    return ConditionalDensity(tuple(m for m, _ in found), symbols, all(linear for _, linear in found))


def _fit(x: Array, y: Array, alone: bool, seed: int) -> tuple[Mixture, bool]:
    """The mixture, and whether it is a single Gaussian. alone: y is not there (0)."""
    rng = np.random.default_rng([seed, 11])
    order = rng.permutation(len(x))
    count = max(10, int(CHOSEN_ON * len(x)))
    choosing, learning = order[:count], order[count:]
    scale_x, scale_y = float(x.std()), 1.0 if alone else float(y.std())
    floors = (NARROWEST * scale_x) ** 2, 1.0 if alone else (NARROWEST * scale_y) ** 2
    xs, ys = x[learning], y[learning]
    own, side = x[choosing], y[choosing]
    parts = _maximised(_moments(xs, ys), floors, alone)
    tried: list[tuple[Parts, Array]] = []
    while True:
        parts = _em(xs, ys, parts, floors, alone)
        scores = Mixture(*parts).log_density(own, side)
        tried.append((parts, scores))
        means = [float(s.mean()) for _, s in tried]
        worse = len(means) > 3 and max(means[-2:]) < max(means) - 1e-3 * NATS_PER_BIT
        most = min(MOST_COMPONENTS, len(xs) // 40)
        if worse or 2 * len(parts[0]) > most:
            break
        parts = _split(parts, alone, rng)
    best = tried[int(np.argmax(means))][1]
    # the smallest whose loss is chance, now with all samples
    parts = next(p for p, s in tried if (best - s).mean() <= (best - s).std() / math.sqrt(count))
    parts = _em(x, y, parts, floors, alone)
    return Mixture(*parts), len(parts[0]) == 1


def _em(x: Array, y: Array, parts: Parts, floors: tuple[float, float], alone: bool) -> Parts:
    before = -math.inf
    for step in range(MOST_STEPS):
        moments = np.zeros((len(parts[0]), 6))
        now = _expect(x, y, *parts, moments) / len(x)
        parts = _maximised(moments[moments[:, 0] > LEAST_COUNT], floors, alone)
        if step % 10 == 9:
            if now - before < SETTLED:
                break
            before = now
    return parts


def _moments(x: Array, y: Array) -> Array:
    return np.array([[len(x), y.sum(), (y * y).sum(), x.sum(), (x * y).sum(), (x * x).sum()]])


def _maximised(moments: Array, floors: tuple[float, float], alone: bool) -> Parts:
    count, y_mean, y_square, x_mean, product, x_square = moments.T
    y_mean, y_square, x_mean, product, x_square = (
        v / count for v in (y_mean, y_square, x_mean, product, x_square)
    )
    y_variance = np.maximum(y_square - y_mean**2, floors[1])
    slope = np.zeros(len(count)) if alone else (product - x_mean * y_mean) / y_variance
    variance = np.maximum(x_square - x_mean**2 - slope**2 * y_variance, floors[0])
    return np.log(count / count.sum()), y_mean, y_variance, x_mean, slope, variance


def _split(parts: Parts, alone: bool, rng: np.random.Generator) -> Parts:
    """Two components in place of each: beside each other along one of its axes, or a narrow and a wide one."""
    made = []
    for log_weight, y_mean, y_variance, x_mean, slope, variance in zip(*parts, strict=True):
        spread = np.array(
            [[y_variance, slope * y_variance], [slope * y_variance, slope**2 * y_variance + variance]]
        )
        if alone:
            spread[0, 0] = 0
        lengths, axes = np.linalg.eigh(spread)
        kind = rng.random()
        if kind < 0.25:
            pairs = [(np.zeros(2), 0.35 * spread), (np.zeros(2), 1.65 * spread)]
        else:
            axis = 1 if kind > 0.5 or alone else 0
            away = 0.75 * math.sqrt(max(lengths[axis], 0)) * axes[:, axis]
            left = spread - np.outer(away, away)
            pairs = [(sign * away, left * rng.uniform(0.8, 1.2)) for sign in (-1, 1)]
        for away, left in pairs:
            along = 1.0 if alone else max(float(left[0, 0]), 1e-12 * y_variance)
            line = 0.0 if alone else left[0, 1] / along
            width = max(float(left[1, 1] - line**2 * along * (not alone)), 1e-6 * variance)
            made.append((log_weight - math.log(2), y_mean + away[0], along, x_mean + away[1], line, width))
    columns = [np.array(column, np.float64) for column in zip(*made, strict=True)]
    return columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]


# -- kernels ------------------------------------------------------------------------------------------------

LOG_2_PI = math.log(2 * math.pi)


@njit(cache=True, nogil=True)
def _expect(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], log_weights: npt.NDArray[np.float64],
    y_means: npt.NDArray[np.float64], y_variances: npt.NDArray[np.float64], x_means: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], moments: npt.NDArray[np.float64],
) -> float:  # fmt: skip
    """Adds to moments (components, 6): sums of 1, y, y y, x, x y, x x; returns the log-likelihood of all pairs."""
    size = log_weights.size
    constant = log_weights - 0.5 * np.log(y_variances) - 0.5 * np.log(variances) - LOG_2_PI
    for_y, for_x = 0.5 / y_variances, 0.5 / variances
    logs = np.empty(size)
    total = 0.0
    for i in range(x.size):
        top = -1e300
        for k in range(size):
            dy = y[i] - y_means[k]
            dx = x[i] - x_means[k] - slopes[k] * dy
            logs[k] = constant[k] - dy * dy * for_y[k] - dx * dx * for_x[k]
            top = max(top, logs[k])
        weight = 0.0
        for k in range(size):
            d = logs[k] - top
            logs[k] = math.exp(d) if d > -30.0 else 0.0
            weight += logs[k]
        total += top + math.log(weight)
        for k in range(size):
            if logs[k] > 0.0:
                r = logs[k] / weight
                moments[k, 0] += r
                moments[k, 1] += r * y[i]
                moments[k, 2] += r * y[i] * y[i]
                moments[k, 3] += r * x[i]
                moments[k, 4] += r * x[i] * y[i]
                moments[k, 5] += r * x[i] * x[i]
    return total


@njit(cache=True, nogil=True, inline="always")
def _weigh(
    y: float, log_weights: npt.NDArray[np.float64], y_means: npt.NDArray[np.float64],
    y_variances: npt.NDArray[np.float64], out: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    """w_k(y)."""
    top = -1e300
    for k in range(out.size):
        dy = y - y_means[k]
        out[k] = log_weights[k] - 0.5 * math.log(y_variances[k]) - 0.5 * dy * dy / y_variances[k]
        top = max(top, out[k])
    total = 0.0
    for k in range(out.size):
        out[k] = math.exp(out[k] - top)
        total += out[k]
    for k in range(out.size):
        out[k] /= total


@njit(cache=True, nogil=True)
def _log_conditional(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], log_weights: npt.NDArray[np.float64],
    y_means: npt.NDArray[np.float64], y_variances: npt.NDArray[np.float64], x_means: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], noise: float,
    out: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    w = np.empty(log_weights.size)
    logs = np.empty(log_weights.size)
    for i in range(x.size):
        _weigh(y[i], log_weights, y_means, y_variances, w)
        top = -1e300
        for k in range(w.size):
            dx = x[i] - x_means[k] - slopes[k] * (y[i] - y_means[k])
            wide = variances[k] + noise
            logs[k] = math.log(max(w[k], 1e-300)) - 0.5 * (dx * dx / wide + math.log(wide) + LOG_2_PI)
            top = max(top, logs[k])
        total = 0.0
        for k in range(w.size):
            total += math.exp(logs[k] - top)
        out[i] = top + math.log(total)


@njit(cache=True, nogil=True)
def _expectation(
    u: npt.NDArray[np.float64], y: npt.NDArray[np.float64], log_weights: npt.NDArray[np.float64],
    y_means: npt.NDArray[np.float64], y_variances: npt.NDArray[np.float64], x_means: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], noise: float,
    out: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    w = np.empty(log_weights.size)
    logs = np.empty(log_weights.size)
    for i in range(u.size):
        _weigh(y[i], log_weights, y_means, y_variances, w)
        top = -1e300
        for k in range(w.size):
            du = u[i] - x_means[k] - slopes[k] * (y[i] - y_means[k])
            wide = variances[k] + noise
            logs[k] = math.log(max(w[k], 1e-300)) - 0.5 * (du * du / wide + math.log(wide))
            top = max(top, logs[k])
        total = 0.0
        mean = 0.0
        for k in range(w.size):
            p = math.exp(logs[k] - top)
            centre = x_means[k] + slopes[k] * (y[i] - y_means[k])
            total += p
            mean += p * (u[i] * variances[k] + centre * noise) / (variances[k] + noise)
        out[i] = mean / total


@njit(cache=True, nogil=True)
def _cumulative(
    edges: npt.NDArray[np.float64], y: npt.NDArray[np.float64], log_weights: npt.NDArray[np.float64],
    y_means: npt.NDArray[np.float64], y_variances: npt.NDArray[np.float64], x_means: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], out: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    w = np.empty(log_weights.size)
    for i in range(y.size):
        _weigh(y[i], log_weights, y_means, y_variances, w)
        for k in range(w.size):
            if w[k] < 1e-15:
                continue
            centre = x_means[k] + slopes[k] * (y[i] - y_means[k])
            scale = math.sqrt(0.5 / variances[k])
            for j in range(edges.size):
                z = (edges[j] - centre) * scale
                if z > 6.0:
                    out[i, j] += w[k]
                elif z > -6.0:
                    out[i, j] += w[k] * 0.5 * (1.0 + math.erf(z))


@njit(cache=True, nogil=True)
def _cumulative_each(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], log_weights: npt.NDArray[np.float64],
    y_means: npt.NDArray[np.float64], y_variances: npt.NDArray[np.float64], x_means: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], out: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    w = np.empty(log_weights.size)
    for i in range(x.size):
        _weigh(y[i], log_weights, y_means, y_variances, w)
        total = 0.0
        for k in range(w.size):
            centre = x_means[k] + slopes[k] * (y[i] - y_means[k])
            total += w[k] * 0.5 * (1.0 + math.erf((x[i] - centre) * math.sqrt(0.5 / variances[k])))
        out[i] = total
