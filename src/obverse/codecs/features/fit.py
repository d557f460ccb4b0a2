"""Fit the entropy bottleneck of feature vectors, in closed form: seconds, and no gradient descent.

    features ──► mean, covariance ──► eigenvectors V ──► y = (x - mean) V
    y_k, sorted ──► rate R_k(step) and distortion D_k(step) of an entropy-constrained quantiser, for a grid of steps
    lmbda       ──► for each k the step of least D_k + lmbda R_k, or nothing at all where that is cheaper
    target      ──► lmbda, by bisection ──► symbols of all vectors ──► code lengths, centroids

The choice for each coefficient by one slope is the Lagrangian allocation of Shoham and Gersho (1988) on measured
curves; for Gaussian coefficients it is reverse water-filling. The squared distortion goes with the eigenvectors
(Karhunen-Loève transform), since orthogonal rotations keep it. The absolute distortion of Dubois et al. (2021) is not
kept by rotations: it goes with the features as they are, around their medians. Where features are standardised before
they are used, distortion counts in units of each feature's deviation.

At few bits vectors are first given one of some clusters, and the rest is done on what is left of them, if that costs
less (clusters.py). New vectors are further from the words than those that made them: what is left of a vector that was
one of m is taken m / (m - 1) times, as if its word had been made without it.

Where the model travels in the file, its own bytes count: a basis of K rows costs K d numbers, and the optimum of n
vectors' distortion against them has steps of step_k / sigma_k * sqrt(3 / n) in row k. A coefficient that saves less
than it costs is dropped, and if all of them together do, the features are coded without a transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.features.bottleneck import FeatureBottleneck
from obverse.codecs.features.cluster_design import COUNTS, FEWEST, Clusters, cluster
from obverse.codecs.features.clusters import ClusteredBottleneck, FeatureModel
from obverse.data.features import check_features
from obverse.errors import InputError, RateTargetError
from obverse.priors.code_lengths import lengths_of
from obverse.quantization.entropy_constrained import (
    MOST_LEVELS,
    SHIFTS,
    SortedSamples,
    curve,
    design,
    slope,
    step_of,
)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

L1, L2 = "l1", "l2"
AUTO, KLT, IDENTITY = "auto", "klt", "identity"
DEFAULT_LOSS = 0.01
SAMPLE = 50_000  # vectors that are looked at; more change nothing
ROWS, COLUMNS = 4096, 64  # of them that are held in float64
GRID = 2.0 ** (np.arange(-12, 13) / 6)  # steps around the one that theory gives
ENDLESS = 1 << 20  # vectors that a model of its own is made for
KEPT_LENGTHS = 2.0**-13  # what is rarer than this at the ends of a table goes to the escape
MOST_CLUSTERED = 256.0  # bits a vector; above, clusters hardly save what they cost in time
TABLE_BITS = 70.0  # about what mean, step, shifts and table of a coefficient take, packed


@dataclass(frozen=True)
class Target:
    """What to reach; one of the three.

    lmbda: minimise distortion + lmbda * bits, a vector, in the features' own units. bits: at most so many a vector.
    loss: at most this part of the spread is lost: of the variance, or of the mean absolute deviation for L1.
    """

    lmbda: float | None = None
    bits: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.lmbda, self.bits, self.loss) if value is not None]
        if len(given) != 1:
            raise InputError("give one of lmbda, bits (a vector) and loss")
        value = given[0]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(f"lmbda, bits and loss are numbers above 0, not {value!r}")
        if self.loss is not None and self.loss >= 1:
            raise InputError(f"loss is a part of the features' spread, between 0 and 1, not {self.loss}")


def fit(
    features: Any,
    target: Target | None = None,
    *,
    distortion: str = L2,
    transform: str = AUTO,
    standardise: bool = False,
    clusters: bool = True,
    copies: int = ENDLESS,
    seed: int = 0,
) -> FeatureModel:
    """The bottleneck that meets the target on these vectors.

    features: (n, d). transform: klt, identity, or the better of the two (auto); l1 has the identity only. standardise:
    measure distortion, and so loss and lmbda, in units of each feature's standard deviation. clusters: whether they are
    tried, at few bits. copies: how many vectors
    share the cost of the model, which is a part of the bits of the target. seed: of the choice of vectors where there
    are more than SAMPLE.
    Raises InputError, UnsupportedInputError, RateTargetError (for a loss or lmbda that would need too many levels).
    """
    features = check_features(features)
    target = target or Target(loss=DEFAULT_LOSS)
    if distortion not in (L1, L2) or transform not in (AUTO, KLT, IDENTITY):
        raise InputError(
            f"distortion is l1 or l2, transform auto, klt or identity, not {distortion!r} and {transform!r}"
        )
    if distortion == L1 and transform == KLT:
        raise InputError("the absolute distortion goes with the identity: rotations do not keep it")
    features = features[sample_of(len(features), seed)]
    absolute = distortion == L1
    x = _Centred.of(features, absolute, standardise)
    candidates = []
    if transform in (AUTO, IDENTITY) or absolute:
        candidates.append(_Allocation.of(x, None, absolute, target, copies))
    if transform in (AUTO, KLT) and not absolute and (len(x) > 1 or transform == KLT):
        candidates.append(_Allocation.of(x, x.eigenvectors(), absolute, target, copies))
    candidates.sort(key=lambda a, at=candidates[-1].lmbda: a.cost(at))
    # of a handful of vectors the basis can be too coarse to meet a small loss; then the next best does
    settled = [_settle(allocation, x, target) for allocation in candidates[:1]]
    rotated = transform in (AUTO, KLT) and not absolute
    if clusters and rotated and candidates[0].bits() <= MOST_CLUSTERED:
        found = _clustered(x, candidates[0], target, copies)
        if found is not None:
            return found
    if not settled[0][1] and len(candidates) > 1:
        settled.append(_settle(candidates[1], x, target))
    return max(settled, key=lambda found: found[1])[0]


def _clustered(x: _Centred, plain: _Allocation, target: Target, copies: int) -> ClusteredBottleneck | None:
    """The bottleneck behind the clusters of least cost; None where none costs less than the plain allocation."""
    slope_here, best, least = plain.lmbda, None, plain.cost(plain.lmbda)
    if not slope_here > 0:
        return None
    for count in [count for count in COUNTS if count * FEWEST <= len(x)][-2:]:
        kind = np.promote_types(x.features.dtype, np.float32)
        centred = np.concatenate([rows.astype(kind) for _, rows in x.rows()])
        clusters = cluster(centred, count, slope_here, copies)
        beside = clusters.index_bits + clusters.side_bits() / copies
        left = _left_of(x, centred, clusters, copies)
        goal = _goal_of_rest(target, beside, plain, left)
        if goal is None:
            continue
        allocation = _Allocation.of(left, left.eigenvectors(), False, goal, copies)
        cost = allocation.cost(slope_here) + slope_here * beside
        if cost < least:
            best, least = (clusters, left, allocation, goal), cost
    if best is None:
        return None
    return _settle_with(*best, x, plain, target, copies)


def _settle_with(
    clusters: Clusters, left: _Centred, allocation: _Allocation, goal: Target, x: _Centred, plain: _Allocation,
    target: Target, copies: int,
) -> ClusteredBottleneck | None:  # fmt: skip
    """As `_settle`: of vectors that are as far from their words as new ones, which choose among all clusters, so that
    they cost less than what is left of them was expected to. None where the target is not met."""
    some = slice(None, None, max(1, len(left) // 8192))
    unit = x.scales if x.scales.size else np.ones(1)
    vectors = left.features[some] + clusters.words[clusters.at[some]] * clusters.unit * unit + x.mean
    lengths = lengths_of(np.append(2.0**-clusters.bits, 2.0**-16))
    kept = None
    for _ in range(5):
        rest, met = _settle(allocation, left, goal)
        model = ClusteredBottleneck(
            replace(rest, mean=x.mean), clusters.words, np.array([clusters.unit]), lengths
        )
        if target.lmbda is not None:
            return model
        z = model.quantise(vectors)
        if target.bits is not None and goal.bits is not None:
            sides = clusters.side_bits() / copies + allocation.meet(goal, allocation.lmbda).side_bits()
            wanted, measured = target.bits, float(model.rate_bits(z).mean()) + sides
            goal = Target(bits=max(goal.bits + 0.995 * wanted - measured, 0.1))
        elif target.loss is not None and goal.loss is not None:
            error = np.square((vectors - model.dequantise(z)) / unit).sum(1).mean()
            wanted, measured = target.loss, float(error / plain.spreads.sum())
            goal = Target(loss=min(goal.loss * 0.995 * wanted / max(measured, 1e-3 * wanted), 0.999))
        if measured <= wanted and met:
            kept = model
            if measured >= 0.985 * wanted:
                break
    return kept


def _left_of(x: _Centred, centred: Array, clusters: Clusters, copies: int) -> _Centred:
    """Vectors minus their words, times the scales, around 0."""
    words = clusters.words * clusters.unit
    left = centred
    for first in range(0, len(left), ROWS):
        here = slice(first, first + ROWS)
        rows = left[here] - words[clusters.at[here]]
        if copies > len(left):  # the words are for others than these
            held = np.maximum(clusters.held[clusters.at[here]], 2)
            rows *= (held / (held - 1))[:, None]
        left[here] = rows * x.scales if x.scales.size else rows
    return _Centred(left, np.zeros_like(x.mean), x.scales)


def _goal_of_rest(target: Target, beside: float, plain: _Allocation, left: _Centred) -> Target | None:
    """What is asked of the coefficients, where clusters take so many bits; None where that cannot be."""
    if target.bits is not None:
        return Target(bits=target.bits - beside) if target.bits > beside + 1 else None
    if target.loss is not None:
        spread = sum(float(np.square(rows).sum()) for _, rows in left.rows()) / len(left)
        loss = target.loss * float(plain.spreads.sum()) / spread if spread else 1.0
        return Target(loss=loss) if loss < 1 else None
    return target


def sample_of(count: int, seed: int = 0) -> Any:
    """Which of so many vectors are looked at: an index of them."""
    if count <= SAMPLE:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False))


def _settle(allocation: _Allocation, x: _Centred, target: Target) -> tuple[FeatureBottleneck, bool]:
    """The bottleneck whose measured bits or loss are within 1.5 % of the target from below, and whether it meets it.

    The curves were measured before the rounding knew the final slope, and before the basis was rounded.
    """
    model = allocation.bottleneck(x)
    wanted = target.bits if target.bits is not None else target.loss
    spread = allocation.spreads.sum()
    if wanted is None or not spread:
        return model, True
    unit = x.scales if x.scales.size else np.ones(1)
    features = x.features[:: max(1, len(x) // 8192)].astype(np.float64)
    aim, kept = wanted, None
    for turn in range(12):
        if turn >= 6 and kept:
            break
        z = model.quantise(features)
        if target.bits is not None:
            measured = float(model.rate_bits(z).mean()) + allocation.side_bits()
        else:
            error = np.abs(features - model.dequantise(z)) / unit
            error = error if allocation.absolute else np.square(error)
            measured = float(error.sum(1).mean() / spread)
        if measured <= wanted:
            kept = model
            if measured >= 0.985 * wanted:
                break
        aim *= 0.995 * wanted / max(measured, 1e-3 * wanted)
        aim = aim if target.bits is not None else min(aim, 0.999)
        before = allocation
        allocation = before.meet(
            Target(bits=aim) if target.bits is not None else Target(loss=aim), before.lmbda
        )
        if target.bits is not None and kept and np.array_equal(allocation.chosen, before.chosen):
            break  # there is nothing finer
        model = allocation.bottleneck(x)
    return kept or model, kept is not None


@dataclass(frozen=True)
class _Centred:
    """Vectors minus their mean, over their scales, made when they are used: a copy in float64 is twice as large."""

    features: Array
    mean: Array
    scales: Array

    @classmethod
    def of(cls, features: Array, absolute: bool, standardise: bool) -> _Centred:
        """Around the medians (absolute) or means; in units of the deviations (standardise) or of the features."""
        here = cls(features, np.zeros(features.shape[1]), np.zeros(0))
        mean = np.array([np.median(y) if absolute else y.mean() for y in here.columns(None)])
        mean = mean.astype(np.float64 if features.dtype == np.float64 else np.float32)
        scales = np.zeros(0, np.float32)
        if standardise:
            deviations = np.array([y.std() for y in cls(features, mean, scales).columns(None)])
            least = 1e-6 * (float(deviations.max()) or 1.0)  # what hardly changes counts little
            scales = np.maximum(deviations, least).astype(mean.dtype)
        return cls(features, mean, scales)

    def __len__(self) -> int:
        return len(self.features)

    def rows(self) -> Iterator[tuple[slice, Floats]]:
        """Some rows after the other, (m, d) float64."""
        for first in range(0, len(self), ROWS):
            here = slice(first, first + ROWS)
            x = self.features[here].astype(np.float64)
            x -= self.mean
            if self.scales.size:
                x /= self.scales
            yield here, x

    def columns(
        self, directions: Floats | None, kept: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Floats]:
        """Each coefficient of all vectors, (n,) float64: along directions (d, K), or the features themselves."""
        count = self.features.shape[1] if directions is None else directions.shape[1]
        chosen = np.arange(count) if kept is None else kept
        for first in range(0, len(chosen), COLUMNS):
            some = chosen[first : first + COLUMNS]
            y = np.empty((len(some), len(self)))
            if directions is None:
                y[:] = self.features[:, some].T
                y -= self.mean[some, None]
                if self.scales.size:
                    y /= self.scales[some, None]
            else:
                columns = np.ascontiguousarray(directions[:, some])
                for here, x in self.rows():
                    y[:, here] = (x @ columns).T
            yield from y

    def eigenvectors(self) -> Floats:
        """(d, d), those of the largest variance first, as columns."""
        scale = max(float(np.abs(x).max()) for _, x in self.rows()) or 1.0
        gram = np.zeros((self.features.shape[1], self.features.shape[1]))
        for _, x in self.rows():
            x /= scale
            gram += x.T @ x
        return np.linalg.eigh(gram)[1][:, ::-1]


@dataclass(frozen=True)
class _Allocation:
    """A step, or none, for each coefficient.

    vectors: (d, d) eigenvectors as columns, or None. spreads: (d,) distortion of each without any bits. grid: (S,)
    steps. rates, distortions: (d, S) measured. sides: (d, S) bits of the model for each. chosen: (d,) indices into
    the grid, S where nothing is coded. copies: vectors that share the sides.
    """

    vectors: Floats | None
    absolute: bool
    spreads: Floats
    grid: Floats
    rates: Floats
    distortions: Floats
    sides: Floats
    copies: int
    lmbda: float
    chosen: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, x: _Centred, vectors: Floats | None, absolute: bool, target: Target, copies: int
    ) -> _Allocation:
        d = len(x.mean)
        spreads = np.array([(np.abs(y) if absolute else np.square(y)).mean() for y in x.columns(vectors)])
        step = _first_step(spreads, target, absolute)
        for _ in range(8):  # until the optimum lies within the grid
            grid = step * GRID
            rates, distortions = np.full((d, len(grid)), np.inf), np.full((d, len(grid)), np.inf)
            varied = np.flatnonzero(spreads > 0)
            for k, y in zip(varied, x.columns(vectors, varied), strict=True):
                rates[k], distortions[k] = curve(SortedSamples.of(y), grid, absolute)
            sides = _side_bits(spreads, grid, d, vectors is not None, absolute, copies)
            found = cls(
                vectors,
                absolute,
                spreads,
                grid,
                rates,
                distortions,
                sides,
                copies,
                0.0,
                np.zeros(d, np.int64),
            )
            found = found.meet(target, slope(step, absolute))
            middle = step_of(found.lmbda, absolute)
            if np.isinf(rates[spreads > 0, int(np.argmin(np.abs(grid - middle)))]).any():
                if target.bits is not None:  # met from below: as exactly as can be
                    if np.isfinite(rates[spreads > 0]).any(1).all():
                        return found
                    step *= 8
                    continue
                raise RateTargetError(
                    "the features cannot be kept that exactly: a coefficient would have thousands of levels; "
                    "allow more loss or a larger lmbda"
                )
            if grid[3] <= middle <= grid[-4]:
                return found
            step = min(max(middle, step / 8), step * 8)
        return found

    def at(self, lmbda: float) -> _Allocation:
        """The choice of least D + lmbda R at this slope."""
        costs = self.distortions + lmbda * (self.rates + self.sides / self.copies)
        costs = np.concatenate([costs, self.spreads[:, None]], 1)
        fields = {**self.__dict__, "lmbda": lmbda, "chosen": np.argmin(costs, 1)}
        return _Allocation(**fields)

    def bits(self) -> float:
        """A vector, with its part of the model."""
        bits = np.concatenate([self.rates + self.sides / self.copies, np.zeros((len(self.spreads), 1))], 1)
        return float(np.take_along_axis(bits, self.chosen[:, None], 1).sum())

    def side_bits(self) -> float:
        """The model's part of the bits of a vector."""
        sides = np.concatenate([self.sides, np.zeros((len(self.spreads), 1))], 1)
        return float(np.take_along_axis(sides, self.chosen[:, None], 1).sum()) / self.copies

    def distortion(self) -> float:
        """A vector."""
        values = np.concatenate([self.distortions, self.spreads[:, None]], 1)
        return float(np.take_along_axis(values, self.chosen[:, None], 1).sum())

    def cost(self, lmbda: float) -> float:
        """Distortion + lmbda * bits."""
        return self.distortion() + lmbda * self.bits()

    def meet(self, target: Target, around: float) -> _Allocation:
        """The allocation of the largest lmbda that keeps the loss, or the smallest that keeps the bits."""
        if target.lmbda is not None:
            return self.at(target.lmbda)
        if not self.spreads.sum():
            return self.at(around)
        low, high = math.log(around) - 9.0, math.log(around) + 9.0
        for _ in range(48):
            middle = 0.5 * (low + high)
            here = self.at(math.exp(middle))
            if target.bits is not None:
                enough = here.bits() <= target.bits
            else:
                enough = here.distortion() > (target.loss or 0.0) * self.spreads.sum()
            low, high = (low, middle) if enough else (middle, high)
        return self.at(math.exp(high if target.bits is not None else low))

    def bottleneck(self, x: _Centred) -> FeatureBottleneck:
        """Final quantisers at the chosen slope; their code lengths are counted on these vectors."""
        mean, scales = x.mean, x.scales
        coded = np.flatnonzero(self.chosen < len(self.grid))
        steps = np.append(self.grid, np.nan)[self.chosen]
        if self.vectors is None:
            basis, units, kept = np.zeros((0, len(mean)), np.int64), np.zeros(0), coded
        else:
            # rows no finer than the vectors pay for
            sigma = np.sqrt(self.spreads[coded])
            shared = min(self.copies, ENDLESS)
            units = np.minimum(steps[coded] / sigma * math.sqrt(3 / shared), 1 / math.sqrt(len(mean)))
            rows = np.rint(self.vectors[:, coded].T / units[:, None])
            useful = np.abs(rows).max(1, initial=0) > 0
            coded, basis, units = coded[useful], rows[useful].astype(np.int64), units[useful]
            kept = np.zeros(0, np.int64)
        k = len(coded)
        blank = FeatureBottleneck(
            mean, scales, basis, units, kept, steps[coded], np.zeros((k, SHIFTS), np.int8), np.zeros(k, np.int64),
            np.full(k, 2), np.zeros(2 * k, np.uint8), np.array([float(self.absolute), self.lmbda]),
        )  # fmt: skip
        columns = x.columns(blank.analysis) if len(basis) else x.columns(None, kept)
        found = [
            design(SortedSamples.of(y), float(steps[j]), self.lmbda, self.absolute)
            for j, y in zip(coded, columns, strict=True)
        ]
        shifts = np.array([q.shifts for q in found], np.int8).reshape(k, SHIFTS)
        lows, lengths = [], []
        for quantiser in found:
            low, table = _table(quantiser.low, quantiser.counts, quantiser.outside)
            lows.append(low)
            lengths.append(table)
        return FeatureBottleneck(
            mean, scales, basis, units, kept, steps[coded], shifts, np.array(lows, np.int64),
            np.array([len(table) for table in lengths], np.int64), np.concatenate([*lengths, np.zeros(0, np.uint8)]),
            blank.rule,
        )  # fmt: skip


