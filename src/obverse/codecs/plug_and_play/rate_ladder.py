"""How latents become symbols and bits at each of several rates: what a plug-and-play model or file stores.

    posterior (A, G, B), lmbda ──► the rung of the nearest lmbda ──► its grid and tables ──► symbols ──► bits

A group has one table, or several of which the context says which (activity.py).

For Variational Bayesian Quantization the rungs share one grid and differ in their tables; between two rungs, latents
are chosen with the lmbda that was asked for, and coded with the tables of the nearer rung. With a step for each group
(stepped.py), and for the baselines, each rung has a grid of its own.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.activity import MOST_CONTEXTS, Contexts
from obverse.codecs.plug_and_play.baselines import nearest_multiple
from obverse.codecs.plug_and_play.k_means import nearest_centre
from obverse.codecs.plug_and_play.point_grid import (
    DYADIC,
    KINDS,
    MOST_POINTS,
    POINTS,
    UNIFORM,
    PointGrid,
    knots,
)
from obverse.codecs.plug_and_play.point_tables import PointTables
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import check_lmbda, choose
from obverse.codecs.plug_and_play.stepped import choose_multiple
from obverse.container.inflate import inflate
from obverse.errors import DamagedError, InputError
from obverse.priors.code_lengths import LARGEST

Array = npt.NDArray[Any]
MOST_RUNGS = 256
MOST_GROUPS = 1 << 15
TABLE_BYTES = 1 << 13  # of a table that is ready to decode with
_PACKED = {"numbers": "<i4", "lmbdas": "<f8", "parameters": "<f4", "lengths": "u1"}


@dataclass(frozen=True)
class Rung:
    """One rate: its lmbda, the grid of the latents' values, and the tables of their symbols.

    by_cost: on a uniform grid, whether the multiple of least cost is chosen or, as the baselines do, the nearest one.
    """

    lmbda: float
    grid: PointGrid
    tables: PointTables
    by_cost: bool = False

    @property
    def decoding_memory(self) -> int:
        """Bytes that it takes when it is ready to decode with."""
        groups = self.grid.groups
        return _ready(self.grid.kind, self.grid.depth, groups, groups * self.tables.contexts.count)

    def quantise(self, posterior: Posterior, lmbda: float | None = None) -> npt.NDArray[np.int32]:
        """Symbols (A, G, B) of a posterior (A, G, B). lmbda: where the cost decides, another than the rung's own."""
        if self.grid.kind in DYADIC:
            tables = self.tables
            bits = tables.point_bits(self.grid)
            return choose(posterior, self.grid, bits, lmbda or self.lmbda, tables.contexts)
        if self.grid.kind == UNIFORM and self.by_cost:
            return choose_multiple(posterior, self.grid, self.tables, lmbda or self.lmbda)
        if self.grid.kind == UNIFORM:
            return nearest_multiple(posterior.mean, self.grid)
        return nearest_centre(posterior.mean, self.grid)


