"""Read one item of a stream without the rest."""

from __future__ import annotations

import operator
from array import array
from itertools import accumulate
from types import TracebackType
from typing import Protocol, SupportsIndex

from obverse.container.header import unpack_header
from obverse.container.limits import Limits
from obverse.container.sections import read_index, read_item, section_bytes
from obverse.container.source import Source, SourceLike, open_file
from obverse.errors import InputError


class Items(Protocol):
    """Payloads by number, wherever they lie."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> bytes: ...


class ItemReader:
    """A sequence of the items' payloads, each read when it is asked for.

        with ItemReader("frames.obv") as reader:
            last = reader[len(reader) - 1]

    Opening reads the header and the index; `reader[i]` seeks to item `i` and checks its checksum. Errors come on
    opening, and on reading an item. One thread at a time: the reader moves the file's position.

    Raises:
        InputError: cannot be read, cannot seek, or not a stream of items.
        NotObverseError: not an .obv file.
        NewerVersionError: written by a newer format version.
        TruncatedError: the file ends too early.
        DamagedError: a checksum or a field is wrong.
        LimitError: larger than `limits`; the memory limit is per item.
        IndexError: there is no item `i` (negative ones count from the end).
    """

    def __init__(self, source: SourceLike, limits: Limits | None = None) -> None:
        self._limits = Limits.of(limits)
        self._file, self._name, self._owned = open_file(source)
        try:
            opened = Source(self._file, self._name)
            if opened.remaining is None:
                raise InputError(f"{self._name}: cannot seek in it; read it whole with `read`")
            start = self._file.tell()
            self.header = unpack_header(opened, self._limits)
            if self.header.items is None:
                raise InputError(f"{self._name}: not a stream of items; read it with `read`")
            self._lengths = read_index(opened, self.header.items, self._limits)
            sizes = map(section_bytes, self._lengths)
            # _starts[i] is where item i begins in the file; one more entry for the end of the last.
            self._starts = array("Q", accumulate(sizes, initial=start + opened.taken))
            if self._starts[-1] != start + opened.taken + opened.remaining:
                raise opened.damaged("more bytes follow its end")
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, i: SupportsIndex) -> bytes:
        number = operator.index(i)
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"{self._name}: there is no item {operator.index(i)}; it has {len(self)}")
        try:
            self._file.seek(self._starts[number])
        except (OSError, ValueError) as error:
            raise InputError(f"{self._name}: cannot be read ({error})") from error
        return read_item(Source(self._file, self._name), number, self._lengths[number], self._limits)

    def close(self) -> None:
        """Close the file if this reader opened it. May be called twice."""
        if self._owned:
            self._file.close()

    def __enter__(self) -> ItemReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
