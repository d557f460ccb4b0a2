"""Sets of small images of one size: a .npy array, a folder of image files, or an IDX file (MNIST's format).

All three become an array (n, H, W) or (n, H, W, 3), uint8. The files of a folder come in the order of their names.
"""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from obverse.data.arrays import NPY, as_array, read_array
from obverse.data.guard import guarded
from obverse.data.images import read_photo
from obverse.data.loading import check_held
from obverse.data.source import Contents, name_of, read_bytes
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError, UnsupportedInputError

GZIP = b"\x1f\x8b"
IDX_UINT8 = b"\0\0\x08"
LARGEST = 2**32  # bytes that an IDX file may unpack to
AT_ONCE = 2**20  # bytes that are unpacked before their number is looked at
ENTRY_BYTES = 1500  # memory that an image of an archive takes, beside its pixels

Bytes = npt.NDArray[np.uint8]


def read_image_set(source: Path | BinaryIO) -> Bytes:
    """The images, (n, H, W) gray or (n, H, W, 3) colour, uint8.

    Raises:
        InputError: for anything else.
    """
    if isinstance(source, Path) and source.is_dir():
        return _read_folder(source)
    name, raw = name_of(source), read_bytes(source)
    if raw.startswith(GZIP):
        raw = _unpack(raw, name)
    if raw.startswith(IDX_UINT8):
        return check_image_set(_idx(raw, name), name)
    if raw.startswith(NPY):
        return check_image_set(read_array(Contents(raw, name)), name)
    raise InputError(
        f"{name} is not a set of images: give a .npy array (n, H, W) or (n, H, W, 3), an IDX file, or a folder"
    )


def check_image_set(images: npt.ArrayLike, name: str = "the set") -> Bytes:
    """The array, if it is a set of images.

    Args:
        images: what may be one.
        name: how errors name it.

    Raises:
        InputError: for an empty set, and for images without pixels or of several sizes.
        UnsupportedInputError: for another type or shape.
    """
    array = as_array(images, f"{name}: the images of a set have one size, and are all gray or all in colour")
    if array.dtype != np.uint8:
        raise UnsupportedInputError(
            f"{name} holds {array.dtype}: images are coded as uint8, 0 to 255, so that every bit comes back; "
            "round and convert them first"
        )
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise UnsupportedInputError(
            f"{name} has shape {array.shape}: a set of images is (n, H, W), or (n, H, W, 3) in colour"
        )
    if array.shape[0] == 0:
        raise InputError(f"{name} is empty: there is no image in it")
    if array.size == 0:
        raise InputError(f"{name} holds images without pixels, shape {array.shape}")
    return np.ascontiguousarray(array)


def png_archive(images: Bytes) -> bytes:
    """A .zip of PNG files named 00000.png and so on: what a folder was, for sets that were one.

    Raises:
        LimitError: where there are limits on memory, and the set and its archive do not fit.
    """
    check_held(2 * images.nbytes + ENTRY_BYTES * len(images))
    buffer = io.BytesIO()
    digits = max(5, len(str(len(images) - 1)))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, image in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            # a fixed date, so that equal sets give equal files
            archive.writestr(zipfile.ZipInfo(f"{number:0{digits}}.png"), png.getvalue())
    return buffer.getvalue()


def _read_folder(folder: Path) -> Bytes:
    files = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )
    if not files:
        raise InputError(f"the folder {folder} is empty: there is no image file in it")
    images: list[npt.NDArray[Any]] = []
    for path in files:
        photo = read_photo(path, exact=True)
        if photo.alpha is not None:
            raise UnsupportedInputError(f"{path} has an alpha channel, which sets of images have not")
        if photo.pixels.dtype != np.uint8:
            raise UnsupportedInputError(f"{path} has 16 bits a pixel; sets of images have 8: convert it")
        if images and photo.pixels.shape != images[0].shape:
            raise UnsupportedInputError(
                f"{path} has shape {photo.pixels.shape}, {files[0].name} has {images[0].shape}: the images of a set "
                "must have one size and all be gray, or all in colour"
            )
        images.append(photo.pixels)
        check_held(2 * photo.pixels.nbytes * len(images))  # each, and all together
    return np.stack(images)


def _unpack(raw: bytes, name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    with gzip.open(io.BytesIO(raw)) as file:
        while True:
            with guarded(f"{name} is a damaged gzip file"):
                part = file.read(AT_ONCE)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                raise InputError(f"{name} unpacks to more than {LARGEST} bytes")
            check_held(len(raw) + 2 * size)  # in parts, and whole


def _idx(raw: bytes, name: str) -> Bytes:
    dimensions = raw[3] if len(raw) > 3 else 0
    front = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, front, 4))
    if not 1 <= dimensions <= 4 or len(raw) < front or len(raw) - front != math.prod(shape):
        raise InputError(
            f"{name} is a damaged IDX file: {len(raw)} bytes cannot hold an array of shape {shape}"
        )
    return np.frombuffer(raw, np.uint8, offset=front).reshape(shape)
