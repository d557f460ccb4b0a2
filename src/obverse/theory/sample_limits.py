"""The limit of a source that only samples are known of: an estimate, and a bracket around it.

    samples ──┬─► p(x|y), a mixture ──► grid ──► R(D) or Wyner-Ziv R(D)         the estimate
              │                          └─► test channel q(u|x), r(u|y), x̂(u, y)
              └─► kept out ──► rate E log q(u|x) / r(u|y), distortion E d(x, x̂)  from above
                           └─► what p(x|y) misses of them ──► R_{X|Y}(D) less it  from below

From above: whatever r is, I(X; U | Y) <= E log q(u|x) / r(u|y), so the mean over samples that nothing was fitted to is
a rate that codes of long blocks achieve, but for the error of a mean. From below there is no proof: no finite number of
samples excludes structure that is finer than all of them. The bound from below is that of the fitted p(x|y), less the
divergence that samples kept out show (their P(X <= x | y) must be uniform and independent of y), less two standard
errors.

Levels too fine for the grid have the Gaussian test channel u = x + z, whose rate needs no grid and which is optimal in
the limit of small distortions, and Shannon's lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.theory.blahut_arimoto import blahut_arimoto, conditional_blahut_arimoto
from obverse.theory.curves import NATS_PER_BIT, Array, RateDistortionCurve, RateDistortionPoint
from obverse.theory.densities import (
    check_pairs,
    check_scalars,
    grid_over,
    joint_on,
    thinned,
    unrounded,
)
from obverse.theory.mixtures import ConditionalDensity, fit_density
from obverse.theory.sources import absolute_error, normalised, squared_error
from obverse.theory.wyner_ziv_grid import wyner_ziv_squared_error

RATES_BITS = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
KEPT_OUT, MOST_KEPT_OUT = 0.2, 20_000  # of the samples, for the bracket
POINTS, SIDE_POINTS, ALONE_POINTS = 360, 160, 800
TOLERANCE_BITS = 2e-5  # that twenty steps of the alternation gain, below which it ends
SURE = 2.0  # standard errors
FINEST = 2.0  # grid steps that the root of a squared error must have
CLOSE = 1.1  # ratio of distortions, or of slopes, that are near each other
MOST_TOWARDS = 8
CHUNK = 4_000  # samples held at once
SQUARES = ((64, 1), (16, 4), (8, 8), (4, 16), (16, 16), (32, 32))  # cells in which a divergence is looked for

Progress = Callable[[], None]


@dataclass(frozen=True)
class SampleLimit:
    """What samples say of a limit.

    Attributes:
        curve: the estimate; with side information Wyner and Ziv's.
        bracket: rate_bits from above, lower_rate_bits from below.
        both_ends: with side information, R(D) where the encoder has it as well.
        without: with side information, R(D) where nobody has it.
        gaussian: whether nothing but one Gaussian was found (for each symbol of y), so that formulas hold.
        residual_variance: of x given y.
    """

    curve: RateDistortionCurve
    bracket: RateDistortionCurve
    both_ends: RateDistortionCurve | None
    without: RateDistortionCurve | None
    gaussian: bool
    residual_variance: float


@dataclass(frozen=True)
class _Fitted:
    """A density, the samples kept out from it, and what it may miss of the truth in bits."""

    density: ConditionalDensity
    x: Array
    y: Array
    entropy_bits: float
    margin_bits: float


def limit_of_pairs(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    rates_bits: Sequence[float] = RATES_BITS,
    distortions: Sequence[float] | None = None,
    through: float | None = None,
    around: bool = True,
    progress: Progress = lambda: None,
    seed: int = 0,
) -> SampleLimit:
    """The Wyner-Ziv limit of scalar pairs, squared error, with its bracket.

    Args:
        x: (n,) scalars.
        y: (n,) side information: scalars, or at most 64 symbols, each many times.
        rates_bits: rates that a Gaussian of the same variance given y would have at the points of the curve.
        distortions: the mean squared errors that a Gaussian would have at the points, in place of that.
        through: a mean squared error that is to be near a point, and between two: more points are computed until it is.
        around: whether to compute the curves beside it, `both_ends` and `without`, on the grid as well.
        progress: called after each point.
        seed: of the split of the samples.

    Raises:
        InputError: for what are no such pairs.
    """
    a, b, symbols = check_pairs(x, y)
    found = _fitted(a, b, symbols, seed)
    grid = grid_over(a, POINTS)
    step = float(grid[1] - grid[0])
    grid, joint, kept = joint_on(grid, found.density, thinned(b)[0], SIDE_POINTS)
    p_y = joint.sum(0)
    residual = float(joint.sum(1) @ grid**2 - p_y @ ((grid @ joint) / p_y) ** 2)
    levels = distortions or [residual * 2.0 ** (-2 * rate) for rate in rates_bits]
    d = squared_error(grid, grid)
    curve: list[RateDistortionPoint] = []
    bracket: list[RateDistortionPoint] = []
    both_ends: list[RateDistortionPoint] = []
    without: list[RateDistortionPoint] = []

    def add(level: float) -> None:
        """The points at the slope that a Gaussian has at this distortion."""
        slope = 1 / (2 * level)
        if level > (FINEST * step) ** 2:
            solved = wyner_ziv_squared_error(grid, joint, slope, tolerance_bits=TOLERANCE_BITS, bound=False)
            below = conditional_blahut_arimoto(joint, d, slope, 2e-3).point
            error, rate, spread = _tested(found, grid, kept, solved.channel, slope, len(kept))
            least = below.tangent_bits(0.0) - slope * step**2 / 12 / NATS_PER_BIT
            curve.append(solved.point)
            if around:
                both_ends.append(below)
                without.append(blahut_arimoto(joint.sum(1), d, slope, 1e-4).point)
        else:
            error, rate, spread = _tested_gaussian(found, level, residual, seed)
            least = -math.inf
            slope = 1 / (2 * error)
            curve.append(RateDistortionPoint(slope, error, max(rate, 0.0), math.nan))
        bracket.append(_bracketed(found, slope, error, rate, spread, least))
        progress()

    for level in levels:
        add(level)
    if through is not None:
        for level in _towards(through, levels, curve):
            add(level)
    return SampleLimit(
        RateDistortionCurve.through("Wyner-Ziv R(D)", curve),
        RateDistortionCurve.through("bracket of Wyner-Ziv R(D)", bracket),
        RateDistortionCurve.through("R(D) with y at both ends", both_ends) if both_ends else None,
        RateDistortionCurve.through("R(D) without side information", without) if without else None,
        found.density.gaussian,
        residual,
    )


def limit_of_scalars(
    x: npt.ArrayLike,
    distortion: str = "mse",
    rates_bits: Sequence[float] = RATES_BITS,
    progress: Progress = lambda: None,
    seed: int = 0,
) -> SampleLimit:
    """R(D) of scalar samples with its bracket.

    Args:
        x: (n,) scalars.
        distortion: "mse" or "abs".
        rates_bits: rates that a Gaussian (Laplacian for "abs") would have at the points of the curve.
        progress: called after each point.
        seed: of the split of the samples.

    Raises:
        InputError: for what are no scalars.
    """
    a = unrounded(check_scalars(x, "x"))
    squared = distortion == "mse"
    found = _fitted(a, np.zeros(len(a)), None, seed, alone=True)
    grid = grid_over(a, ALONE_POINTS)
    step = float(grid[1] - grid[0])
    p = normalised(found.density.cells(grid, np.zeros(1))[0])
    centre = float(np.mean(a)) if squared else float(np.median(a))
    greatest = float(np.mean((a - centre) ** 2 if squared else np.abs(a - centre)))
    measure = squared_error if squared else absolute_error
    d, own = measure(grid, grid), measure(found.x, grid)
    curve, bracket = [], []
    for rate in rates_bits:
        level = greatest * 2.0 ** (-(2 if squared else 1) * rate)
        slope = 1 / ((2 if squared else 1) * level)
        solved = blahut_arimoto(p, d, slope, 1e-4)
        curve.append(solved.point)
        # -ln c(x) is the objective of each sample under the fitted reproductions, whatever its density is
        weights = np.exp(-slope * own) * solved.reproduction
        c = np.maximum(weights.sum(1), 1e-300)
        each = -np.log(c)
        error = float(((weights * own).sum(1) / c).mean())
        spread = float(each.std() / math.sqrt(len(each))) / NATS_PER_BIT
        upper = (float(each.mean()) - slope * error) / NATS_PER_BIT
        coarse = slope * step**2 / (12 if squared else 12 * level) / NATS_PER_BIT
        least = solved.point.tangent_bits(0.0) - coarse
        bracket.append(_bracketed(found, slope, error, upper, spread, least, squared))
        progress()
    return SampleLimit(
        RateDistortionCurve.through("R(D)", curve),
        RateDistortionCurve.through("bracket of R(D)", bracket),
        None,
        None,
        found.density.gaussian,
        float(a.var()),
    )


def _towards(wanted: float, levels: Sequence[float], curve: list[RateDistortionPoint]) -> Iterator[float]:
    """Levels whose points come closer to a distortion, as `curve` grows by each."""
    lowest, highest = min(levels), max(levels)
    for _ in range(MOST_TOWARDS):
        errors = sorted((p.distortion, p.slope_nats) for p in curve)
        if errors[0][0] > wanted:
            lowest /= 2
            yield lowest
        elif errors[-1][0] < wanted:
            highest *= 2
            if not errors[-1][1] * wanted > 1e-3:  # at rate 0: no slope has a greater distortion
                return
            yield highest
        else:
            above = next(k for k, (error, _) in enumerate(errors) if error >= wanted)
            (low, steep), (high, flat) = errors[max(above - 1, 0)], errors[above]
            if min(wanted / low, high / wanted) < CLOSE or steep / flat < CLOSE:
                return
            share = math.log(wanted / low) / math.log(high / low)
            yield 1 / (2 * steep ** (1 - share) * flat**share)


def _fitted(x: Array, y: Array, symbols: Array | None, seed: int, alone: bool = False) -> _Fitted:
    """Fit to four fifths of the samples, and see how the rest differs."""
    order = np.random.default_rng([seed, 5]).permutation(len(x))
    count = min(MOST_KEPT_OUT, max(10, int(KEPT_OUT * len(x))))
    out, used = order[:count], thinned(order[count:].astype(np.float64))[0].astype(np.int64)
    density = fit_density(x[used], None if alone else y[used], symbols, seed)
    logs = density.log_density(x[used], y[used])
    entropy = -float(logs.mean()) / NATS_PER_BIT
    error = float(logs.std()) / math.sqrt(len(used)) / NATS_PER_BIT
    missed = divergence_bits(density.distribution_at(x[out], y[out]), y[out])
    return _Fitted(density, x[out], y[out], entropy, missed + SURE * error)


def divergence_bits(u: Array, y: Array) -> float:
    """By how much u (n,), which should be uniform on 0..1 and independent of y (n,), is not, in bits.

    The Kullback-Leibler divergence that a histogram of u and the rank of y shows, less what it shows by chance; the
    largest over histograms of several shapes. Data processing makes each, but for chance, a lower bound.
    """
    count = len(u)
    rank = y.argsort(kind="stable").argsort(kind="stable") / count
    largest = 0.0
    for across, along in SQUARES:
        freedom = (across - 1) * along
        if freedom > count / 8:
            continue
        cell = (u * across).astype(int).clip(0, across - 1) * along + (rank * along).astype(int)
        table = np.bincount(cell, minlength=across * along).reshape(across, along).astype(np.float64)
        expected = np.maximum(table.sum(0), 1e-300) / across
        seen = table > 0
        shown = float((table * np.log(np.where(seen, table, 1) / expected))[seen].sum()) / count
        largest = max(largest, (shown - freedom / (2 * count)) / NATS_PER_BIT)
    return largest


def _bracketed(
    found: _Fitted, slope: float, error: float, rate: float, spread: float, least: float, squared: bool = True
) -> RateDistortionPoint:
    """The point of the bracket at distortion `error`.

    Args:
        found: what was fitted.
        slope: nats per unit of distortion.
        error: the distortion of samples kept out.
        rate: their rate from above, in bits.
        spread: the standard error of rate + slope * distortion, in bits.
        least: R + slope * D of the fitted density from below, in bits.
        squared: the distortion, else absolute.
    """
    lower = least - slope * error / NATS_PER_BIT
    shannon = 0.5 * math.log2(2 * math.pi * math.e * error) if squared else math.log2(2 * math.e * error)
    lower = max(lower, found.entropy_bits - shannon) - found.margin_bits
    upper = max(rate, 0.0) + SURE * spread
    return RateDistortionPoint(slope, error, upper, min(lower, upper))


def _tested(
    found: _Fitted, grid: Array, kept: npt.NDArray[np.bool_], channel: Array, slope: float, points: int
) -> tuple[float, float, float]:
    """Distortion, rate in bits and the standard error of R + slope D, of a test channel on samples kept out.

    kept: which points of the whole grid `grid` holds. The decoder's r(u|y) and x̂(u, y) are of the y of each sample.
    """
    low, high = grid[0], grid[-1]
    at = np.searchsorted((grid[1:] + grid[:-1]) / 2, found.x)
    whole = np.empty(points)
    first = int(np.flatnonzero(kept)[0])
    last = int(np.flatnonzero(kept)[-1])
    whole[:] = low + (np.arange(points) - first) * (high - low) / max(last - first, 1)
    everywhere = channel.mean(0)
    rates, errors = [], []
    for start in range(0, len(found.x), CHUNK):
        part = slice(start, start + CHUNK)
        p = found.density.cells(whole, found.y[part])[:, kept]
        p /= np.maximum(p.sum(1, keepdims=True), 1e-300)
        r = p @ channel
        answer = np.where(r > 1e-280, (p * grid) @ channel / np.maximum(r, 1e-280), (p @ grid)[:, None])
        r = (1 - 1e-6) * r + 1e-6 * everywhere  # any r is allowed; one that may be 0 would cost too much
        q = channel[at[part]]
        rates.append((q * (np.log(np.maximum(q, 1e-300)) - np.log(np.maximum(r, 1e-300)))).sum(1))
        errors.append((q * (found.x[part, None] - answer) ** 2).sum(1))
    return _means(np.concatenate(rates), np.concatenate(errors), slope)


def _tested_gaussian(found: _Fitted, level: float, residual: float, seed: int) -> tuple[float, float, float]:
    """As `_tested`, of the test channel u = x + z with Gaussian z."""
    noise = level / max(1 - level / residual, 0.05)
    z = math.sqrt(noise) * np.random.default_rng([seed, 7]).normal(size=len(found.x))
    u = found.x + z
    log_channel = -0.5 * (z**2 / noise + math.log(2 * math.pi * noise))
    rates = log_channel - found.density.log_density(u, found.y, noise)
    errors = (found.x - found.density.expectation(u, found.y, noise)) ** 2
    return _means(rates, errors, 1 / (2 * float(errors.mean())))


def _means(rates: Array, errors: Array, slope: float) -> tuple[float, float, float]:
    each = rates + slope * errors
    spread = float(each.std()) / math.sqrt(len(each)) / NATS_PER_BIT
    return float(errors.mean()), float(rates.mean()) / NATS_PER_BIT, spread
