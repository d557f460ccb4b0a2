"""Options of the stereo codec."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.codecs.image.options import ImageOptions


@dataclass(frozen=True, kw_only=True)
class StereoOptions(ImageOptions):
    """Those of the image codec, whose file it writes."""
