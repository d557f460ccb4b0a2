"""Numbers as planes of bytes, the most significant first, so that like stands with like.

A float has its sign in front of its exponent, where it makes each exponent two bytes; turned by one bit the sign comes
last, among the random bits of the mantissa:

    bfloat16   s eeeeeeee mmmmmmm        ──►  eeeeeeee | mmmmmmm s
    float32    s eeeeeeee m (23 bits)    ──►  eeeeeeee | mmmmmmmm | mmmmmmmm | mmmmmmm s
    float16    s eeeee mmmmmmmmmm        ──►  eeeeemmm | mmmmmmm s
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.weights.layout import Tensor
from obverse.jit import njit

Bytes = npt.NDArray[np.uint8]

FLOATS = {"F16", "BF16", "F32", "F64", "C64", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
WIDTHS = {
    "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8, "C64": 4,
}  # fmt: skip

_AT_ONCE = 2**18  # values

compiled: Any = njit(cache=True, nogil=True, _nrt=False)

_1_16, _15_16, _8_16 = np.uint16(1), np.uint16(15), np.uint16(8)
_1, _31, _8, _16, _24 = np.uint32(1), np.uint32(31), np.uint32(8), np.uint32(16), np.uint32(24)


def width_of(dtype: str) -> int:
    """Bytes of a value of a type of safetensors: 1, 2, 4 or 8. Values of less than a byte count as bytes."""
    return WIDTHS.get(dtype, 1)


def matrix_of(tensor: Tensor) -> tuple[int, int]:
    """Rows and columns that a tensor is seen as: the first axis, and all others."""
    values = tensor.size // width_of(tensor.dtype)
    rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
    return (rows, values // rows) if rows and values and values % rows == 0 else (1, values)


def split(data: Bytes, dtype: str) -> Bytes:
    """(n w,) bytes -> (w, n), w the width of the type."""
    width = width_of(dtype)
    planes = np.empty((width, len(data) // width), np.uint8)
    turned = dtype in FLOATS
    if width == 1:
        planes[0] = (data << 1) | (data >> 7) if turned else data
    elif width == 2:
        _split_2(data.view("<u2"), planes[0], planes[1], turned)
    elif width == 4:
        _split_4(data.view("<u4"), planes[0], planes[1], planes[2], planes[3], turned)
    else:
        words = data.view("<u8")
        if turned:
            words = (words << np.uint64(1)) | (words >> np.uint64(63))
        planes[:] = words.view(np.uint8).reshape(-1, 8).T[::-1]
    return planes


def plane_of(data: Bytes, dtype: str, number: int) -> Bytes:
    """(n,) one of the planes of `split`, without holding the others."""
    width = width_of(dtype)
    plane = np.empty(len(data) // width, np.uint8)
    for start in range(0, len(plane), _AT_ONCE):
        plane[start : start + _AT_ONCE] = split(data[start * width : (start + _AT_ONCE) * width], dtype)[
            number
        ]
    return plane


def join(planes: Bytes, dtype: str, out: Bytes) -> None:
    """(w, n) -> `out`, (n w,): the inverse of `split`."""
    width = width_of(dtype)
    turned = dtype in FLOATS
    if width == 1:
        out[:] = (planes[0] >> 1) | (planes[0] << 7) if turned else planes[0]
    elif width == 2:
        _join_2(planes[0], planes[1], out.view("<u2"), turned)
    elif width == 4:
        _join_4(planes[0], planes[1], planes[2], planes[3], out.view("<u4"), turned)
    else:
        words = np.ascontiguousarray(planes[::-1].T).view("<u8").reshape(-1)
        if turned:
            words = (words >> np.uint64(1)) | (words << np.uint64(63))
        out[:] = words.view(np.uint8)


@compiled
def _split_2(words, high, low, turned):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        word = words[i]
        word = np.uint16((word << _1_16) | (word >> _15_16)) if turned else word
        high[i] = np.uint8(word >> _8_16)
        low[i] = np.uint8(word)


@compiled
def _join_2(high, low, words, turned):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        word = np.uint16((np.uint16(high[i]) << _8_16) | np.uint16(low[i]))
        words[i] = np.uint16((word >> _1_16) | (word << _15_16)) if turned else word


@compiled
def _split_4(words, a, b, c, d, turned):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        word = words[i]
        word = np.uint32((word << _1) | (word >> _31)) if turned else word
        a[i] = np.uint8(word >> _24)
        b[i] = np.uint8(word >> _16)
        c[i] = np.uint8(word >> _8)
        d[i] = np.uint8(word)


@compiled
def _join_4(a, b, c, d, words, turned):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        word = np.uint32(
            (np.uint32(a[i]) << _24) | (np.uint32(b[i]) << _16) | (np.uint32(c[i]) << _8) | np.uint32(d[i])
        )
        words[i] = np.uint32((word >> _1) | (word << _31)) if turned else word


@compiled
def count(plane, counts):  # type: ignore[no-untyped-def]
    """Add how often each byte occurs to `counts`, (4, 256) int64: four, as each would wait for the one before."""
    n = len(plane) & ~3
    for i in range(0, n, 4):
        counts[0, plane[i]] += 1
        counts[1, plane[i + 1]] += 1
        counts[2, plane[i + 2]] += 1
        counts[3, plane[i + 3]] += 1
    for i in range(n, len(plane)):
        counts[0, plane[i]] += 1


@compiled
def count_pairs(contexts, plane, counts):  # type: ignore[no-untyped-def]
    """Add how often each byte occurs under each context to `counts`, (contexts, 256) int64."""
    for i in range(len(plane)):
        counts[contexts[i], plane[i]] += 1


def histogram(plane: Bytes) -> npt.NDArray[np.int64]:
    """(256,) how often each byte occurs."""
    counts = np.zeros((4, 256), np.int64)
    count(plane, counts)
    total: npt.NDArray[np.int64] = counts.sum(0)
    return total


def pair_histogram(contexts: Bytes, plane: Bytes, size: int) -> npt.NDArray[np.int64]:
    """(size, 256) how often each byte occurs under each context."""
    counts = np.zeros((size, 256), np.int64)
    count_pairs(contexts, plane, counts)
    return counts
