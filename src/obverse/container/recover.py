"""What is left of a damaged stream of items: every item whose section is whole.

A file that was cut, or of which some bytes changed, cannot be decoded as it is: `read` refuses it. But the index says
where each item begins, and each has its own checksum, so the whole ones can be told from the others.
"""

from __future__ import annotations

import zlib

from obverse.container.header import Header, unpack_header
from obverse.container.limits import Limits
from obverse.container.sections import read_lengths, section_bytes
from obverse.container.source import SourceLike, open_source
from obverse.container.varint import encode_varint
from obverse.errors import InputError


def recover_items(
    source: SourceLike, limits: Limits | None = None
) -> tuple[Header, list[bytes | None], list[str]]:
    """The header, each item's payload or None, and a sentence for each item that is None.

    Args:
        source: bytes, a path or a binary file, also a pipe.
        limits: what it may ask for.

    Raises:
        InputError: the source cannot be read, or is not a stream of items.
        NotObverseError: not an .obv file.
        NewerVersionError: written by a newer format version.
        TruncatedError: the header or the index is cut off, so that nothing can be found.
        DamagedError: the header or the index is not whole, so that nothing can be found.
        LimitError: larger than `limits`.
    """
    limits = Limits.of(limits)
    with open_source(source) as opened:
        header = unpack_header(opened, limits)
        if header.items is None:
            raise InputError(f"{opened.name}: not a stream of items; it can only be read whole")
        lengths = read_lengths(opened, header.items, limits)
        limits.check_memory(64 * header.items)  # what becomes of them
        items: list[bytes | None] = []
        missing: list[str] = []
        held = 0
        for number, length in enumerate(lengths):
            wanted = section_bytes(length)
            if opened.remaining is not None and wanted > opened.remaining:
                # take what is there: what follows a cut item is missing too
                section = opened.read_at_most(opened.remaining)
            else:
                limits.check_memory(held + wanted)
                section = opened.read_at_most(wanted)
            payload = _payload(section, length)
            if payload is None:
                cut = len(section) < wanted
                missing.append(f"item {number} is {'cut off' if cut else 'damaged'}")
            else:
                held += length
            items.append(payload)
    return header, items, missing


def _payload(section: bytes, length: int) -> bytes | None:
    """The payload of a section that is whole and as long as the index says; else None."""
    front = encode_varint(length)
    end = len(front) + length
    if len(section) != end + 4 or not section.startswith(front):
        return None
    payload = section[len(front) : end]
    checksum = int.from_bytes(section[end:], "little")
    return payload if checksum == zlib.crc32(payload, zlib.crc32(front)) else None
