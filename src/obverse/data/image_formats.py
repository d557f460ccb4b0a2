"""What the formats of image files hold: how large, with alpha, exactly, and which metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from obverse.data.plugins import plugin_of_suffix
from obverse.errors import OutputError

PARTS = {
    "icc": "colour profile",
    "exif": "EXIF data",
    "xmp": "XMP data",
    "dpi": "resolution",
    "text": "texts",
    "colour": "gamma and chromaticities",
}


@dataclass(frozen=True)
class Format:
    """One format of image files.

    Attributes:
        side: the largest width and height in pixels; None where files of any size are written.
        exact: gray and RGB of 8 bits come back as they are.
        alpha: whether it has an alpha channel; some writers leave it out without a word.
        translucent: whether its alpha may be anything between; else a pixel is seen or not.
        gray: whether gray images are gray in it; else they are RGB of equal channels.
        deep: whether it is written with 16 bits.
        holds: of PARTS.
        copies: memory that writing an image of 8 bits and reading it back take at most, in times its samples, beside
            these and Pillow's image of them (measured on noise, which packs worst).
        options: of Pillow's writer.
        exact_options: in their place, where pixels are to be kept.
    """

    side: int | None = None
    exact: bool = False
    alpha: bool = True
    translucent: bool = True
    gray: bool = True
    deep: bool = False
    holds: frozenset[str] = frozenset()
    copies: float = 16
    options: tuple[tuple[str, Any], ...] = ()
    exact_options: tuple[tuple[str, Any], ...] | None = None

    def options_of(self, exact: bool) -> dict[str, Any]:
        return dict(self.options if not exact or self.exact_options is None else self.exact_options)


_ALL = frozenset(PARTS)
_NO_COLOUR = _ALL - {"colour"}
_QUALITY = (("quality", 95),)
_JPEG = Format(copies=4, side=65500, alpha=False, holds=_NO_COLOUR, options=_QUALITY)

_FORMATS = {
    "PNG": Format(copies=4, side=2**31 - 1, exact=True, deep=True, holds=_ALL),
    "TIFF": Format(copies=4, exact=True, deep=True, holds=_NO_COLOUR - {"text"}),
    "JPEG": _JPEG,
    "MPO": _JPEG,
    "WEBP": Format(
        copies=13,
        side=16383,
        exact=True,
        gray=False,
        holds=frozenset({"icc", "exif", "xmp"}),
        options=_QUALITY,
        exact_options=(("lossless", True), ("exact", True), ("quality", 100)),
    ),
    "AVIF": Format(
        copies=11, side=32768, gray=False, holds=frozenset({"icc", "exif", "xmp"}), options=_QUALITY
    ),
    "BMP": Format(copies=4, exact=True, alpha=False, holds=frozenset({"dpi"})),
    "DIB": Format(copies=4, exact=True, alpha=False, holds=frozenset({"dpi"})),
    "PPM": Format(copies=4, exact=True, alpha=False),
    "TGA": Format(copies=4, side=65535, exact=True),
    "JPEG2000": Format(exact=True),
    "DDS": Format(copies=5, exact=True),
    "QOI": Format(copies=5, exact=True),
    "SGI": Format(copies=5, side=65535, exact=True),
    "PCX": Format(copies=4, side=65534, exact=True, alpha=False),
    "GIF": Format(side=65535, translucent=False, holds=frozenset({"text"})),
    "EPS": Format(copies=4, alpha=False),
    "ICO": Format(side=256),
}
COMMENT_ONLY = frozenset({"JPEG", "MPO", "GIF"})  # whose one text is a comment


def format_of(target: str) -> tuple[str, Format]:
    """The format that a file of this name is written in: what Pillow calls it, and what it holds.

    Raises:
        OutputError: for the name of a file that is not written.
    """
    suffix = Path(target).suffix.lower()
    plugin = plugin_of_suffix(suffix)
    if plugin is not None and not plugin.use():
        raise OutputError(
            f"{target}: {plugin.kind} is written with the plugin {plugin.package} only: pip install {plugin.package}, "
            "or use .png"
        )
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE or kind not in Image.OPEN:  # what is written is read back
        what = suffix or "a name without suffix"
        raise OutputError(f"{target}: no image format is written to {what}; use .png")
    return kind, _FORMATS.get(kind, Format())
