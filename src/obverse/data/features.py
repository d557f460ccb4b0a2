"""Feature vectors: arrays of .npy, safetensors and Parquet files in, checked; .npy or safetensors bytes out.

Nothing is ever unpickled. Parquet is read by pyarrow, where that is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import deserialize
from safetensors.numpy import save as save_safetensors

from obverse.data.arrays import NPY, as_array, npy_bytes, read_array
from obverse.data.guard import guarded
from obverse.data.loading import check_held
from obverse.data.source import Contents, name_of, read_bytes
from obverse.errors import InputError, MissingExtraError, OutputError, UnsupportedInputError

Array = npt.NDArray[Any]

MOST_DIMENSIONS = 1 << 20
LARGEST = 1e100  # of float64: squares and sums of squares must stay finite
PARQUET = b"PAR1"
KINDS = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "BF16": np.dtype("<u2")}
WRITTEN = (".npy", ".safetensors")


def check_features(data: Any, dimensions: int | None = None) -> Array:
    """(n, d) float16, float32 or float64, finite.

    Args:
        data: what may be such an array.
        dimensions: d that is wanted, if any.

    Raises:
        InputError: where there are no vectors, or vectors of several lengths, or numbers that are not finite or too
            large.
        UnsupportedInputError: for another type or shape, or another d.
    """
    features = as_array(data, "features, one array (n, d)")
    if features.dtype not in (np.float16, np.float32, np.float64):
        raise UnsupportedInputError(
            f"features are float16, float32 or float64, not {features.dtype}: convert them first"
        )
    if features.size == 0:
        raise InputError(f"there are no features: the array is empty, of shape {features.shape}")
    if features.ndim != 2:
        raise UnsupportedInputError(
            f"features are one vector a row, (n, d), not an array of shape {features.shape}: reshape them"
        )
    if features.shape[1] > MOST_DIMENSIONS:
        raise UnsupportedInputError(f"feature vectors have at most {MOST_DIMENSIONS} numbers")
    if dimensions is not None and features.shape[1] != dimensions:
        raise UnsupportedInputError(
            f"the model is for vectors of {dimensions} numbers, these have {features.shape[1]}: use the encoder "
            "that it was fitted to, or fit another"
        )
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise not_finite(int(bad.sum()), len(features), int(np.flatnonzero(bad)[0]))
    if features.dtype == np.float64 and float(np.abs(features).max()) > LARGEST:
        raise InputError("features above 1e100 cannot be coded: scale them first")
    return features


def not_finite(bad: int, count: int, first: int, where: str = "") -> InputError:
    """The error for so many of `count` vectors that hold NaN or infinite values.

    Args:
        bad: how many do.
        count: of all.
        first: the number of the first.
        where: words for the file that it is in, where it is one of several.
    """
    return InputError(
        f"{bad} of {count} vectors hold NaN or infinite values, the first is number {first}{where}: remove or "
        "repair them"
    )


def read_features(source: Path | BinaryIO, key: str | None = None) -> Array:
    """The array of a .npy, safetensors or Parquet file; the kind is told by its first bytes.

    bfloat16 becomes float32, which holds it exactly. A Parquet column of lists gives a vector a row; several columns of
    numbers are put side by side.

    Args:
        source: the file.
        key: which tensor or column, where there are several.

    Raises:
        InputError: for a file that cannot be read or holds no features, or where the key names none or is needed.
        MissingExtraError: for a Parquet file, where pyarrow is not installed.
    """
    name, raw = name_of(source), read_bytes(source)
    if raw.startswith(NPY):
        if key is not None:
            raise InputError(f"{name} is a .npy file, which holds one array: it has no key {key!r}")
        return read_array(Contents(raw, name), "features")
    if raw.startswith(PARQUET):
        return _parquet(raw, name, key)
    if raw[8:9] == b"{":
        return _safetensors(raw, name, key)
    raise InputError(f"{name} holds no features: give a .npy, .safetensors or .parquet file")


def read_named(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file, in the order of their names, such as prototypes.

    Raises:
        InputError: for a file that cannot be read or is none.
    """
    raw = read_bytes(path)
    return {name: _tensor(tensor, str(path)) for name, tensor in sorted(_tensors(raw, str(path)).items())}


def check_feature_name(target: str) -> None:
    """Check the name of a file that features are written to.

    Raises:
        OutputError: for the name of a kind of file that features are not written to.
    """
    if Path(target).suffix.lower() not in WRITTEN:
        raise OutputError(f"{target}: features are written as .npy or .safetensors; name the output so")


