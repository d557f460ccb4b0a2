"""What quantised latents lose once they are decoded: the measure by which a file of a model with networks is chosen.

    x, or decode(mean) ──┐
    z ──► decode ──► x̂ ──┴──► |x - x̂|^2 - |x - decode(mean)|^2 ──► / (what that is for an excess of 1) ──► nats

The excess (z - mean)^2 / (2 std^2) is what the objective loses by quantisation where the decoder is linear: near the
mean. Coarse steps leave that place, and there latents that cost the same by it can decode to more or less error. Over
all latents of a file, though, error and excess stay in proportion, so that lmbda means the same by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
BATCH = 64  # items that a network sees at once


class DecodedError:
    """Of latents z of one posterior.

    decode: the model's. mean: of the posterior. x: the data that it is of, which what is decoded is compared with as
    far as it reaches; None where only the posterior is known. most: the largest value of the data, the smallest being
    0; or None.
    """

    def __init__(self, decode: Callable[[Array], Array], mean: Array, x: Array | None, most: float | None):
        self._decode, self._most = decode, most
        self._x = self._made(mean) if x is None else x
        self._least = 0.0 if x is None else self._error(mean)

    def of(self, z: Array) -> float:
        """Squared error beyond that of the mean, the sum of all values; not finite where decode fails."""
        return self._error(z) - self._least

    def _made(self, z: Array) -> Array:
        made = np.concatenate([self._decode(batch) for batch in batches(z)])
        return made if self._most is None else np.clip(made, 0, self._most)

    def _error(self, z: Array) -> float:
        made = self._made(z)[tuple(slice(0, side) for side in self._x.shape)].astype(np.float64)
        return float(np.square(made - self._x).sum())


def nats_each(errors: list[float], excesses: list[float]) -> float | None:
    """Decoded error of an excess of 1 nat, from several quantisations; None where they do not tell."""
    error, excess = sum(errors), sum(excesses)
    return error / excess if math.isfinite(error) and error > 0 and excess > 0 else None


def batches(x: Array) -> Iterator[Array]:
    """Some items after the other."""
    for first in range(0, len(x), BATCH):
        yield x[first : first + BATCH]
