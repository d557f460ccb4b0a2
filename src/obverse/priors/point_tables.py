"""Tables of integers for the symbols of quantised latents, one a group, counted on data.

    symbols (A, G, B) ──► counts ──► how many symbols the table names ──► lengths in eighths of a bit ──► TableFamily
                                     (the others go through its escape)

Every symbol that a table names takes at least 2^-16 of the probability, and a byte before packing; where few symbols
are used, a table that names a thousand costs more than it saves. The number is chosen by its cost on the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.coding import TableFamily
from obverse.priors.code_lengths import LARGEST, PRECISION, lengths_of, tables_of
from obverse.quantization.point_grid import DYADIC, PointGrid, level_of_symbol

Array = npt.NDArray[Any]
_ESCAPE_CODE = 7  # bits of an escape beside the logarithm of the distance
_TRIMS = (0.0, 1e-4, 1e-3, 1e-2)  # of the symbols on either side that a table may leave to its escape
_FLOOR = 2.0**-PRECISION / np.log(2)  # bits that each named symbol costs every other one


@dataclass(frozen=True)
class PointTables:
    """Code lengths of the symbols of each group, and what coder tables they make.

    lengths: uint8, eighths of a bit, all tables one after the other, the escape of each last. sizes: (G,) how many
    lengths each has. lows: (G,) the smallest symbol that each names.
    """

    lengths: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    lows: npt.NDArray[np.int64]

    @property
    def groups(self) -> int:
        return len(self.sizes)

    @cached_property
    def family(self) -> TableFamily:
        """Raises DamagedError where sizes and lengths do not agree."""
        return tables_of(self.lengths, self.sizes, self.lows)

    def bits(self, symbols: Array) -> npt.NDArray[np.float64]:
        """The information of each symbol (A, G, B), or (1, 1, n) of a single group."""
        return self.family.bits(symbols, np.broadcast_to(np.arange(self.groups)[:, None], symbols.shape))

    def point_bits(self, grid: PointGrid) -> npt.NDArray[np.float32]:
        """(G, K) the information of each point of a grid that has an end."""
        symbols = np.broadcast_to(np.arange(grid.count)[None, None], (1, self.groups, grid.count or 0))
        return self.bits(symbols)[0].astype(np.float32)

    @classmethod
    def of(
        cls, symbols: npt.NDArray[np.int32], grid: PointGrid, smoothing: float = 1.0, entry_bits: float = 0.0
    ) -> PointTables:
        """From the symbols (A, G, B) of some data.

        smoothing: how many symbols' weight is spread over those that were not seen: much where other data will be
        coded. entry_bits: what a length costs where it is stored.
        """
        lengths, sizes, lows = [], [], []
        for group in range(grid.groups):
            seen = symbols[:, group].ravel()
            low = min(int(seen.min()), 0) if grid.kind not in DYADIC else 0
            high = max(int(seen.max()), low)
            if high - low < 1 << 22:
                values = np.arange(low, high + 1)
                counts = np.bincount(seen - low, minlength=len(values)).astype(np.float64)
            else:  # a step far too small: almost all symbols differ
                values, whole = np.unique(seen, return_counts=True)
                counts = whole.astype(np.float64)
            best: tuple[float, int, npt.NDArray[np.float64]] = (np.inf, 0, np.ones(2))
            for first, last in _ranges(grid, values, counts):
                best = min(
                    best, _table(grid, values, counts, first, last, smoothing, entry_bits), key=lambda t: t[0]
                )
            lengths.append(lengths_of(best[2]))
            sizes.append(len(best[2]))
            lows.append(best[1])
        return cls(np.concatenate(lengths), np.array(sizes, np.int64), np.array(lows, np.int64))


def _ranges(grid: PointGrid, values: Array, counts: Array) -> Iterator[tuple[int, int]]:
    """Which symbols a table might name: first and last."""
    if grid.kind in DYADIC:
        yield from ((0, (1 << level) - 2) for level in range(1, grid.depth + 1))
        return
    running = np.cumsum(counts)
    for trim in _TRIMS:
        first = int(values[np.searchsorted(running, trim * running[-1], "right")])
        last = int(values[min(np.searchsorted(running, (1 - trim) * running[-1]), len(values) - 1)])
        if last - first + 2 <= LARGEST:
            yield first, last
    middle = int(values[np.searchsorted(running, running[-1] / 2)])
    yield middle, middle


def _table(
    grid: PointGrid, values: Array, counts: Array, first: int, last: int, smoothing: float, entry_bits: float
) -> tuple[float, int, npt.NDArray[np.float64]]:
    """Cost in bits, smallest symbol and weights (escape last) of a table that names first .. last."""
    named = (values >= first) & (values <= last)
    weights = np.zeros(last - first + 2)
    weights[values[named] - first] = counts[named]
    if grid.kind in DYADIC:  # half as likely with each level, as long as nothing was seen
        unseen = 2.0 ** -level_of_symbol(grid.depth)
        unseen /= unseen.sum()
        weights[:-1] += smoothing * unseen[: last + 1]
        weights[-1] += smoothing * max(1 - unseen[: last + 1].sum(), 1e-3)
    else:
        weights[:-1] += smoothing / len(weights)
        weights[-1] += smoothing / len(weights)
    escaped = counts[~named]
    weights[-1] += escaped.sum()
    lengths = -np.log2(np.maximum(weights / weights.sum(), 2.0**-PRECISION))
    distance = np.where(values[~named] < first, first - values[~named], values[~named] - last)
    cost = float(lengths[values[named] - first] @ counts[named])
    cost += float(escaped @ (lengths[-1] + _ESCAPE_CODE + np.floor(np.log2(np.maximum(distance, 1)))))
    return cost + len(weights) * (entry_bits + _FLOOR * float(counts.sum())), first, weights
