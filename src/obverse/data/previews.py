"""Previews: an image at a quarter of its size a side, each pixel the mean of 4x4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from obverse.data.images import Photo

SHRINK = 4  # pixels a side of what becomes one


def reduced(photo: Photo) -> Photo:
    """The preview of a decoded image, with its metadata. At the ends fewer pixels may make one."""
    alpha = None if photo.alpha is None else means(photo.alpha)
    return replace(photo, pixels=means(photo.pixels), alpha=alpha)


def means(plane: np.ndarray) -> np.ndarray:
    """(H, W, ...) integers -> (ceil(H / 4), ceil(W / 4), ...) of the same type, rounded."""
    rows, columns = (np.arange(0, length, SHRINK) for length in plane.shape[:2])
    sums = np.add.reduceat(plane, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1)
    sizes = [np.diff([*starts, length]) for starts, length in zip((rows, columns), plane.shape, strict=False)]
    counts = np.multiply.outer(*sizes).reshape(*sums.shape[:2], *[1] * (plane.ndim - 2))
    return np.asarray(np.rint(sums / counts), plane.dtype)
