"""Arrays: .npy files in, .npy bytes out. Nothing is ever unpickled."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from obverse.data.source import name_of, read_bytes
from obverse.errors import InputError

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
# what NumPy raises on damaged bytes: headers are parsed as Python, archives by zipfile
UNREADABLE = (
    ValueError, TypeError, KeyError, EOFError, OSError, MemoryError, OverflowError, SyntaxError, NotImplementedError,
    RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_array(source: Path | BinaryIO, what: str = "data") -> npt.NDArray[np.generic]:
    """The array of a .npy file.

    Args:
        source: the file.
        what: what the array is for, as errors name it.

    Raises:
        InputError: for a file that cannot be read or holds no array of numbers.
    """
    name, raw = name_of(source), read_bytes(source)
    if raw.startswith(ZIP):
        raise InputError(f"{name} ({what}) holds several arrays; give one .npy array")
    if not raw.startswith(NPY):
        raise InputError(f"{name} ({what}) is not a .npy file; write it with numpy.save")
    try:
        return np.asarray(np.load(io.BytesIO(raw), allow_pickle=False))
    except UNREADABLE as error:
        raise InputError(
            f"{name} ({what}) is not a .npy array of numbers: {error}; write it with numpy.save"
        ) from error


def as_array(data: Any, what: str = "the data") -> npt.NDArray[Any]:
    """The data as one array.

    Args:
        data: an array, or rows of numbers.
        what: how errors name it.

    Raises:
        InputError: for rows of several lengths, and the like.
    """
    try:
        return np.asarray(data)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: this is no array of one shape: {error}") from None


def npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def check_npy_name(target: str) -> None:
    """Check the name of a file that an array is written to.

    Raises:
        InputError: for the name of another kind of file, in which an array would not be found again.
    """
    if Path(target).suffix.lower() != ".npy":
        raise InputError(f"{target}: arrays are written as .npy files only; name the output so")


def read_pairs(path: Path) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """The arrays x and y of a .npz file (numpy.savez(path, x=..., y=...)).

    Raises:
        InputError: for a file that is not there or does not hold these arrays.
    """
    try:
        arrays = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(arrays, np.ndarray) or not {"x", "y"} <= set(arrays.files):
            raise InputError(
                f"{path} does not hold the arrays x and y; write it with numpy.savez(path, x=x, y=y)"
            )
        with arrays:
            return arrays["x"], arrays["y"]
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except UNREADABLE as error:
        raise InputError(
            f"{path} is not a .npz file of numbers: {error}; write it with numpy.savez"
        ) from error