def feature_bytes(features: Array, target: str) -> bytes:
    """The bytes of a .npy or .safetensors file (tensor name "features"), as the target's suffix says."""
    check_feature_name(target)
    if Path(target).suffix.lower() == ".npy":
        return npy_bytes(features)
    check_held(3 * features.nbytes)  # each tensor's bytes are made first, then the file of them
    return save_safetensors({"features": np.ascontiguousarray(features)})


def choose_key(names: list[str], key: str | None, name: str, what: str) -> str:
    """The one of these names that is meant.

    Args:
        names: of what a file holds.
        key: the one that was asked for, if any.
        name: of the file.
        what: a word for what it holds.

    Raises:
        InputError: where the key names none, or is needed.
    """
    if key is None and len(names) == 1:
        return names[0]
    if key in names and key is not None:
        return key
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    problem = (
        f"has no {what} {key!r}" if key is not None else f"holds {len(names)} {what}s: name one with --key"
    )
    raise InputError(f"{name} {problem} (there are: {shown or 'none'})")


def _tensors(raw: bytes, name: str) -> dict[str, Any]:
    with guarded(f"{name} is a damaged safetensors file"):
        return dict(deserialize(raw))  # type: ignore[no-untyped-call]


def _tensor(tensor: Any, name: str) -> Array:
    kind: Any = KINDS.get(tensor["dtype"])
    if kind is None:
        raise UnsupportedInputError(
            f"{name}: features are float16, bfloat16, float32 or float64, not {tensor['dtype']}; convert them first"
        )
    array: Array = np.frombuffer(bytes(tensor["data"]), kind).reshape(tensor["shape"])
    if tensor["dtype"] == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _safetensors(raw: bytes, name: str, key: str | None) -> Array:
    tensors = _tensors(raw, name)
    return _tensor(tensors[choose_key(sorted(tensors), key, name, "tensor")], name)


def _parquet(raw: bytes, name: str, key: str | None) -> Array:
    pa, pq = load_pyarrow()
    with guarded(f"{name} is a Parquet file that cannot be read"):
        return rows_of_table(pa, pq.read_table(pa.BufferReader(raw)), name, key)


def load_pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet.

    Raises:
        MissingExtraError: where they are not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError(
            "reading Parquet needs pyarrow: pip install 'obverse[parquet]', or save the features as .npy"
        ) from None
    return pa, pq


def rows_of_table(pa: Any, table: Any, name: str, key: str | None) -> Array:
    """A table of Parquet as vectors (n, d): a column of lists, or several columns of numbers side by side.

    Args:
        pa: pyarrow.
        table: as it was read.
        name: of the file.
        key: which column, where there are several of lists.

    Raises:
        InputError: for missing values, lists of several lengths, and where the key names none or is needed.
    """
    if key is None:
        lists = [f.name for f in table.schema if is_list(pa, f.type)]
        numbers = [f.name for f in table.schema if pa.types.is_floating(f.type)]
        if not lists and numbers:
            columns = [_whole(table.column(c), name, c).to_numpy(zero_copy_only=False) for c in numbers]
            return np.stack(columns, 1)
        key = choose_key(lists, None, name, "column")
    else:
        key = choose_key([f.name for f in table.schema], key, name, "column")
    column = _whole(table.column(key), name, key)
    if not is_list(pa, column.type):
        raise InputError(f"{name}: the column {key!r} holds {column.type}, not a list of floats a row")
    lengths = (
        {len(row) for row in column}
        if not pa.types.is_fixed_size_list(column.type)
        else {column.type.list_size}
    )
    if len(lengths) > 1:
        raise InputError(
            f"{name}: the lists of column {key!r} differ in length ({min(lengths)} to {max(lengths)})"
        )
    flat = _whole(column.flatten(), name, key)
    values = flat.to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), -1) if len(column) else np.zeros((0, 0), np.float32)


def is_list(pa: Any, kind: Any) -> bool:
    """Whether a type of Arrow is a list of floats.

    Args:
        pa: pyarrow.
        kind: the type.
    """
    types = pa.types
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists) and bool(types.is_floating(kind.value_type))


def _whole(column: Any, name: str, key: str) -> Any:
    """One array of a chunked column, without missing values."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    if column.null_count:
        raise InputError(
            f"{name}: {column.null_count} rows of column {key!r} are missing: fill or drop them first"
        )
    return column
