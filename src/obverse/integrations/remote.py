"""Files elsewhere, by fsspec: only the bytes that are asked for travel."""

from __future__ import annotations

from typing import Any, BinaryIO

from obverse.data.guard import guarded
from obverse.errors import MissingExtraError


def open_remote(address: str) -> BinaryIO:
    """A file to read, by its address.

    Args:
        address: as fsspec has it, "s3://bucket/model.obv" or "https://...".

    Raises:
        MissingExtraError: where fsspec, or what it needs for such an address, is not installed.
        InputError: where the file cannot be opened.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(
            "reading files by their address needs fsspec: pip install 'obverse[fsspec]', or download the file"
        ) from None
    with guarded(f"{address} cannot be opened"):
        try:
            opened: Any = fsspec.open(address, "rb").open()
        except ImportError as error:
            raise MissingExtraError(f"{address} cannot be opened: {error}") from None
    file: BinaryIO = opened
    return file
