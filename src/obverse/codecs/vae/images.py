"""What a training of the bits-back codec reads: sets of gray images of one size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from obverse.data.image_sets import Bytes, read_image_set
from obverse.errors import UnsupportedInputError


def read_gray_sets(data: Sequence[Path]) -> Bytes:
    """All images of the sets, (n, H, W). Raises InputError; UnsupportedInputError for colour or mixed sizes."""
    sets = [read_image_set(Path(path)) for path in data]
    for path, images in zip(data, sets, strict=True):
        if images.ndim != 3 or images.shape[1:] != sets[0].shape[1:]:
            raise UnsupportedInputError(
                f"{path} holds images of shape {images.shape[1:]}: this codec learns gray images of one size"
            )
    return np.concatenate(sets)
