"""A file of features as if it were a NumPy array: what is asked for is decoded, nothing else is read.

view[i] ──► chunk of 256 vectors ──► z, kept in a small cache ──► only the rows asked for are synthesised ──► x̂

>>> import numpy as np
>>> from obverse.codecs.features.codec import FeatureCodec
>>> from obverse.container import write
>>> features = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
>>> view = FeatureView(write(FeatureCodec().encode(features, FeatureCodec.options(loss=0.01))))
>>> view
FeatureView(1000 vectors of 8 float32)
>>> view[999].shape, view[[3, 1, 3]].shape, bool(np.abs(view[:] - features).mean() < 0.1)
((8,), (3, 8), True)
"""

from __future__ import annotations

import operator
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.features.codec import FeatureCodec, features_codec
from obverse.codecs.features.items import Chunk, EncoderId, Layout, Prototypes, read_chunk
from obverse.container import ItemReader, Limits
from obverse.container.source import SourceLike
from obverse.errors import InputError, ItemIndexError, WrongModelError

Array = npt.NDArray[Any]

CACHE = 1 << 26  # bytes of symbols that are kept


class FeatureView:
    """(n, d) features in a file, decoded when they are asked for.

        with FeatureView("photos.obv") as view:
            view.shape, view[17], view[100:200], view[[5, 3, 5]], numpy.asarray(view)

    source: bytes, a path, or an open file. encoder: refuse a file whose features are of another one. model: name or
    folder of the model, if the file does not bring its own and it is not installed. cache: bytes of decoded symbols
    that are kept. One thread at a time, as it moves the file's position. Views of paths and of bytes can be pickled,
    so workers of a data loader have one each.

    Raises InputError, DecodeError, LimitError, WrongModelError; ItemIndexError, an IndexError too,
    for a vector that is not there.
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        encoder: EncoderId | bytes | None = None,
        model: str | Path | None = None,
        limits: Limits | None = None,
        cache: int = CACHE,
    ):
        self._arguments = (source, model, limits, cache)
        self._limits = Limits.of(limits)
        self._reader = ItemReader(source, self._limits)
        try:
            header = self._reader.header
            if header.codec != FeatureCodec.method.id:
                raise InputError(f"the file holds no features: it was written by codec {header.codec!r}")
            if model is not None and header.model is None:
                raise WrongModelError("the file brings its own model: do not name another")
            codec = features_codec(model, header.model)
            self.layout = Layout.of(header.config, header.shape, header.model, header.items, header.version)
            self.layout.check_encoder(encoder)
            payload = self._reader[0] if self.layout.own_model else b""
            # only chunks are ever held: the limit on memory is not for the whole array
            self._model = codec.model_of(self.layout, payload, self._limits, whole=False)
        except BaseException:
            self._reader.close()
            raise
        # int32 symbols of a chunk; one is always kept
        symbols = self._model.width if self._model else 2 * self.layout.dimensions
        self._kept = max(1, cache // (4 * max(1, symbols) * min(self.layout.chunk, self.layout.count)))
        self._cache: OrderedDict[int, Chunk] = OrderedDict()

    # -- as an array -----------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.layout.count, self.layout.dimensions

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the features: as they were compressed."""
        return self.layout.dtype

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def chunk(self) -> int:
        """Vectors that are decoded together: what lies in one chunk is read fastest together."""
        return self.layout.chunk

    def __len__(self) -> int:
        return self.layout.count

    def __getitem__(self, key: Any) -> Array:
        """view[i] -> (d,); view[slice], view[array or list of numbers], view[mask of n bools] -> (m, d).

        Vectors come in the order asked for; each chunk is decoded once.
        """
        if not isinstance(key, slice | list | tuple | np.ndarray):
            try:
                number = operator.index(key)
            except TypeError:
                raise ItemIndexError(f"vectors are numbered by integers, not {type(key).__name__}") from None
            return self._rows(np.array([self._number(number)]))[0]
        if isinstance(key, slice):
            try:
                return self._rows(np.arange(*key.indices(len(self))))
            except (TypeError, ValueError) as error:
                raise ItemIndexError(f"the vectors {key} cannot be chosen: {error}") from None
        if isinstance(key, tuple):
            raise ItemIndexError("features are indexed by vector only: take columns of what comes out")
        try:
            wanted = np.asarray(key)
        except (ValueError, OverflowError):
            raise ItemIndexError("vectors are chosen by one list of numbers, not by nested ones") from None
        if wanted.ndim != 1:
            raise ItemIndexError(
                f"vectors are chosen by a list of numbers, not by an array of shape {wanted.shape}"
            )
        if wanted.dtype == np.bool_:
            if len(wanted) != len(self):
                raise ItemIndexError(
                    f"a mask has a bool for each of the {len(self)} vectors, not {len(wanted)}"
                )
            wanted = np.flatnonzero(wanted)
        elif wanted.size == 0:
            wanted = wanted.astype(np.int64)
        elif wanted.dtype.kind not in "iu":
            raise ItemIndexError(f"vectors are numbered by integers, not {wanted.dtype}")
        low, high = (int(wanted.min()), int(wanted.max())) if wanted.size else (0, 0)
        if wanted.size:
            self._number(low)
            self._number(high)
        rows = wanted.astype(np.int64)
        return self._rows(np.where(rows < 0, rows + len(self), rows))

    def __iter__(self) -> Iterator[Array]:
        for first in range(0, len(self), self.chunk):
            yield from self[first : first + self.chunk]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("features are decoded, so that an array of them is always a copy")
        self._limits.check_memory(len(self) * self.layout.dimensions * self.dtype.itemsize)
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    # -- labels ----------------------------------------------------------------------------------------------

    @property
    def prototypes(self) -> Prototypes | None:
        """Class names and their vectors, if the file holds any."""
        if self.layout.prototypes is None:
            return None
        return Prototypes.unpack(self._reader[self.layout.prototypes], self.layout.dimensions, self._limits)

    def labels(self, prototypes: Prototypes | None = None) -> npt.NDArray[np.int64]:
        """For each vector the number of the prototype at the smallest angle, (n,): zero-shot labels without images.

        prototypes: by default those in the file. Raises InputError where there are none, or of another length.
        """
        prototypes = prototypes or self.prototypes
        if prototypes is None:
            raise InputError("the file holds no prototypes: pass some, or compress with --prototypes")
        if prototypes.vectors.shape[1] != self.layout.dimensions:
            raise InputError(
                f"the prototypes have {prototypes.vectors.shape[1]} numbers, the features {self.layout.dimensions}"
            )
        labels = np.empty(len(self), np.int64)
        for first in range(0, len(self), self.chunk):
            labels[first : first + self.chunk] = prototypes.labels(self[first : first + self.chunk])
        return labels

    # -- inside ----------------------------------------------------------------------------------------------

    def _number(self, i: int) -> int:
        number = i + len(self) if i < 0 else i
        if not 0 <= number < len(self):
            raise ItemIndexError(f"there is no vector {i}: the file holds {len(self)}")
        return number

    def _chunk(self, number: int) -> Chunk:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        payload = self._reader[self.layout.first + number]
        chunk = read_chunk(self._model, self.layout, number, payload)
        self._cache[number] = chunk
        while len(self._cache) > self._kept:
            self._cache.popitem(last=False)
        return chunk

    def _rows(self, wanted: npt.NDArray[np.int64]) -> Array:
        out = np.empty((len(wanted), self.layout.dimensions), self.dtype)
        chunks = wanted // self.chunk
        order = np.argsort(chunks, kind="stable")
        ends = np.flatnonzero(np.diff(chunks[order])) + 1
        for places in np.split(order, ends) if len(wanted) else []:
            number = int(chunks[places[0]])
            out[places] = self._chunk(number).rows(wanted[places] - number * self.chunk)
        return out

    def close(self) -> None:
        """Close the file, if this view opened it."""
        self._reader.close()

    def __del__(self) -> None:
        reader = getattr(self, "_reader", None)
        if reader is not None:  # else it could not be opened
            reader.close()

    def __enter__(self) -> FeatureView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        source = self._arguments[0]
        if not isinstance(source, bytes | str | os.PathLike):
            raise TypeError("a view of an open file cannot be pickled: open it by its path")
        return _again, self._arguments

    def __repr__(self) -> str:
        n, d = self.shape
        return f"FeatureView({n} vectors of {d} {self.dtype})"


def _again(source: Any, model: Any, limits: Any, cache: int) -> FeatureView:
    return FeatureView(source, model=model, limits=limits, cache=cache)
