"""The scale of qualities, 1 to 100: what an error is worth in bits.

    quality ──► effective quality ──► level of the transform, lambda of its training
                       └────────────► worth of a squared error, step of a near-lossless image

Up to FINE a quality is that of the transform, whose lambda is evenly spaced in the logarithm. Above, the worth of
errors rises faster, beyond the end of the transform, up to where steps of FINEST_STEP are best: at quality 100 all
samples are within one grey level.
"""

from __future__ import annotations

import math

LMBDA_MIN, LMBDA_MAX = (
    0.0005,
    0.2,
)  # bits that the mean squared error of a pixel's channels is worth, at 1 and 100
FINE = 90.0  # the quality from which on the scale is steeper
FINEST_STEP = 3  # at quality 100
# Bits that a unit of a sample's squared error is worth where steps of width s are best: the rate of a sample falls
# by log2(s) and its error is s^2 / 12, so d rate / d error = 6 / (ln 2 s^2) (high resolution, Gish and Pierce 1968).
STEP_WORTH = 6 / math.log(2)

_LAST = 1 + 99 * math.log(3 * STEP_WORTH / FINEST_STEP**2 / LMBDA_MIN) / math.log(LMBDA_MAX / LMBDA_MIN)
_SLOPE = (_LAST - FINE) / (100 - FINE)


def effective(quality: float) -> float:
    """Quality 1 to 100 on the scale of the transform, which goes on above its end at 100."""
    return quality if quality <= FINE else FINE + (quality - FINE) * _SLOPE


def nominal(effective_quality: float) -> float:
    """The inverse of `effective`."""
    return effective_quality if effective_quality <= FINE else FINE + (effective_quality - FINE) / _SLOPE


def worth_of(quality: float) -> float:
    """Bits that a unit of a sample's squared error is worth at a quality."""
    return float(LMBDA_MIN * (LMBDA_MAX / LMBDA_MIN) ** ((effective(quality) - 1) / 99) / 3)


def step_of(quality: float) -> float:
    """The distance between values, in grey levels, that suits a quality."""
    return math.sqrt(STEP_WORTH / worth_of(quality))
