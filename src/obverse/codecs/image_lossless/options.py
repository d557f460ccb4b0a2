"""Options of the lossless image codec."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.fields import LimitedOptions


@dataclass(frozen=True, kw_only=True)
class ImageLosslessOptions(LimitedOptions):
    """Nothing but what all have: there is one way to keep every pixel."""
