"""The bytes of what a user named, a file or its contents, or a sentence that says why there are none."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from obverse.data.guard import guarded
from obverse.errors import InputError


class Contents(io.BytesIO):
    """The bytes of a file, and the name that errors call it by."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


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
        return io.BytesIO(given)
    return given if callable(getattr(given, "read", None)) else None


def name_of(source: Path | BinaryIO) -> str:
    """How errors name it."""
    if isinstance(source, Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "the data"


def read_bytes(source: Path | BinaryIO) -> bytes:
    """All of it.

    Raises:
        InputError: for a file that is not there or cannot be read.
    """
    name = name_of(source)
    with guarded(f"{name} cannot be read"):
        data: object = source.read_bytes() if isinstance(source, Path) else source.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name} is open for text, not for bytes: open it with mode 'rb'")
    return bytes(data)
