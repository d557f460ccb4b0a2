"""Options of the stereo codec."""

from __future__ import annotations

from dataclasses import dataclass

from obverse.codecs.image.options import TransformOptions


@dataclass(frozen=True, kw_only=True)
class StereoOptions(TransformOptions):
    """Those of the transform of the image codec, whose file it writes."""