def _table(low: int, counts: npt.NDArray[np.int64], outside: int) -> tuple[int, npt.NDArray[np.uint8]]:
    """Lowest symbol and code lengths of a table, the escape last, from how often each symbol occurred.

    Counts are mixed with their neighbours', as if each symbol had been seen half a time more: what a few vectors did
    not show is rare, not impossible.
    """
    n = float(counts.sum())
    kernel = np.array([0.25, 0.5, 0.25])
    wide = np.concatenate(
        [[0.0, 0.0], counts.astype(float), [0.0, 0.0]]
    )  # room for a symbol more at either end
    smooth = np.convolve(wide, kernel, "same")
    few = 0.5 * len(counts)
    p = (wide + few * (smooth / n + 0.1 / len(wide))) / (n + 1.1 * few)
    likely = np.flatnonzero(p >= min(KEPT_LENGTHS, 0.5 * p.max()))
    first, last = int(likely[0]), int(likely[-1])
    inside = p[first : last + 1]
    escape = max(float(p.sum() - inside.sum()), 0.25 / (n + 1.0), 2.0**-15) + outside / (n + outside)
    return low - 2 + first, lengths_of(np.append(inside, escape))


def _first_step(spreads: Floats, target: Target, absolute: bool) -> float:
    """The step of reverse water-filling for Gaussian coefficients: where the grid begins to look."""
    if target.lmbda is not None:
        return step_of(target.lmbda, absolute)
    positive = spreads[spreads > 0]
    if not len(positive):
        return 1.0
    variances = positive * positive * math.pi / 2 if absolute else positive

    def low_enough(level: float) -> bool:
        if target.bits is not None:
            return bool(0.5 * np.log2(np.maximum(variances / level, 1)).sum() >= target.bits)
        part: Callable[[Floats], float] = (
            (lambda v: float(np.sqrt(v).sum())) if absolute else (lambda v: float(v.sum()))
        )
        return part(np.minimum(variances, level)) <= (target.loss or 0.0) * part(variances)

    low, high = math.log(float(variances.max())) - 60.0, math.log(float(variances.max()))
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if low_enough(math.exp(middle)) else (low, middle)
    step = math.sqrt(12 * math.exp(low))
    # more bits than the largest coefficient can use have the finest step that it can have
    return step if target.bits is None else max(step, 12 * math.sqrt(float(variances.max())) / MOST_LEVELS)


def _side_bits(spreads: Floats, grid: Floats, d: int, rotated: bool, absolute: bool, copies: int) -> Floats:
    """(d, S) bits of the model for each coefficient and step: its table and its row of the basis."""
    sigma = (spreads * math.sqrt(math.pi / 2) if absolute else np.sqrt(spreads))[:, None]
    ratio = sigma / grid
    sides = TABLE_BITS + 5 * np.minimum(6 * ratio + 3, MOST_LEVELS)
    if rotated:
        variance = np.square(ratio) / d * min(copies, ENDLESS) / 3
        sides = sides + d * 0.5 * np.log2(2 * math.pi * math.e * (variance + 1 / 12))
    return sides
