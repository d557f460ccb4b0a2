"""16 bits a channel in colour or with alpha, which Pillow does not have: from and to its files.

Pillow image ──► its file ──► samples (H, W, C) uint16
samples ──► an image that Pillow can save, with all metadata ──► file ──► the same with the samples
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from obverse.errors import InputError, OutputError, UnsupportedInputError

Deep = npt.NDArray[np.uint16]

BITS, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 338, 339  # tags of TIFF
UNSIGNED, RGB, UNASSOCIATED = 1, 2, 2  # of their values


def _is_deep_png(front: bytes) -> bool:
    return front[12:16] == b"IHDR" and front[24:25] == b"\x10"


def _is_deep_tiff(tags: Any) -> bool:
    """RGB of 16 bits, with alpha or without, and nothing else."""
    alpha = tags.get(EXTRA_SAMPLES) is not None
    return (
        set(_numbers(tags.get(BITS, 1))) == {16}
        and set(_numbers(tags.get(SAMPLE_FORMAT, UNSIGNED))) == {UNSIGNED}
        and tags.get(PHOTOMETRIC) == RGB
        and (not alpha or _numbers(tags[EXTRA_SAMPLES]) == (UNASSOCIATED,))
        and tags.get(SAMPLES) == 3 + alpha
    )


def _numbers(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def is_deep_file(image: Image.Image) -> bool:
    """Whether a Pillow image was opened from a file of 16 bits a channel in colour or with alpha."""
    if isinstance(image, TiffImageFile):
        return _is_deep_tiff(image.tag_v2)
    return isinstance(image, PngImageFile) and image.mode[0] != "I" and _is_deep_png(_file_of(image, 32))


def check_8_bits(image: Image.Image, name: Path | str) -> None:
    """Check an image that is about to be converted to 8 bits, as training and comparisons take it.

    Raises:
        UnsupportedInputError: Pillow would cut or clip its samples without a word.
    """
    if image.mode[0] in "IF" or is_deep_file(image):
        raise UnsupportedInputError(f"{name} has more than 8 bits a channel: convert it to 8 bits first")


def deep_samples(image: Image.Image, name: str) -> Deep | None:
    """The samples (H, W, C) of such an image, which are read again from its file: Pillow keeps 8 bits.

    Args:
        image: as Pillow opened it.
        name: how errors name it.

    Returns:
        None if the file is not there any more, or holds other pixels than the image does now.

    Raises:
        InputError: for a damaged file.
    """
    from obverse.data.png16 import read_png16
    from obverse.data.tiff16 import read_tiff16

    if not (data := _file_of(image)):
        return None
    try:
        samples = read_png16(data) if isinstance(image, PngImageFile) else read_tiff16(data)
    except (InputError, OSError, ValueError, KeyError, TypeError, SyntaxError) as error:
        raise InputError(f"{name} is damaged: {error}") from error
    opened: Any = type(image)
    again = opened(io.BytesIO(data))  # is the image still what Pillow reads?
    return samples if np.array_equal(np.asarray(again), np.asarray(image)) else None


def _file_of(image: Any, size: int = -1) -> bytes:
    """The first bytes of the file that an image was opened from, or all; empty if it cannot be read any more."""
    file: Any
    for file in (getattr(image, "fp", None), getattr(image, "_fp", None)):
        try:
            before = file.tell()
            file.seek(0)
            data = bytes(file.read(size))
            file.seek(before)
            return data
        except Exception:  # there is none, or it is closed, which Pillow says by any error
            continue
    try:
        with open(image.filename, "rb") as file:
            return bytes(file.read(size))
    except (AttributeError, OSError, ValueError, TypeError):
        return b""


def eight_bits(samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """65,535 becomes 255, and what lies between the nearest."""
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def savable(samples: npt.NDArray[Any], kind: str, target: str) -> Image.Image:
    """An image that Pillow can save in this format: of the samples, or in place of them, until `finished`.

    Args:
        samples: (H, W) or (H, W, 2 to 4), uint8 or uint16.
        kind: as Pillow calls the format.
        target: the name of the file, for errors.

    Raises:
        OutputError: for samples that are not written in this format.
    """
    if not _is_deep(samples):
        return Image.fromarray(samples)
    if kind == "PNG":
        return Image.fromarray(np.zeros((1, 1, samples.shape[2]), np.uint8))
    if kind == "TIFF" and samples.shape[2] != 2:
        from obverse.data.tiff16 import pillow_rows

        return pillow_rows(samples)
    what = "gray with alpha" if samples.shape[2] == 2 else "colour"
    raise OutputError(f"{target}: {kind} is not written with 16 bits a channel in {what}; use .png")


def finished(data: bytes, samples: npt.NDArray[Any], kind: str, level: int = 6) -> bytes:
    """The file that Pillow made of `savable`, with the samples in it.

    Args:
        data: the file.
        samples: as `savable` took them.
        kind: likewise.
        level: how hard deflate tries, 0 to 9, as Pillow by default.
    """
    if not _is_deep(samples):
        return data
    if kind == "PNG":
        from obverse.data.png16 import with_samples

        return with_samples(data, samples, level)
    from obverse.data.tiff16 import as_tiff16

    return as_tiff16(data, samples.shape[2])


def _is_deep(samples: npt.NDArray[Any]) -> bool:
    return samples.dtype == np.uint16 and samples.ndim == 3
