"""Which of several tables codes a latent: by how much went on at its place in the groups before it.

    activity = 0;  for each group:   context = how many of the group's thresholds are not above the activity
                                     activity += 128 * size(symbol) - activity / 16

Networks leave the latents of a place uncorrelated, but not independent: where some are large, others are (Wainwright,
Simoncelli, "Scale mixtures of Gaussians and the statistics of natural images", NIPS 1999). The activity is a fading sum
over the groups that the decoder already has, so it knows the context too. All of it is whole numbers.

The size of a symbol is the level of its point on a dyadic grid, and on other grids the same of its distance from the
group's usual symbol: 0, then 1 for a distance of 1 or 2, 2 up to 6, 3 up to 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import InputError
from obverse.jit import njit

MOST_CONTEXTS = 16
GAIN, FADE = 7, 4  # powers of 2
LARGEST_ACTIVITY = 1 << 20
FARTHEST = 1 << 30  # symbols lie within

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@dataclass(frozen=True)
class Contexts:
    """Of all groups: the same number of contexts each.

    usual: (G,) int32, the most frequent symbol of a group; of dyadic grids 0. thresholds: (G, K - 1) int32, rising.
    Raises InputError for what are none.
    """

    usual: npt.NDArray[np.int32]
    thresholds: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        usual, thresholds = self.usual, self.thresholds
        if (
            usual.dtype != np.int32 or thresholds.dtype != np.int32 or thresholds.ndim != 2
            or usual.shape != (len(thresholds),) or not len(usual) or thresholds.shape[1] >= MOST_CONTEXTS
            or usual.min() < -FARTHEST or usual.max() > FARTHEST
            or (np.diff(thresholds, axis=1) < 0).any()
            or (thresholds.size and not 0 <= thresholds.min() <= thresholds.max() <= LARGEST_ACTIVITY)
        ):  # fmt: skip
            raise InputError("contexts have a usual symbol and rising thresholds for each group")

    @property
    def groups(self) -> int:
        return len(self.usual)

    @property
    def count(self) -> int:
        """K, contexts of a group."""
        return self.thresholds.shape[1] + 1

    @classmethod
    def alone(cls, groups: int) -> Contexts:
        """One context a group."""
        return cls(np.zeros(groups, np.int32), np.zeros((groups, 0), np.int32))

    @classmethod
    def of(cls, symbols: npt.NDArray[np.int32], usual: npt.NDArray[np.int32], count: int) -> Contexts:
        """Thresholds at quantiles of the activities of symbols (A, G, B), closer to each other where it is high."""
        shares = np.sqrt(np.arange(1, count) / count)
        activity = np.zeros((symbols.shape[0], symbols.shape[2]), np.int32)
        thresholds = np.zeros((symbols.shape[1], count - 1), np.int32)
        for group in range(symbols.shape[1]):
            thresholds[group] = np.quantile(activity, shares, method="higher")
            grow(activity, symbols[:, group], usual[group])
        return cls(usual, thresholds)

    def index(self, symbols: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """The context of each symbol (A, G, B)."""
        found = np.zeros(symbols.shape, np.uint8)
        if self.count > 1:
            _index(symbols, self.usual, self.thresholds, found)
        return found

    def of_group(self, group: int, activity: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """The context of each place, given what the activity has come to."""
        return np.searchsorted(self.thresholds[group], activity.ravel(), "right").astype(np.uint8)


def grow(activity: npt.NDArray[np.int32], symbols: npt.NDArray[np.int32], usual: int) -> None:
    """Add the symbols of one group to the activity, in place; both of any one shape."""
    _grow(activity.reshape(-1), np.ascontiguousarray(symbols).reshape(-1), int(usual))


@njit(cache=True, nogil=True, inline="always")
def grown(activity, symbol, usual):  # type: ignore[no-untyped-def]
    """The activity after a symbol."""
    distance = abs(np.int64(symbol) - usual) + 1
    size = 0
    while distance > 1:
        distance >>= 1
        size += 1
    return activity + (size << GAIN) - (activity >> FADE)


@compiled
def _grow(activity, symbols, usual):  # type: ignore[no-untyped-def]
    for i in range(len(activity)):
        activity[i] = grown(activity[i], symbols[i], usual)


@compiled
def _index(symbols, usual, thresholds, found):  # type: ignore[no-untyped-def]
    for a in range(symbols.shape[0]):
        activity = np.zeros(symbols.shape[2], np.int32)
        for g in range(symbols.shape[1]):
            for b in range(symbols.shape[2]):
                context = 0
                for t in thresholds[g]:
                    context += activity[b] >= t
                found[a, g, b] = context
                activity[b] = grown(activity[b], symbols[a, g, b], usual[g])
