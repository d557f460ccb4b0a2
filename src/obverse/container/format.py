"""Write and read a whole `.obv` file.

front of the file (header.py) | section | section | ...
front of the file (header.py) | index   | item 0  | item 1 | ...
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

from obverse.container.header import Header, pack_header, unpack_header
from obverse.container.limits import Limits
from obverse.container.sections import (
    ITEM_MEMORY,
    each_item,
    pack_index,
    pack_section,
    read_index,
    read_section,
)
from obverse.container.source import SourceLike, open_source
from obverse.errors import InputError


@dataclass(frozen=True)
class Container:
    """The contents of one file: either named sections, or a stream of items.

    Attributes:
        codec: the codec id.
        config: the codec's own settings; keys are text or whole numbers from 0 to 23 (which take one
            byte), values None, bool, int, float, str, bytes, list or dict.
        shape: shape of the coded data; what the axes mean is up to the codec.
        sections: payloads by name, in order. Must be empty for a stream of items.
        model: fingerprint (8 bytes) of the model that wrote the file, None without a model.
        metadata: the user's own: text keys; text, int, float, bytes or bool values.
        items: payloads of a stream of items; None when the file is not one.
        version: of the format: 1, or 2 for a file that has what a reader of version 1 does not know.
        samples: checksum of the data that are decoded (`samples_checksum`); version 2 only.
    """

    codec: str
    config: dict[Any, Any]
    shape: tuple[int, ...]
    sections: dict[str, bytes] = field(default_factory=dict)
    model: bytes | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    items: tuple[bytes, ...] | None = None
    version: int = 1
    samples: int | None = None


def write(container: Container, limits: Limits | None = None) -> bytes:
    """The bytes of a file. Equal containers give equal bytes.

    Raises:
        InputError: a field cannot be stored; the sentence names it.
        LimitError: the header or the item count is larger than a reader accepts by default.
    """
    limits = Limits.of(limits)
    items = container.items
    payloads = list(container.sections.values()) if items is None else list(items)
    for payload in payloads:
        if not isinstance(payload, bytes | bytearray):
            raise InputError(f"a payload must be bytes, not {type(payload).__name__}")
    parts = [front_of(container, None if items is None else len(items), limits)]
    if items is not None:
        payloads.insert(0, pack_index(map(len, items)))
    for payload in payloads:
        parts += pack_section(payload)
    return b"".join(parts)


def front_of(container: Container, count: int | None, limits: Limits) -> bytes:
    """The front of a file, before its sections or items.

    Args:
        container: its items are not looked at.
        count: of the items, None where it is no stream of items.
        limits: of the header and the items.

    Raises:
        InputError: a field cannot be stored; the sentence names it.
        LimitError: the header or the item count is larger than `limits`.
    """
    if count is not None and container.sections:
        raise InputError("a stream of items cannot have named sections too")
    limits.check_items(count or 0)
    try:
        header = Header(
            codec=container.codec,
            config=container.config,
            shape=tuple(operator.index(size) for size in container.shape),
            section_names=tuple(container.sections),
            model=container.model,
            items=count,
            metadata=container.metadata,
            version=container.version,
            samples=container.samples,
        )
        front = pack_header(header)
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot write this container: {error}") from error
    limits.check_header(len(front))
    return front


def read_header(source: SourceLike, limits: Limits | None = None) -> Header:
    """Read only the front of a file (an open file is left standing behind it).

    Raises:
        InputError: as `read`.
        DecodeError: as `read`.
        LimitError: as `read`.
    """
    with open_source(source) as opened:
        return unpack_header(opened, Limits.of(limits))


def read(source: SourceLike, limits: Limits | None = None) -> Container:
    """Read a whole file from bytes, a path or a binary file (also a pipe); all checksums are checked.

    Raises:
        InputError: the source cannot be read at all.
        NotObverseError: not an .obv file.
        NewerVersionError: written by a newer format version.
        TruncatedError: the file ends too early.
        DamagedError: a checksum or a field is wrong.
        LimitError: larger than `limits` (the default ones unless given).
    """
    limits = Limits.of(limits)
    with open_source(source) as opened:
        header = unpack_header(opened, limits)
        sections: dict[str, bytes] = {}
        items: tuple[bytes, ...] | None = None
        held = 0
        if header.items is None:
            for name in header.section_names:
                sections[name] = read_section(opened, f"section {name!r}", limits, held)
                held += len(sections[name])
        else:
            lengths = read_index(opened, header.items, limits)
            limits.check_memory(sum(lengths) + ITEM_MEMORY * len(lengths))
            items = tuple(each_item(opened, lengths, limits))
        opened.expect_end()
    return Container(
        codec=header.codec,
        config=header.config,
        shape=header.shape,
        sections=sections,
        model=header.model,
        metadata=header.metadata,
        items=items,
        version=header.version,
        samples=header.samples,
    )
