"""TIFF files of 16 bits a channel in colour, of which Pillow keeps 8: their samples, exactly.

    file ──► the same, its tags saying gray of 8 bits, as many columns as a row has bytes ──► Pillow ──► samples

So whatever compression Pillow reads is read, and as Pillow reads it. Written files go the same way back.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from obverse.errors import InputError

WIDTH, HEIGHT, BITS, PHOTOMETRIC, STRIPS, SAMPLES, COUNTS = 256, 257, 258, 262, 273, 277, 279
PLANES, PREDICTOR, TILE_WIDTH, TILES, TILE_COUNTS, EXTRA, FORMAT = 284, 317, 322, 324, 325, 338, 339
RGB, UNASSOCIATED, DIFFERENCES, SEPARATE = 2, 2, 2, 2
ORIENTATION = 274
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SHORT, _LONG = 3, 4

Deep = npt.NDArray[np.uint16]


def read_tiff16(data: bytes) -> Deep:
    """(H, W, C) of such a file, C = 3 or 4, turned as its orientation says, which Pillow does too.

    Raises:
        InputError: for a damaged file.
    """
    tags = TiffImageFile(io.BytesIO(data)).tag_v2
    width, height, channels = int(tags[WIDTH]), int(tags[HEIGHT]), int(tags[SAMPLES])
    orientation = tags.get(ORIENTATION, 1)
    separate = tags.get(PLANES, 1) == SEPARATE
    offsets, counts = (TILES, TILE_COUNTS) if TILES in tags else (STRIPS, COUNTS)
    step = 2 if separate else 2 * channels  # bytes of a pixel
    changes: dict[int, tuple[int, ...] | None] = {
        WIDTH: (width * step,), BITS: (8,), PHOTOMETRIC: (1,), SAMPLES: (1,),
        PLANES: None, PREDICTOR: None, EXTRA: None, FORMAT: None, ORIENTATION: None,
    }  # fmt: skip
    if TILES in tags:
        changes[TILE_WIDTH] = (tags[TILE_WIDTH] * step,)
    planes = []
    parts = len(tags[offsets]) // channels  # of a plane, where these are separate
    for plane in range(channels if separate else 1):
        if separate:
            place = slice(plane * parts, (plane + 1) * parts)
            changes |= {offsets: tuple(tags[offsets][place]), counts: tuple(tags[counts][place])}
        rows = TiffImageFile(io.BytesIO(retagged(data, changes)))  # Image.open would count bytes as pixels
        samples = np.ascontiguousarray(rows).view(">u2" if data[:2] == b"MM" else "<u2")
        planes.append(samples.reshape(height, width, -1).astype(np.uint16))
    samples = np.concatenate(planes, axis=2)
    if tags.get(PREDICTOR, 1) == DIFFERENCES:
        across = tags[TILE_WIDTH] if TILES in tags else width  # differences begin anew with each tile
        for left in range(0, width, across):
            part = samples[:, left : left + across]
            part[:] = np.cumsum(part, axis=1, dtype=np.uint16)
    return np.ascontiguousarray(_turned(samples, orientation))


def pillow_rows(samples: Deep) -> Image.Image:
    """(H, W, C) as an image of the bytes of its rows, for Pillow to write as TIFF; `as_tiff16` says what they are."""
    little = np.ascontiguousarray(samples, "<u2")
    return Image.fromarray(little.view(np.uint8).reshape(len(samples), -1))


def as_tiff16(data: bytes, channels: int) -> bytes:
    """A little-endian TIFF file of `pillow_rows`, its tags saying what it is: RGB, with alpha if of 4 channels."""
    width = _entries(data)[1][WIDTH][2][0]
    return retagged(
        data,
        {
            WIDTH: (width // (2 * channels),),
            BITS: (16,) * channels,
            PHOTOMETRIC: (RGB,),
            SAMPLES: (channels,),
            EXTRA: (UNASSOCIATED,) if channels == 4 else None,
        },
    )


def retagged(data: bytes, changes: Mapping[int, tuple[int, ...] | None]) -> bytes:
    """A TIFF file with other values of some tags of its first directory, or without them; BigTIFF becomes TIFF.

    Everything stays where it was; a new directory comes behind.

    Raises:
        InputError: for a file whose directory is damaged, or larger than 2 GB.
    """
    order, entries = _entries(data)
    body = bytearray(data)
    if len(data) >= 2**31:
        raise InputError("it is larger than 2 GB")
    for tag, values in changes.items():
        entries.pop(tag, None)
        if values is not None:
            kind = _SHORT if max(values, default=0) < 65536 and tag not in (STRIPS, COUNTS) else _LONG
            entries[tag] = (kind, len(values), values)
    directory = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        kind, count, values = entries[tag]
        packed = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"{order}{count}{'HI'[kind == _LONG]}", *values)
        )
        if len(packed) > 4:
            body += b"\0" * (len(body) % 2)
            place, body = len(body), body + packed
            packed = struct.pack(order + "I", place)
        directory += struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0")
    body += b"\0" * (len(body) % 2)
    body[:8] = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", len(body))
    return bytes(body + directory + b"\0\0\0\0")


_Entry = tuple[int, int, Any]  # type, count, values: bytes, or numbers


def _entries(data: bytes) -> tuple[str, dict[int, _Entry]]:
    """Byte order and entries of the first directory; those of whole numbers as numbers. Raises InputError."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    word, size, room = ("Q", 20, 8) if big else ("I", 12, 4)
    try:
        (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        entries: dict[int, _Entry] = {}
        for place in range(at, at + min(count, 65535) * size, size):
            tag, kind, number = struct.unpack_from(order + "HH" + word, data, place)
            length = _SIZES.get(kind, 0) * number
            start = place + size - room
            if length > room:
                (start,) = struct.unpack_from(order + word, data, start)
            if not length or start + length > len(data):
                continue  # what Pillow leaves out too
            value = data[start : start + length]
            if letter := {3: "H", 4: "I", 16: "Q"}.get(kind):
                numbers = struct.unpack(f"{order}{number}{letter}", value)
                entries[tag] = (_SHORT if kind == 3 else _LONG, number, numbers)
            elif kind < 14:
                entries[tag] = (kind, number, value)
    except struct.error as error:
        raise InputError(f"its directory is damaged: {error}") from None
    if any(not isinstance(v, bytes) and max(v) >= 2**32 for _, _, v in entries.values()):
        raise InputError("its directory points behind its end")
    return order, entries


def _turned(samples: Deep, orientation: int) -> Deep:
    """As a viewer shows it (EXIF's orientation, 1 to 8)."""
    turns: dict[int, Callable[[Deep], Deep]] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }
    return turns[orientation](samples) if orientation in turns else samples
