"""Image files that Pillow does not write, made by hand, for the tests of what is read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

SHORT, LONG, RATIONAL, ASCII, UNDEFINED = 3, 4, 5, 2, 7
_FORMS = {SHORT: "H", LONG: "I", RATIONAL: "II", ASCII: "c", UNDEFINED: "B"}


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(width: int, height: int, samples: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A little-endian TIFF file of one strip; the tags say what the samples mean. Values are SHORT."""
    default = {256: (width,), 257: (height,), 259: (1,), 278: (height,)}
    entries: dict[int, tuple[int, list[int]]] = {
        tag: (SHORT, list(values)) for tag, values in (default | tags).items()
    }
    entries |= {273: (LONG, [0]), 279: (LONG, [len(samples)])}
    beside_at = 8 + 2 + 12 * len(entries) + 4
    beside = b""
    rows = []
    pixels_at = beside_at + sum(
        len(values) * struct.calcsize(_FORMS[kind]) + 1 & ~1
        for kind, values in entries.values()
        if len(values) * struct.calcsize(_FORMS[kind]) > 4
    )
    for tag, (kind, values) in sorted(entries.items()):
        if tag == 273:
            values = [pixels_at]
        packed = struct.pack(f"<{len(values)}{_FORMS[kind]}", *values)
        if len(packed) <= 4:
            value = packed.ljust(4, b"\0")
        else:
            value = struct.pack("<I", beside_at + len(beside))
            beside += packed + bytes(len(packed) % 2)
        rows.append(struct.pack("<HHI", tag, kind, len(values)) + value)
    directory = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return b"II*\0\x08\0\0\0" + directory + beside + samples


def chunk(name: bytes, data: bytes, damaged: bool = False) -> bytes:
    """Of a PNG file, with a wrong checksum or the right one."""
    checksum = zlib.crc32(name + data) ^ damaged
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def with_chunks(png: bytes, chunks: Sequence[bytes]) -> bytes:
    """A PNG file with more chunks, behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def with_segments(jpeg: bytes, segments: Sequence[tuple[int, bytes]]) -> bytes:
    """A JPEG file with more segments, (marker, data), at its beginning."""
    packed = [
        b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(data)) + data for marker, data in segments
    ]
    return jpeg[:2] + b"".join(packed) + jpeg[2:]
