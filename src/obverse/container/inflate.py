"""zlib data of unknown origin, unpacked without trusting its size."""

from __future__ import annotations

import sys
import zlib

from obverse.errors import DamagedError


def inflate(data: bytes, at_most: int) -> bytes:
    """zlib data of at most so many bytes; never allocates more than it may.

    Raises:
        DamagedError: for other data, and where there would be more bytes.
    """
    if not data:
        return b""
    at_most = min(at_most, sys.maxsize - 1)  # what zlib can be asked for
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, at_most + 1)
    except zlib.error as error:
        raise DamagedError(f"a compressed section is damaged: {error}") from None
    if len(raw) > at_most or not stream.eof or stream.unused_data:
        raise DamagedError("a compressed section does not have the length it should")
    return raw
