"""What invariant compressors learn from, read: sets of gray images of one size, or points of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import read_array
from obverse.data.image_sets import Bytes, check_image_set, read_image_set
from obverse.errors import TrainingError, UnsupportedInputError


def read_items(data: Sequence[Path]) -> npt.NDArray[Any]:
    """Images (n, H, W) uint8 or points (n, 2), of all sets together.

    data: sets of gray images of one size, or .npy arrays of points (n, 2). Raises InputError, UnsupportedInputError,
    TrainingError for too few items.
    """
    sets = [_read_set(path) for path in data]
    for path, items in zip(data, sets, strict=True):
        if items.shape[1:] != sets[0].shape[1:]:
            raise UnsupportedInputError(
                f"{path} holds items of shape {items.shape[1:]}, {data[0]} of {sets[0].shape[1:]}: a model codes one"
            )
    items = np.concatenate(sets)
    if len(items) < 100:
        raise TrainingError(f"{len(items)} items are too few to learn from: give at least 100")
    return items


def _read_set(path: Path) -> npt.NDArray[Any]:
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        return array if array.ndim == 2 else gray_images(array)
    return gray_images(read_image_set(path))


def gray_images(images: npt.ArrayLike) -> Bytes:
    """(n, H, W) uint8. Raises InputError, UnsupportedInputError."""
    checked = check_image_set(images)
    if checked.ndim != 3:
        raise UnsupportedInputError(
            f"this compressor learns gray images, (n, H, W), not {checked.shape}: convert them first"
        )
    return checked
