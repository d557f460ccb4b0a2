"""The chunks of a PNG file (PNG specification, third edition, chapter 5.3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from obverse.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each, to the last.

    Raises:
        InputError: for one of those with pixels that is damaged.
    """
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        end = at + 12 + length
        if end > len(data):
            break
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if kind in (b"IHDR", b"tRNS", b"IDAT") and zlib.crc32(kind + body) != checksum:
            raise InputError(f"the checksum of a chunk {kind.decode()} is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        at = end


def packed_chunk(kind: bytes, body: bytes) -> bytes:
    """The bytes of a chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
