"""The best scalar Wyner-Ziv quantiser without a network: generalised Lloyd iterations on a fine grid.

    joint density p(x, y) on 4800 x 2400 points
    labels u(x), one per cell of x  ──►  best decoder E[x|u, y], best q(u) or q(u|y)
             ▲                                           │
             └── argmin over u of  E[-log q + lmbda (x - x̂(u, y))^2 | x]  ◄──┘

Each half step lowers R + lmbda D, R = H(U) (`marginal`) or H(U|Y) (`conditional`), so the iteration ends; where
it ends depends on the start, so there are many: labels floor(x / width + phase) mod K, which is binning as a
nested lattice would do it, of many widths. No scalar one-shot scheme is known to be better (see Fleming, Zhao
and Effros, "Network vector quantization", IEEE Trans. Inform. Theory 2004). Densities also come from samples.

The same grid scores any scalar scheme by numerical integration, without the noise of samples: `evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from obverse.codecs.wyner_ziv.recipe import CELLS, CONDITIONAL, MARGINAL, MOST_GRID_INDICES, POINTS
from obverse.errors import InputError

Q_FLOOR = 1e-12
SETTLED = 1e-6  # probability of x whose label changes, below which an iteration ends
BROAD = 1e-4  # of a density from samples is a broad Gaussian
REFINED = 3  # designs of the coarse grid that are iterated on the fine one
COUNTED = 1e-5  # probability of x below which an interval is not counted


@dataclass(frozen=True)
class JointGrid:
    """A joint probability on a grid: x (nx,) cell centres, evenly spaced, y (ny,) points, p (nx, ny), sum 1."""

    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    @property
    def cell(self) -> float:
        """Width of a cell of x."""
        return float(self.x[1] - self.x[0])

    @classmethod
    def of_density(
        cls,
        density: Callable[[np.ndarray, np.ndarray], np.ndarray],
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        cells: int = CELLS,
        points: int = POINTS,
    ) -> JointGrid:
        """density(x[:, None], y[None]) is proportional to p(x, y); taken at the centres of the cells."""
        x, y = _centres(*x_range, cells), _centres(*y_range, points)
        p = np.ascontiguousarray(density(x[:, None], y[None]), dtype=np.float64)
        return cls(x, y, p / p.sum())

    @classmethod
    def of_samples(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        cells: int = CELLS,
        points: int = POINTS,
        width: float | None = None,
    ) -> JointGrid:
        """A kernel estimate from n pairs (n,), (n,): the histogram, smoothed by a Gaussian along x and y, and a very
        little of a broad Gaussian, so that every x and y has a sensible conditional.

        y of whole numbers with at most 256 values is kept as it is. width: of the kernel, in residual standard
        deviations sigma_{x|y}; by default 2 n**(-1/5), at least 0.05.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y)
        values, place = np.unique(y, return_inverse=True)
        discrete = y.dtype.kind in "iub" and len(values) <= 256
        y_range = (float(y.min()), float(y.max()))
        if not discrete:
            values = _centres(*_widened(*y_range), points)
            place = ((y - values[0]) / (values[1] - values[0])).round().astype(np.int64)
        axis = _centres(*_widened(float(x.min()), float(x.max())), cells)
        at = ((x - axis[0]) / (axis[1] - axis[0])).round().astype(np.int64)
        counts = np.bincount(at * len(values) + place, minlength=cells * len(values)).astype(np.float64)
        counts = counts.reshape(cells, len(values))
        width = max(0.05, 2 * len(x) ** -0.2) if width is None else width
        counts = _blur(counts, width * residual_deviation(x, y, discrete) / (axis[1] - axis[0]), 0)
        if not discrete:
            step = values[1] - values[0]
            counts = _blur(counts, width * residual_deviation(y.astype(np.float64), x, False) / step, 1)
        counts[counts < 1e-12 * counts.max()] = 0  # rounding noise of the FFT
        broad = _gaussian_model(x, y, axis, values, place if discrete else None)
        mixed = (1 - BROAD) * counts / counts.sum() + BROAD * broad
        return cls(axis, values.astype(np.float64), mixed)

    def coarser(self, factor: int) -> JointGrid:
        """The same probability on a grid with so many times fewer cells each way; y only where it is long."""
        cells = len(self.x) // factor * factor
        thin = factor if len(self.y) >= 100 * factor else 1
        points = len(self.y) // thin * thin
        p = self.p[:cells, :points].reshape(cells // factor, factor, points // thin, thin).sum(axis=(1, 3))
        x = self.x[:cells].reshape(-1, factor).mean(axis=1)
        return JointGrid(x, self.y[:points].reshape(-1, thin).mean(axis=1), p / p.sum())


def _gaussian_model(
    x: np.ndarray, y: np.ndarray, axis: np.ndarray, values: np.ndarray, place: np.ndarray | None
) -> np.ndarray:
    """(nx, ny), sum 1: x Gaussian around a line in y, or within each of the `values` that `place` tells; with twice
    the measured variances. It decides where there are no samples."""
    if place is None:
        slope = np.cov(x, y)[0, 1] / y.var()
        means, weights = (
            x.mean() + slope * (values - y.mean()),
            np.exp(-((values - y.mean()) ** 2) / (4 * y.var())),
        )
        variances = np.full(len(values), 2 * (x - slope * y).var())
    else:
        weights = np.bincount(place).astype(np.float64)
        means = np.bincount(place, x) / weights
        variances = 2 * np.maximum(np.bincount(place, x**2) / weights - means**2, 1e-6 * x.var())
    density = np.exp(-((axis[:, None] - means) ** 2) / (2 * variances)) / np.sqrt(variances) * weights
    return density / density.sum()


def _centres(low: float, high: float, count: int) -> np.ndarray:
    return low + (np.arange(count) + 0.5) * ((high - low) / count)


def _widened(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def residual_deviation(x: np.ndarray, y: np.ndarray, discrete: bool) -> float:
    """The standard deviation of x that is left when y is known: within each value of y, or within 200 bins."""
    if discrete:
        order = y.argsort(kind="stable")
        groups = np.split(x[order], np.flatnonzero(np.diff(y[order])) + 1)
        return math.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / len(x))
    order = y.argsort(kind="stable")
    size = max(8, len(x) // 200)
    total = 0.0
    for start in range(0, len(x) - size + 1, size):
        a, b = x[order[start : start + size]], y[order[start : start + size]]
        a, b = a - a.mean(), b - b.mean()
        slope = (a @ b) / (b @ b) if b @ b > 0 else 0.0  # y varies within a bin too
        total += float(((a - slope * b) ** 2).mean())
    return math.sqrt(total / max(1, len(x) // size))


def _blur(array: np.ndarray, deviation: float, axis: int) -> np.ndarray:
    """Gaussian smoothing by FFT, its deviation in grid steps."""
    if deviation < 0.2:
        return array
    n = array.shape[axis] + 2 * math.ceil(6 * deviation)
    transfer = np.exp(-2 * (math.pi * np.fft.rfftfreq(n) * deviation) ** 2)
    shape = (-1, 1) if axis == 0 else (1, -1)
    blurred = np.fft.irfft(np.fft.rfft(array, n, axis) * transfer.reshape(shape), n, axis)
    return np.maximum(np.take(blurred, range(array.shape[axis]), axis), 0)


# -- scoring ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What a scalar scheme attains: H(U) and H(U|Y) in bits, the mean squared error, the intervals of x.

    intervals: (K,) how many separate intervals of x share each index, of those whose probability is 1e-5 or more.
    """

    marginal_bits: float
    conditional_bits: float
    mse: float
    intervals: np.ndarray

    def rate_bits(self, objective: str) -> float:
        """H(U) for 'marginal', H(U|Y) for 'conditional'."""
        return self.marginal_bits if objective == MARGINAL else self.conditional_bits


def evaluate(grid: JointGrid, labels: np.ndarray, reconstruction: np.ndarray, indices: int) -> Score:
    """labels: (nx,) the index of each cell; reconstruction: (K, ny), x̂ at each point of y."""
    s0, s1, s2 = _moments(grid, labels, indices, 2)
    inside = grid.cell**2 / 12  # x is spread over its cell
    mse = float((s2 - 2 * reconstruction * s1 + reconstruction**2 * s0).sum() + inside)
    q = s0.sum(axis=1)
    return Score(entropy_bits(q), _conditional_bits(s0), mse, count_intervals(grid, labels, indices))


def entropy_bits(q: np.ndarray) -> float:
    """Entropy of a probability vector."""
    q = q[q > 0]
    return float(-(q * np.log2(q)).sum())


def _conditional_bits(s0: np.ndarray) -> float:
    return entropy_bits(s0.ravel()) - entropy_bits(s0.sum(axis=0))


def count_intervals(grid: JointGrid, labels: np.ndarray, indices: int) -> np.ndarray:
    """(K,) runs of equal labels along x, without those of negligible probability; runs of one index that only
    such runs separate count as one."""
    p = grid.p.sum(axis=1)
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate([[0], edges])
    kept = labels[starts][np.add.reduceat(p, starts) >= COUNTED]
    kept = kept[np.concatenate([[True], kept[1:] != kept[:-1]])] if len(kept) else kept
    return np.bincount(kept, minlength=indices)


def _moments(grid: JointGrid, labels: np.ndarray, indices: int, highest: int) -> list[np.ndarray]:
    """sum over the cells of index u of x**m p(x, y), (K, ny), for m = 0 .. highest."""
    hot = np.zeros((indices, len(labels)))
    hot[labels, np.arange(len(labels))] = 1
    return [(hot * grid.x**m) @ grid.p for m in range(highest + 1)]


# -- design -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GridDesign:
    """A scalar scheme on a grid.

    labels: (nx,) index of each cell of x. reconstruction: (K, ny). q: (K, ny) the conditional q(u|y).
    """

    labels: np.ndarray
    reconstruction: np.ndarray
    q: np.ndarray
    objective: str
    lmbda: float
    score: Score

    @property
    def cost(self) -> float:
        """R + lmbda D in nats."""
        return self.score.rate_bits(self.objective) * math.log(2) + self.lmbda * self.score.mse


def periodic_labels(x: np.ndarray, width: float, phase: float, indices: int) -> np.ndarray:
    """floor(x / width + phase) mod K: intervals of one width that share K indices in turn."""
    return np.floor(x / width + phase).astype(np.int64) % indices


def lloyd(
    grid: JointGrid, labels: np.ndarray, indices: int, objective: str, lmbda: float, iterations: int = 200
) -> GridDesign:
    """Iterate from `labels` until next to none changes, or so many times. lmbda: nats per squared unit of x."""
    p_x, p_y = grid.p.sum(axis=1), grid.p.sum(axis=0)
    s0 = np.empty(0)
    predicted = (grid.x @ grid.p) / np.maximum(p_y, 1e-300)  # E[x|y], for indices that a y never meets
    for _ in range(iterations):
        s0, s1 = _moments(grid, labels, indices, 1)
        seen = s0 > 1e-9 * p_y
        reconstruction = np.where(seen, s1 / np.where(seen, s0, 1), predicted)
        if objective == MARGINAL:
            length = np.broadcast_to(-np.log(np.maximum(s0.sum(axis=1), Q_FLOOR))[:, None], s0.shape)
        else:
            length = -np.log(np.maximum(s0 / np.maximum(p_y, 1e-300), Q_FLOOR))
        # E[length + lmbda (x - x̂)^2 | x] p(x) without the term that no u changes
        linear = grid.p @ (length + lmbda * reconstruction**2).T
        cost = linear - 2 * lmbda * grid.x[:, None] * (grid.p @ reconstruction.T)
        best = cost.argmin(axis=1)
        best = np.where(p_x > 0, best, labels)
        moved = float(p_x[best != labels].sum())
        labels = best
        if moved < SETTLED:
            break
    s0, s1 = _moments(grid, labels, indices, 1)
    seen = s0 > 1e-9 * p_y
    reconstruction = np.where(seen, s1 / np.where(seen, s0, 1), predicted)
    q = s0 / np.maximum(p_y, 1e-300)
    return GridDesign(
        labels, reconstruction, q, objective, lmbda, evaluate(grid, labels, reconstruction, indices)
    )


def default_widths(
    deviation: float, indices: int, objective: str, lmbda: float, count: int = 8
) -> list[float]:
    """Widths of the intervals to start from. deviation: sigma_{x|y}.

    marginal: periods K * width of 5 to 9 sigma_{x|y}. conditional: about sqrt(6 / lmbda), where the slope of
    a fine uniform quantiser, R = const - log(width), D = width**2 / 12, is lmbda.
    """
    if objective == MARGINAL:
        return list(np.linspace(5, 9, count) * deviation / indices)
    return list(np.geomspace(0.7, 1.5, count) * math.sqrt(6 / lmbda))


def design(
    grid: JointGrid,
    indices: int,
    objective: str,
    lmbda: float,
    widths: Iterable[float],
    phases: int = 4,
    random_starts: int = 2,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> GridDesign:
    """The design of the least R + lmbda D from many starts: all on a coarser grid, the best few on the whole one.

    lmbda: nats per squared unit of x. widths: of the periodic starts, each with so many phases. random_starts:
    labels drawn freely for stretches of cells. progress: told the share that is done. Raises InputError.
    """
    check_design(indices, objective, lmbda)
    rng = np.random.default_rng(seed)
    factor = max(1, min(4, len(grid.x) // (50 * indices)))
    coarse = grid.coarser(factor)
    starts = [
        periodic_labels(coarse.x, width, (phase + rng.random()) / phases * indices, indices)
        for width in widths
        for phase in range(phases)
    ]
    stretch = max(1, len(coarse.x) // (8 * indices))
    for _ in range(random_starts):
        free = np.repeat(rng.integers(indices, size=len(coarse.x) // stretch + 1), stretch)
        starts.append(free[: len(coarse.x)])
    if not starts:
        raise InputError("a design needs at least one start: give widths, or random_starts above 0")
    found = []
    for labels in starts:
        found.append(lloyd(coarse, labels, indices, objective, lmbda))
        progress(0.5 * len(found) / len(starts))  # the fine grid takes about as long
    finer: list[GridDesign] = []
    for rough in sorted(found, key=lambda d: d.cost)[:REFINED]:
        labels = np.repeat(rough.labels, factor)
        labels = np.append(labels, np.full(len(grid.x) - len(labels), labels[-1]))
        finer.append(lloyd(grid, labels, indices, objective, lmbda))
        progress(0.5 + 0.5 * len(finer) / min(REFINED, len(found)))
    return min(finer, key=lambda d: d.cost)


def check_design(indices: int, objective: str, lmbda: float) -> None:
    """Raise InputError for what cannot be designed."""
    if objective not in (MARGINAL, CONDITIONAL):
        raise InputError(f"the objective is 'marginal' or 'conditional', not {objective!r}")
    if not 2 <= indices <= MOST_GRID_INDICES:
        raise InputError(f"the number of indices K must be 2 to {MOST_GRID_INDICES}, not {indices}")
    if not 0 < lmbda < math.inf:
        raise InputError(f"lmbda, the price of distortion in nats, must be above 0, not {lmbda}")
