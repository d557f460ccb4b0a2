"""Where the numbers of a trellis model's training lay: an encoder, which does not see y, refuses what lies elsewhere.

A receiver finds x where it lies within half a period of the labels of what y says. Numbers further out than every x
of the training by that much are found only with a y that lies further out, too.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.stored_segments import ModelFitWarning
from obverse.codecs.wyner_ziv.mixture import MixturePrior
from obverse.errors import InputError

TAIL = 8.0  # standard deviations that no sample of a Gaussian lies beyond
MANY = 1000  # numbers from which on their standard deviation tells wrong units
OTHER = 3.0  # times the training's standard deviation, or this part of it: other units

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainedRange:
    """The lowest and the highest x of a training, and their standard deviation."""

    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, x: Floats) -> TrainedRange:
        """Of the x of a training (n,)."""
        return cls(float(x.min()), float(x.max()), float(x.std()))

    @classmethod
    def of_gaussian(cls, prior: MixturePrior) -> TrainedRange | None:
        """Of a model that does not say it: from its mean and variance where it is Gaussian in one y, else None."""
        if prior.components != 1 or prior.hidden or prior.inputs != 1:
            return None
        mean = float(prior.intercept)
        deviation = math.hypot(float(prior.slope[0]), float(prior.scale))  # y is of variance 1 in the model
        return cls(mean - TAIL * deviation, mean + TAIL * deviation, deviation)

    @classmethod
    def from_dict(cls, values: Any) -> TrainedRange:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise InputError("the model's configuration is damaged: x is not low, high and deviation")
        numbers = list(values.values())
        if not all(type(v) is float and math.isfinite(v) for v in numbers):
            raise InputError(f"the model's configuration is damaged: x cannot be {values!r}")
        found = cls(**values)
        if not (found.low < found.high and found.deviation > 0):
            raise InputError(f"the model's configuration is damaged: x cannot be {values!r}")
        return found

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)

    def check(self, x: np.ndarray, period: float) -> None:
        """Whether a receiver can be expected to find x (n,) again.

        A ModelFitWarning for what lies half a period of the labels out, and for a standard deviation of other units.

        Raises:
            InputError: for what lies further out than that by the whole range.
        """
        span = self.high - self.low
        out = np.maximum(self.low - x.astype(np.float64), x - self.high)
        worst = int(out.argmax())
        value = f"number {worst:,}, {x[worst]:.6g},"
        trained = f"the model was trained with {self.low:.6g} to {self.high:.6g}"
        if out[worst] > span + period / 2:
            raise InputError(
                f"the data lies far outside of what the model was trained with: {value} cannot be decoded, {trained}: "
                "other units, or another model's data? Leave such numbers out, or train a model on pairs with them"
            )
        if out[worst] > period / 2:
            _warn(f"{value} may not be decodable: {trained}; leave it out, or train a model on such pairs")
        if len(x) >= MANY:
            deviation = float(x.std(dtype=np.float64))
            if not self.deviation / OTHER <= deviation <= self.deviation * OTHER:
                _warn(
                    f"the data has a standard deviation of {deviation:.6g}, in training it was {self.deviation:.6g}: "
                    "other units, or another model's data? It may not be decodable"
                )


def _warn(message: str) -> None:
    warnings.warn(message, ModelFitWarning, stacklevel=4)
