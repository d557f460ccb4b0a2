"""How each plane of bytes of a tensor is coded, chosen by what it costs.

raw        as they are: what is random
constant   one byte for all
table      by how often each byte occurs
after      a table for each kind of byte that stands before it, in the plane before: the first bits of a mantissa
           hang on the exponent a little
places     a table for each class of rows and columns (`places.py`)
matches    zstd, where bytes repeat
lengths    of differences: a table for each length that row, column and the exponent of the base let expect
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from obverse.codecs.weights import byte_coder
from obverse.codecs.weights.places import (
    CLASSES,
    MIDDLE,
    MOST_MERGES,
    Places,
    deviations,
    in_steps,
    places_of,
)
from obverse.codecs.weights.planes import histogram, pair_histogram
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import DamagedError

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

RAW, CONSTANT, TABLE, AFTER, PLACES, MATCHES, LENGTHS = range(7)
NAMES = ("raw", "constant", "table", "after", "places", "matches", "lengths")
MOST_LENGTH = 32  # that is expected
_WORDS = 2 * byte_coder.STATES  # bytes of the states of a message


@dataclass(frozen=True)
class PlaneCode:
    """One plane's way, and what its decoder needs.

    Attributes:
        kind: RAW to MATCHES.
        value: of a constant plane.
        frequencies: (tables, 256) uint16.
        classes: of AFTER: (256,) uint8, the table of each byte of the plane before.
        places: of PLACES.
        offset: of LENGTHS: what is added to the steps of row and column.
        level: of zstd, for the encoder.
    """

    kind: int
    value: int = 0
    frequencies: npt.NDArray[np.uint16] | None = None
    classes: Bytes | None = None
    places: Places | None = None
    offset: int = 0
    level: int = 0

    def contexts(self, before: Bytes | None, start: int, count: int) -> Bytes | None:
        """Which table each byte of a piece has; None where there is one."""
        if self.kind == AFTER and before is not None and self.classes is not None:
            return self.classes[before]
        if self.kind == LENGTHS and before is not None and self.places is not None:
            expected = self.places.steps(start, count).astype(np.int16)
            expected += np.int16(self.offset)
            expected -= before.astype(np.int16) << 2
            expected >>= 2
            return np.clip(expected, 0, MOST_LENGTH, out=expected).astype(np.uint8)
        return self.places.contexts(start, count) if self.places is not None else None

    def encode(self, plane: Bytes, before: Bytes | None, start: int) -> bytes:
        """A piece of the plane.

        Args:
            plane: (n,).
            before: the same piece of the plane before.
            start: the number of its first byte in the plane.
        """
        if self.kind == CONSTANT:
            return b""
        if self.kind == RAW:
            return plane.tobytes()
        if self.kind == MATCHES:
            return zip_bytes(plane, self.level)
        return byte_coder.encode(plane, _known(self.frequencies), self.contexts(before, start, len(plane)))

    def decode(self, payload: memoryview, before: Bytes | None, start: int, out: Bytes) -> None:
        """The piece again, to `out`.

        Raises:
            DamagedError: for what no encoder wrote.
        """
        if self.kind in (RAW, CONSTANT):
            if len(payload) != (len(out) if self.kind == RAW else 0):
                raise DamagedError("the bytes of a tensor have another length than it")
            out[:] = np.frombuffer(payload, np.uint8) if self.kind == RAW else self.value
        elif self.kind == MATCHES:
            unzip(payload, out)
        else:
            byte_coder.decode(payload, out, _known(self.frequencies), self.contexts(before, start, len(out)))

    def pack(self) -> bytes:
        """What the decoder needs of it."""
        packed = bytes([self.kind])
        if self.kind == CONSTANT:
            return packed + bytes([self.value])
        if self.kind == AFTER and self.classes is not None:
            packed += self.classes.tobytes()
        if self.places is not None:
            steps = np.concatenate([self.places.rows, self.places.columns])
            packed += bytes([self.places.merges]) + _pack_steps(steps)
            packed += self.offset.to_bytes(2, "little", signed=True) if self.kind == LENGTHS else b""
        for row in () if self.frequencies is None else self.frequencies:
            packed += _pack_table(row)
        return packed


def unpack_code(data: memoryview, at: int, number: int, shape: tuple[int, int]) -> tuple[PlaneCode, int]:
    """One plane's way, and where what follows begins.

    Args:
        data: bytes of an item.
        at: where it begins in them.
        number: of the plane; the first has none before it.
        shape: rows and columns of the tensor.

    Raises:
        DamagedError: for what `pack` does not write.
    """
    kind = _byte(data, at)
    at += 1
    if kind in (RAW, MATCHES):
        return PlaneCode(kind), at
    if kind == CONSTANT:
        return PlaneCode(kind, _byte(data, at)), at + 1
    if kind == TABLE:
        frequencies, at = _unpack_tables(data, at, 1)
        return PlaneCode(kind, frequencies=frequencies), at
    if kind == AFTER and number:
        classes = np.frombuffer(data[at : at + 256], np.uint8)
        if len(classes) < 256 or classes.max() >= CLASSES:
            raise DamagedError("a tensor's classes of bytes are damaged")
        frequencies, at = _unpack_tables(data, at + 256, int(classes.max()) + 1)
        return PlaneCode(kind, frequencies=frequencies, classes=classes), at
    if kind in (PLACES, LENGTHS) and min(shape) > 0:
        merges = _byte(data, at)
        if merges > MOST_MERGES:
            raise DamagedError("a tensor's classes of rows and columns are damaged")
        steps, at = _unpack_steps(data, at + 1, sum(shape))
        places = Places(steps[: shape[0]], steps[shape[0] :], merges)
        if kind == PLACES:
            frequencies, at = _unpack_tables(data, at, places.tables)
            return PlaneCode(kind, frequencies=frequencies, places=places), at
        offset = int.from_bytes(data[at : at + 2], "little", signed=True)
        if abs(offset) > _MOST_OFFSET:
            raise DamagedError("a tensor's lengths of differences are damaged")
        frequencies, at = _unpack_tables(data, at + 2, MOST_LENGTH + 1)
        return PlaneCode(kind, frequencies=frequencies, places=places, offset=offset), at
    raise DamagedError(f"a plane of bytes is coded in a way that is not known: {kind}")


# -- choosing ----------------------------------------------------------------------------------------------------


def choose(plane: Bytes, number: int, before: Bytes | None, shape: tuple[int, int], effort: int) -> PlaneCode:
    """The way that takes the fewest bytes.

    Args:
        plane: the whole of it, (n,).
        number: of the plane; the first has the exponents.
        before: the plane before it, which matters from effort LOOKS_BACK on.
        shape: rows and columns.
        effort: 0 to 9; from 1 on rows and columns are looked at, from 7 on all ways are tried.
    """
    counts = histogram(plane)
    if np.count_nonzero(counts) == 1:
        return PlaneCode(CONSTANT, int(np.argmax(counts)))
    best, cost = PlaneCode(RAW), float(len(plane))
    wanted = cost if effort >= 7 else _WORTH * cost
    compressible = False
    if _entropy(counts) < wanted:
        table = PlaneCode(TABLE, frequencies=byte_coder.normalised(counts[None]))
        compressible = (of_table := _cost(table, counts[None])) < wanted
        if compressible:
            best, cost = table, of_table
    if (
        effort >= 1
        and ((compressible and number == 0) or effort >= 7)
        and len(plane) >= _FEWEST
        and min(shape) > 1
    ):
        found = _by_places(plane, shape)
        if found is not None and found[1] < cost:
            best, cost = found
    if before is not None and (effort >= 7 or (effort >= LOOKS_BACK and compressible)):
        found = after(plane, before)
        if found is not None and found[1] < cost:
            best, cost = found
    level = zstd_level(effort)
    if effort and matches_pay(plane, cost / len(plane), effort):
        size = sum(len(zip_bytes(plane[i : i + PIECE], level)) for i in range(0, len(plane), PIECE))
        if size < cost:
            best = PlaneCode(MATCHES, level=level)
    return best


_of_thread = threading.local()  # compressors, which one thread at a time may use

WINDOW = 2**23  # bytes that zstd looks back at most, which its decoder keeps
PIECE = 2**20  # values that are coded at once
LOOKS_BACK = 4  # effort
_MOST_OFFSET = 2**13
_WORTH = 0.99  # a plane that becomes hardly shorter is left as it is below effort 7: it would take as long as all else
_STEP_BYTES = 0.7  # of a row or a column, nearly
_FEWEST = 1024  # values whose rows and columns are looked at
_TRIED = 2**19  # bytes that zstd is tried on whole
_SAMPLE = 2**16
_SAMPLES = 4


def zstd_level(effort: int) -> int:
    """Of zstd."""
    return 19 if effort >= 7 else 3


def zip_bytes(data: Bytes, level: int) -> bytes:
    """A frame of zstd without its length, which the reader knows."""
    compressors: dict[int, Any] = _of_thread.__dict__.setdefault("compressors", {})
    if level not in compressors:
        compressors[level] = zstandard.ZstdCompressor(level, write_content_size=False)
    return bytes(compressors[level].compress(data))


def zip_pieces(data: Bytes, level: int) -> Iterator[bytes]:
    """The same frame, piece after piece."""
    compressor = zstandard.ZstdCompressor(level, write_content_size=False).compressobj()
    for start in range(0, len(data), PIECE):
        yield compressor.compress(memoryview(data[start : start + PIECE]))
    yield compressor.flush()


def unzip(payload: memoryview, out: Bytes) -> None:
    """What `zip_bytes` made, to `out`.

    Raises:
        DamagedError: for anything else, and for another length.
    """
    view, filled = memoryview(out), 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(payload) as reader:
            while filled < len(out):
                got = reader.readinto(view[filled:])
                if not got:
                    break
                filled += got
            more = reader.read(1)
    except zstandard.ZstdError as error:
        raise DamagedError(f"the bytes of a tensor cannot be unpacked: {error}") from None
    if filled != len(out) or more:
        raise DamagedError("the bytes of a tensor unpack to another length than it has")


def matches_pay(data: Bytes, rate: float, effort: int) -> bool:
    """Whether zstd may take fewer bytes than `rate` a byte: by samples, or from effort 7 on by trying.

    Args:
        data: what is coded.
        rate: bytes a byte that another way takes.
        effort: 0 to 9.
    """
    if effort >= 7 or len(data) <= _TRIED:
        return True
    step = (len(data) - _SAMPLE) // (_SAMPLES - 1)
    parts = np.concatenate([data[i * step : i * step + _SAMPLE] for i in range(_SAMPLES)])
    return len(zip_bytes(parts, 1)) < 1.05 * rate * len(parts)


def _by_places(plane: Bytes, shape: tuple[int, int]) -> tuple[PlaneCode, float] | None:
    places = places_of(plane, shape[1])
    if places is None:
        return None
    counts = np.zeros((CLASSES, 256), np.int64)
    for start in range(0, len(plane), PIECE):
        piece = plane[start : start + PIECE]
        counts += pair_histogram(places.contexts(start, len(piece)), piece, CLASSES)
    found: tuple[PlaneCode, float] | None = None
    for merges in range(MOST_MERGES + 1):
        if merges:
            counts = counts.reshape(-1, 2, 256).sum(1)
        code = PlaneCode(PLACES, frequencies=_tables(counts), places=replace(places, merges=merges))
        cost = _cost(code, counts)
        if found is None or cost < found[1]:
            found = code, cost
    return found


def after(plane: Bytes, before: Bytes) -> tuple[PlaneCode, float] | None:
    """AFTER and its bytes: bytes before that occur often have tables of their own, the others share the last.

    Args:
        plane: what is coded, (n,).
        before: (n,), what is known of each byte.

    Returns:
        None where all bytes are equal.
    """
    pairs = pair_histogram(before, plane, 256)
    counts = pairs.sum(0)
    if np.count_nonzero(counts) < 2:
        return None
    often = np.argsort(-pairs.sum(1), kind="stable")[: CLASSES - 1]
    shared = byte_coder.normalised(counts[None])
    bits = _bits_of(shared[0])
    worth = []
    for byte in often:
        own = pairs[byte]
        if np.count_nonzero(own) > 1:
            table = byte_coder.normalised(own[None])[0]
            if float(own @ (bits - _bits_of(table))) / 8 > len(_pack_table(table)):
                worth.append(int(byte))
    classes = np.full(256, len(worth), np.uint8)
    classes[worth] = np.arange(len(worth))
    merged = np.zeros((len(worth) + 1, 256), np.int64)
    np.add.at(merged, classes, pairs)
    code = PlaneCode(AFTER, frequencies=_tables(merged), classes=classes)
    return code, _cost(code, merged)


def lengths(symbols: Bytes, exponents: Bytes, columns: int) -> tuple[PlaneCode, float]:
    """LENGTHS and its bytes.

    Args:
        symbols: (n,), four times the length of a difference, and more.
        exponents: (n,) of the base: the difference of a float is as much shorter as its exponent is larger.
        columns: of the matrix.
    """
    mean, row, column = deviations(symbols.astype(np.int16) + (exponents.astype(np.int16) << 2), columns)
    places = Places(in_steps(row, 1), in_steps(column, 1))
    code = PlaneCode(LENGTHS, places=places, offset=round(mean) - 2 * int(MIDDLE))
    counts = np.zeros((MOST_LENGTH + 1, 256), np.int64)
    for start in range(0, len(symbols), PIECE):
        piece = symbols[start : start + PIECE]
        contexts = code.contexts(exponents[start : start + PIECE], start, len(piece))
        counts += pair_histogram(_known(contexts), piece, len(counts))
    code = replace(code, frequencies=_tables(counts))
    return code, _cost(code, counts)


def _tables(counts: Counts) -> npt.NDArray[np.uint16]:
    """(tables, 256) frequencies; of a class in which fewer than two bytes occur, two that suffice."""
    counts = counts.copy()
    for row in np.flatnonzero(np.count_nonzero(counts, axis=1) < 2):
        only = int(np.argmax(counts[row]))
        counts[row, only] = max(1, counts[row, only])
        counts[row, only ^ 1] = 1
    return byte_coder.normalised(counts)


def _bits_of(frequencies: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    return byte_coder.PRECISION - np.log2(np.maximum(frequencies, 0.5))


def _entropy(counts: Counts) -> float:
    """Bytes."""
    occurring = counts[counts > 0].astype(np.float64)
    return float(-(occurring @ np.log2(occurring / occurring.sum()))) / 8


def _cost(code: PlaneCode, counts: Counts) -> float:
    """Bytes, with all that the decoder needs, nearly."""
    tables = _known(code.frequencies)
    bits = float((counts * _bits_of(tables)).sum())
    occurs = tables > 0
    between = 256 - np.argmax(occurs, 1) - np.argmax(occurs[:, ::-1], 1)
    around = 0 if code.places is None else (len(code.places.rows) + len(code.places.columns)) * _STEP_BYTES
    around += 0 if code.classes is None else len(code.classes)
    pieces = -(-int(counts.sum()) // PIECE)
    return (
        bits / 8
        + float(between.sum())
        + int((tables >= 128).sum())
        + 2 * len(tables)
        + around
        + pieces * (_WORDS + 3)
    )


# -- packing -----------------------------------------------------------------------------------------------------


def _known(array: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = array
    return found


def _byte(data: memoryview, at: int) -> int:
    if at >= len(data):
        raise DamagedError("the bytes of a tensor end within its tables")
    return data[at]


def _pack_table(frequencies: npt.NDArray[np.uint16]) -> bytes:
    """The first byte that occurs, the last, and the frequencies between: below 128 a byte, else its low 7 bits with the
    top bit set, and then the rest."""
    occurs = np.flatnonzero(frequencies)
    first, last = int(occurs[0]), int(occurs[-1])
    between = frequencies[first : last + 1]
    wide = between >= 128
    starts = np.arange(len(between)) + np.cumsum(wide) - wide
    packed = np.empty(len(between) + int(wide.sum()), np.uint8)
    packed[starts] = (between & 127) | (wide * 128)
    packed[starts[wide] + 1] = between[wide] >> 7
    return bytes([first, last]) + packed.tobytes()


def _unpack_tables(data: memoryview, at: int, count: int) -> tuple[npt.NDArray[np.uint16], int]:
    tables = np.zeros((count, 256), np.uint16)
    for row in tables:
        first, last = _byte(data, at), _byte(data, at + 1)
        size = max(0, last - first + 1)
        packed = np.frombuffer(data[at + 2 : at + 2 + 2 * size], np.uint8).astype(np.uint16)
        follows = np.zeros(len(packed), bool)
        follows[1:] = packed[:-1] >= 128
        starts = np.flatnonzero(~follows)[:size]
        if len(starts) < size:
            raise DamagedError("the bytes of a tensor end within its tables")
        wide = packed[starts] >= 128
        more = starts[wide] + 1
        if len(more) and more[-1] >= len(packed):
            raise DamagedError("the bytes of a tensor end within its tables")
        between = packed[starts] & 127
        between[wide] += packed[more] << 7
        row[first : last + 1] = between
        at += 2 + size + len(more)
        if int(row.sum(dtype=np.int64)) != byte_coder.TOTAL or np.count_nonzero(row) < 2:
            raise DamagedError("a tensor's table is damaged: its frequencies do not add up")
    return tables, at


def _pack_steps(steps: Bytes) -> bytes:
    """The steps of rows and columns by a table of their own, behind the length of that; 0 where all are equal."""
    counts = histogram(steps)
    if np.count_nonzero(counts) == 1:
        return encode_varint(0) + steps[:1].tobytes()
    table = byte_coder.normalised(counts[None])
    message = byte_coder.encode(steps, table)
    return encode_varint(len(message)) + _pack_table(table[0]) + message


def _unpack_steps(data: memoryview, at: int, count: int) -> tuple[Bytes, int]:
    length, at = decode_varint(data, at)
    if not length:
        return np.full(count, min(_byte(data, at), 127), np.uint8), at + 1
    table, at = _unpack_tables(data, at, 1)
    if length > len(data) - at:
        raise DamagedError("a tensor's classes of rows and columns end early")
    steps = np.empty(count, np.uint8)
    byte_coder.decode(data[at : at + length], steps, table)
    if steps.max() > 127:
        raise DamagedError("a tensor's classes of rows and columns are damaged")
    return steps, at + length
