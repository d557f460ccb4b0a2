"""What follows the header: sections (length, payload, checksum), and the index of a stream of items."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

from obverse.container.limits import Limits
from obverse.container.source import Source
from obverse.container.varint import MAX_BYTES, decode_varint, encode_varint
from obverse.errors import DecodeError

_CHECKSUM_BYTES = 4
AT_ONCE = 2**16  # bytes of sections that are read together, where there are several in so many
ITEM_MEMORY = 40  # bytes that Python needs for an item, even an empty one


def pack_section(payload: bytes) -> list[bytes]:
    """The parts of one section, to be joined: length, payload, CRC-32 of both."""
    length = encode_varint(len(payload))
    return [length, payload, zlib.crc32(payload, zlib.crc32(length)).to_bytes(_CHECKSUM_BYTES, "little")]


def pack_index(lengths: Iterable[int]) -> bytes:
    """The payload of the index: the length of every item's payload in bytes."""
    return b"".join(map(encode_varint, lengths))


def section_bytes(length: int) -> int:
    """Bytes of a whole section whose payload has `length` bytes."""
    return len(encode_varint(length)) + length + _CHECKSUM_BYTES


def read_section(
    source: Source, part: str, limits: Limits, held: int = 0, least: int = 0, most: int | None = None
) -> bytes:
    """The payload of the next section, its checksum checked.

    Args:
        source: where it is read.
        part: what error sentences call the section.
        limits: what it may ask for.
        held: bytes that the caller holds already; counts against `limits.memory`.
        least: lower bound on the payload length in bytes, where it is known.
        most: upper bound on the payload length in bytes, where it is known.

    Raises:
        TruncatedError: the source ends within the section.
        DamagedError: a length that cannot be, or a checksum that does not match.
        LimitError: more than `limits.memory`.
    """
    length, raw = source.read_varint(MAX_BYTES, part)
    if length < least or (most is not None and length > most):
        raise source.damaged(f"{part} has a length of {length} bytes, which cannot be")
    source.require(length + _CHECKSUM_BYTES, part)
    limits.check_memory(held + length)
    payload = source.read(length, part)
    checksum = int.from_bytes(source.read(_CHECKSUM_BYTES, part), "little")
    if checksum != zlib.crc32(payload, zlib.crc32(raw)):
        raise source.damaged(f"the checksum of {part} does not match")
    return payload


def read_index(source: Source, count: int, limits: Limits) -> array[int]:
    """Payload lengths in bytes of `count` items, as 64-bit numbers.

    The lengths are not yet known to be true, except that the file is long enough for them where its length is known.

    Raises:
        TruncatedError: the source ends within the index, or is too short for the items.
        DamagedError: the index does not list `count` lengths, or its checksum does not match.
        LimitError: more than `limits.memory`.
    """
    lengths = read_lengths(source, count, limits)
    source.require(_bytes_of(lengths), "the items")
    return lengths


def read_lengths(source: Source, count: int, limits: Limits) -> array[int]:
    """As `read_index`, but the items need not be there."""
    # Every number takes 1 to 9 bytes, so a wrong count shows before anything is read.
    index = read_section(source, "the index", limits, 0, count, MAX_BYTES * count)
    limits.check_memory(8 * count)
    if len(index) == count and index.isascii():  # a byte each: millions of small items are read at once
        return array("Q", iter(index))
    lengths, at = array("Q"), 0
    try:
        for _ in range(count):
            length, at = decode_varint(index, at)
            lengths.append(length)
    except DecodeError as error:
        raise source.damaged(f"the index: {error}") from error
    if at != len(index):
        raise source.damaged("the index lists more items than the header")
    return lengths


def _bytes_of(lengths: Sequence[int]) -> int:
    """Of all sections of items with these lengths."""
    if max(lengths, default=0) < 0x80:
        return sum(lengths) + len(lengths) * section_bytes(0)
    return sum(map(section_bytes, lengths))


def each_item(source: Source, lengths: Sequence[int], limits: Limits) -> Iterator[bytes]:
    """The payloads of all items, one after the other, which must have the lengths that the index gives.

    Raises:
        TruncatedError: the source ends within an item.
        DamagedError: a length or a checksum does not match.
        LimitError: one that is larger than `limits.memory`.
    """
    end = 0
    while end < len(lengths):
        first, wanted = end, 0
        while end < len(lengths) and (end == first or wanted < AT_ONCE):
            wanted += section_bytes(lengths[end])
            end += 1
        if end == first + 1:
            yield read_item(source, first, lengths[first], limits)
            continue
        group = source.read_at_most(wanted)
        sliced = _sliced(group, lengths[first:end])
        if sliced is None:  # one after the other, for the error of the item that is at fault
            again = Source(BytesIO(group), source.name)
            sliced = [read_item(again, i, lengths[i], limits) for i in range(first, end)]
        yield from sliced


def _sliced(group: bytes, lengths: Sequence[int]) -> list[bytes] | None:
    """The payloads of sections that lie in memory; None where one of them is not whole."""
    payloads, at = [], 0
    prefixes: dict[int, tuple[bytes, int]] = {}
    for length in lengths:
        if length not in prefixes:
            prefix = encode_varint(length)
            prefixes[length] = prefix, zlib.crc32(prefix)
        prefix, checksum = prefixes[length]
        begin = at + len(prefix)
        at = begin + length + _CHECKSUM_BYTES
        payload = group[begin : begin + length]
        if not group.startswith(prefix, begin - len(prefix)) or (
            zlib.crc32(payload, checksum).to_bytes(_CHECKSUM_BYTES, "little") != group[begin + length : at]
        ):
            return None
        payloads.append(payload)
    return payloads


def read_item(source: Source, i: int, length: int, limits: Limits, held: int = 0) -> bytes:
    """The payload of item `i`, which must have the length that the index gives."""
    return read_section(source, f"item {i}", limits, held, length, length)
