"""Vectors to the items of a file, with one model: chunk by chunk, so that no more is ever held.

pieces of rows ──► chunks ──► message of the model, or the vectors without it where that is shorter ──► spool
                      └─────► how much the decoded ones differ
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.features.clusters import ClusteredBottleneck, FeatureModel
from obverse.codecs.features.items import (
    MOST_CHUNK,
    OWN_MODEL,
    PER_ITEM,
    STORED,
    encode_symbols,
    pack_arrays,
    store_chunk,
    synthesise,
)
from obverse.codecs.stored_segments import FEWEST, MODEL, MOST_AROUND, ModelFitWarning
from obverse.container import Container
from obverse.container.spool import ItemSpool
from obverse.data.feature_files import FeatureRows, rows_at_once

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """What was written: the container without its items, which the spool has, and the part of the variance lost."""

    container: Container
    lost: float


@dataclass(frozen=True)
class Writer:
    """Writes the same vectors with one model or another.

    rows: the vectors. mean: (d,) theirs. container: header of the file, before it is known what is stored. front: items
    before the vectors, but for the model. spool: where items go.
    """

    rows: FeatureRows
    mean: npt.NDArray[np.float64]
    container: Container
    front: Sequence[bytes]
    spool: ItemSpool

    def write(self, model: FeatureModel) -> Encoded:
        """All items of the file, in place of what the spool had.

        It never has more than MOST_AROUND bytes beyond the vectors as they are, its front and prototypes.
        """
        encoded = self._by_model(model, 0)
        if encoded is None:  # a chunk is stored: all items say how they are
            encoded = self._by_model(model, 1) or self._as_they_are()  # all are: no model is needed
        if self.spool.item_bytes - sum(map(len, self.front)) > self._raw_bytes + MOST_AROUND:
            encoded = self._as_they_are()
        config = encoded.container.config
        if STORED in config:
            warnings.warn(
                f"the model does not fit these features, or they are too few for it: {config[STORED]} of "
                f"{-(-self.rows.shape[0] // config[PER_ITEM])} items are stored without it; "
                "fit a model to more features of this encoder (obverse train features), or allow more loss",
                ModelFitWarning,
                stacklevel=5,
            )
        return encoded

    @property
    def _raw_bytes(self) -> int:
        return self.rows.shape[0] * self.rows.shape[1] * self.rows.dtype.itemsize

    def _by_model(self, model: FeatureModel, numbered: int) -> Encoded | None:
        """numbered: bytes of the number of its method before each item, 0 or 1. None where a chunk needs one."""
        self.spool.clear()
        container = self.container
        if container.config[OWN_MODEL]:
            if isinstance(model, ClusteredBottleneck):
                container = replace(container, version=2)
            self.spool.append(pack_arrays(model.state()))
        for item in self.front:
            self.spool.append(item)
        stored, error, spread = 0, 0.0, 0.0
        for x in self._chunks(self.container.config[PER_ITEM]):
            z = model.quantise(x)
            payload = encode_symbols(model, z)
            exact = x.astype(np.float64)
            spread += float(np.square(exact - self.mean).sum())
            without = store_chunk(x, len(payload))
            if without is not None:
                if not numbered:
                    return None
                stored += 1
                self.spool.append(without)
                continue
            self.spool.append(bytes([MODEL]) * numbered + payload)
            error += float(np.square(exact - synthesise(model, z, x.dtype)).sum())
        lost = error / spread if spread else 0.0
        if not numbered:
            return Encoded(container, lost)
        if stored == -(-self.rows.shape[0] // self.container.config[PER_ITEM]):
            return None
        return Encoded(self._with({STORED: stored}), lost)

    def _as_they_are(self) -> Encoded:
        """Without any model in the file, in few items."""
        self.spool.clear()
        for item in self.front:
            self.spool.append(item)
        count = self.rows.shape[0]
        chunk = min(MOST_CHUNK, max(self.container.config[PER_ITEM], -(-count // FEWEST)))
        for x in self._chunks(chunk):
            self.spool.append(store_chunk(x))
        return Encoded(self._with({OWN_MODEL: False, PER_ITEM: chunk, STORED: -(-count // chunk)}), 0.0)

    def _with(self, config: dict[int, Any]) -> Container:
        return replace(self.container, config=self.container.config | config, version=2)

    def _chunks(self, chunk: int) -> Iterator[Array]:
        for piece in self.rows.pieces(chunk * max(1, rows_at_once(self.rows) // chunk)):
            for first in range(0, len(piece), chunk):
                yield piece[first : first + chunk]
