"""Plain Python values <-> CBOR (RFC 8949), in one spelling only, so that equal headers are equal bytes.

Allowed: None, bool, int of 64 bits, float, str, bytes, list, and dict with keys that are text or whole
numbers from 0 to 23. Not allowed: tags, `undefined`, indefinite lengths, nesting deeper than MAX_DEPTH.
The spelling: shortest integers and lengths; floats in 8 bytes, except that NaN and the infinities are
f97e00, f97c00 and f9fc00; map keys sorted, numbers first, then text by length, then text by bytes.
"""

from __future__ import annotations

from typing import Any

import cbor2

from obverse.errors import DamagedError

MAX_DEPTH = 16
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_FLOAT_BYTES = {0xF9: 2, 0xFB: 8}


def pack(value: Any) -> bytes:
    """Encode a plain value.

    Raises:
        ValueError: the value, or one inside it, is not plain; the sentence names it.
    """
    # Not cbor2's own canonical mode: its choice of float width differs between cbor2 5 and 6.
    return cbor2.dumps(_ordered(value, 1))


def unpack(data: bytes) -> Any:
    """Decode a value that `pack` could have written.

    Raises:
        DamagedError: anything else; nothing is built before the structure has been checked.
    """
    try:
        end = _skip(data, 0, 1)
    except IndexError:
        raise DamagedError("the header is damaged: it ends within a value") from None
    if end != len(data):
        raise DamagedError(f"the header is damaged: {len(data) - end} bytes follow its end")
    # cbor2 and Python raise many kinds of errors on bad input; to the reader they all mean one thing.
    try:
        value = cbor2.loads(data)
        again = pack(value)
    except Exception as error:
        raise DamagedError(f"the header is damaged: {error}") from error
    if again != data:
        raise DamagedError("the header is damaged: not in the one spelling that the format allows")
    return value


def _ordered(value: Any, depth: int) -> Any:
    """A copy of `value` with sorted maps and exact built-in types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**64) <= value < 2**64:
            raise ValueError(f"the whole number {value} does not fit in 64 bits")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _ordered(value[key], depth + 1) for key in sorted(value, key=_key_order)}
    raise ValueError(f"a value of type {type(value).__name__} cannot be stored")


def _key_order(key: Any) -> tuple[int, int, bytes]:
    if type(key) is int and 0 <= key <= 23:
        return 0, key, b""
    if type(key) is str:
        text = key.encode()
        return 1, len(text), text
    raise ValueError(f"the key {key!r} is neither text nor a whole number from 0 to 23")


def _skip(data: bytes, at: int, depth: int) -> int:
    """The position behind the value that starts at `at`; IndexError when the data ends first."""
    head = data[at]
    major = head >> 5
    at += 1
    if major == _TAG:
        raise DamagedError("the header is damaged: tags are not allowed")
    if major == _OTHER:
        if head in (0xF4, 0xF5, 0xF6):  # false, true, null
            return at
        if head not in _FLOAT_BYTES:
            raise DamagedError(f"the header is damaged: values of kind 0x{head:02x} are not allowed")
        return _within(data, at + _FLOAT_BYTES[head])
    number = head & 31
    if number > 27:
        raise DamagedError("the header is damaged: indefinite lengths are not allowed")
    if number > 23:
        start, at = at, _within(data, at + (1 << (number - 24)))
        number = int.from_bytes(data[start:at], "big")
    if major in (_UNSIGNED, _NEGATIVE):
        return at
    if major in (_BYTES, _TEXT):
        return _within(data, at + number)
    if depth > MAX_DEPTH:
        raise DamagedError(f"the header is damaged: nested deeper than {MAX_DEPTH} levels")
    # A huge count is harmless: every element takes at least one byte, so the data ends first.
    for _ in range(number):
        if major == _MAP:
            if data[at] > 23 and data[at] >> 5 != _TEXT:
                raise DamagedError("the header is damaged: a map key is neither text nor from 0 to 23")
            at = _skip(data, at, depth + 1)
        at = _skip(data, at, depth + 1)
    return at


def _within(data: bytes, end: int) -> int:
    if end > len(data):
        raise IndexError
    return end
