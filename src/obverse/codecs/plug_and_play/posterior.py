"""What a generative model knows of its latents once it has seen the data: a mean and a standard deviation of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import as_array
from obverse.errors import InputError

Array = npt.NDArray[Any]
SMALLEST_STD, LARGEST_STD = 1e-12, 1e12
LARGEST_MEAN = 1e12


@dataclass(frozen=True)
class Posterior:
    """A Gaussian for each latent.

    mean, std: arrays of the same shape, float32. Made by `Posterior.of`, which checks them.
    """

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    @classmethod
    def of(cls, mean: npt.ArrayLike, std: npt.ArrayLike) -> Posterior:
        """From arrays of floats. Raises InputError, saying what to do, for what is no posterior."""
        arrays = {}
        for name, given in (("mean", mean), ("std", std)):
            array = as_array(given, f"the posterior's {name}")
            if array.dtype.kind not in "fiu":
                raise InputError(f"the posterior's {name} must be numbers, not {array.dtype}")
            arrays[name] = array
        m, s = arrays["mean"], arrays["std"]
        if m.shape != s.shape:
            raise InputError(
                f"the posterior's mean has shape {m.shape}, its std {s.shape}: a latent needs both"
            )
        if m.size == 0 or m.ndim == 0:
            raise InputError("there is nothing to code: the posterior has no latents")
        _refuse(~np.isfinite(m), "mean", "NaN or infinite", "leave those latents out, or mend the model")
        _refuse(~np.isfinite(s), "std", "NaN or infinite", "leave those latents out, or mend the model")
        _refuse(s <= 0, "std", "zero or negative", "a log variance perhaps? then pass numpy.exp(logvar / 2)")
        _refuse(
            (s < SMALLEST_STD) | (s > LARGEST_STD), "std", f"outside of {SMALLEST_STD} to {LARGEST_STD}",
            "scale the latents",
        )  # fmt: skip
        _refuse(np.abs(m) > LARGEST_MEAN, "mean", f"beyond {LARGEST_MEAN}", "scale the latents")
        return cls(np.ascontiguousarray(m, np.float32), np.ascontiguousarray(s, np.float32))

    def grouped(self, axis: int | None) -> Posterior:
        """The same as (A, G, B): G is this axis, or 1 where there is none."""
        return Posterior(grouped(self.mean, axis), grouped(self.std, axis))


def grouped(array: Array, axis: int | None) -> Array:
    """Any shape as (A, G, B): what comes before the axis, the axis, what follows; without an axis (1, 1, all)."""
    if axis is None:
        return array.reshape(1, 1, -1)
    before = int(np.prod(array.shape[:axis], dtype=np.int64))
    return array.reshape(before, array.shape[axis], -1)


def _refuse(wrong: npt.NDArray[np.bool_], name: str, what: str, then: str) -> None:
    count = int(np.count_nonzero(wrong))
    if count:
        raise InputError(f"{count} of the posterior's {wrong.size} {name} values are {what}: {then}")
