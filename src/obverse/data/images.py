"""Image files and arrays <-> `Photo`, what the image codecs code."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from obverse.data.arrays import NPY, read_array
from obverse.data.deep_images import deep_samples, eight_bits, finished, is_deep_file, savable
from obverse.data.source import name_of, read_bytes
from obverse.errors import InputError, LimitError, UnsupportedInputError

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

EXIF_PREFIX = b"Exif\0\0"  # Pillow reads it with JPEG and PNG, not with WebP, and writes JPEG with it only
PNG_GRAY = 0  # colour type

# What Pillow raises, one or another, for a file that is not whole.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError)
UNREADABLE = (*DAMAGE, Image.DecompressionBombError)  # what Pillow raises for a file that it does not open

# TIFF tags that say where and how the pixels lie in the file (sizes, strips, tiles, tables) and those that
# hold a profile or an editor's data: true of the file that was read, wrong in any other.
_TIFF_LAYOUT = {*range(254, 270), 273, *range(277, 282), 284, 292, 293, *range(317, 326), 330}
_TIFF_LAYOUT |= {*range(336, 342), 347, *range(512, 522), *range(529, 533), 700, 34377, 34675, 37724}

# modes whose pixels are kept, as gray or RGB, with alpha or not; and those of 16 bits
_EXACT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"}
_DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_EXACT_FILES = {"PNG", "TIFF", "BMP", "WEBP", "PPM", "TGA"}  # formats that hold 8-bit RGB exactly
_NO_ALPHA = {"JPEG", "BMP", "PPM"}  # Pillow leaves it out of the last two without a word

_KEEPS_METADATA = {"PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF"}


class ConversionWarning(UserWarning):
    """The input was converted to what the codec codes, and something was lost on the way."""


@dataclass(frozen=True)
class Photo:
    """Pixels, and what belongs to them.

    Attributes:
        pixels: (H, W) grayscale or (H, W, 3) RGB, uint8; read with `exact`, they may be uint16.
        alpha: (H, W) in the type of the pixels, or None.
        icc: raw bytes.
        exif: raw bytes.
    """

    pixels: Samples
    alpha: Samples | None = None
    icc: bytes = b""
    exif: bytes = b""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def array(self) -> Samples:
        """(H, W), (H, W, 3), or with alpha (H, W, 2) or (H, W, 4), in the type of the pixels."""
        if self.alpha is None:
            return self.pixels
        return cast(Samples, np.dstack([self.pixels, self.alpha]))


def read_photo(source: Path | BinaryIO, exact: bool = False) -> Photo:
    """Read an image file, or a .npy file of an image.

    Args:
        source: the file.
        exact: as in `photo_of`.

    Raises:
        InputError: with one plain sentence for what is not a whole image.
    """
    name = name_of(source)
    if isinstance(source, Path) and os.path.isdir(source):
        raise InputError(f"{name} is a folder, not an image")
    data = read_bytes(source)
    if not data:
        raise InputError(f"{name} is empty (0 bytes)")
    if data.startswith(NPY):
        return photo_of(read_array(io.BytesIO(data)), name, exact)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            image = Image.open(io.BytesIO(data))
            image.load()
            photo = photo_of(_as_stored(image, data, name, exact), name, exact)
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image of a known format") from None
    except Image.DecompressionBombError:
        raise LimitError(
            f"{name} has more pixels than Pillow's limit against decompression bombs; if you trust it, use "
            "--unlimited, or in Python set PIL.Image.MAX_IMAGE_PIXELS = None"
        ) from None
    except DAMAGE as error:
        raise InputError(f"{name} is damaged or cut short: {error}") from error
    for warning in told:
        if issubclass(warning.category, ConversionWarning):  # not Pillow's own guesses about odd files
            warnings.warn(str(warning.message), ConversionWarning, stacklevel=2)
    return photo


def _as_stored(image: Image.Image, data: bytes, name: str, exact: bool) -> Image.Image:
    """Mend the scale of a PNG's transparency key; a word where Pillow has cut samples to 8 bits."""
    bits = _bits_a_sample(image, data) if image.mode not in _DEEP else 8
    if bits > 8 and not is_deep_file(image):
        if exact:
            raise UnsupportedInputError(
                f"{name} has {bits} bits a channel, of which only 8 would be kept: convert it to a PNG of 16 bits"
            )
        warnings.warn(f"{name} has {bits} bits a channel: coded with 8", ConversionWarning, stacklevel=3)
    if image.format == "PNG" and len(data) >= 26 and data[24] in (2, 4) and data[25] == PNG_GRAY:
        key = image.info.get("transparency")
        if key is not None:
            image.info["transparency"] = key * 255 // (2 ** data[24] - 1)
    return image