@dataclass(frozen=True)
class RateLadder:
    """The rungs in rising order of lmbda, all of the same number of groups."""

    rungs: tuple[Rung, ...]

    @property
    def groups(self) -> int:
        return self.rungs[0].grid.groups

    def nearest(self, lmbda: float) -> int:
        """The number of the rung for this lmbda. Raises InputError for a lmbda that is not above 0."""
        check_lmbda(lmbda)
        return min(range(len(self.rungs)), key=lambda i: abs(math.log(self.rungs[i].lmbda / lmbda)))

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same ladder of; "contexts" only where a group has more than one."""
        grids = [rung.grid for rung in self.rungs]
        if all(grid is grids[0] for grid in grids):
            grids = grids[:1]
        head = [KINDS.index(grids[0].kind), grids[0].depth, self.groups, len(self.rungs), len(grids)]
        numbers = [head, [grid.parameters.shape[1] for grid in grids]]
        numbers += [rung.tables.sizes.tolist() for rung in self.rungs]
        numbers += [rung.tables.lows.tolist() for rung in self.rungs]
        state: dict[str, Array] = {
            "numbers": np.array([number for part in numbers for number in part], np.int32),
            "lmbdas": np.array([rung.lmbda for rung in self.rungs], np.float64),
            "parameters": np.concatenate([grid.parameters.ravel() for grid in grids]),
            "lengths": np.concatenate([rung.tables.lengths for rung in self.rungs]),
        }
        contexts = [rung.tables.contexts for rung in self.rungs]
        if any(one.count > 1 for one in contexts):
            counts = np.array([one.count for one in contexts], np.int32)
            told = [np.column_stack([one.usual, one.thresholds]).ravel() for one in contexts if one.count > 1]
            state["contexts"] = np.concatenate([counts, *told])
        return state

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], by_cost: bool = False) -> RateLadder:
        """What `state` gave, whoever wrote it. Raises DamagedError. Takes no more memory than the arrays do.

        by_cost: of the rungs; only whoever quantises has to know it.
        """
        damaged = DamagedError("the grids and tables of the latents are damaged")
        wanted = {"numbers": "int32", "lmbdas": "float64", "parameters": "float32", "lengths": "uint8"}
        if any(
            name not in arrays or str(arrays[name].dtype) != kind or arrays[name].ndim != 1
            for name, kind in wanted.items()
        ):
            raise damaged
        numbers, lmbdas = arrays["numbers"].astype(np.int64), arrays["lmbdas"]
        if len(numbers) < 6:
            raise damaged
        kind, depth, groups, rungs, grids = numbers[:5].tolist()
        if not 0 <= kind < len(KINDS) or not 1 <= groups <= MOST_GROUPS or not 1 <= rungs <= MOST_RUNGS:
            raise damaged
        contexts = _contexts(arrays.get("contexts"), rungs, groups)
        counts = np.array([one.count * groups for one in contexts])  # tables of each rung
        tables = int(counts.sum())
        if (
            grids not in (1, rungs) or len(numbers) != 5 + grids + 2 * tables or len(lmbdas) != rungs
            or not np.isfinite(lmbdas).all() or lmbdas.min() <= 0 or (np.diff(lmbdas) <= 0).any()
        ):  # fmt: skip
            raise damaged
        widths = numbers[5 : 5 + grids]
        sizes = numbers[5 + grids : 5 + grids + tables]
        lows = numbers[5 + grids + tables :]
        if (
            widths.min() < 1 or widths.max() > MOST_POINTS or int(widths.sum()) * groups != len(arrays["parameters"])
            or sizes.min() < 2 or sizes.max() > LARGEST or int(sizes.sum()) != len(arrays["lengths"])
        ):  # fmt: skip
            raise damaged
        try:
            made = []
            starts = np.append(0, np.cumsum(widths) * groups)
            for i, width in enumerate(widths.tolist()):
                piece = arrays["parameters"][starts[i] : starts[i + 1]].reshape(groups, width)
                made.append(PointGrid(KINDS[kind], np.ascontiguousarray(piece), depth))
        except InputError as error:
            raise DamagedError(f"the grids of the latents are damaged: {error}") from None
        found = []
        ends, at = np.append(0, np.cumsum(sizes)), np.append(0, np.cumsum(counts))
        for i in range(rungs):
            first, last = int(at[i]), int(at[i + 1])
            lengths = arrays["lengths"][ends[first] : ends[last]]
            stored = PointTables(lengths, sizes[first:last], lows[first:last], contexts[i])
            found.append(Rung(float(lmbdas[i]), made[i if grids > 1 else 0], stored, by_cost))
        return cls(tuple(found))


def excess(posterior: Posterior, grid: PointGrid, symbols: npt.NDArray[np.int32]) -> float:
    """What the symbols lose of a posterior (A, G, B): the sum of (z - mean)^2 / (2 std^2), in nats."""
    off = (grid.dequantise(symbols).astype(np.float64) - posterior.mean) / posterior.std
    return float(np.square(off).sum()) / 2


def _contexts(stored: Array | None, rungs: int, groups: int) -> list[Contexts]:
    """Of each rung, as `state` tells them. Raises DamagedError."""
    damaged = DamagedError("the contexts of the latents are damaged")
    if stored is None:
        return [Contexts.alone(groups)] * rungs
    if stored.dtype != np.int32 or stored.ndim != 1 or len(stored) < rungs:
        raise damaged
    counts = stored[:rungs].astype(np.int64)
    several = counts[counts > 1]
    if counts.min() < 1 or counts.max() > MOST_CONTEXTS or len(stored) != rungs + groups * int(several.sum()):
        raise damaged
    made, at = [], rungs
    for count in counts.tolist():
        if count == 1:
            made.append(Contexts.alone(groups))
            continue
        rows = stored[at : at + groups * count].reshape(groups, count)
        at += groups * count
        try:
            made.append(Contexts(*(np.ascontiguousarray(part) for part in (rows[:, 0], rows[:, 1:]))))
        except InputError as error:
            raise DamagedError(f"the contexts of the latents are damaged: {error}") from None
    return made


def pack_ladder(ladder: RateLadder) -> bytes:
    """As one section of a file: its numbers, lmbdas, parameters and lengths, little-endian, behind zlib."""
    state = ladder.state()
    parts = (state[name].astype(kind).tobytes() for name, kind in _PACKED.items())
    return zlib.compress(b"".join(parts), 9)


def unpack_ladder(data: bytes, at_most: int) -> dict[str, Array]:
    """The state that `pack_ladder` packed, of at most so many bytes, for `from_state`. Raises DamagedError."""
    raw = inflate(data, at_most)
    damaged = DamagedError("the grids and tables of the latents are damaged")
    if len(raw) < 20:
        raise damaged
    _, _, groups, rungs, grids = np.frombuffer(raw, "<i4", 5).astype(np.int64).tolist()
    count = 5 + grids + 2 * rungs * groups
    if min(groups, rungs, grids) < 1 or max(groups, rungs, grids) > MOST_GROUPS or 4 * count > len(raw):
        raise damaged
    widths = np.frombuffer(raw, "<i4", grids, 20).astype(np.int64)
    sizes = (count, rungs, int(widths.sum()) * groups)
    arrays, at = {}, 0
    for (name, kind), size in zip(_PACKED.items(), (*sizes, -1), strict=True):
        length = len(raw) - at if size < 0 else size * np.dtype(kind).itemsize
        if length < 0 or at + length > len(raw) or (widths < 1).any():
            raise damaged
        arrays[name] = np.frombuffer(raw[at : at + length], kind).astype(np.dtype(kind).newbyteorder("="))
        at += length
    return arrays


def decoding_memory(arrays: Mapping[str, Array]) -> int:
    """Bytes that one rung takes when it is ready to decode with; 0 for arrays that `from_state` refuses."""
    numbers = arrays.get("numbers")
    if numbers is None or numbers.ndim != 1 or len(numbers) < 6 or numbers.dtype.kind != "i":
        return 0
    kind, depth, groups = (int(number) for number in numbers[:3])
    if not 0 <= kind < len(KINDS) or not 1 <= groups <= MOST_GROUPS or not 0 <= depth <= 12:
        return 0
    return _ready(KINDS[kind], depth, groups, groups)


def _ready(kind: str, depth: int, groups: int, tables: int) -> int:
    """Bytes of the points of a grid and of so many tables."""
    points = {UNIFORM: 2, POINTS: MOST_POINTS}.get(kind, 1 << depth)
    return groups * (24 * points + 8 * len(knots(6))) + tables * TABLE_BYTES
