"""A rate-distortion curve: points that are known from both sides, and what follows between them.

Every R(D) in this package is convex, and every algorithm finds it by its slopes: it minimises
R + slope * D and reports the point where that line touches. So a point bounds the whole curve: it lies
below the chords between points, and above every one of the touching lines.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError

Array = npt.NDArray[np.float64]
NATS_PER_BIT = math.log(2)


@dataclass(frozen=True)
class RateDistortionPoint:
    """One point of a curve and the line below it.

    Attributes:
        slope_nats: the slope s = -dR/dD in nats per unit of distortion, NaN where it is not known. With a lower bound
            it bounds every d: R(d) >= lower_rate_bits - s (d - distortion) / ln 2.
        distortion: mean distortion per sample.
        rate_bits: a rate that achieves it, bits per sample.
        lower_rate_bits: no code of less rate has this distortion; NaN where no such bound is known. Below 0 it says
            nothing here, but the line through it still bounds other distortions.
    """

    slope_nats: float
    distortion: float
    rate_bits: float
    lower_rate_bits: float

    def tangent_bits(self, distortion: float) -> float:
        """The lower bound that this point puts on R at another distortion, in bits."""
        return self.lower_rate_bits - self.slope_nats * (distortion - self.distortion) / NATS_PER_BIT


@dataclass(frozen=True)
class RateDistortionCurve:
    """Points by rising distortion; made by `RateDistortionCurve.through`.

    Attributes:
        name: what is plotted, for legends.
        points: at least one.
    """

    name: str
    points: tuple[RateDistortionPoint, ...]

    @staticmethod
    def through(name: str, points: list[RateDistortionPoint]) -> RateDistortionCurve:
        """The curve through these points, in any order.

        Raises:
            InputError: where there are none.
        """
        if not points:
            raise InputError(f"the curve {name!r} has no points: give at least one slope or distortion")
        return RateDistortionCurve(name, tuple(sorted(points, key=lambda p: (p.distortion, -p.rate_bits))))

    @staticmethod
    def of_formula(
        name: str, rate_bits: Callable[[float], float], distortions: npt.ArrayLike
    ) -> RateDistortionCurve:
        """The exact curve rate_bits(distortion) at these distortions; the slopes stay unknown (NaN)."""
        values = [float(d) for d in np.ravel(np.asarray(distortions))]
        exact = [(d, rate_bits(d)) for d in values]
        return RateDistortionCurve.through(name, [RateDistortionPoint(math.nan, d, r, r) for d, r in exact])

    @property
    def distortion(self) -> Array:
        """(points,) float64, rising."""
        return np.array([point.distortion for point in self.points])

    @property
    def rate_bits(self) -> Array:
        """(points,) float64: the upper bounds, bits per sample."""
        return np.array([point.rate_bits for point in self.points])

    @property
    def lower_rate_bits(self) -> Array:
        """(points,) float64: the lower bounds, bits per sample, >= 0; NaN where none is known."""
        return np.array([p.lower_rate_bits for p in self.points]).clip(min=0.0)

    def rate_bits_at(self, distortion: float) -> float:
        """An upper bound on R(distortion): the chord between the two points beside it (time sharing).

        Beyond the last point it stays at that point's rate.

        Raises:
            InputError: below the first point, where nothing is known from above.
        """
        if not distortion >= self.points[0].distortion:
            raise InputError(
                f"the curve {self.name!r} begins at distortion {self.points[0].distortion:.6g}, so its rate "
                f"at {distortion:.6g} is not known: compute it with greater slopes"
            )
        # the running minimum, because any rate also allows a greater distortion
        return float(np.interp(distortion, self.distortion, np.minimum.accumulate(self.rate_bits)))

    def estimate_bits_at(self, distortion: float) -> float:
        """R(distortion) in bits, as a smooth curve through the points has it: no bound, but closer than the chords.

        Between two points of known slope a cubic in ln(distortion) with these slopes, else a straight line there.
        Beyond the last point it stays at that point's rate.

        Raises:
            InputError: below the first point.
        """
        chord = self.rate_bits_at(distortion)
        d, rates = self.distortion, self.rate_bits
        i = int(np.searchsorted(d, distortion, "right")) - 1
        if i + 1 >= len(d) or not d[i] > 0 or d[i + 1] == d[i]:
            return chord
        width = math.log(d[i + 1] / d[i])
        t = math.log(distortion / d[i]) / width
        low, high = rates[i], rates[i + 1]
        ends = [-p.slope_nats * p.distortion / NATS_PER_BIT * width for p in self.points[i : i + 2]]
        if any(map(math.isnan, ends)):
            return float(min((1 - t) * low + t * high, chord))
        cubic = (
            (1 + 2 * t) * (1 - t) ** 2 * low + t * (1 - t) ** 2 * ends[0]
            + t**2 * (3 - 2 * t) * high + t**2 * (t - 1) * ends[1]
        )  # fmt: skip
        return float(min(max(cubic, high), chord))

    def lower_rate_bits_at(self, distortion: float) -> float:
        """A lower bound on R(distortion) in bits: the highest of the touching lines, and 0."""
        tangents = [p.tangent_bits(distortion) for p in self.points]
        return max([0.0, *(bound for bound in tangents if not math.isnan(bound))])

    def csv(self) -> str:
        """Header distortion, rate_bits, lower_rate_bits, slope_nats; an empty field is no bound."""
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["distortion", "rate_bits", "lower_rate_bits", "slope_nats"])
        for p, lower in zip(self.points, self.lower_rate_bits, strict=True):
            row = (p.distortion, p.rate_bits, float(lower), p.slope_nats)
            writer.writerow("" if math.isnan(value) else f"{value:.8g}" for value in row)
        return buffer.getvalue()


def curve_at_slopes(
    name: str, solve: Callable[[float], RateDistortionPoint], slopes_nats: npt.ArrayLike
) -> RateDistortionCurve:
    """The curve through solve(slope) for each of the slopes, nats per unit of distortion."""
    return RateDistortionCurve.through(name, [solve(float(s)) for s in np.ravel(np.asarray(slopes_nats))])


def point_at_distortion(
    solve: Callable[[float], RateDistortionPoint],
    distortion: float,
    slope_nats: float | None = None,
    tolerance_bits: float = 1e-6,
    max_solves: int = 60,
) -> RateDistortionPoint:
    """The point of a curve at a given distortion, from `solve`, which finds the point of a given slope.

    The search brackets the distortion between two slopes and stops when the chord between their points is within
    tolerance_bits of the point at which their lines meet: so it also ends on a straight piece of the curve, where one
    slope has many distortions. rate_bits is on the chord, lower_rate_bits on the higher of the two lines. Where
    R(distortion) = 0 the point has rate 0 and slope 0.

    Args:
        solve: slope to point.
        distortion: that of the point.
        slope_nats: a first guess, by default 1 / (2 distortion), the Gaussian's.
        tolerance_bits: where the search stops.
        max_solves: how often `solve` may be called.
    """
    if not distortion > 0:
        raise InputError(f"a distortion to find the rate for must be above 0, not {distortion}")
    slope = slope_nats or 1 / (2 * distortion)
    low: RateDistortionPoint | None = None  # of lower distortion and greater slope
    high: RateDistortionPoint | None = None
    for _ in range(max_solves):
        point = solve(slope)
        if point.distortion > distortion:
            high = point
        else:
            low = point
        if low is not None and high is not None:
            found, slope = _between(low, high, distortion)
            # tangents at the upper bounds: the curve cannot be below where they meet
            corner = max(
                p.rate_bits - p.slope_nats * (distortion - p.distortion) / NATS_PER_BIT for p in (low, high)
            )
            if found.rate_bits - corner <= tolerance_bits or low.slope_nats / high.slope_nats - 1 < 1e-9:
                return found
        elif high is not None:
            slope *= min(max(high.distortion / distortion, 1.05), 8.0)
        elif low is not None:
            if low.rate_bits < tolerance_bits / 4:
                return RateDistortionPoint(0.0, distortion, 0.0, 0.0)
            slope /= min(max(distortion / max(low.distortion, 1e-300), 1.05), 8.0)
    raise InputError(
        f"no slope was found for distortion {distortion:.6g} in {max_solves} solutions: is it below the least "
        "distortion that the reproductions allow?"
    )


def _between(
    low: RateDistortionPoint, high: RateDistortionPoint, distortion: float
) -> tuple[RateDistortionPoint, float]:
    """The point at `distortion` on the chord from low to high, and the slope to try next, that of the chord."""
    share = (distortion - low.distortion) / (high.distortion - low.distortion)
    rate = (1 - share) * low.rate_bits + share * high.rate_bits
    chord = (low.rate_bits - high.rate_bits) / (high.distortion - low.distortion) * NATS_PER_BIT
    # the line that bounds R here from below, with its slope; without one, the chord's slope
    lines = [(p.tangent_bits(distortion), p.slope_nats) for p in (low, high)]
    known = [line for line in lines if not math.isnan(line[0])]
    bound, slope = max([(0.0, 0.0), *known]) if known else (math.nan, chord)
    point = RateDistortionPoint(slope, distortion, rate, bound)
    if not high.slope_nats < chord < low.slope_nats:  # only by rounding
        chord = math.sqrt(low.slope_nats * high.slope_nats)
    return point, chord
