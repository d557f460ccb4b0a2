"""Segments of a set that the model does not fit, stored without it: a set never becomes longer in silence.

    segments ──► message of the model ──┬─► the shortest, behind the number of its method
             ──► rows, filtered, LZMA ──┤   (all of them the model's: no such numbers, as in files before)
             ──► rows, LZMA ────────────┤
             ──► samples as they are ───┘

A segment is rows of samples. LZMA takes up to half of the model's time, so it is tried on a sample of the rows first,
and on all where that is not much longer than the model's message.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding import filtered_rows
from obverse.container.sections import pack_index, section_bytes
from obverse.errors import DamagedError

MODEL, RAW, FILTERED, PLAIN = range(4)
NEAR = 1.2  # times what is to be beaten: an estimate above that is not tried
MOST_AROUND = 64  # bytes that a file of stored segments may have around its samples, beside its front
FEWEST = 3  # segments that samples are stored in where several more would take more than that

Bytes = npt.NDArray[np.uint8]


class ModelFitWarning(UserWarning):
    """The data are not of the kind that the model was trained on; they were stored without it, or at a loss."""


@dataclass(frozen=True)
class Samples:
    """How a codec's samples lie in rows.

    Args:
        width: samples of a row.
        step: samples of a pixel, that LZMA's row filters look back by.
        levels: how many values a sample has, 2 to 256.
    """

    width: int
    step: int = 1
    levels: int = 256

    @property
    def bits(self) -> int:
        """Of a sample as it is."""
        return max(1, (self.levels - 1).bit_length())

    def raw_bytes(self, count: int) -> int:
        """Of so many samples as they are."""
        return -(-count * self.bits // 8)

    def rows_of(self, images: npt.NDArray[Any]) -> Bytes:
        """(R, width) of images."""
        return images.reshape(-1, self.width)

    def shorter(self, size: float, rows: Bytes) -> bytes | None:
        """Number and data of the method, of those without the model, that is shorter than a message of so many bytes.

        Args:
            size: of the model's message.
            rows: (R, width).

        Returns:
            None where the model's message is the shortest, or an estimate says so.
        """
        raw = self.raw_bytes(rows.size)
        least = min(size, 1 + raw)
        packed = self._lzma(rows, least)
        if packed is not None and len(packed) < least:
            return packed
        return bytes([RAW]) + self.packed(rows) if 1 + raw < size else None

    def _lzma(self, rows: Bytes, most: float) -> bytes | None:
        """By the better of two ways, by an estimate; None where that says that more than `most` would come of it."""
        if rows.nbytes > filtered_rows.MOST:
            return None
        filtered, plain = filtered_rows.estimate(rows, self.step)
        if min(filtered, plain) > NEAR * most:
            return None
        if plain <= filtered:
            return bytes([PLAIN]) + filtered_rows.pack(rows.tobytes(), self.step)
        data = filtered_rows.encode(rows, self.step, int(most))
        return None if data is None else bytes([FILTERED]) + data

    def rates(
        self, bits: npt.NDArray[np.float64], images: npt.NDArray[Any], segment: int
    ) -> npt.NDArray[np.float64]:
        """What each image costs, in bits, where a segment is stored without the model if that is shorter.

        Args:
            bits: (n,) what the model says.
            images: (n, ...).
            segment: images of one.
        """
        rates = bits.copy()
        for first in range(0, len(images), segment):
            here = slice(first, first + segment)
            found = self.shorter(math.ceil(float(bits[here].sum()) / 8), self.rows_of(images[here]))
            if found is not None:
                rates[here] = 8 * len(found) / len(images[here])
        return rates

    def restore(self, method: int, data: bytes, count: int) -> Bytes:
        """The rows of a segment that is stored without the model.

        Args:
            method: its number.
            data: behind it.
            count: rows.

        Raises:
            DamagedError: for what `shorter` does not give.
        """
        if method == FILTERED:
            rows = filtered_rows.decode(data, count, self.width, self.step)
        elif method == PLAIN:
            plain = filtered_rows.unpack(data, count * self.width)
            rows = np.frombuffer(plain, np.uint8).reshape(count, self.width)
        elif method == RAW:
            rows = self._unpacked(data, count)
        else:
            raise DamagedError(f"there is no method {method} to store a segment")
        if self.levels < 256 and int(rows.max()) >= self.levels:
            raise DamagedError("a stored segment has values that its model does not have")
        return rows

    def packed(self, rows: Bytes) -> bytes:
        """The samples as they are, each with as many bits as it needs."""
        if self.bits == 8:
            return rows.tobytes()
        return np.packbits(np.unpackbits(rows.reshape(-1, 1), axis=1)[:, 8 - self.bits :]).tobytes()

    def _unpacked(self, data: bytes, count: int) -> Bytes:
        samples = count * self.width
        if len(data) != self.raw_bytes(samples):
            raise DamagedError("a stored segment has another length than its samples")
        packed = np.frombuffer(data, np.uint8)
        if self.bits == 8:
            return packed.reshape(count, self.width)
        bits = np.unpackbits(packed, count=samples * self.bits).reshape(samples, self.bits)
        if np.unpackbits(packed)[samples * self.bits :].any():
            raise DamagedError("a stored segment has something behind its samples")
        values = np.zeros((samples, 8), np.uint8)
        values[:, 8 - self.bits :] = bits
        return np.packbits(values, axis=1).reshape(count, self.width)


@dataclass(frozen=True)
class Stored:
    """The items of a file, by the shortest way for each.

    Attributes:
        items: payloads; each behind the number of its method, unless all are the model's.
        stored: how many of them are stored without the model.
        segment: images of an item.
    """

    items: tuple[bytes, ...]
    stored: int
    segment: int


def shortest(samples: Samples, messages: Sequence[bytes], images: npt.NDArray[Any], segment: int) -> Stored:
    """The model's messages, or what is shorter than they.

    A file never has more than MOST_AROUND bytes beyond its front and its samples as they are: where it would, these are
    stored, in fewer segments.

    Args:
        samples: how the images lie in rows.
        messages: of the segments.
        images: (n, ...) uint8.
        segment: images of a message.
    """
    items = list(messages)
    stored = 0
    for number, message in enumerate(messages):
        rows = samples.rows_of(images[number * segment : (number + 1) * segment])
        found = samples.shorter(len(message), rows)
        if found is not None:
            items[number] = found
            stored += 1
    if stored:
        items = [bytes([MODEL]) + item if item is messages[i] else item for i, item in enumerate(items)]
    if _bytes_around(items) <= samples.raw_bytes(images.size) + MOST_AROUND:
        return Stored(tuple(items), stored, segment)
    segment = -(-len(images) // FEWEST)
    items = [
        bytes([RAW]) + samples.packed(samples.rows_of(images[first : first + segment]))
        for first in range(0, len(images), segment)
    ]
    return Stored(tuple(items), len(items), segment)


def _bytes_around(items: Sequence[bytes]) -> int:
    """Of a file with these items, behind its front."""
    return sum(section_bytes(len(item)) for item in items) + section_bytes(len(pack_index(map(len, items))))


def warn_of(stored: Stored, before: int, model: str, remedy: str) -> None:
    """Say that the model does not fit, where it does not.

    Args:
        stored: what is written.
        before: bytes of the messages of the model.
        model: its name.
        remedy: what to use in its place.
    """
    if stored.stored:
        after = sum(map(len, stored.items))
        warnings.warn(
            f"the model {model} does not fit these data, or they are too few for it: {stored.stored} of "
            f"{len(stored.items)} segments are stored without it ({before} bytes would be {after}); {remedy}",
            ModelFitWarning,
            stacklevel=3,
        )


def checked_count(config: dict[Any, Any], key: int, version: int, items: int) -> int:
    """How many segments a file says are stored without the model, 0 where all are the model's.

    Args:
        config: of the header.
        key: that says so.
        version: of the format.
        items: segments in all.

    Raises:
        DamagedError: for what cannot be.
    """
    if key not in config:
        return 0
    count = config[key]
    if type(count) is not int or not 1 <= count <= items or version < 2:
        raise DamagedError("the header's number of segments that are stored without the model cannot be")
    return count


def check_methods(items: Sequence[bytes], stored: int) -> None:
    """Check that as many items are stored without the model as the header says.

    Args:
        items: all of them.
        stored: what `checked_count` gave.

    Raises:
        DamagedError: where they are not.
    """
    if stored and sum(item[:1] != bytes([MODEL]) for item in items) != stored:
        raise DamagedError("other segments are stored without the model than the header says")


def method_of(payload: bytes, some_stored: bool) -> tuple[int, bytes]:
    """Number of the method of an item, and its data.

    Args:
        payload: of the item.
        some_stored: whether the file's items begin with such a number.

    Raises:
        DamagedError: for an item without one.
    """
    if not some_stored:
        return MODEL, payload
    if not payload:
        raise DamagedError("a segment is empty: it does not say how it is stored")
    return payload[0], payload[1:]
