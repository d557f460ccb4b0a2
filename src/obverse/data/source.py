"""The bytes of what a user named, a file or standard input, or a sentence that says why there are none."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from obverse.errors import InputError


def name_of(source: Path | BinaryIO) -> str:
    """How errors name it."""
    return str(source) if isinstance(source, Path) else "standard input"


def read_bytes(source: Path | BinaryIO) -> bytes:
    """All of it.

    Raises:
        InputError: for a file that is not there or cannot be read.
    """
    try:
        return source.read_bytes() if isinstance(source, Path) else source.read()
    except FileNotFoundError:
        raise InputError(f"there is no file {name_of(source)}") from None
    except OSError as error:
        raise InputError(f"{name_of(source)} cannot be read: {error.strerror}") from error
