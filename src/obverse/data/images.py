"""Image files and arrays -> `Photo`, what the image codecs code. `image_writing.py` makes files of it."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from obverse.data.arrays import NPY, as_array, read_array
from obverse.data.conversion import ConversionWarning
from obverse.data.deep_images import deep_samples, eight_bits, is_deep_file
from obverse.data.guard import cause_of, guarded
from obverse.data.loading import check_header
from obverse.data.metadata import COLOUR_CHUNKS, metadata_of, without_metadata
from obverse.data.plugins import plugin_of_data
from obverse.data.png_colour import colour_of_file
from obverse.data.source import Contents, name_of, read_bytes
from obverse.data.tiff_samples import samples_as_meant
from obverse.errors import InputError, LimitError, UnsupportedInputError

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

PNG_GRAY = 0  # colour type
FRONT = 64  # bytes of a file, by which its kind is told

# modes whose pixels are kept, as gray or RGB, with alpha or not; and those of 16 bits
_EXACT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


@dataclass(frozen=True)
class Photo:
    """Pixels, and what belongs to them.

    Attributes:
        pixels: (H, W) grayscale or (H, W, 3) RGB, uint8; read with `exact`, they may be uint16.
        alpha: (H, W) in the type of the pixels, or None.
        icc: raw bytes.
        exif: raw bytes.
        xmp: raw bytes.
        dpi: dots per inch, horizontal and vertical, where `exif` does not tell them.
        text: texts by keyword, as PNG has them ("Title", "Author", "Comment", ...).
        colour: what the colours are, where no profile says it: bodies of the chunks gAMA, cHRM, cICP and sBIT of PNG.
    """

    pixels: Samples
    alpha: Samples | None = None
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    colour: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def array(self) -> Samples:
        """(H, W), (H, W, 3), or with alpha (H, W, 2) or (H, W, 4), in the type of the pixels."""
        if self.alpha is None:
            return self.pixels
        return cast(Samples, np.dstack([self.pixels, self.alpha]))


def read_photo(source: Path | BinaryIO, exact: bool = False, mend: bool = True) -> Photo:
    """Read an image file, or a .npy file of an image.

    Args:
        source: the file.
        exact: as in `photo_of`.
        mend: leave metadata out, with a ConversionWarning, where they make the file unreadable; else that is an error.

    Raises:
        InputError: with one plain sentence for what is not a whole image.
    """
    name = name_of(source)
    if isinstance(source, Path) and os.path.isdir(source):
        raise InputError(f"{name} is a folder, not an image")
    if isinstance(source, Path) and source.is_file():
        _check_front(source)
    data = read_bytes(source)
    if not data:
        raise InputError(f"{name} is empty (0 bytes)")
    if data.startswith(NPY):
        return photo_of(read_array(Contents(data, name), "an image"), name, exact)
    with _conversions_alone():
        return photo_of(_as_stored(_opened(data, name, mend), data, name, exact), name, exact)


def _check_front(path: Path) -> None:
    """Look at the beginning of a file before all of it is read. What else is wrong there, reading it tells.

    Raises:
        InputError: for what is no image file.
        LimitError: for an image that is larger than the limits allow.
    """
    try:
        with path.open("rb") as file:
            front = file.read(FRONT)
        if not front or front.startswith(NPY):
            return
        with _conversions_alone(), Image.open(path) as image:
            check_header(image)
    except LimitError as error:
        raise LimitError(f"{path}: {error}") from None
    except UnidentifiedImageError:
        if front.startswith(tuple(_FRONTS)) or front[4:8] == b"ftyp" or plugin_of_data(front) is not None:
            return
        raise InputError(f"{path} is not an image of a known format") from None
    except Exception:
        return


@contextmanager
def _conversions_alone() -> Iterator[None]:
    """Of all warnings, tell those of conversions: not Pillow's own guesses about odd files."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for warning in told:
        if issubclass(warning.category, ConversionWarning):
            warnings.warn(str(warning.message), ConversionWarning, stacklevel=4)


