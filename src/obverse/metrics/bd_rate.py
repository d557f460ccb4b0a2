"""BD-rate: how many per cent more or fewer bits one codec needs for the same quality."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError

METHODS = ("pchip", "akima", "cubic")
MIN_POINTS = 4
LEAST_OVERLAP = 0.5  # of the shorter curve's range of quality, below which the mean stands for too little
MISS, LARGEST_MISS = (
    0.05,
    0.25,
)  # of the rate, by which an interpolation may leave the points: is said, is refused
CHECKED = 1000  # places in the common range at which a curve is looked at

Curve = Iterable[tuple[float, float]]


class BdRateWarning(UserWarning):
    """A BD-rate was computed, but not all that was measured went into it, or it stands for little."""


@dataclass(frozen=True)
class Comparison:
    """A BD-rate and what to know of it.

    Attributes:
        percent: mean rate difference of `test` to `anchor` at equal quality; negative: test is better.
        low: the least quality that both curves reach, in dB.
        high: the greatest.
        notes: what a reader must know: points that were left out, a small overlap, a loose fit. Empty: all is well.
    """

    percent: float
    low: float
    high: float
    notes: tuple[str, ...] = ()


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip") -> float:
    """Mean rate difference of `test` to `anchor` at equal quality, in per cent; negative: test is better.

    The mean is taken of log10(rate) over the qualities that both curves reach. Source: Bjontegaard, VCEG-M33 (2001), as
    computed by the package `bjontegaard` (Herglotz et al. 2022).

    Args:
        anchor: (rate, quality) points in any order, rate in any unit greater than 0 (bpp), quality in dB (PSNR, or
            MS-SSIM as dB).
        test: such points of what is compared with it.
        method: between the points: "pchip" (never overshoots), "akima", or "cubic", one polynomial fitted to all.

    Raises:
        InputError: where a curve keeps fewer than 4 usable points (see `usable_points`), where the curves have no
            quality in common, where the interpolation falls as the quality rises, or where the method is unknown.

    Warns:
        BdRateWarning: each note of the `Comparison`.
    """
    found = compare(anchor, test, method)
    for note in found.notes:
        warnings.warn(note, BdRateWarning, stacklevel=2)
    return found.percent


def compare(anchor: Curve, test: Curve, method: str = "pchip") -> Comparison:
    """As `bd_rate`, with the notes beside the figure in place of warnings."""
    if method not in METHODS:
        raise InputError(f"unknown BD-rate method {method!r}; choose one of {', '.join(METHODS)}")
    curves, notes = [], []
    for name, curve in (("anchor", anchor), ("test", test)):
        kept, left_out = usable_points(curve)
        if len(kept) < MIN_POINTS:
            because = f" ({'; '.join(left_out)})" if left_out else ""
            raise InputError(
                f"BD-rate needs at least {MIN_POINTS} points with rising rate and quality; "
                f"the {name} curve has {len(kept)}{because}: measure it at more qualities"
            )
        curves.append(kept)
        notes += [f"BD-rate: of the {name} curve, {reason}" for reason in left_out]
    low = max(curve[0][1] for curve in curves)
    high = min(curve[-1][1] for curve in curves)
    if low >= high:
        ranges = " and ".join(f"{curve[0][1]:.2f} to {curve[-1][1]:.2f} dB" for curve in curves)
        raise InputError(
            f"the two curves have no quality in common ({ranges}), so there is no BD-rate between them: measure both "
            "at qualities that overlap"
        )
    share = (high - low) / min(curve[-1][1] - curve[0][1] for curve in curves)
    if share < LEAST_OVERLAP:
        notes.append(
            f"BD-rate: the curves have only {low:.2f} to {high:.2f} dB in common, {share:.0%} of the shorter one: "
            "the figure says nothing of other qualities"
        )

    import bjontegaard  # here, because it imports pyplot

    (anchor_rates, anchor_quality), (test_rates, test_quality) = (zip(*c, strict=True) for c in curves)
    percent, *interpolated = bjontegaard.bd_rate(
        anchor_rates,
        anchor_quality,
        test_rates,
        test_quality,
        method=method,
        require_matching_points=False,
        interpolators=True,
        min_overlap=0,  # said above, in words of our own
    )
    for name, curve, log_rate in zip(("anchor", "test"), curves, interpolated, strict=True):
        notes += _check_interpolation(name, curve, log_rate, method, low, high)
    return Comparison(float(percent), low, high, tuple(notes))


def usable_points(curve: Curve) -> tuple[list[tuple[float, float]], list[str]]:
    """The points that buy quality with rate, sorted: each has a greater rate and quality than the last.

    A point that costs no fewer bits than another without being better is left out, and so are points of infinite or
    undefined quality (lossless, or not measured).

    Returns:
        The points.
        What was left out, a reason for each kind. A point given twice is no reason.

    Raises:
        InputError: for a rate that is not a positive number.
    """
    points = sorted({(float(rate), float(quality)) for rate, quality in curve}, key=lambda p: (p[0], -p[1]))
    kept: list[tuple[float, float]] = []
    undefined = worse = same_rate = 0
    # the best quality comes first among equal rates, so that the others of that rate are left out
    for rate, quality in points:
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"a rate must be a positive number, not {rate}")
        if not math.isfinite(quality):
            undefined += 1
        elif kept and rate == kept[-1][0]:
            same_rate += 1
        elif kept and quality <= kept[-1][1]:
            worse += 1
        else:
            kept.append((rate, quality))
    reasons = (
        (undefined, "whose quality is no finite number"),
        (same_rate, "of the same rate as another, but of less quality"),
        (worse, "at more bits than another without being better"),
    )
    left_out = [f"{count} point{'s' * (count > 1)} left out {reason}" for count, reason in reasons if count]
    return kept, left_out


def _check_interpolation(
    name: str,
    curve: list[tuple[float, float]],
    log_rate: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    method: str,
    low: float,
    high: float,
) -> list[str]:
    """Notes on what runs between the points. Raises InputError where it falls, or lies elsewhere than the points."""
    rates, quality = (np.array(values) for values in zip(*curve, strict=True))
    places = np.union1d(np.linspace(low, high, CHECKED), quality[(quality >= low) & (quality <= high)])
    values = log_rate(places)
    remedy = "so its BD-rate means nothing: use method 'pchip', or measure more qualities"
    falling = np.flatnonzero(np.diff(values) < -1e-9)
    if falling.size:
        raise InputError(
            f"the {method} interpolation of the {name} curve swings: near {places[falling[0]]:.2f} dB its rate falls "
            f"as the quality rises, {remedy}"
        )
    # between two points the rate should be between theirs
    above = np.log10(rates[np.searchsorted(quality, places, "left").clip(max=len(rates) - 1)])
    below = np.log10(rates[np.searchsorted(quality, places, "right") - 1])
    miss = np.maximum(values - above, below - values)
    worst = int(miss.argmax())
    percent, near = 100 * (10 ** miss[worst] - 1), places[worst]
    where = f"the {method} interpolation of the {name} curve is {percent:,.0f} % of the rate off near {near:.2f} dB"
    if percent > 100 * LARGEST_MISS:
        raise InputError(f"{where}, {remedy}")
    return [f"BD-rate: {where}: method 'pchip' goes through all points"] if percent > 100 * MISS else []
