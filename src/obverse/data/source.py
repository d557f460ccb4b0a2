"""The bytes of what a user named, a file or its contents, or a sentence that says why there are none."""

from __future__ import annotations

import io
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from obverse.data.guard import guarded
from obverse.data.loading import check_held, is_limited
from obverse.errors import InputError, LimitError

PIECE = 2**20  # bytes of what may have no end that are read at once


class Contents(io.BytesIO):
    """The bytes of a file, and the name that errors call it by."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


@dataclass(frozen=True)
class _Named:
    """A stream, and the name that errors call it by."""

    stream: BinaryIO
    name: str

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)


def standard_input() -> BinaryIO:
    """What is given on standard input.

    Raises:
        InputError: it is closed.
    """
    if sys.stdin is None:  # Python's way to say that it was closed from the beginning
        raise InputError("standard input is closed: give the data on it, or name a file")
    return cast(BinaryIO, _Named(sys.stdin.buffer, "standard input"))


def as_source(given: Any) -> Path | BinaryIO | None:
    """What a user named in place of data: a path, the bytes of a file, or an open file. None for data itself.

    Args:
        given: text or an object with `__fspath__` is a path; bytes are the contents of a file; what has `read` is one.
    """
    if isinstance(given, str | os.PathLike):
        return Path(os.fsdecode(given))
    if isinstance(given, bytes | bytearray):
        return io.BytesIO(given)
    if isinstance(given, memoryview) and given.ndim == 1 and given.format == "B":
        return io.BytesIO(given.tobytes())
    return given if callable(getattr(given, "read", None)) else None


def name_of(source: Path | BinaryIO) -> str:
    """How errors name it."""
    if isinstance(source, Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "the data"


def read_bytes(source: Path | BinaryIO) -> bytes:
    """All of it. Where the limits are known, what is larger is not read.

    Raises:
        InputError: for a file that is not there or cannot be read, and for a device, which may have no end.
        LimitError: for what is larger than the limits on memory allow.
    """
    name = name_of(source)
    try:
        with guarded(f"{name} cannot be read"):
            if isinstance(source, Path):
                kind = source.stat()
                if stat.S_ISCHR(kind.st_mode) or stat.S_ISBLK(kind.st_mode):
                    raise InputError(
                        f"{name} is a device, not a file: name a file, or give it on standard input"
                    )
                check_held(kind.st_size)
                with source.open("rb") as file:
                    return _all_of(file, name, ends=stat.S_ISREG(kind.st_mode))
            return _all_of(source, name, ends=isinstance(source, io.BytesIO))
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None


def _all_of(file: BinaryIO, name: str, ends: bool) -> bytes:
    """What is left of a file; of one that may not end, piece after piece, as far as the limits allow."""
    size = -1 if ends or not is_limited() else PIECE
    pieces: list[bytes | bytearray | memoryview] = []
    held = 0
    while size > 0 or not pieces:
        piece: object = file.read(size)
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InputError(f"{name} is open for text, not for bytes: open it with mode 'rb'")
        held += len(piece)
        check_held(held)
        pieces.append(piece)
        if not piece:
            break
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
