"""Files of weights: safetensors, PyTorch's state dicts, ONNX's initialisers and .npz in; safetensors out.

Nothing is ever unpickled but what torch's `weights_only` lets through: tensors, numbers and texts.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from obverse.codecs.weights.tensors import Tensors
from obverse.data.guard import guarded
from obverse.data.kinds import Kind
from obverse.data.loading import check_held
from obverse.data.source import Contents, name_of, read_bytes
from obverse.errors import InputError, MissingExtraError, UnsupportedInputError

SAFETENSORS, GGUF, ZIP, NPY, PICKLE = b"{", b"GGUF", b"PK\x03\x04", b"\x93NUMPY", b"\x80"
MOST_DEPTH = 32  # of dicts in a checkpoint


def load_weights(source: Path | BinaryIO, what: str = "weights") -> Tensors:
    """The tensors of a file; those of a safetensors file on disk are read when they are asked for.

    Args:
        source: the file.
        what: a word for it.

    Raises:
        InputError: for a file that cannot be read, or holds no weights.
        UnsupportedInputError: for kinds of files that are not read.
        MissingExtraError: for ONNX, where that library is not installed.
    """
    name = name_of(source)
    if isinstance(source, Path) and source.is_dir():
        raise InputError(f"{name} is a folder: give the files of weights in it")
    if not isinstance(source, Path):
        source = Contents(read_bytes(source), name)
        return _load(source, name) or Tensors.open(source, name)
    with guarded(f"{name} cannot be read"), source.open("rb") as file:
        return _load(file, name) or Tensors.open(source, name)


def _load(file: BinaryIO, name: str) -> Tensors | None:
    """Of a file that is no safetensors file; None of one that may be."""
    with guarded(f"{name} cannot be read"):
        first = file.read(16)
        file.seek(0)
    if first.startswith(GGUF):
        raise UnsupportedInputError(
            f"{name} is a GGUF file, which is quantised already: compress the safetensors file that it was made of"
        )
    if first.startswith(NPY):
        raise UnsupportedInputError(f"{name} is one array, not weights: save arrays under names, as .npz")
    if first.startswith((ZIP, PICKLE)):
        return _archive(file, name)
    if Path(name).suffix.lower() == ".onnx" and first[8:9] != SAFETENSORS:
        return _onnx(file, name)
    return None


def save_weights(decoded: Any, target: str) -> bytes:
    """The bytes of a safetensors file.

    Args:
        decoded: `Tensors`.
        target: its name.
    """
    check_held(2 * decoded.layout.size)
    return b"".join(map(bytes, decoded.parts()))


WEIGHTS = Kind(
    load=load_weights,
    save=save_weights,
    read=frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".npz"}),
    written=frozenset({".safetensors"}),
    how="weights are written as .safetensors",
)


def _archive(file: BinaryIO, name: str) -> Tensors:
    """A zip archive of .npy files, or what torch writes, zipped or not."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with guarded(f"{name} is a damaged archive"), zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if entries and all(entry.filename.endswith(".npy") for entry in entries):
                check_held(sum(entry.file_size for entry in entries))
                arrays = {}
                for entry in entries:
                    raw = archive.read(entry)
                    arrays[entry.filename.removesuffix(".npy")] = np.load(io.BytesIO(raw), allow_pickle=False)
                return Tensors.of(arrays)
    file.seek(0)
    return _torch(file, name)


def _torch(file: BinaryIO, name: str) -> Tensors:
    import torch

    with guarded(
        f"{name} is no state dict that torch reads without running code (weights_only)",
        "where you trust it, load it yourself, and save its tensors with safetensors.torch.save_file",
    ):
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    tensors: dict[str, Any] = {}
    rest: dict[str, str] = {}
    for key, value in _leaves(loaded, "", name, 0):
        if isinstance(value, torch.Tensor):
            tensors[key] = value
        else:
            with guarded(f"{name}: {key} is neither a tensor nor a number or a text"):
                rest[key] = json.dumps(value)
    if not tensors:
        raise InputError(f"{name} holds no tensors")
    return Tensors.of(tensors, rest)


def _leaves(value: Any, path: str, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Nested dicts, lists and tuples, as optimisers have them, under names with dots."""
    if depth > MOST_DEPTH:
        raise InputError(f"{name} nests more than {MOST_DEPTH} levels deep")
    if isinstance(value, Mapping):
        pairs = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list | tuple) and any(
        isinstance(below, Mapping) or hasattr(below, "detach") for below in value
    ):
        pairs = [(str(number), below) for number, below in enumerate(value)]
    else:
        yield path or "tensor", value
        return
    for key, below in pairs:
        yield from _leaves(below, f"{path}.{key}" if path else key, name, depth + 1)


def _onnx(file: BinaryIO, name: str) -> Tensors:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtraError(
            "reading the weights of ONNX files needs onnx: pip install 'obverse[onnx]'"
        ) from None
    with guarded(f"{name} is a damaged ONNX file"):
        graph = onnx.load_model_from_string(file.read()).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if not arrays:
        raise InputError(f"{name} has no initialisers: nothing in it is weights")
    return Tensors.of(arrays)
