"""What lies in a file of features: its layout, the model, prototypes of classes, and chunks of vectors.

    header ──► Layout            model, vectors of an item, whose features
    item   ──► FeatureModel      safetensors behind LZMA, where the file brings its own model
    item   ──► Prototypes        names and vectors, where there are any
    items  ──► z (width, count)  one message each, coefficient after coefficient

Everything here trusts no byte: sizes are checked before anything of that size is made.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from obverse.codecs.features.clusters import FeatureModel, model_from
from obverse.codecs.stored_segments import MODEL, Samples, checked_count, method_of
from obverse.coding import Message
from obverse.container import Limits
from obverse.data.arrays import as_array
from obverse.errors import CodingError, DamagedError, InputError, WrongModelError

MOST_CHUNK = 1 << 16  # vectors of an item
TYPES = (np.dtype("<f2"), np.dtype("<f4"), np.dtype("<f8"))
KIND, PER_ITEM, OWN_MODEL, PROTOTYPES, ENCODER, ENCODER_NAME, STORED = range(7)  # keys of the header's config
FINGERPRINT = 32  # bytes of an encoder's SHA-256
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 24, "lc": 0, "lp": 0, "pb": 0}]
PACKED_MEMORY = 1 << 26  # bytes that unpacking may take for itself
LARGEST_HEADER = 2**16  # bytes in which the arrays are named: a dozen
MOST_PACKED = 1 << 30  # bytes that a model or prototypes may unpack to
TABLE_MEMORY = 1 << 13  # bytes that a table takes when it is ready to decode with

Array = npt.NDArray[Any]


@runtime_checkable
class EncoderId(Protocol):
    """Whatever knows which encoder made features: its name, and the SHA-256 of its weights."""

    name: str
    fingerprint: bytes | None


@dataclass(frozen=True)
class Prototypes:
    """Class names, and a vector of the encoder's space for each: text embeddings, or means of features.

    vectors: (C, d) float32.
    """

    names: tuple[str, ...]
    vectors: Array

    def labels(self, features: Array) -> npt.NDArray[np.int64]:
        """For each row of (n, d) the number of the prototype at the smallest angle, (n,)."""
        norms = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        directions = (self.vectors / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)
        return np.argmax(features.astype(np.float32) @ directions.T, 1)

    @classmethod
    def of(cls, given: Mapping[str, npt.ArrayLike], dimensions: int) -> Prototypes:
        """From a vector for each name, checked. Raises InputError."""
        names = tuple(map(str, given))
        if not names:
            raise InputError("there are no prototypes: give a vector for each class name")
        arrays = [as_array(given[name], f"the prototype of {name!r}") for name in given]
        if any(array.dtype.kind not in "iuf" for array in arrays):
            raise InputError("the prototypes are not vectors of numbers")
        rows = [array.astype(np.float64) for array in arrays]
        for name, row in zip(names, rows, strict=True):
            if row.shape != (dimensions,):
                raise InputError(
                    f"the prototype of {name!r} has shape {row.shape}, the features have {dimensions} numbers"
                )
            if not np.isfinite(row).all() or not row.any() or np.abs(row).max() > 1e30:
                raise InputError(f"the prototype of {name!r} must be finite, at most 1e30, and not all zero")
        return cls(names, np.stack(rows).astype(np.float32))

    def pack(self) -> bytes:
        """The payload of an item."""
        names = np.frombuffer(json.dumps(self.names, ensure_ascii=False).encode(), np.uint8)
        return pack_arrays({"names": names, "vectors": self.vectors.astype(np.float16)
                            if np.abs(self.vectors).max() < 6e4 else self.vectors})  # fmt: skip

    @classmethod
    def unpack(cls, payload: bytes, dimensions: int, limits: Limits) -> Prototypes:
        """What `pack` gave. Raises DamagedError, LimitError."""
        arrays = unpack_arrays(payload, limits)
        try:
            names = json.loads(arrays["names"].tobytes())
            vectors = arrays["vectors"].astype(np.float32)
        except (KeyError, ValueError, RecursionError, TypeError) as error:
            raise DamagedError(f"the prototypes are damaged: {error}") from None
        good = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if (
            not good
            or vectors.shape != (len(names), dimensions)
            or not names
            or not np.isfinite(vectors).all()
        ):
            raise DamagedError("the prototypes are not a vector for each name")
        return cls(tuple(names), vectors)


@dataclass(frozen=True)
class Layout:
    """What the header of a file of features says, checked.

    count, dimensions: of the array. dtype: of its numbers. chunk: vectors an item. first: the item that the vectors
    begin with. own_model: whether item 0 is the model. prototypes: the item that holds them, or None. encoder,
    encoder_name: whose features these are, where that is known.
    """

    count: int
    dimensions: int
    dtype: np.dtype[Any]
    chunk: int
    first: int
    own_model: bool
    prototypes: int | None
    encoder: bytes | None
    encoder_name: str
    stored: int = 0
    bare: bool = False

    @classmethod
    def of(
        cls,
        config: Mapping[Any, Any],
        shape: tuple[int, ...],
        model: bytes | None,
        items: int | None,
        version: int = 1,
    ) -> Layout:
        """From a header's fields. Raises DamagedError."""
        kind, chunk = config.get(KIND), config.get(PER_ITEM)
        own, prototypes = config.get(OWN_MODEL), config.get(PROTOTYPES, False)
        encoder, name = config.get(ENCODER), config.get(ENCODER_NAME, "")
        if (
            items is None or not set(config) <= set(range(7)) or len(shape) != 2 or min(shape) < 1
            or type(kind) is not int or not 0 <= kind < len(TYPES) or type(chunk) is not int
            or not 1 <= chunk <= MOST_CHUNK or type(own) is not bool or type(prototypes) is not bool
            or (own and model is not None) or type(name) is not str
            or not (encoder is None or (type(encoder) is bytes and len(encoder) == FINGERPRINT))
        ):  # fmt: skip
            raise DamagedError("not the header of a file of features")
        first, chunks = int(own) + int(prototypes), -(-shape[0] // chunk)
        if items != first + chunks:
            raise DamagedError("the file of features has other items than its header says")
        stored = checked_count(config, STORED, version, chunks)
        bare = not own and model is None
        if bare and stored < chunks:
            raise DamagedError("a file of features without a model, which it needs")
        return cls(
            shape[0],
            shape[1],
            TYPES[kind],
            chunk,
            first,
            own,
            int(own) if prototypes else None,
            encoder,
            name,
            stored,
            bare,
        )

    def check_encoder(self, encoder: EncoderId | bytes | None) -> None:
        """Raises WrongModelError where these features are known to be another encoder's."""
        check_encoder(self.encoder, self.encoder_name, encoder, "file")

    def vectors_of(self, number: int) -> int:
        """How many vectors chunk `number` holds."""
        return min(self.chunk, self.count - number * self.chunk)


def check_encoder(here: bytes | None, name: str, encoder: EncoderId | bytes | None, what: str) -> None:
    """Raises WrongModelError where both fingerprints are known and differ."""
    other = encoder if encoder is None or isinstance(encoder, bytes) else encoder.fingerprint
    if here is not None and other is not None and here != other:
        called = f" ({name})" if name else ""
        raise WrongModelError(
            f"the {what} is for features of the encoder {here.hex()[:16]}{called}, not of {other.hex()[:16]}: use that "
            "encoder, whose weights are the same to the last bit"
        )


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Small arrays as LZMA of safetensors."""
    plain = save_safetensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return lzma.compress(plain, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=FILTERS)


def unpack_arrays(payload: bytes, limits: Limits) -> dict[str, Array]:
    """What `pack_arrays` gave. Raises DamagedError, LimitError; allocates no more than the limits allow."""
    most = min(MOST_PACKED, limits.memory)
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, PACKED_MEMORY)
    try:
        plain = stream.decompress(payload, most)
        if not stream.eof:
            limits.check_memory(len(plain) + 1 if len(plain) == most else len(plain))
            raise DamagedError("a packed part of the file ends early")
        if stream.unused_data:
            raise DamagedError("a packed part of the file has bytes behind its end")
        if int.from_bytes(plain[:8], "little") > LARGEST_HEADER:
            raise DamagedError("a packed part of the file names more arrays than it can have")
        return load_safetensors(plain)
    except (lzma.LZMAError, SafetensorError, EOFError, KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"a packed part of the file is damaged: {error}") from None


def unpack_model(arrays: Mapping[str, Array], limits: Limits) -> FeatureModel:
    """The bottleneck in these arrays. Raises DamagedError, LimitError."""
    limits.check_memory(model_memory(arrays))
    return model_from(arrays)


def model_memory(arrays: Mapping[str, Array]) -> int:
    """Bytes that the bottleneck in these arrays takes when it is ready to decode with."""
    steps, basis, words = (arrays.get(name, np.zeros(0)) for name in ("steps", "basis", "words"))
    return (1 + steps.size) * TABLE_MEMORY + (basis.size + words.size) * 32


@dataclass(frozen=True)
class Chunk:
    """The vectors of an item: symbols, from which those that are wanted are synthesised, or values as they are."""

    model: FeatureModel | None
    dtype: np.dtype[Any]
    content: Array

    def rows(self, wanted: Any = slice(None)) -> Array:
        """(m, d) those with these numbers, of this type. Raises DamagedError for numbers that are none."""
        if self.model is None:
            return self.content[wanted]
        symbols = self.content
        if not (isinstance(wanted, slice) or np.array_equal(wanted, np.arange(symbols.shape[1]))):
            symbols = symbols[:, wanted]
        return synthesise(self.model, symbols, self.dtype)


def read_chunk(model: FeatureModel | None, layout: Layout, number: int, payload: bytes) -> Chunk:
    """The vectors in the payload of their item `number`. Raises DamagedError."""
    count = layout.vectors_of(number)
    method, data = method_of(payload, layout.stored > 0)
    if method == MODEL and model is not None:
        return Chunk(model, layout.dtype, decode_chunk(model, data, count))
    if method == MODEL:
        raise DamagedError("a part of the features needs a model, which the file does not have")
    stored = _samples(layout.dimensions, layout.dtype).restore(method, data, count)
    rows = stored.reshape(-1).view(layout.dtype).reshape(count, layout.dimensions)
    if not np.isfinite(rows).all():
        raise DamagedError("a part of the features holds NaN or infinite values")
    return Chunk(None, layout.dtype, rows)


@overload
def store_chunk(features: Array) -> bytes: ...
@overload
def store_chunk(features: Array, size: int) -> bytes | None: ...
def store_chunk(features: Array, size: int | None = None) -> bytes | None:
    """(n, d) without a model, behind the number of the method: the payload of an item.

    Args:
        features: float16, float32 or float64.
        size: of the model's message.

    Returns:
        None where that is the shorter one.
    """
    plain = np.ascontiguousarray(features, features.dtype.newbyteorder("<"))
    rows = plain.view(np.uint8).reshape(len(plain), -1)
    most = rows.nbytes + 2 if size is None else size
    some = plain[:: max(1, len(plain) // 16)]
    if most < rows.nbytes / 2 and len(np.unique(some)) > some.size / 2:
        return None  # nothing without a model halves numbers that all differ
    return _samples(features.shape[1], features.dtype).shorter(most, rows)


def _samples(dimensions: int, dtype: np.dtype[Any]) -> Samples:
    """Vectors as rows of bytes."""
    return Samples(dimensions * dtype.itemsize, dtype.itemsize)


def encode_symbols(model: FeatureModel, z: npt.NDArray[np.int32]) -> bytes:
    """z (width, n) to the payload of an item. Coefficient after coefficient, so that a table stays in the cache."""
    message = Message()
    if model.tables is not None:
        message.push(z, model.tables, indices(model, z.shape[1]))
    return message.to_bytes()


def decode_chunk(model: FeatureModel, payload: bytes, count: int) -> npt.NDArray[np.int32]:
    """The symbols (width, count) in the payload of an item. Raises DamagedError."""
    try:
        message = Message.from_bytes(payload)
        index = indices(model, count)
        z = message.pop(model.tables, index) if model.tables is not None else np.zeros(index.shape, np.int32)
    except CodingError as error:
        raise DamagedError(f"a part of the features is damaged: {error}") from None
    if not message.empty:
        raise DamagedError("a part of the features holds more than its vectors")
    return z


def indices(model: FeatureModel, count: int) -> Array:
    """Which table each symbol of (width, count) uses."""
    kind = np.uint8 if model.width <= 256 else np.uint32
    return np.repeat(np.arange(model.width, dtype=kind)[:, None], count, 1)


def synthesise(model: FeatureModel, symbols: npt.NDArray[np.int32], dtype: np.dtype[Any]) -> Array:
    """Symbols (width, n) to features (n, d) of this type. Raises DamagedError for numbers that are none."""
    features = model.dequantise(symbols)
    if dtype.itemsize < features.dtype.itemsize:
        most = np.finfo(dtype).max  # the level beside the largest number may lie above it
        features = np.clip(features, -most, most)
    if not np.isfinite(features).all():
        raise DamagedError("the features are too large to be numbers")
    return features.astype(dtype, copy=False)
