"""Arrays: what users pass in Python as one plain array; .npy files in, .npy bytes out. Nothing is ever unpickled."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from obverse.data.guard import guarded
from obverse.data.loading import check_held
from obverse.data.source import name_of, read_bytes
from obverse.errors import InputError, OutputError, UnsupportedInputError

NUMPY_AT_ONCE = 2**24  # bytes
NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"


def read_array(source: Path | BinaryIO, what: str = "data") -> npt.NDArray[np.generic]:
    """The array of a .npy file.

    Args:
        source: the file.
        what: what the array is for, as errors name it.

    Raises:
        InputError: for a file that cannot be read, holds no array of numbers, or goes on behind it.
    """
    name, raw = name_of(source), read_bytes(source)
    if raw.startswith(ZIP):
        raise InputError(f"{name} ({what}) holds several arrays; give one .npy array")
    if not raw.startswith(NPY):
        raise InputError(f"{name} ({what}) is not a .npy file; write it with numpy.save")
    file = io.BytesIO(raw)
    with guarded(f"{name} ({what}) is not a .npy array of numbers", "write it with numpy.save"):
        array = np.asarray(np.load(file, allow_pickle=False))
    if more := len(raw) - file.tell():
        raise InputError(
            f"{name} ({what}) goes on for {more} bytes behind its array, which would be lost: write one array, "
            "with one numpy.save"
        )
    return array


def as_array(data: Any, what: str = "the data") -> npt.NDArray[Any]:
    """What a user passes as numbers, as one plain array of the machine's byte order.

    A torch tensor is taken as it is, detached, from any device; bfloat16 and float8 become float32, which holds them
    exactly.

    Args:
        data: an array, a tensor, or rows of numbers.
        what: how errors name it.

    Raises:
        InputError: for rows of several lengths, masked and sparse arrays, and tensors without values.
        LimitError: for what the limits on memory, where there are any, do not allow; nothing of it is copied.
        UnsupportedInputError: for what is no array of numbers at all.
    """
    if _masked(data):
        raise InputError(
            f"{what}: a masked array, whose mask would be lost: fill what is masked, with array.filled(value)"
        )
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        data = _of_tensor(data, what)
    elif hasattr(data, "nnz") and hasattr(data, "toarray"):
        raise InputError(f"{what}: a sparse array: pass array.toarray()")
    with guarded(f"{what}: this is no array of one shape"):
        try:
            array = np.asarray(data)
        except ValueError:
            raise UnsupportedInputError(f"{what}: this is no array of one shape") from None
    if array.dtype.hasobject:
        raise UnsupportedInputError(
            f"{what}: this is no array of numbers, but of dtype object, made of {type(data).__name__}: give numbers"
        )
    check_held(array.nbytes)  # one that was broadcast holds less
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _masked(data: Any) -> bool:
    """Whether a mask would be lost; rows may have masks of their own."""
    if "numpy.ma" not in sys.modules:  # nor are there masks, then: importing it only to ask takes 10 ms
        return False
    rows = data if isinstance(data, list | tuple) else [data]
    return any(isinstance(row, np.ma.MaskedArray) for row in rows)


def _of_tensor(tensor: Any, what: str) -> Any:
    """A torch tensor as an array."""
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided:
        raise InputError(f"{what}: a sparse tensor: pass tensor.to_dense()")
    if tensor.is_meta:
        raise InputError(
            f"{what}: a tensor on the meta device, which has a shape but no values: pass a real one"
        )
    with guarded(f"{what}: the tensor cannot be read"):
        tensor = tensor.detach().resolve_conj().resolve_neg().cpu()
        if tensor.dtype == torch.bfloat16 or str(tensor.dtype).startswith("torch.float8"):
            tensor = tensor.float()
        return tensor.numpy()


def npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file.

    Raises:
        LimitError: where there are limits on memory, and the array and its file do not fit.
    """
    # the buffer grows by eighths, by what numpy copies at once
    check_held(array.nbytes + array.nbytes * 9 // 8 + min(array.nbytes, NUMPY_AT_ONCE))
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def check_npy_name(target: str) -> None:
    """Check the name of a file that an array is written to.

    Raises:
        OutputError: for the name of another kind of file, in which an array would not be found again.
    """
    if Path(target).suffix.lower() != ".npy":
        raise OutputError(f"{target}: arrays are written as .npy files only; name the output so")


def read_named_arrays(
    source: Path | BinaryIO, names: tuple[str, ...], how: str
) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of a .npz file.

    Args:
        source: the file.
        names: of the arrays that are wanted.
        how: what writes such a file, as errors say it.

    Raises:
        InputError: for a file that is not there or does not hold these arrays.
    """
    name, raw = name_of(source), read_bytes(source)
    lacks = InputError(f"{name} does not hold the arrays {' and '.join(names)}: write it with {how}")
    if raw.startswith(NPY):
        raise lacks
    with (
        guarded(f"{name} is not a .npz file of numbers", f"write it with {how}"),
        np.load(io.BytesIO(raw), allow_pickle=False) as arrays,
    ):
        if not set(names) <= set(arrays.files):
            raise lacks
        return {each: arrays[each] for each in names}


def read_pairs(path: Path) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """The arrays x and y of a .npz file (numpy.savez(path, x=..., y=...)).

    Raises:
        InputError: for a file that is not there or does not hold these arrays.
    """
    arrays = read_named_arrays(path, ("x", "y"), "numpy.savez(path, x=x, y=y)")
    return arrays["x"], arrays["y"]