def _bits_a_sample(image: Image.Image, data: bytes) -> int:
    """Of the file, which Pillow may have cut to 8."""
    if image.format == "PNG" and len(data) >= 26:
        return data[24]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, 8)  # BitsPerSample: a number, or one a channel
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if image.format == "PPM" and image.mode == "RGB":
        # its largest value, behind the kind, the width and the height; comments may stand between them
        deepest = re.sub(rb"#[^\r\n]*", b"", data[:65536]).split(maxsplit=4)[3:4]
        return int(deepest[0]).bit_length() if deepest and deepest[0].isdigit() else 8
    if image.format == "SGI":
        return 8 * data[3]  # bytes of a sample
    if image.format == "JPEG2000" and (at := data.find(b"\xff\x4f\xff\x51")) >= 0:
        # behind the size segment's beginning: 2 bytes of channels, then 3 bytes each, the first bits - 1
        channels = int.from_bytes(data[at + 40 : at + 42], "big")
        return max((byte & 127) + 1 for byte in (data[at + 42 : at + 42 + 3 * channels : 3] or b"\7"))
    if image.format == "AVIF" and (at := data.find(b"av1C")) >= 0:
        flags = (data[at + 6 : at + 7] or b"\0")[0]  # of AV1's configuration: high_bitdepth, twelve_bit
        return 8 if not flags & 64 else 12 if flags & 32 else 10
    return 8