def _opened(data: bytes, name: str, mend: bool) -> Image.Image:
    """The image of a file, loaded; to mend it, without metadata where these are what makes it unreadable."""
    try:
        return _loaded(data)
    except Image.DecompressionBombError:
        raise LimitError(
            f"{name} has more pixels than Pillow's limit against decompression bombs; if you trust it, use "
            "--unlimited, or in Python set PIL.Image.MAX_IMAGE_PIXELS = None"
        ) from None
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        problem: Exception = error
        if (by_plugin := _by_plugin(data, name)) is not None:
            return by_plugin
    except Exception as error:
        problem = error
    bare = without_metadata(data) if mend else None
    if bare is not None:
        try:
            image = _loaded(bare)
        except Exception:  # so it is not the metadata
            bare = None
    if bare is not None:
        message = f"{name}: its metadata (profile, EXIF and the like) are left out: they are damaged"
        warnings.warn(message, ConversionWarning, stacklevel=2)
        return image
    if isinstance(problem, UnidentifiedImageError):
        known = next((kind for front, kind in _FRONTS.items() if data.startswith(front)), None)
        if known is None:
            raise InputError(f"{name} is not an image of a known format") from None
        raise InputError(f"{name} is damaged, or a {known} file of a kind that is not read") from None
    if isinstance(problem, NotImplementedError):
        raise InputError(f"{name} is of a kind that Pillow does not read: {cause_of(problem)}") from problem
    raise InputError(f"{name} is damaged or cut short: {cause_of(problem)}") from problem


_FRONTS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}


def _loaded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    check_header(image)
    image.load()
    if image.format == "PNG":
        image.info[COLOUR_CHUNKS] = colour_of_file(data)
    return image


def _by_plugin(data: bytes, name: str) -> Image.Image | None:
    """An image of a format that needs a package beside Pillow; None for other files. Raises InputError."""
    plugin = plugin_of_data(data)
    if plugin is None:
        return None
    with guarded(f"{name} is damaged, or {plugin.kind} of a kind that {plugin.package} does not read"):
        if plugin.use():
            return _loaded(data)
    raise UnsupportedInputError(
        f"{name} is {plugin.kind}, which Pillow reads with the plugin {plugin.package} only: pip install "
        f"{plugin.package}, or convert it to PNG or JPEG"
    )


def _as_stored(image: Image.Image, data: bytes, name: str, exact: bool) -> Image.Image:
    """Mend the scale of a PNG's transparency key; a word where Pillow has cut samples to 8 bits."""
    bits = _bits_a_sample(image, data) if image.mode not in _DEEP else 8
    if bits > 8 and not is_deep_file(image):
        if exact:
            raise UnsupportedInputError(
                f"{name} has {bits} bits a channel, of which only 8 would be kept: convert it to a PNG of 16 bits"
            )
        warnings.warn(f"{name} has {bits} bits a channel: coded with 8", ConversionWarning, stacklevel=3)
    if exact and image.format == "PPM" and (most := _largest_value(data)) is not None:
        whole = 255 if most < 256 else 65535
        if whole % most:  # Pillow stretches them to 0..255 or 0..65535
            raise UnsupportedInputError(
                f"{name} has samples from 0 to {most}, which would come back stretched to {whole}: convert it to a "
                "largest value of 255 or 65535"
            )
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
        return (_largest_value(data) or 255).bit_length()
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


