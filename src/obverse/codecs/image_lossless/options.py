"""Options of the lossless image codec."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.fields import LimitedOptions, option


@dataclass(frozen=True, kw_only=True)
class ImageLosslessOptions(LimitedOptions):
    """How far a decoded sample may be from what was given; alpha is kept as it is."""

    max_error: int = option(
        0,
        "By how much a decoded sample may differ, of 256 levels (65,536 in 16 bits). Default 0: not at all.",
        low=0,
        high=32_767,
    )
