"""The best non-neural scalar Wyner-Ziv codec: a table of labels over x, and one of reconstructions over (u, y).

    sender     x ──► cell of x ──► label u ──► file
    receiver   file ──► u ;  u, y ──► curve of u at y, linear between grid points ──► x̂

The tables come from generalised Lloyd iterations (`codecs/wyner_ziv/grid_design.py`). It is the yardstick of the
learned codec, and for scalars with scalar side information a codec in itself: no network, tables only. How the
indices become files: `wyner_ziv_index.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from obverse.codecs.model_codec import from_model
from obverse.codecs.wyner_ziv import GRID
from obverse.codecs.wyner_ziv.index import IndexCodec
from obverse.errors import InputError
from obverse.method import Method


@dataclass(frozen=True)
class GridTables:
    """labels (nx,); predicted (ny,) = E[x|y]; curves (K, ny), x̂ - predicted in units of `scale`; log_q (K, ny) nats;
    y (ny,), rising; low, cell: start and width of the cells of x."""

    labels: np.ndarray
    y: np.ndarray
    predicted: np.ndarray
    curves: np.ndarray
    log_q: np.ndarray
    low: float
    cell: float
    scale: float


class WynerZivGridCodec(IndexCodec):
    """x (n,), one index for each sample; squared error; y (n,) numbers or categories."""

    method: ClassVar[Method] = GRID

    @from_model
    def tables(self) -> GridTables:
        try:
            arrays = load_safetensors(self.model.weights)
            grid = self.model.config["grid"]
            names = ("labels", "y", "predicted", "curves", "log_q")
            if len(arrays) > len(names):
                raise ValueError("it has tensors that it should not have")
            tables = GridTables(
                **{name: arrays[name] for name in names},
                **{name: float(grid[name]) for name in ("low", "cell", "scale")},
            )
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise InputError(f"the model's tables are damaged: {error}") from None
        model, points = self.index_model, tables.y.size
        good = (
            tables.labels.ndim == 1 and len(tables.labels) and tables.labels.dtype == np.uint8
            and tables.labels.max() < model.indices and tables.y.shape == tables.predicted.shape == (points,)
            and points > 0 and (np.diff(tables.y) > 0).all() and 0 < tables.cell < np.inf
            and np.isfinite([tables.low, tables.scale]).all()
            and all(np.isfinite(t).all() for t in (tables.y, tables.predicted, tables.curves, tables.log_q))
            and tables.curves.shape == tables.log_q.shape == (model.indices, points)
            and model.dimensions == model.side.columns == 1
        )  # fmt: skip
        if not good:
            raise InputError("the model's tables are damaged: their sizes do not agree")
        return tables

    def _place(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The grid point of y at or below it, and how far y is on the way to the next, 0 to 1."""
        points = self.tables.y
        if len(points) == 1 or self.index_model.side.categories is not None:
            return np.searchsorted(points, y[:, 0]).clip(0, len(points) - 1), np.zeros(len(y))
        at = ((y[:, 0] - points[0]) / (points[1] - points[0])).clip(0, len(points) - 1)
        below = np.minimum(at.astype(np.int64), len(points) - 2)
        return below, at - below

    def quantise(self, x: np.ndarray) -> np.ndarray:
        tables = self.tables
        cell = np.floor((x[:, 0] - tables.low) / tables.cell)
        return tables.labels[cell.clip(0, len(tables.labels) - 1).astype(np.int64)].astype(np.int64)

    def log_conditional(self, y: np.ndarray) -> np.ndarray:
        below, part = self._place(y)
        nearest = below + (part > 0.5)
        return self.tables.log_q[:, nearest].T.astype(np.float32)

    def estimate(self, u: np.ndarray, y: np.ndarray) -> np.ndarray:
        tables = self.tables
        below, part = self._place(y)
        above = np.minimum(below + 1, len(tables.y) - 1)

        def at(point: np.ndarray) -> np.ndarray:
            return tables.predicted[point] + tables.scale * tables.curves[u, point].astype(np.float64)

        return ((1 - part) * at(below) + part * at(above))[:, None]
