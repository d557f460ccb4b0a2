"""The grid of standard deviations that Gaussian tables are made for.

A network chooses a table by its index, so that what crosses from network to coder is an integer.
"""

from __future__ import annotations

import math

SCALES = 64
SCALE_MIN = 0.11
SCALE_MAX = 256.0
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)


def scale(index: float) -> float:
    """Standard deviation of table `index` (0 to 63), evenly spaced in the logarithm."""
    return SCALE_MIN * math.exp(LOG_STEP * index)
