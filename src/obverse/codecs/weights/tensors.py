"""The tensors of a file: read one by one from the disk, or held in memory.

path ──► Tensors.open ──► tensors["layer.0.weight"] ──► an array        nothing but the header is read before
arrays ──► Tensors.of ──► the same
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import numpy.typing as npt

from obverse.codecs.weights.layout import Layout, Tensor, make_layout, read_layout
from obverse.data.guard import guarded
from obverse.errors import InputError, UnsupportedInputError

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
        "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    }.items()
}  # fmt: skip
_OF_TORCH = {
    "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Tensors(Mapping[str, Array]):
    """A safetensors file: arrays under names, each made when it is asked for.

    As an array of NumPy (`np.asarray`) it is the bytes of the file.

    Attributes:
        layout: its header and where each tensor lies.
    """

    def __init__(
        self, layout: Layout, read: Callable[[Tensor], Bytes], close: Callable[[], None] | None = None
    ):
        """
        Args:
            layout: of the file.
            read: a tensor -> its bytes, (size,) uint8.
            close: what is called when the tensors are not needed any more.
        """
        self.layout = layout
        self._named = {tensor.name: tensor for tensor in layout.tensors}
        self._read = read
        self._closing = None if close is None else weakref.finalize(self, close)

    @classmethod
    def open(cls, source: Path | BinaryIO, name: str) -> Tensors:
        """Of a file, which stays open as long as this is there.

        Args:
            source: its path, or itself, open for reading bytes; what cannot seek is read whole.
            name: for errors.

        Raises:
            InputError: for what is no safetensors file, or cannot be read.
        """
        with guarded(f"{name} cannot be read"):
            file: BinaryIO = source.open("rb") if isinstance(source, Path) else source
        try:
            with guarded(f"{name} cannot be read"):
                if not file.seekable():
                    file = io.BytesIO(file.read())
                start = file.tell()
                size = file.seek(0, io.SEEK_END) - start
                file.seek(start)
                layout = read_layout(file, size, name)
        except BaseException:
            if isinstance(source, Path):
                file.close()
            raise

        def read(tensor: Tensor) -> Bytes:
            with guarded(f"{name} cannot be read"):
                file.seek(start + layout.start + tensor.start)
                data = np.empty(tensor.size, np.uint8)
                view, filled = memoryview(data), 0
                while filled < tensor.size:
                    piece = file.read(min(tensor.size - filled, 2**24))
                    if not piece:
                        raise InputError(f"{name} became shorter while it was read")
                    view[filled : filled + len(piece)] = piece
                    filled += len(piece)
            return data

        return cls(layout, read, file.close if isinstance(source, Path) else None)

    @classmethod
    def of(cls, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Tensors:
        """Of arrays in memory.

        Args:
            arrays: of NumPy (also of ml_dtypes) or of torch, under names.
            metadata: texts to keep with them.

        Raises:
            InputError: for what are no arrays, or names that are no texts.
            UnsupportedInputError: for types that a safetensors file does not have.
        """
        held: dict[str, Array] = {}
        for name, array in arrays.items():
            if not isinstance(name, str):
                raise InputError(f"tensors have texts as names, not {name!r}")
            held[name] = _as_numpy(name, array)
        layout = make_layout(
            [(name, NAMES[array.dtype], array.shape) for name, array in held.items()], dict(metadata or {})
        )
        return cls(layout, lambda tensor: _bytes_of(held[tensor.name]))

    def named(self, name: str) -> Tensor | None:
        """Where the tensor of this name lies; None where there is none."""
        return self._named.get(name)

    def bytes(self, tensor: Tensor) -> Bytes:
        """(size,) uint8, as they lie in the file."""
        return self._read(tensor)

    def __getitem__(self, name: str) -> Array:
        tensor = self._named[name]
        return array_of(self.bytes(tensor), tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def close(self) -> None:
        """Close the file that the tensors are read of; also done when nobody has them any more."""
        if self._closing is not None:
            self._closing()

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parts(self) -> Iterator[Bytes]:
        """The bytes of the file, tensor after tensor."""
        yield np.frombuffer(self.layout.front, np.uint8)
        for tensor in self.layout.tensors:
            yield self.bytes(tensor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = np.concatenate(list(self.parts()))
        return whole if dtype is None else whole.astype(dtype)

    def __repr__(self) -> str:
        return f"<{len(self)} tensors, {self.layout.size:,} bytes>"


def array_of(data: Bytes, tensor: Tensor) -> Array:
    """The bytes of a tensor as what they stand for; of types with values of less than a byte, the bytes.

    Args:
        data: (size,) uint8.
        tensor: what they are.
    """
    dtype = DTYPES.get(tensor.dtype)
    return data if dtype is None else data.view(dtype).reshape(tensor.shape)


def _as_numpy(name: str, array: Any) -> Array:
    if hasattr(array, "detach"):  # of torch, which need not be imported to see that
        array = _from_torch(name, array)
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    if dtype not in NAMES:
        raise UnsupportedInputError(
            f"tensor {name!r} is of the type {array.dtype}, which a safetensors file does not have: convert it first"
        )
    return array.astype(dtype, order="C", copy=False)


def _from_torch(name: str, tensor: Any) -> Array:
    """Also of types that NumPy does not have, by their bytes."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _OF_TORCH:
        with guarded(f"tensor {name!r} cannot be read"):
            return np.asarray(tensor.numpy())
    width = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
    return np.asarray(tensor.view(width).numpy()).view(DTYPES[_OF_TORCH[kind]])


def _bytes_of(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
