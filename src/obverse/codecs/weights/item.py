"""One tensor as the bytes of one item.

raw       as it is                          where nothing helps, and what is short
same      the number of the item            that has the same bytes
matches   zstd                              where whole numbers repeat
planes    each plane in its own way, 2^20 values at a time: plane_coding.py
as base   nothing                           where the base has the same bytes
change    the difference to the base: difference.py
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from obverse.codecs.weights.difference import decode_difference, encode_difference, has_difference
from obverse.codecs.weights.layout import Tensor
from obverse.codecs.weights.plane_coding import (
    LOOKS_BACK,
    NAMES,
    PIECE,
    PlaneCode,
    choose,
    matches_pay,
    unpack_code,
    unzip,
    zip_pieces,
    zstd_level,
)
from obverse.codecs.weights.planes import join, matrix_of, plane_of, split, width_of
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import DamagedError

Bytes = npt.NDArray[np.uint8]

RAW, SAME, WHOLE, PLANES, AS_BASE, CHANGE = range(6)
_SHORT = 64  # bytes that are not worth a try


def encode_tensor(data: Bytes, tensor: Tensor, effort: int, base: Bytes | None = None) -> list[bytes]:
    """The parts of an item.

    Args:
        data: (size,) bytes of the tensor.
        tensor: what they are.
        effort: 0 to 9.
        base: (size,) bytes of the tensor that it is coded against, if any.
    """
    if base is not None and np.array_equal(data, base):
        return [bytes([AS_BASE])]
    parts = _planes(data, tensor, effort) if len(data) > _SHORT else [bytes([RAW]), data.tobytes()]
    size = sum(map(len, parts))
    if effort and len(data) > _SHORT and matches_pay(data, size / len(data), effort):
        level = zstd_level(effort)
        zipped = sum(
            map(len, zip_pieces(data, level))
        )  # not kept, as a tensor may be as large as memory allows
        if zipped + 1 < size:
            parts = [bytes([WHOLE])]
            parts += zip_pieces(data, level)
            size = zipped + 1
    if base is not None and len(data) > _SHORT and has_difference(tensor):
        change = encode_difference(data, base, tensor)
        if change is not None and 1 + sum(map(len, change)) < size:
            parts, size = [bytes([CHANGE]), *change], 1 + sum(map(len, change))
    return parts if size <= len(data) else [bytes([RAW]), data.tobytes()]


def same_as(item: int) -> bytes:
    """The item of a tensor that has the same bytes as an earlier one.

    Args:
        item: the number of that one's item.
    """
    return bytes([SAME]) + encode_varint(item)


def source_of(item: bytes) -> int | None:
    """The number of the item that has the bytes of this one; None where it has its own.

    Raises:
        DamagedError: for an item that no encoder wrote.
    """
    if item[:1] != bytes([SAME]):
        return None
    number, end = decode_varint(item, 1)
    if end != len(item):
        raise DamagedError("an item names another one, and more follows")
    return number


def decode_tensor(item: bytes, tensor: Tensor, out: Bytes, base: Bytes | None = None) -> None:
    """Fill `out`, (size,), with the bytes of a tensor.

    Args:
        item: what `encode_tensor` made.
        tensor: what it is.
        out: where it goes.
        base: (size,) bytes of the tensor that it was coded against, if there is one.

    Raises:
        DamagedError: for an item that no encoder wrote.
    """
    data = memoryview(item)
    if not len(data):
        raise DamagedError(f"tensor {tensor.name!r} has no bytes")
    kind = data[0]
    if kind == RAW and len(data) == 1 + len(out):
        out[:] = np.frombuffer(data[1:], np.uint8)
    elif kind == WHOLE:
        unzip(data[1:], out)
    elif kind == PLANES and len(out):
        _decode_planes(data, tensor, out)
    elif kind == AS_BASE and base is not None and len(data) == 1:
        out[:] = base
    elif kind == CHANGE and base is not None and has_difference(tensor):
        decode_difference(data[1:], base, tensor, out)
    else:
        raise DamagedError(
            f"tensor {tensor.name!r} is coded in a way that is not known, or has another length"
        )


def ways_of(item: bytes, tensor: Tensor) -> str:
    """How a tensor is coded, in words.

    Raises:
        DamagedError: for an item that no encoder wrote.
    """
    kind = item[0] if item else -1
    if kind == RAW:
        return "raw"
    if kind == SAME:
        return "same"
    if kind in (WHOLE, AS_BASE, CHANGE):
        return {WHOLE: "matches", AS_BASE: "as base", CHANGE: "change of base"}[kind]
    codes, _ = _codes(memoryview(item), tensor)
    return "planes: " + ", ".join(NAMES[code.kind] for code in codes)


def _planes(data: Bytes, tensor: Tensor, effort: int) -> list[bytes]:
    width = width_of(tensor.dtype)
    count = len(data) // width
    codes = _chosen(data, tensor, effort)
    parts = [bytes([PLANES]), *(code.pack() for code in codes)]
    for start in range(0, count, PIECE):
        piece = split(data[start * width : (start + PIECE) * width], tensor.dtype)
        for number, code in enumerate(codes):
            payload = code.encode(piece[number], piece[number - 1] if number else None, start)
            parts += (encode_varint(len(payload)), payload)
    return parts


def _chosen(data: Bytes, tensor: Tensor, effort: int) -> list[PlaneCode]:
    codes, before = [], None
    for number in range(width_of(tensor.dtype)):
        plane = plane_of(data, tensor.dtype, number)
        codes.append(choose(plane, number, before, matrix_of(tensor), effort))
        before = plane if effort >= LOOKS_BACK else None
    return codes


def _codes(data: memoryview, tensor: Tensor) -> tuple[list[PlaneCode], int]:
    if not len(data) or data[0] != PLANES:
        raise DamagedError(f"tensor {tensor.name!r} is coded in a way that is not known")
    codes, at, shape = [], 1, matrix_of(tensor)
    for number in range(width_of(tensor.dtype)):
        code, at = unpack_code(data, at, number, shape)
        codes.append(code)
    return codes, at


def _decode_planes(data: memoryview, tensor: Tensor, out: Bytes) -> None:
    width = width_of(tensor.dtype)
    codes, at = _codes(data, tensor)
    for start in range(0, len(out) // width, PIECE):
        target = out[start * width : (start + PIECE) * width]
        planes = np.empty((width, len(target) // width), np.uint8)
        for number, code in enumerate(codes):
            length, at = decode_varint(data, at)  # type: ignore[arg-type]
            if length > len(data) - at:
                raise DamagedError(f"tensor {tensor.name!r} ends early")
            code.decode(data[at : at + length], planes[number - 1] if number else None, start, planes[number])
            at += length
        join(planes, tensor.dtype, target)
    if at != len(data):
        raise DamagedError(f"more bytes follow the end of tensor {tensor.name!r}")
