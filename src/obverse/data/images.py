"""Image files and arrays <-> `Photo`, what the image codecs code."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from obverse.errors import InputError, LimitError, UnsupportedInputError

Bytes = npt.NDArray[np.uint8]


class ConversionWarning(UserWarning):
    """The input was converted to what the codec codes, and something was lost on the way."""


@dataclass(frozen=True)
class Photo:
    """pixels: (H, W) grayscale or (H, W, 3) RGB, uint8; alpha: (H, W) uint8 or None; icc, exif: raw bytes."""

    pixels: Bytes
    alpha: Bytes | None = None
    icc: bytes = b""
    exif: bytes = b""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def array(self) -> Bytes:
        """(H, W), (H, W, 3), or with alpha (H, W, 2) or (H, W, 4), uint8."""
        return self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])


def read_photo(source: Path | BinaryIO) -> Photo:
    """Read an image file. Raises InputError with one plain sentence for what is not a whole image."""
    name = str(source) if isinstance(source, Path) else "standard input"
    if isinstance(source, Path) and source.is_dir():
        raise InputError(f"{name} is a folder, not an image")
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except FileNotFoundError:
        raise InputError(f"there is no file {name}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    if not data:
        raise InputError(f"{name} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own guesses about odd files; ours follow
            image = Image.open(io.BytesIO(data))
            image.load()
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image of a known format") from None
    except Image.DecompressionBombError:
        raise LimitError(f"{name} has more pixels than Pillow's limit; raise PIL.Image.MAX_IMAGE_PIXELS") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError, TypeError) as error:
        raise InputError(f"{name} is damaged or cut short: {error}") from error
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16 and image.mode in ("RGB", "RGBA"):
        warnings.warn(f"{name} has 16 bits a channel: coded with 8", ConversionWarning, stacklevel=2)
    return photo_of(image, name)


def photo_of(data: Any, name: str = "the image") -> Photo:
    """A Photo, a Pillow image or a uint8 array (H, W), (H, W, 1 to 4), as a Photo.

    16-bit and CMYK images are converted with a ConversionWarning; float arrays and others are refused.
    """
    if isinstance(data, Photo):
        return data
    if isinstance(data, Image.Image):
        return _from_pillow(data, name)
    try:
        array = np.asarray(data)
    except ValueError:
        raise UnsupportedInputError(f"{name} is not an array of one shape") from None
    if array.dtype != np.uint8:
        raise UnsupportedInputError(
            f"{name} has dtype {array.dtype}; images are uint8, 0 to 255: scale, round and convert it"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        raise UnsupportedInputError(f"{name} has shape {array.shape}; images are (H, W) or (H, W, 1 to 4)")
    if 0 in array.shape:
        raise UnsupportedInputError(f"{name} has no pixels: shape {array.shape}")
    if array.ndim == 3 and array.shape[2] in (2, 4):
        pixels = array[:, :, 0] if array.shape[2] == 2 else array[:, :, :3]
        return Photo(np.ascontiguousarray(pixels), np.ascontiguousarray(array[:, :, -1]))
    return Photo(np.ascontiguousarray(array))


def _from_pillow(image: Image.Image, name: str) -> Photo:
    if getattr(image, "n_frames", 1) > 1:
        warnings.warn(f"{name} has {image.n_frames} frames: the first is coded", ConversionWarning, stacklevel=3)
    icc = image.info.get("icc_profile") or b""
    exif = image.info.get("exif") or b""
    if not exif and (tags := image.getexif()):
        exif = tags.tobytes()
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image).astype(np.int64)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise UnsupportedInputError(f"{name} has 32-bit pixels; convert it to 8 bits first")
        warnings.warn(f"{name} has 16 bits a pixel: coded with 8", ConversionWarning, stacklevel=3)
        return Photo(((values * 255 + 32767) // 65535).astype(np.uint8), None, icc, exif)
    if mode == "F":
        raise UnsupportedInputError(f"{name} has floating-point pixels; convert it to 8 bits first")
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        warnings.warn(f"{name} is {mode}: converted to RGB, its profile dropped", ConversionWarning, stacklevel=3)
        return Photo(np.asarray(image.convert("RGB")), None, b"", exif)
    if mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or mode == "PA" else "RGB")
    elif mode == "1":
        image = image.convert("L")
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
    image = Image.fromarray(photo.array())
    if photo.icc:
        image.info["icc_profile"] = photo.icc
    if photo.exif:
        image.info["exif"] = photo.exif
    return image


def write_photo(photo: Photo, target: str) -> bytes:
    """The bytes of an image file of the kind that the name `target` ends in (PNG, JPEG, WebP, TIFF, ...)."""
    suffix = Path(target).suffix.lower()
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, photo.array(), allow_pickle=False)
        return buffer.getvalue()
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE:
        raise InputError(f"{target}: no image format is written to {suffix or 'a name without suffix'}; use .png")
    image, buffer = to_pillow(photo), io.BytesIO()
    if photo.alpha is not None and kind == "JPEG":
        raise InputError(f"{target}: JPEG has no alpha channel, the image has one; use .png")
    keep = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    quality = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    try:
        image.save(buffer, kind, **keep, **quality)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{target} cannot be written as {kind}: {error}; use .png") from error
    return buffer.getvalue()
