"""Items kept on disk until all are there, since a file has the index of its items before them.

append ──► temporary file of payloads, their lengths ──► parts ──► front, index, items: the bytes of a file
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from types import TracebackType
from typing import IO

from obverse.container.format import Container, front_of
from obverse.container.limits import Limits
from obverse.container.sections import pack_index, pack_section, section_bytes
from obverse.errors import OutputError

IN_MEMORY = 2**24  # bytes of payload that do not need a file


class ItemSpool:
    """Payloads in order; a few are kept in memory, many in a temporary file that nobody else sees.

    Args:
        folder: where the temporary file lies; the system's by default.

    Raises:
        OutputError: in every method, where the disk is full.
    """

    def __init__(self, folder: str | None = None):
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder)  # noqa: SIM115
        self._lengths = array("Q")

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, payload: bytes) -> None:
        """One item more."""
        try:
            self._file.write(payload)
        except OSError as error:
            raise OutputError(f"cannot keep what is compressed: {error.strerror}; free some space") from error
        self._lengths.append(len(payload))

    def clear(self) -> None:
        """As at the beginning."""
        self._file.seek(0)
        self._file.truncate()
        self._lengths = array("Q")

    def items(self) -> Iterator[bytes]:
        """The payloads again."""
        self._file.seek(0)
        for length in self._lengths:
            yield self._file.read(length)

    def file_bytes(self, container: Container) -> int:
        """Of the whole file.

        Args:
            container: with all but the items.
        """
        return len(front_of(container, len(self), Limits())) + self.item_bytes

    @property
    def item_bytes(self) -> int:
        """Of the index and the items, with what is around them."""
        index = sum(-(-max(1, length.bit_length()) // 7) for length in self._lengths)
        return section_bytes(index) + sum(map(section_bytes, self._lengths))

    def parts(self, container: Container) -> Iterator[bytes]:
        """The bytes of the whole file, as `write` makes them, part after part.

        Args:
            container: with all but the items.
        """
        yield front_of(container, len(self), Limits())
        yield from pack_section(pack_index(self._lengths))
        for payload in self.items():
            yield from pack_section(payload)

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __enter__(self) -> ItemSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
