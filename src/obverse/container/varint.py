"""Whole numbers as LEB128: 7 bits per byte, low bits first, the top bit set on all bytes but the last."""

from __future__ import annotations

from obverse.errors import DamagedError, TruncatedError

# 9 bytes hold 63 bits: every length that a file can have.
MAX_BYTES = 9


def encode_varint(value: int) -> bytes:
    """The shortest LEB128 form of `value` (0 or more)."""
    if value < 0:
        raise ValueError(f"a varint cannot be negative, got {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes, start: int = 0, max_bytes: int = MAX_BYTES) -> tuple[int, int]:
    """Read one varint of `data` from position `start`: (value, position behind it).

    Raises:
        TruncatedError: the data ends within the varint.
        DamagedError: longer than `max_bytes`, or not the shortest form of its value.
    """
    value = 0
    for position in range(start, start + max_bytes):
        if position >= len(data):
            raise TruncatedError("the data ends within a number")
        byte = data[position]
        value |= (byte & 0x7F) << (7 * (position - start))
        if byte < 0x80:
            # One value, one spelling: a last byte of zero would be a longer spelling.
            if byte == 0 and position > start:
                raise DamagedError("a number is not written in its shortest form")
            return value, position + 1
    raise DamagedError(f"a number is longer than {max_bytes} bytes")
