"""Values of 16 bits as their ranks among those that occur: a camera's 12 bits come as every sixteenth value.

values ──► which occur: a bitmap of 65,536 bits, deflated ──► ranks 0, 1, 2, ...
"""

from __future__ import annotations

import zlib

import numpy as np

from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import DamagedError, TruncatedError

BITMAP = 1 << 13  # bytes: a bit for each value


def rank_depth(count: int) -> int:
    """Bits that the ranks of so many values are coded with, at least 8."""
    return max(8, (count - 1).bit_length())


def pack_list(used: np.ndarray) -> bytes:
    """The different values (n,) as a varint and so many bytes of a deflated bitmap."""
    bits = np.zeros(8 * BITMAP, np.uint8)
    bits[used] = 1
    packed = zlib.compress(np.packbits(bits).tobytes(), 9)
    return encode_varint(len(packed)) + packed


def read_list(data: bytes, at: int) -> tuple[np.ndarray, int]:
    """The list that `pack_list` made, rising, and where it ends. Raises DamagedError."""
    stream = zlib.decompressobj()
    try:
        length, at = decode_varint(data, at)
        raw = stream.decompress(data[at : at + length], BITMAP + 1)
    except (zlib.error, TruncatedError) as error:
        raise DamagedError(f"the list of values is damaged: {error}") from None
    if len(raw) != BITMAP or not stream.eof or stream.unused_data or length > len(data) - at:
        raise DamagedError("the list of values does not have the length it should")
    used = np.flatnonzero(np.unpackbits(np.frombuffer(raw, np.uint8)))
    if not len(used):
        raise DamagedError("the list of values is empty")
    return used, at + length


def ranks_of(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The rank of each value in the rising list, int32. Every value must be in it."""
    table = np.zeros(8 * BITMAP, np.int32)
    table[used] = np.arange(len(used), dtype=np.int32)
    return np.asarray(table[values])


def values_of(ranks: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The inverse, uint16. Raises DamagedError for a rank that the list does not have."""
    if int(ranks.max()) >= len(used):
        raise DamagedError("the image has a value that is not in its list")
    return np.ascontiguousarray(used.astype(np.uint16)[ranks])
