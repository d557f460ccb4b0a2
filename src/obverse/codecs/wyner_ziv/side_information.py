"""Side information y as the networks take it: numbers standardised, categories as one-hot columns.

An array of floats is numbers. An array of whole numbers or booleans is categories, column by column, when no
column has more than CATEGORIES values; then a value that training never saw is refused, not guessed at.

    >>> import numpy as np
    >>> side = SideInformation.fit(np.array([3, 1, 3, 7]))
    >>> side.features(np.array([7, 1]))
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from obverse.data.arrays import as_array
from obverse.errors import InputError, SideInformationError

CATEGORIES = 256
FAR = 8.0  # how many ranges of the training data beyond it a number may lie before it is another source


def as_columns(values: Any, what: str) -> np.ndarray:
    """(n,) or (n, c) numbers -> (n, c), n at least 1. Raises InputError: not numbers, NaN, infinite, empty."""
    array = as_array(values, what)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
        raise InputError(
            f"{what} must be numbers of shape (n,) or (n, d), not {array.dtype} of shape {array.shape}"
        )
    if array.size == 0:
        raise InputError(f"{what} is empty")
    if not np.isfinite(array).all():
        raise InputError(f"{what} holds NaN or infinite values; remove those samples from x and y")
    return array if array.ndim == 2 else array[:, None]


@dataclass(frozen=True)
class SideInformation:
    """What a model's side information is: its columns, and how they become features.

    categories: the values of each column, rising, or None for numbers.
    mean, scale, low, high: of each column of numbers; empty for categories.
    """

    columns: int
    categories: tuple[tuple[int, ...], ...] | None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Columns of `features`."""
        return self.columns if self.categories is None else sum(map(len, self.categories))

    @classmethod
    def fit(cls, y: Any) -> SideInformation:
        """From the y of the training pairs, (n,) or (n, c). Raises InputError, also for a constant y."""
        array = as_columns(y, "y")
        if array.dtype.kind in "iub":
            values = [np.unique(column) for column in array.T]
            if all(len(v) < 2 for v in values):
                raise InputError("y is constant: it tells nothing about x; this codec needs side information")
            if max(map(len, values)) <= CATEGORIES:
                return cls(array.shape[1], tuple(tuple(int(v) for v in column) for column in values))
        array = array.astype(np.float64)
        low, high = array.min(axis=0), array.max(axis=0)
        if (low == high).all():
            raise InputError("y is constant: it tells nothing about x; this codec needs side information")
        scale = array.std(axis=0)
        scale[scale == 0] = 1.0
        rows = (array.mean(axis=0), scale, low, high)
        return cls(array.shape[1], None, *(tuple(row.tolist()) for row in rows))

    def check(self, y: Any, n: int | None = None) -> np.ndarray:
        """y as (n, c), checked against what the model was trained with. Raises SideInformationError."""
        try:
            array = as_columns(y, "the side information")
        except InputError as error:
            raise SideInformationError(str(error)) from None
        if n is not None and len(array) != n:
            raise SideInformationError(
                f"the side information has {len(array)} samples, the file {n}: pass its own"
            )
        if array.shape[1] != self.columns:
            raise SideInformationError(
                f"the side information has {array.shape[1]} columns, the model was trained with {self.columns}"
            )
        if self.categories is not None:
            for column, values in zip(array.T, self.categories, strict=True):
                unknown = np.setdiff1d(column, values)
                if len(unknown):
                    raise SideInformationError(
                        f"the side information holds the value {unknown[0]}, which training never saw"
                    )
            return array
        low, high = np.array(self.low), np.array(self.high)
        reach = FAR * (high - low) + 1e-12
        if (array < low - reach).any() or (array > high + reach).any():
            raise SideInformationError(
                "the side information lies far outside of what the model was trained with: other units or data?"
            )
        return array

    def features(self, y: np.ndarray) -> np.ndarray:
        """Checked y, (n,) or (n, c) -> (n, width) float32."""
        array = y if y.ndim == 2 else y[:, None]
        if self.categories is None:
            return ((array - np.array(self.mean)) / np.array(self.scale)).astype(np.float32)
        hot = [
            np.equal.outer(column, values) for column, values in zip(array.T, self.categories, strict=True)
        ]
        return np.concatenate(hot, axis=1).astype(np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a model's configuration."""
        if self.categories is not None:
            return {"columns": self.columns, "categories": [list(values) for values in self.categories]}
        names = ("mean", "scale", "low", "high")
        return {"columns": self.columns} | {name: list(getattr(self, name)) for name in names}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SideInformation:
        """What `as_dict` gave. Raises InputError for anything else."""
        try:
            columns = int(values["columns"])
            if "categories" in values:
                categories = tuple(tuple(int(v) for v in column) for column in values["categories"])
                sizes = {len(categories)}
                spec = cls(columns, categories)
            else:
                rows = [tuple(float(v) for v in values[name]) for name in ("mean", "scale", "low", "high")]
                sizes = {len(row) for row in rows}
                spec = cls(columns, None, *rows)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the model's side information is damaged: {error}") from None
        if sizes != {columns} or columns < 1:
            raise InputError("the model's side information is damaged: its columns do not agree")
        return spec
