"""What the samples of a TIFF file mean, by its tags: Pillow reads some kinds of them as other ones without a word."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from obverse.data.conversion import ConversionWarning
from obverse.errors import UnsupportedInputError

NEW_SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 254, 258, 259, 262, 277
COLOUR_MAP, SUB_IMAGES, EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION = 320, 330, 338, 339, 50706
MIN_IS_WHITE, YCBCR = 0, 6
UNSIGNED, SIGNED = 1, 2
PREMULTIPLIED, ALPHA, CORELS_ALPHA = 1, 2, 999
JPEG, OLD_JPEG = 7, 6


def samples_as_meant(image: TiffImageFile, name: str, exact: bool) -> Image.Image:
    """The image as its tags say that it is.

    Args:
        image: as Pillow reads it.
        name: how errors name it.
        exact: refuse what would come back otherwise than it is; else a ConversionWarning says so.

    Raises:
        UnsupportedInputError: for what is refused.
    """
    tags = image.tag_v2
    photometric = _first(tags, PHOTOMETRIC, 0)
    if DNG_VERSION in tags or (_first(tags, NEW_SUBFILE_TYPE, 0) & 1 and SUB_IMAGES in tags):
        raise UnsupportedInputError(
            f"{name} shows a small preview; its picture is raw, or in a sub-image: develop or export it first"
        )
    if SIGNED in _all(tags, SAMPLE_FORMAT, UNSIGNED):
        raise UnsupportedInputError(
            f"{name} has signed samples (SampleFormat 2), which images are not: add an offset, and convert it to "
            "unsigned samples"
        )
    cut = image.mode in ("P", "PA") and _palette_is_cut(image)
    if problem := _problem(tags, image.mode, cut):
        if exact:
            raise UnsupportedInputError(f"{name} {problem}, and would not come back as it is: {_REMEDY}")
        if not _is_12_bit(tags):  # of them as of 16 it is said where they become 8
            warnings.warn(f"{name} {problem}: converted", ConversionWarning, stacklevel=4)
    if image.mode != "I;16" or not (_is_12_bit(tags) or photometric == MIN_IS_WHITE):
        return image
    values = np.asarray(image, np.int64)
    if _is_12_bit(tags):
        values = (values * 65535 + 2047) // 4095
    if photometric == MIN_IS_WHITE:  # with 8 bits or fewer, Pillow turns it
        values = 65535 - values
    return Image.fromarray(values.astype(np.uint16))


_REMEDY = "convert it to gray or RGB, with or without (unassociated) alpha, or use a lossy codec"


def _problem(tags: Any, mode: str, cut: bool) -> str:
    """What of the samples Pillow changes or leaves out; "" for none."""
    photometric, compression = _first(tags, PHOTOMETRIC, 0), _first(tags, COMPRESSION, 1)
    extra = _all(tags, EXTRA_SAMPLES)
    if PREMULTIPLIED in extra:
        return "has premultiplied alpha (ExtraSamples 1)"
    if extra and extra not in ((ALPHA,), (CORELS_ALPHA,)):
        kinds = ", ".join(map(str, extra))
        return f"has extra samples ({_first(tags, SAMPLES, len(extra))} a pixel, ExtraSamples {kinds})"
    if _is_12_bit(tags) and mode == "I;16":
        return "has 12 bits a sample"
    if photometric == YCBCR and mode == "RGB" and compression not in (JPEG, OLD_JPEG):
        return "is YCbCr"
    if cut:
        return "has a palette of 16 bits a channel"
    return ""


def _is_12_bit(tags: Any) -> bool:
    return max(_all(tags, BITS, 1)) == 12


def _palette_is_cut(image: TiffImageFile) -> bool:
    """Whether Pillow cuts the colours to 8 bits. Those of a map of 8-bit values, which some programs write, are put in
    their place."""
    colours = np.array(image.tag_v2[COLOUR_MAP], np.int64)
    if 0 < colours.max() < 256:
        image.putpalette(colours.reshape(3, -1).T.astype(np.uint8).tobytes())
        return False
    return bool((colours % 256).any() and (colours % 257).any())


def _first(tags: Any, tag: int, default: int) -> int:
    return _all(tags, tag, default)[0]


def _all(tags: Any, tag: int, *default: int) -> tuple[int, ...]:
    """The numbers of a tag, those of `default` where there are none."""
    value = tags.get(tag)
    values = value if isinstance(value, tuple) else (value,)
    return values if values and all(isinstance(each, int) for each in values) else default
