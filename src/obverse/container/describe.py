"""What a file holds, in numbers: the facts behind `obverse info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.header import unpack_header
from obverse.container.limits import Limits
from obverse.container.sections import each_item, read_index, read_section
from obverse.container.source import SourceLike, open_source


def describe(source: SourceLike, limits: Limits | None = None) -> dict[str, Any]:
    """Read a whole file, check all checksums, keep no payload.

    Returns:
        `file_bytes`, `header_bytes`, `version`, `codec`, `config`, `shape` (tuple), `model` (fingerprint in hex, or
            None), `samples` (checksum of the decoded data in hex, or None), `metadata`, `sections` (name -> bytes of
            payload), `items` (count, or None) and `item_bytes` (all items' payloads together, or None).

    Raises:
        InputError: as `read`.
        DecodeError: as `read`.
        LimitError: as `read`; the memory limit is per section or item.
    """
    limits = Limits.of(limits)
    with open_source(source) as opened:
        header = unpack_header(opened, limits)
        sections: dict[str, int] = {}
        item_bytes: int | None = None
        if header.items is None:
            for name in header.section_names:
                sections[name] = len(read_section(opened, f"section {name!r}", limits))
        else:
            lengths = read_index(opened, header.items, limits)
            item_bytes = sum(lengths)
            for _ in each_item(opened, lengths, limits):
                pass  # read for its checksum
        opened.expect_end()
        return {
            "file_bytes": opened.taken,
            "header_bytes": header.bytes,
            "version": header.version,
            "codec": header.codec,
            "config": header.config,
            "shape": header.shape,
            "model": None if header.model is None else header.model.hex(),
            "samples": None if header.samples is None else f"{header.samples:08x}",
            "metadata": header.metadata,
            "sections": sections,
            "items": header.items,
            "item_bytes": item_bytes,
        }


def rate(file: Mapping[str, Any], count: int, unit: str) -> str:
    """The rate of a whole file, as a person reads it.

    Args:
        file: what `describe` returns.
        count: of the units it holds.
        unit: what one is called.
    """
    return f"{8 * file['file_bytes'] / count:.4f} bits per {unit}"
