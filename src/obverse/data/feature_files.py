"""Files of features read piece by piece: any number of shards as one set, however large.

    .npy, .npz, .safetensors, .parquet ──► shape and type, from their headers
    file, file, ... ──► FeatureFiles ──► pieces of as many rows as wanted, across the files' ends

A file is never held whole. Nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import NPY, ZIP
from obverse.data.features import (
    KINDS,
    LARGEST,
    PARQUET,
    check_features,
    choose_key,
    is_list,
    load_pyarrow,
    not_finite,
    rows_of_table,
)
from obverse.data.guard import unreadable
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError, ItemIndexError, ObverseError, UnsupportedInputError

SUFFIXES = (".npy", ".npz", ".parquet", ".safetensors")
AT_ONCE = 2**23  # bytes that are read together
MOST_HEADER = 100_000_000  # bytes, as the safetensors library has it

Array = npt.NDArray[Any]


class FeatureRows(Protocol):
    """Feature vectors that can be gone through several times.

    Attributes:
        name: how errors call them.
        shape: (n, d).
        dtype: float16, float32 or float64.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def pieces(self, rows: int) -> Iterator[Array]:
        """(rows, d) each, the last may have fewer."""


@dataclass(frozen=True)
class FeatureArray:
    """An array (n, d) in memory."""

    array: Array
    name: str = "the data"

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def pieces(self, rows: int) -> Iterator[Array]:
        """Views of it."""
        for first in range(0, len(self.array), rows):
            yield self.array[first : first + rows]


@dataclass(frozen=True)
class _Raw:
    """Numbers in C order at some place of a file, or of a member of a .npz."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    at: int
    member: str | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    def pieces(self, rows: int) -> Iterator[Array]:
        width = self.shape[1] * self.dtype.itemsize
        with naming(self.path), _open(self.path, self.member) as file:
            file.seek(self.at)
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                raw = file.read(count * width)
                if len(raw) != count * width:
                    raise InputError(f"{self.path} ends early, within its features: get a complete copy")
                yield np.frombuffer(raw, self.dtype).reshape(count, self.shape[1])


@dataclass(frozen=True)
class _Fortran:
    """A .npy array whose columns lie together: mapped anew for each piece, so that no more stays in memory."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        return str(self.path)

    def pieces(self, rows: int) -> Iterator[Array]:
        for first in range(0, self.shape[0], rows):
            with naming(self.path):
                yield np.array(np.load(self.path, "r", allow_pickle=False)[first : first + rows], order="C")


