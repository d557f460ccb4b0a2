"""Items kept on disk until all are there, since a file has the index of its items before them.

append ──► temporary file of payloads, their lengths ──► parts ──► front, index, items: the bytes of a file
"""

from __future__ import annotations

import io
import tempfile
from array import array
from collections.abc import Iterator
from itertools import pairwise
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
        self._starts = array("Q", [0])  # and the end of the last

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> bytes:
        """The payload of an item again."""
        number = range(len(self))[number]
        self._file.seek(self._starts[number])
        return self._file.read(self._starts[number + 1] - self._starts[number])

    @property
    def _lengths(self) -> array[int]:
        return array("Q", (end - start for start, end in pairwise(self._starts)))

    def append(self, *pieces: bytes) -> None:
        """One item more.

        Args:
            *pieces: of its payload, in order.
        """
        try:
            self._file.seek(0, io.SEEK_END)
            self._file.writelines(pieces)
        except OSError as error:
            raise OutputError(f"cannot keep what is compressed: {error.strerror}; free some space") from error
        self._starts.append(self._starts[-1] + sum(map(len, pieces)))

    def clear(self) -> None:
        """As at the beginning."""
        self._file.seek(0)
        self._file.truncate()
        self._starts = array("Q", [0])

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