def _largest_value(data: bytes) -> int | None:
    """Of a PGM or PPM file, as its header says; None for other files."""
    if data[:2] not in (b"P2", b"P3", b"P5", b"P6"):
        return None
    # behind the kind, the width and the height; comments may stand between them
    deepest = re.sub(rb"#[^\r\n]*", b"", data[:65536]).split(maxsplit=4)[3:4]
    return int(deepest[0]) if deepest and deepest[0].isdigit() and int(deepest[0]) else None


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
        with guarded(f"{name} cannot be read"):
            check_header(data)
            data.load()
            return _from_pillow(data, name, exact)
    array = as_array(data, name)
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise UnsupportedInputError(
            f"{name} has dtype {array.dtype}; images are uint8, 0 to 255, or uint16, 0 to 65535: scale, round and "
            "convert it"
        )
    if array.ndim == 3 and array.shape[0] in (1, 2, 3, 4) and array.shape[2] not in (1, 2, 3, 4):
        raise UnsupportedInputError(
            f"{name} has shape {array.shape}, channels first; images are (H, W, channels): pass "
            "array.transpose(1, 2, 0), of a tensor .permute(1, 2, 0)"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        raise UnsupportedInputError(f"{name} has shape {array.shape}; images are (H, W) or (H, W, 1 to 4)")
    if 0 in array.shape:
        raise UnsupportedInputError(f"{name} has no pixels: shape {array.shape}")
    photo = _photo_of_samples(np.ascontiguousarray(array))
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
    _check_frames(image, name, exact)
    _check_plugin(image, name, exact)
    kept = metadata_of(image, name, exact)
    if is_deep_file(image):
        if (samples := deep_samples(image, name)) is not None:
            photo = replace(_photo_of_samples(samples), **kept)
            return photo if exact else _with_8_bits(photo, name)
        message = f"{name} was opened from a file of 16 bits a channel, of which Pillow kept 8: give the file itself"
        warnings.warn(message, ConversionWarning, stacklevel=3)
    if isinstance(image, TiffImageFile):
        image = samples_as_meant(image, name, exact)
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise UnsupportedInputError(f"{name} has 32-bit pixels; convert it to 8 bits first")
        key = image.info.get("transparency")
        alpha = None if key is None else np.where(values == key, 0, 65535).astype(np.uint16)
        photo = Photo(np.ascontiguousarray(values.astype(np.uint16)), alpha, **kept)
        return photo if exact else _with_8_bits(photo, name)
    if mode == "F":
        raise UnsupportedInputError(f"{name} has floating-point pixels; convert it to 8 bits first")
    if exact and mode not in _EXACT:
        raise UnsupportedInputError(
            f"{name} is {mode}, which cannot be kept exactly: convert it to RGB first, or use a lossy codec"
        )
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        message = f"{name} is {mode}: converted to RGB" + (", its profile dropped" if kept.get("icc") else "")
        warnings.warn(message, ConversionWarning, stacklevel=3)
        return Photo(np.asarray(image.convert("RGB")), None, **(kept | {"icc": b""}))
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
    return replace(photo, **kept)


def _check_plugin(image: Image.Image, name: str, exact: bool) -> None:
    """Of more than 8 bits a channel plugins keep 8, and that of JPEG XL does not tell."""
    bits = image.info.get("bit_depth", 8) if image.format == "HEIF" else 8
    if exact and (bits > 8 or image.format == "JXL"):
        has = (
            f"has {bits} bits a channel"
            if bits > 8
            else "is JPEG XL, which may have more than 8 bits a channel"
        )
        raise UnsupportedInputError(
            f"{name} {has}, of which 8 would be kept: convert it to PNG, or use a lossy codec"
        )
    if bits > 8:
        warnings.warn(f"{name} has {bits} bits a channel: coded with 8", ConversionWarning, stacklevel=4)


def _check_frames(image: Image.Image, name: str, exact: bool) -> None:
    """Of several frames, pages or sizes one is coded: said, or refused where all is to be kept."""
    frames = max(getattr(image, "n_frames", 1), len(image.info.get("sizes", ())))
    if frames < 2:
        return
    if exact:
        raise UnsupportedInputError(
            f"{name} has {frames} frames, and a lossless file holds one image: save each as a file of its own "
            "(with PIL.ImageSequence), or use a lossy codec, which takes the first"
        )
    at = image.tell()
    which = "the first" if at == 0 else f"number {at + 1}"
    message = f"{name} has {frames} frames: {which} is coded, the others are left out"
    warnings.warn(message, ConversionWarning, stacklevel=4)
