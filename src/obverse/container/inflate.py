"""zlib data of unknown origin, unpacked without trusting its size."""

from __future__ import annotations

import sys
import zlib

from obverse.errors import DamagedError

_PIECE = 1 << 16  # bytes that are unpacked at once where only their number is wanted


def inflated_size(data: bytes, at_most: int) -> int:
    """How many bytes `inflate` would return, found without holding them.

    Raises:
        DamagedError: as `inflate`.
    """
    if not data:
        return 0
    stream, rest, size = zlib.decompressobj(), data, 0
    try:
        while size <= at_most and not stream.eof:
            piece = stream.decompress(rest, _PIECE)
            rest, size = stream.unconsumed_tail, size + len(piece)
            if not piece and not rest:
                break
    except zlib.error as error:
        raise DamagedError(f"a compressed section is damaged: {error}") from None
    if size > at_most or not stream.eof or stream.unused_data:
        raise _wrong_length()
    return size


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
        raise _wrong_length()
    return raw


def _wrong_length() -> DamagedError:
    return DamagedError("a compressed section does not have the length it should")
