"""BD-rate: how many per cent more or fewer bits one codec needs for the same quality."""

from __future__ import annotations

import math
from collections.abc import Iterable

from obverse.errors import InputError

METHODS = ("pchip", "akima", "cubic")
MIN_POINTS = 4

Curve = Iterable[tuple[float, float]]


def bd_rate(anchor: Curve, test: Curve, method: str = "pchip") -> float:
    """Mean rate difference of `test` to `anchor` at equal quality, in per cent; negative: test is better.

    The mean is taken of log10(rate) over the qualities that both curves reach. Source: Bjontegaard, VCEG-M33 (2001), as
    computed by the package `bjontegaard` (Herglotz et al. 2022).

    Args:
        anchor: (rate, quality) points in any order, rate in any unit greater than 0 (bpp), quality in dB (PSNR, or
            MS-SSIM as dB).
        test: such points of what is compared with it.
        method: interpolation between the points, "pchip", "akima" or "cubic".

    Raises:
        InputError: where a curve keeps fewer than 4 usable points (see `rising_points`), where the curves have no
            quality in common, or where the method is unknown.
    """
    if method not in METHODS:
        raise InputError(f"unknown BD-rate method {method!r}; choose one of {', '.join(METHODS)}")
    curves = [rising_points(anchor), rising_points(test)]
    for name, curve in zip(("anchor", "test"), curves, strict=True):
        if len(curve) < MIN_POINTS:
            raise InputError(
                f"BD-rate needs at least {MIN_POINTS} points with rising rate and quality; "
                f"the {name} curve has {len(curve)}: measure it at more qualities"
            )
    low = max(curve[0][1] for curve in curves)
    high = min(curve[-1][1] for curve in curves)
    if low >= high:
        raise InputError("the two curves have no quality in common, so there is no BD-rate between them")

    import bjontegaard  # here, because it imports pyplot

    (anchor_rates, anchor_quality), (test_rates, test_quality) = (zip(*c, strict=True) for c in curves)
    percent = bjontegaard.bd_rate(
        anchor_rates,
        anchor_quality,
        test_rates,
        test_quality,
        method=method,
        require_matching_points=False,
        min_overlap=0,  # a small overlap is the caller's business: no warning
    )
    return float(percent)


def rising_points(curve: Curve) -> list[tuple[float, float]]:
    """The points that buy quality with rate, sorted: each has a greater rate and quality than the last.

    A point that costs more bits than another without being better is dropped, and so are duplicates and points of
    infinite or undefined quality (lossless, or not measured).

    Raises:
        InputError: for a rate that is not a positive number.
    """
    kept: list[tuple[float, float]] = []
    # Best quality first among equal rates, so that the others of that rate are dropped.
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"a rate must be a positive number, not {rate}")
        if math.isfinite(quality) and (not kept or quality > kept[-1][1]):
            kept.append((float(rate), float(quality)))
    return kept
