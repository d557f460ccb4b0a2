"""Options of the image codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from obverse.errors import OptionError
from obverse.fields import LimitedOptions, option, parse_bytes

TUNES = ("psnr", "ssim", "eye")
DEFAULT_QUALITY = 50.0


@dataclass(frozen=True, kw_only=True)
class TransformOptions(LimitedOptions):
    """quality, or one of bpp and max_bytes: the highest quality that does not exceed it.

    progress: called as a search goes on, with step, steps and cost in bits a pixel.
    """

    one_of: ClassVar[tuple[str, ...]] = ("quality", "bpp", "max_bytes")

    quality: float | None = option(
        None,
        "1 to 100, in steps of .05, default 50.",
        low=1,
        high=100,
        short="-q",
        compared=(10, 20, 30, 40, 50, 60, 70, 80, 90),
    )
    bpp: float | None = option(None, "Bits per pixel of the whole file, met from below.", above=0)
    max_bytes: int | None = option(
        None, "Size of the file, met from below: 40000, 40k, 1.5M.", low=1, parse=parse_bytes
    )
    effort: int = option(
        0,
        "0 to 9: search for a better file of the same format; 3 takes seconds a photo, 9 minutes. Default 0.",
        low=0,
        high=9,
    )
    progress: Callable[[int, int, float], None] | None = option(
        None, "Called as a search goes on.", flag=False
    )


@dataclass(frozen=True, kw_only=True)
class ImageOptions(TransformOptions):
    """Those of the transform, or how large an error may be."""

    one_of: ClassVar[tuple[str, ...]] = ("quality", "bpp", "max_bytes", "max_error")

    tune: str | None = option(
        None,
        "What the model was trained for: psnr (the default); ssim or eye where such tunes are installed.",
        choices=TUNES,
    )
    roi: Any = option(
        None,
        "Image file of the same size, bright where the quality is meant; the rest is coded at --roi-background.",
        parse=Path,
    )
    roi_background: float | None = option(
        None, "Quality outside --roi, 1 to 100, default 40 less than inside, 1 at least.", low=1, high=100
    )
    alpha_error: int = option(
        0,
        "By how much decoded alpha may differ, 0 to 127; transparent and opaque stay so. Default 0.",
        low=0,
        high=127,
    )
    max_error: int | None = option(
        None,
        "By how much a decoded sample may differ from the image, in grey levels; 0: not at all.",
        low=0,
        high=127,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.roi is not None and self.max_error is not None:
            raise OptionError("give one of roi and max_error: an error that is kept is kept everywhere")
        if not (self.roi is None or isinstance(self.roi, str | Path) or hasattr(self.roi, "shape")):
            raise OptionError(f"roi is an image file or an array (H, W), not {self.roi!r}")

    def check_background(self) -> None:
        """Raises OptionError for a quality outside a region where there is none, or above that of the region."""
        if self.roi_background is None:
            return
        if self.roi is None:
            raise OptionError("roi_background is the quality outside a region: give --roi too")
        quality = self.quality if self.bpp is None and self.max_bytes is None else 100.0
        quality = DEFAULT_QUALITY if quality is None else quality
        if self.roi_background > quality:
            raise OptionError(
                f"roi_background {self.roi_background:g} is above the quality {quality:g} of the region: give less"
            )