def photo_of(data: Any, name: str = "the image", exact: bool = False) -> Photo:
    """A Photo, a Pillow image or a uint8 or uint16 array (H, W), (H, W, 1 to 4), as a Photo.

    Float arrays and others are refused. A Pillow image that was opened from a PNG or TIFF file of 16 bits a channel,
    of which Pillow keeps 8, has them all: they are read from its file.

    Args:
        data: one of these.
        name: how errors name it.
        exact: for lossless codecs. 16 bits are kept, and what would lose something is refused. Without it 16-bit and
            CMYK images are converted with a ConversionWarning.

    Raises:
        UnsupportedInputError: for what is refused.
    """
    if isinstance(data, Photo):
        if data.alpha is not None and np.shape(data.alpha) != np.shape(data.pixels)[:2]:
            raise UnsupportedInputError(
                f"{name} has pixels of shape {np.shape(data.pixels)} and alpha of shape {np.shape(data.alpha)}: "
                "give both the same height and width"
            )
        if data.alpha is not None and data.alpha.dtype != data.pixels.dtype:
            raise UnsupportedInputError(
                f"{name} has pixels of {data.pixels.dtype} and alpha of {data.alpha.dtype}: give both the same type"
            )
        return data if exact else _with_8_bits(data, name)
    if isinstance(data, Image.Image):
        return _from_pillow(data, name, exact)
    try:
        array = np.asarray(data)
    except ValueError:
        raise UnsupportedInputError(f"{name} is not an array of one shape") from None
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise UnsupportedInputError(
            f"{name} has dtype {array.dtype}; images are uint8, 0 to 255, or uint16, 0 to 65535: scale, round and "
            "convert it"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        raise UnsupportedInputError(f"{name} has shape {array.shape}; images are (H, W) or (H, W, 1 to 4)")
    if 0 in array.shape:
        raise UnsupportedInputError(f"{name} has no pixels: shape {array.shape}")
    photo = _photo_of_samples(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    return photo if exact else _with_8_bits(photo, name)


def _photo_of_samples(array: Samples) -> Photo:
    """(H, W), or (H, W, 1 to 4)."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    colours: Any = array[:, :, :3] if channels > 2 else array if array.ndim == 2 else array[:, :, 0]
    alpha: Any = np.ascontiguousarray(array[:, :, -1]) if channels in (2, 4) else None
    return Photo(np.ascontiguousarray(colours), alpha)


def _with_8_bits(photo: Photo, name: str) -> Photo:
    if photo.pixels.dtype != np.uint16:
        return photo
    warnings.warn(f"{name} has 16 bits a channel: coded with 8", ConversionWarning, stacklevel=3)
    alpha = None if photo.alpha is None else eight_bits(photo.alpha)
    return replace(photo, pixels=eight_bits(photo.pixels), alpha=alpha)


def _from_pillow(image: Image.Image, name: str, exact: bool) -> Photo:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        message = f"{name} has {frames} frames: the first is coded"
        warnings.warn(message, ConversionWarning, stacklevel=3)
    icc = image.info.get("icc_profile") or b""
    exif = image.info.get("exif") or b""
    if not exif and (tags := image.getexif()):
        for tag in _TIFF_LAYOUT & set(tags):
            del tags[tag]
        exif = tags.tobytes() if tags else b""
    if exif and not exif.startswith(EXIF_PREFIX):
        exif = EXIF_PREFIX + exif
    if is_deep_file(image):
        if (samples := deep_samples(image, name)) is not None:
            photo = replace(_photo_of_samples(samples), icc=icc, exif=exif)
            return photo if exact else _with_8_bits(photo, name)
        message = f"{name} was opened from a file of 16 bits a channel, of which Pillow kept 8: give the file itself"
        warnings.warn(message, ConversionWarning, stacklevel=3)
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image).astype(np.int64)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise UnsupportedInputError(f"{name} has 32-bit pixels; convert it to 8 bits first")
        key = image.info.get("transparency")
        alpha = None if key is None else np.where(values == key, 0, 65535).astype(np.uint16)
        photo = Photo(np.ascontiguousarray(values.astype(np.uint16)), alpha, icc, exif)
        return photo if exact else _with_8_bits(photo, name)
    if mode == "F":
        raise UnsupportedInputError(f"{name} has floating-point pixels; convert it to 8 bits first")
    if exact and mode not in _EXACT:
        raise UnsupportedInputError(
            f"{name} is {mode}, which cannot be kept exactly: convert it to RGB first, or use a lossy codec"
        )
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        message = f"{name} is {mode}: converted to RGB, its profile dropped"
        warnings.warn(message, ConversionWarning, stacklevel=3)
        return Photo(np.asarray(image.convert("RGB")), None, b"", exif)
    if mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif mode == "1":
        image = image.convert("LA" if "transparency" in image.info else "L")
    elif mode in ("RGB", "L") and "transparency" in image.info:
        image = image.convert("RGBA" if mode == "RGB" else "LA")
    elif mode in ("RGBa", "La", "RGBX"):
        image = image.convert({"RGBa": "RGBA", "La": "LA", "RGBX": "RGB"}[mode])
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnsupportedInputError(f"{name} has mode {mode}, which is not coded: convert it to RGB first")
    photo = photo_of(np.asarray(image), name)
    return Photo(photo.pixels, photo.alpha, icc, exif)


def to_pillow(photo: Photo) -> Image.Image:
    """A Pillow image with the profile and the EXIF data in its info."""
    return _with_metadata(Image.fromarray(photo.array()), photo)


def _with_metadata(image: Image.Image, photo: Photo) -> Image.Image:
    if photo.icc:
        image.info["icc_profile"] = photo.icc
    if photo.exif:
        image.info["exif"] = photo.exif
    return image


def write_photo(photo: Photo, target: str, exact: bool = False) -> bytes:
    """The bytes of an image file of the kind that the name `target` ends in (PNG, JPEG, WebP, TIFF, ...).

    Args:
        photo: what is written.
        target: the name of the file.
        exact: the pixels are to be kept; a ConversionWarning says so where the format cannot.
    """
    suffix = Path(target).suffix.lower()
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, photo.array(), allow_pickle=False)
        return buffer.getvalue()
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE:
        what = suffix or "a name without suffix"
        raise InputError(f"{target}: no image format is written to {what}; use .png")
    buffer = io.BytesIO()
    if photo.alpha is not None and kind in _NO_ALPHA:
        raise InputError(f"{target}: {kind} has no alpha channel, the image has one; use .png")
    if photo.pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        raise InputError(f"{target}: {kind} is not written with 16 bits a pixel; use .png or .tif")
    image = _with_metadata(savable(photo.array(), kind, target), photo)
    keep = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    if keep and kind not in _KEEPS_METADATA:
        message = f"{target}: {kind} holds no colour profile and no EXIF data: left out"
        warnings.warn(message, ConversionWarning, stacklevel=2)
    quality: dict[str, Any] = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    if exact and kind == "WEBP":
        quality = {"lossless": True, "exact": True, "quality": 100}
    elif exact and kind not in _EXACT_FILES:
        message = f"{target}: {kind} does not keep pixels exactly; .png does"
        warnings.warn(message, ConversionWarning, stacklevel=2)
    try:
        image.save(buffer, kind, **keep, **quality)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{target} cannot be written as {kind}: {error}; use .png") from error
    return finished(buffer.getvalue(), photo.array(), kind)
