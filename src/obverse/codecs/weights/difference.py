"""A tensor as its difference to one of the same shape: a model that was trained on, the next checkpoint of a run.

Floats become whole numbers in the order of their values, so that a difference counts the steps between two of them:

    d = number(x) - number(base) - middle       ──►  |d| and its sign
    |d| = 1 b b r r r r ...                     ──►  symbol (its length, b b), by a table for the exponent of the base
                                                ──►  the bits r and the sign, as they are

What training adds has a scale of its own, in each row and column, and a step of a float is as wide as its exponent
says: so the exponent of the base tells how long |d| is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from obverse.codecs.weights.layout import Tensor
from obverse.codecs.weights.plane_coding import AFTER, LENGTHS, PIECE, after, lengths, unpack_code
from obverse.codecs.weights.planes import FLOATS, compiled, matrix_of, split, width_of
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import DamagedError

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]

_TYPES = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
_MIDDLE = 4  # bytes
_EXPONENT_SHIFT = {"F32": 0, "BF16": 0, "F16": 3}  # of the first byte, to be the exponent alone


def has_difference(tensor: Tensor) -> bool:
    """Whether tensors of this type are coded so: those with numbers of up to 4 bytes."""
    return width_of(tensor.dtype) in _TYPES and tensor.size > 0


def encode_difference(data: Bytes, base: Bytes, tensor: Tensor) -> list[bytes] | None:
    """The parts of an item without its first byte; None where the base is of no help.

    Args:
        data: (size,) bytes of the tensor.
        base: those of the base.
        tensor: what they are.
    """
    width = width_of(tensor.dtype)
    bits = 8 * width
    differences = _numbers(data, tensor) - _numbers(base, tensor)  # modulo 2^32
    signed = _signed(differences, bits)
    middle = int(np.median(signed))
    symbols, rest = _symbols(_wrapped(signed - middle, bits))
    classes = _base_classes(base, tensor)
    found = after(symbols, classes)
    if found is None:
        return None
    shape = matrix_of(tensor)
    if tensor.dtype in _EXPONENT_SHIFT:
        exponents = classes >> _EXPONENT_SHIFT[tensor.dtype]
        by_length = lengths(symbols, exponents, shape[1])
        if by_length[1] < found[1]:
            found, classes = by_length, exponents
    code = found[0]
    parts = [(middle % 2**32).to_bytes(_MIDDLE, "little"), code.pack()]
    for start in range(0, len(symbols), PIECE):
        end = start + PIECE
        payload = code.encode(symbols[start:end], classes[start:end], start)
        packed = np.zeros(4 * len(symbols[start:end]) + 8, np.uint8)
        size = _pack(symbols[start:end], rest[start:end], packed)
        parts += (encode_varint(len(payload)), payload, packed[:size].tobytes())
    return parts


def decode_difference(data: memoryview, base: Bytes, tensor: Tensor, out: Bytes) -> None:
    """Fill `out`, (size,), with the bytes of a tensor.

    Args:
        data: of an item, behind its first byte.
        base: (size,) bytes of the base.
        tensor: what they are.
        out: (size,).

    Raises:
        DamagedError: for what no encoder wrote.
    """
    width = width_of(tensor.dtype)
    bits = 8 * width
    middle = int.from_bytes(data[:_MIDDLE], "little")
    classes = _base_classes(base, tensor)
    code, at = unpack_code(data, _MIDDLE, 1, matrix_of(tensor))
    if code.kind == LENGTHS and tensor.dtype in _EXPONENT_SHIFT:
        classes = classes >> _EXPONENT_SHIFT[tensor.dtype]
    elif code.kind != AFTER:
        raise DamagedError(f"the difference of tensor {tensor.name!r} is coded in a way that is not known")
    numbers = _numbers(base, tensor)
    for start in range(0, len(classes), PIECE):
        count = min(PIECE, len(classes) - start)
        length, at = decode_varint(data, at)  # type: ignore[arg-type]
        if length > len(data) - at:
            raise DamagedError(f"tensor {tensor.name!r} ends early")
        symbols = np.empty(count, np.uint8)
        code.decode(data[at : at + length], classes[start : start + count], start, symbols)
        if symbols.max() >= 4 * (bits + 1):
            raise DamagedError(f"the difference of tensor {tensor.name!r} is longer than its numbers")
        at += length
        differences = np.empty(count, np.uint32)
        size = _unpack(np.frombuffer(data[at:], np.uint8), symbols, differences)
        if size < 0:
            raise DamagedError(f"tensor {tensor.name!r} ends early")
        at += size
        numbers[start : start + count] += differences + np.uint32(middle)
    if at != len(data):
        raise DamagedError(f"more bytes follow the end of tensor {tensor.name!r}")
    out[:] = _bytes(numbers, tensor)


def _base_classes(base: Bytes, tensor: Tensor) -> Bytes:
    """(n,) the first byte of each number, its exponent for most floats."""
    return split(base, tensor.dtype)[0]


def _numbers(data: Bytes, tensor: Tensor) -> Words:
    """(n,) uint32: floats in the order of their values, sign and magnitude made two's complement; else as they are."""
    width = width_of(tensor.dtype)
    words = data.view(_TYPES[width]).astype(np.uint32)
    if tensor.dtype in FLOATS:
        top = np.uint32(1 << (8 * width - 1))
        negative = words >= top
        words[negative] = (~words[negative]) & np.uint32(2 * int(top) - 1)
        words[~negative] |= top
    return words