@dataclass(frozen=True)
class _Brain:
    """bfloat16, as float32."""

    halves: _Raw

    @property
    def name(self) -> str:
        return self.halves.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.halves.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def pieces(self, rows: int) -> Iterator[Array]:
        for piece in self.halves.pieces(rows):
            yield (piece.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class _Parquet:
    """Columns of a Parquet file."""

    path: Path
    key: str | None
    columns: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        return str(self.path)

    def pieces(self, rows: int) -> Iterator[Array]:
        pa, pq = load_pyarrow()
        with naming(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(rows, columns=list(self.columns)):
                piece = rows_of_table(pa, pa.Table.from_batches([batch]), self.name, self.key)
                if piece.shape[1:] != self.shape[1:]:
                    raise InputError(
                        f"{self.path}: the lists of column {self.columns[0]!r} differ in length "
                        f"({self.shape[1]}, {piece.shape[1]})"
                    )
                yield piece


class FeatureFiles:
    """Several files as one set of vectors, in the order given.

    Args:
        files: what `open_features` gave.

    Raises:
        InputError: for no files, and for files whose vectors differ in length or type.
    """

    def __init__(self, files: Sequence[FeatureRows]):
        if not files:
            raise InputError("there are no files of features")
        first = files[0]
        for file in files[1:]:
            if file.shape[1] != first.shape[1] or file.dtype != first.dtype:
                raise InputError(
                    f"{file.name} holds vectors of {file.shape[1]} {file.dtype}, {first.name} of {first.shape[1]} "
                    f"{first.dtype}: the features differ in length or type; a set is of one encoder"
                )
        self._files = list(files)
        self.name = first.name if len(files) == 1 else f"{first.name} and {len(files) - 1} more"
        self.shape = sum(file.shape[0] for file in files), first.shape[1]
        self.dtype = first.dtype

    def file_of(self, row: int) -> tuple[str, int]:
        """The name of the file that holds this row, and the number of the row in it."""
        for file in self._files:
            if row < file.shape[0]:
                return file.name, row
            row -= file.shape[0]
        raise ItemIndexError(f"there are {self.shape[0]} vectors")

    def pieces(self, rows: int) -> Iterator[Array]:
        """(rows, d) each, the last may have fewer; across the ends of files."""
        held: list[Array] = []
        count = 0
        for file in self._files:
            for piece in file.pieces(rows):
                held.append(piece)
                count += len(piece)
                if count >= rows:
                    joined = np.concatenate(held) if len(held) > 1 else piece
                    yield joined[:rows]
                    held, count = [joined[rows:]], count - rows
        if count:
            yield np.concatenate(held)


@dataclass(frozen=True)
class Survey:
    """What is known of a set of features when all of it was seen once.

    Attributes:
        sample: (m, d) the vectors that were chosen.
        mean: (d,) float64, of all.
    """

    sample: Array
    mean: npt.NDArray[np.float64]


def survey(features: FeatureRows, chosen: Any) -> Survey:
    """Go through all vectors once, and check them.

    Args:
        features: as they are read.
        chosen: index of those to keep, in order: an array of numbers, or a slice of all.

    Raises:
        InputError: for numbers that are not finite or too large, and where there are none.
        UnsupportedInputError: for another type or shape.
    """
    count, dimensions = features.shape
    check_features(np.zeros((min(count, 1), dimensions), features.dtype))
    wanted = np.arange(count)[chosen]
    sample = np.empty((len(wanted), dimensions), features.dtype.newbyteorder("="))
    total = np.zeros(dimensions)
    bad = first = 0
    first_bad = first_large = -1
    for piece in features.pieces(rows_at_once(features)):
        finite = np.isfinite(piece).all(1)
        if not finite.all():
            first_bad = first_bad if bad else first + int(np.argmin(finite))
            bad += int((~finite).sum())
        else:
            total += piece.sum(0, dtype=np.float64)
            if piece.dtype.itemsize == 8 and first_large < 0:
                large = (np.abs(piece) > LARGEST).any(1)
                first_large = first + int(np.argmax(large)) if large.any() else -1
        low, high = np.searchsorted(wanted, [first, first + len(piece)])
        sample[low:high] = piece[wanted[low:high] - first]
        first += len(piece)
    if bad:
        raise not_finite(bad, count, *_where(features, first_bad))
    if first_large >= 0:
        number, name = _where(features, first_large)
        raise InputError(
            f"features above 1e100 cannot be coded, as in number {number}{name}: scale them first"
        )
    return Survey(sample, total / count)


def _where(features: FeatureRows, row: int) -> tuple[int, str]:
    """The number of a vector in its file, and words that name the file."""
    name, number = features.file_of(row) if isinstance(features, FeatureFiles) else (features.name, row)
    return number, f" of {name}"


def rows_at_once(features: FeatureRows) -> int:
    """How many vectors are read together."""
    return max(1, AT_ONCE // max(1, features.shape[1] * features.dtype.itemsize))


def open_features(path: Path, key: str | None = None) -> FeatureRows:
    """The features in a .npy, .npz, safetensors or Parquet file, of which only the header is read.

    Args:
        path: of the file; its kind is told by its first bytes.
        key: which array, tensor or column, where there are several.

    Raises:
        InputError: for a file that cannot be read or holds no features, or where the key names none or is needed.
        UnsupportedInputError: for another type or shape than that of features.
        MissingExtraError: for a Parquet file, where pyarrow is not installed.
    """
    with naming(path):
        with path.open("rb") as file:
            front = file.read(16)
        if front.startswith(NPY):
            return _npy(path, key)
        if front.startswith(ZIP):
            return _npz(path, key)
        if front.startswith(PARQUET):
            return _parquet(path, key)
        if front[8:9] == b"{":
            return _safetensors(path, key)
    images = (
        "; of images features are made with an --encoder" if path.suffix.lower() in IMAGE_SUFFIXES else ""
    )
    raise InputError(f"{path} holds no features: give a .npy, .npz, .safetensors or .parquet file{images}")


def _npy(path: Path, key: str | None) -> FeatureRows:
    if key is not None:
        raise InputError(f"{path} is a .npy file, which holds one array: it has no key {key!r}")
    try:
        array = np.load(path, "r", allow_pickle=False)
    except ValueError as error:
        if path.stat().st_size < 2**20:  # an array without numbers cannot be mapped, nor one of objects
            check_features(_small(path, error))
        raise
    shape = _checked(array.shape, array.dtype)
    if array.offset + array.nbytes != path.stat().st_size:
        raise InputError(f"{path} goes on behind its array: write one array, with one numpy.save")
    if array.flags.c_contiguous:
        return _Raw(path, shape, array.dtype, array.offset)
    return _Fortran(path, shape, array.dtype)


def _small(path: Path, why: Exception) -> Array:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception:
        raise InputError(f"{path} is not a .npy array of numbers: {why}; write it with numpy.save") from why


def _npz(path: Path, key: str | None) -> FeatureRows:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        member = choose_key(names, key, str(path), "array") + ".npy"
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in reads:
                raise InputError(
                    f"{path}: its array has a header of version {version}: write it with numpy.savez"
                )
            shape, fortran, dtype = reads[version](file)
            at = file.tell()
    checked = _checked(shape, dtype)
    if fortran and min(checked) > 1:
        raise InputError(
            f"{path}: its array lies in memory column after column: save numpy.ascontiguousarray of it"
        )
    return _Raw(path, checked, dtype, at, member)


def _safetensors(path: Path, key: str | None) -> FeatureRows:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MOST_HEADER):
            raise InputError(f"{path} is a damaged safetensors file: its header is longer than the file")
        header = json.loads(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    entry = tensors[choose_key(sorted(tensors), key, str(path), "tensor")]
    kind: Any = KINDS.get(entry["dtype"])
    if kind is None:
        raise UnsupportedInputError(
            f"{path}: features are float16, bfloat16, float32 or float64, not {entry['dtype']}; convert them first"
        )
    start, end = entry["data_offsets"]
    shape = _checked(tuple(entry["shape"]), np.dtype(np.float32) if entry["dtype"] == "BF16" else kind)
    if not 0 <= start <= end <= size - 8 - length or end - start != math.prod(shape) * kind.itemsize:
        raise InputError(f"{path} is a damaged safetensors file: a tensor lies outside of it")
    raw = _Raw(path, shape, kind, 8 + length + start)
    return _Brain(raw) if entry["dtype"] == "BF16" else raw


def _parquet(path: Path, key: str | None) -> FeatureRows:
    pa, pq = load_pyarrow()
    with pq.ParquetFile(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        lists = [field.name for field in schema if is_list(pa, field.type)]
        numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
        if key is None and not lists and numbers:
            columns = numbers
        else:
            columns = [choose_key(lists if key is None else list(schema.names), key, str(path), "column")]
            key = columns[0]
        first = next(file.iter_batches(1, columns=columns), None)
        table = schema.empty_table().select(columns) if first is None else pa.Table.from_batches([first])
        sample = rows_of_table(pa, table, str(path), key)
    return _Parquet(path, key, tuple(columns), (count, sample.shape[1]), sample.dtype)


def _checked(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int]:
    """(n, d), for an array that may hold features; raises what `check_features` does."""
    if len(shape) != 2 or 0 in shape or dtype.newbyteorder("=") not in (np.float16, np.float32, np.float64):
        if dtype.hasobject:
            raise InputError(f"an array of {dtype} holds no features: write numbers")
        check_features(np.broadcast_to(np.zeros((), dtype), shape))  # of this shape, in no memory
    return shape[0], shape[1]


@contextmanager
def _open(path: Path, member: str | None) -> Iterator[Any]:
    if member is None:
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        yield stream


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Whatever is said of a file, by a library or here, becomes a sentence that names it."""
    try:
        yield
    except ObverseError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except GeneratorExit:
        raise
    except Exception as error:
        raise InputError(unreadable(path, error)) from error
