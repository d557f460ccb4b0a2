"""Bytes, a path or an open file, read front to back without ever trusting a length."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

from obverse.container.varint import decode_varint
from obverse.errors import DamagedError, InputError, TruncatedError

SourceLike: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO"

# A source of unknown length (a pipe) is read in pieces of this many bytes.
_PIECE = 2**20


class Source:
    """Reads `file` from where it stands. `taken` counts the bytes read so far.

    Args:
        file: a binary file.
        name: what error sentences call it.

    Raises:
        InputError: in every method, when the operating system cannot read.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.taken = 0
        self._file = file
        self._length = self._measure()

    def _measure(self) -> int | None:
        """How many bytes lie ahead; None when that cannot be known (a pipe)."""
        try:
            if not self._file.seekable():
                return None
            start = self._file.tell()
            end = self._file.seek(0, io.SEEK_END)
            self._file.seek(start)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: cannot be read ({error})") from error
        return max(0, end - start)

    @property
    def remaining(self) -> int | None:
        """Bytes that lie ahead; None when that cannot be known."""
        return None if self._length is None else self._length - self.taken

    def require(self, count: int, part: str) -> None:
        """Check that `count` bytes lie ahead, as far as that is known.

        Raises:
            TruncatedError: when it is already known that fewer than `count` bytes lie ahead.
        """
        if self.remaining is not None and count > self.remaining:
            raise self._truncated(part)

    def read(self, count: int, part: str) -> bytes:
        """Exactly `count` bytes.

        Args:
            count: how many.
            part: what they are, a noun for the error sentence.

        Raises:
            TruncatedError: when fewer lie ahead.
        """
        self.require(count, part)
        data = self.read_at_most(count)
        if len(data) < count:
            raise self._truncated(part)
        return data

    def read_at_most(self, count: int) -> bytes:
        """`count` bytes, fewer only where the source ends. Memory grows only with what is there."""
        pieces: list[bytes] = []
        missing = count
        while missing > 0:
            # `require` has checked `missing` where the length is known; else trust one piece at a time.
            piece = self._read_once(min(missing, _PIECE) if self._length is None else missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
            self.taken += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_once(self, count: int) -> bytes:
        try:
            piece: object = self._file.read(count)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: cannot be read ({error})") from error
        if not isinstance(piece, bytes) or len(piece) > count:
            raise InputError(f"{self.name}: not a file opened for reading bytes; open it with mode 'rb'")
        return piece

    def read_varint(self, max_bytes: int, part: str) -> tuple[int, bytes]:
        """One varint of `part`: its value and the bytes that spell it."""
        raw = b""
        while len(raw) < max_bytes and (not raw or raw[-1] >= 0x80):
            raw += self.read(1, part)
        try:
            return decode_varint(raw, 0, max_bytes)[0], raw
        except DamagedError as error:
            raise self.damaged(f"{part}: {error}") from error

    def expect_end(self) -> None:
        """Check that nothing follows.

        Raises:
            DamagedError: when anything follows.
        """
        if self.read_at_most(1):
            raise self.damaged("more bytes follow its end")

    def damaged(self, what: str) -> DamagedError:
        """A DamagedError to raise, naming this source."""
        return DamagedError(f"{self.name}: damaged: {what}; get a fresh copy")

    def _truncated(self, part: str) -> TruncatedError:
        return TruncatedError(f"{self.name}: ends early, within {part}; get a complete copy")


def open_file(source: SourceLike) -> tuple[BinaryIO, str, bool]:
    """(binary file, name for error sentences, whether the caller must close it).

    Raises:
        InputError: no such path, a directory, not readable, or not a source at all.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        # one that skips bytes is no buffer
        data = source.tobytes() if isinstance(source, memoryview) else source
        return io.BytesIO(data), "the data", True
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        try:
            return open(path, "rb"), path, True
        except FileNotFoundError:
            raise InputError(f"there is no file {path}") from None
        except IsADirectoryError:
            raise InputError(f"{path} is a directory, not a file") from None
        except PermissionError:
            # Windows says "permission denied" for directories too.
            if os.path.isdir(path):
                raise InputError(f"{path} is a directory, not a file") from None
            raise InputError(f"{path} may not be read: permission denied") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path!r} cannot be opened ({error})") from error
    if hasattr(source, "read") and hasattr(source, "seekable"):
        name = getattr(source, "name", None)
        return source, name if isinstance(name, str) else "the file", False
    raise InputError(f"needs bytes, a path or a binary file, not {type(source).__name__}")


@contextmanager
def open_source(source: SourceLike) -> Iterator[Source]:
    """A Source on anything that `open_file` accepts; closes only what it opened."""
    file, name, owned = open_file(source)
    try:
        yield Source(file, name)
    finally:
        if owned:
            file.close()