def _bytes(numbers: Words, tensor: Tensor) -> Bytes:
    """The inverse of `_numbers`, modulo the width of the type."""
    width = width_of(tensor.dtype)
    words = numbers & np.uint32(2 ** (8 * width) - 1)
    if tensor.dtype in FLOATS:
        top = np.uint32(1 << (8 * width - 1))
        positive = words >= top
        words[positive] ^= top
        words[~positive] = (~words[~positive]) & np.uint32(2 * int(top) - 1)
    return np.frombuffer(words.astype(_TYPES[width]).tobytes(), np.uint8)


def _signed(words: Words, bits: int) -> npt.NDArray[np.int64]:
    """Words modulo 2^bits, from -2^(bits-1) on."""
    wide = (words & np.uint32(2**bits - 1)).astype(np.int64)
    return np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide)


def _wrapped(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    half = 1 << (bits - 1)
    return (values + half) % (1 << bits) - half


def _symbols(values: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.uint64]]:
    """Symbol 4 length + (the two bits below the leading one, or the one that there is), and the bits below with the
    sign as the lowest."""
    symbols, rest = np.empty(len(values), np.uint8), np.empty(len(values), np.uint64)
    _classify(values, symbols, rest)
    return symbols, rest


@compiled
def _classify(values, symbols, rest):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        value = values[i]
        size = np.uint64(abs(value))
        length = np.uint64(0)
        while size >> length != np.uint64(0):
            length += np.uint64(1)
        spare = length - np.uint64(3) if length > np.uint64(3) else np.uint64(0)
        lead = (size >> spare) & np.uint64(3) if length > np.uint64(2) else size & np.uint64(1)
        if length <= np.uint64(1):
            lead = np.uint64(0)
        symbols[i] = np.uint8((length << np.uint64(2)) | lead)
        low = size & ((np.uint64(1) << spare) - np.uint64(1))
        rest[i] = (low << np.uint64(1)) | np.uint64(value < 0)


@compiled
def _pack(symbols, rest, out):  # type: ignore[no-untyped-def]
    """The bits of `rest`, each as many as its symbol has, the lowest first. -> bytes"""
    held, count, at = np.uint64(0), np.uint64(0), 0
    for i in range(len(symbols)):
        length = np.uint64(symbols[i]) >> np.uint64(2)
        bits = length - np.uint64(2) if length > np.uint64(3) else np.uint64(length > np.uint64(0))
        held |= rest[i] << count
        count += bits
        while count >= np.uint64(8):
            out[at] = np.uint8(held & np.uint64(255))
            at += 1
            held >>= np.uint64(8)
            count -= np.uint64(8)
    if count > np.uint64(0):
        out[at] = np.uint8(held & np.uint64(255))
        at += 1
    return at


@compiled
def _unpack(data, symbols, differences):  # type: ignore[no-untyped-def]
    """The differences, modulo 2^32. -> bytes that were read, or -1 where there are not enough."""
    held, count, at = np.uint64(0), np.uint64(0), 0
    for i in range(len(symbols)):
        length = np.uint64(symbols[i]) >> np.uint64(2)
        bits = length - np.uint64(2) if length > np.uint64(3) else np.uint64(length > np.uint64(0))
        while count < bits:
            if at >= len(data):
                return -1
            held |= np.uint64(data[at]) << count
            at += 1
            count += np.uint64(8)
        low = held & ((np.uint64(1) << bits) - np.uint64(1))
        held >>= bits
        count -= bits
        lead = np.uint64(symbols[i]) & np.uint64(3)
        if length > np.uint64(3):
            size = ((np.uint64(4) | lead) << (length - np.uint64(3))) | (low >> np.uint64(1))
        elif length == np.uint64(3):
            size = np.uint64(4) | lead
        elif length == np.uint64(2):
            size = np.uint64(2) | (lead & np.uint64(1))
        else:
            size = length & np.uint64(1)
        negative = low & np.uint64(1)
        differences[i] = np.uint32(np.uint64(0) - size if negative != np.uint64(0) else size)
    return at
