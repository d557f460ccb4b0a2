"""EXIF data: a small TIFF file without pixels. What of it belongs to one file alone, and what is damaged.

    "Exif\\0\\0" | order, 42, offset of IFD 0 | ... | IFD 0: count, entries of 12 bytes, offset of IFD 1 | ...

Entries are taken out in place, so that whatever else points into the data (maker notes above all) stays right.
"""

from __future__ import annotations

import math
import re
import struct
from typing import NamedTuple

PREFIX = b"Exif\0\0"  # Pillow reads it with JPEG and PNG, not with WebP, and writes JPEG with it only

# Tags of IFD 0 that say where and how the pixels lie in one file: size, strips, tiles, samples, tables, sub-images,
# profile, that it is a raw photo. Of any other file they are wrong, and a TIFF file with them is unreadable.
LAYOUT = frozenset(
    {
        *range(254, 269),
        273,
        *range(277, 282),
        284,
        292,
        293,
        301,
        317,
        *range(320, 326),
        330,
        *range(332, 352),
    }
    | {*range(512, 522), 529, 530, 532, *range(32995, 32999), 34675, 50706, 50707}
)
# a TIFF file's own as well, of what is read of it: colours, XMP and an editor's data
OF_TIFF = LAYOUT | {318, 319, 531, 700, 34377, 37724}

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, XMP, ORIENTATION = 282, 283, 296, 700, 274
_INCH, _CENTIMETRE = 2, 3
_RATIONAL = 5


class Entry(NamedTuple):
    """Of IFD 0: its tag, type and number of values, where its 12 bytes are, and the 4 of its value or offset."""

    tag: int
    kind: int
    values: int
    at: int
    value: bytes


class Directory(NamedTuple):
    """IFD 0 of EXIF data without their prefix."""

    order: str  # "<" or ">"
    at: int
    entries: list[Entry]


def directory(exif: bytes) -> Directory:
    """IFD 0.

    Args:
        exif: with or without prefix.

    Raises:
        ValueError: for what is no EXIF data; the text says why.
    """
    data = body(exif)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("they do not begin as EXIF data do")
    if len(data) < 8:
        raise ValueError("they are cut short")
    (at,) = struct.unpack(order + "I", data[4:8])
    if at < 8 or at + 2 > len(data):
        raise ValueError("their directory lies outside of them")
    (count,) = struct.unpack_from(order + "H", data, at)
    if at + 2 + 12 * count > len(data):
        raise ValueError("their directory is cut short")
    entries = []
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        entries.append(Entry(tag, kind, values, place, data[place + 8 : place + 12]))
    return Directory(order, at, entries)


def body(exif: bytes) -> bytes:
    """Without the prefix, which some programs write twice."""
    return re.sub(rb"^(Exif\0\0){1,2}", b"", exif)


def without_layout(exif: bytes) -> bytes:
    """EXIF data for another file: without what says how the pixels lie in the one that they were read from.

    Raises:
        ValueError: for what is no EXIF data.
    """
    found = directory(exif)
    kept = [entry for entry in found.entries if entry.tag not in LAYOUT]
    if len(kept) == len(found.entries):
        return exif
    data = body(exif)
    first, end = found.at + 2, found.at + 2 + 12 * len(found.entries)
    entries = b"".join(data[entry.at : entry.at + 12] for entry in kept)
    following = data[end : end + 4].ljust(4, b"\0")  # the offset of IFD 1
    freed = bytes(12 * (len(found.entries) - len(kept)))
    count = struct.pack(found.order + "H", len(kept))
    return (
        PREFIX
        + data[: found.at]
        + count
        + entries
        + following
        + freed
        + data[first + len(entries + freed) + 4 :]
    )


def resolution(exif: bytes) -> tuple[float, float] | None:
    """Dots per inch, horizontal and vertical, where EXIF data tell them.

    Raises:
        ValueError: for what is no EXIF data.
    """
    found, data = directory(exif), body(exif)
    by_tag = {entry.tag: entry for entry in found.entries}
    unit = by_tag.get(RESOLUTION_UNIT)
    in_unit = struct.unpack(found.order + "H", unit.value[:2])[0] if unit else _INCH
    values = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        entry = by_tag.get(tag)
        if entry is None or entry.kind != _RATIONAL or in_unit not in (_INCH, _CENTIMETRE):
            return None
        at = struct.unpack(found.order + "I", entry.value)[0]
        if at + 8 > len(data):
            return None
        over, under = struct.unpack_from(found.order + "II", data, at)
        if not over or not under:
            return None
        values.append(over / under * (2.54 if in_unit == _CENTIMETRE else 1))
    return values[0], values[1]


def orientation(exif: bytes) -> int:
    """1 to 8, as a viewer is to turn the image; 1 where nothing is told.

    Raises:
        ValueError: for what is no EXIF data.
    """
    found = directory(exif)
    for entry in found.entries:
        if entry.tag == ORIENTATION:
            (value,) = struct.unpack(found.order + "H", entry.value[:2])
            return value if 1 <= value <= 8 else 1
    return 1


def is_resolution(dpi: object) -> bool:
    """Whether these are dots per inch, two of them, that a file can hold."""
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return False
    try:
        values = [float(value) for value in dpi]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return False
    return all(math.isfinite(value) and 0 < value < 1e6 for value in values)
